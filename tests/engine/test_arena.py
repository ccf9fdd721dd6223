"""Places of blobs in memory: what is alive together never overlaps."""

import numpy as np

from tnnquant.engine.arena import ALIGNMENT, Lifetime, allocate, blob_array, live_set, place


def test_places_overlap_only_where_lives_do_not(rng):
    lives = {}
    for i in range(60):
        first = int(rng.integers(0, 30))
        lives[f"b{i}"] = Lifetime(int(rng.integers(1, 5000)), first, first + int(rng.integers(0, 6)))
    offsets, total = place(lives)
    names = list(lives)
    for i, a in enumerate(names):
        assert offsets[a] % ALIGNMENT == 0
        assert offsets[a] + lives[a].size <= total
        for b in names[:i]:
            together = lives[a].first <= lives[b].last and lives[b].first <= lives[a].last
            apart = offsets[a] + lives[a].size <= offsets[b] or offsets[b] + lives[b].size <= offsets[a]
            assert apart or not together


def test_the_live_set_is_that_of_the_fullest_step():
    lives = {"a": Lifetime(100, -1, 0), "b": Lifetime(50, 0, 2), "c": Lifetime(70, 1, 1), "d": Lifetime(80, 2, 3)}
    assert live_set(lives) == 150
    assert live_set({}) == 0


def test_a_chain_needs_two_neighbours_only():
    lives = {f"b{i}": Lifetime(1024, i, i + 1) for i in range(10)}
    assert place(lives)[1] == 2048


def test_rank_4_is_channels_last_in_memory():
    array = blob_array(allocate(4 * 24), 0, (1, 2, 3, 4), np.dtype(np.float32))
    assert array.shape == (1, 2, 3, 4)
    assert array.transpose(0, 2, 3, 1).flags.c_contiguous
    assert blob_array(allocate(4 * 24), 0, (4, 6), np.dtype(np.float32)).flags.c_contiguous
