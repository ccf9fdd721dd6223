"""How work is cut: everything once, nothing outside."""

import numba
import numpy as np
import pytest

from tnnquant.kernels.conv_rows import Work, cut_by_rows, cut_into_tasks, fill_rows, next_tiles, rows_a_task
from tnnquant.kernels.program import data_address, one_thread

COUNTS = (1, 2, 6, 7, 8, 13, 14, 15, 20, 21, 22, 49, 100, 196)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(("full", "middle"), [(14, 7), (6, 4), (8, 5)])
@pytest.mark.parametrize("overlap", [0, 1])
def test_tiles_cover_all_positions(count, full, middle, overlap):
    computed, i = np.zeros(count, int), 0
    while i < count:
        start, positions, tiles, is_middle = next_tiles(i, count, full, middle, overlap)
        size = middle if is_middle else full
        assert positions == tiles * size or (tiles == 1 and positions < size)
        assert 0 <= start <= i < start + positions <= count
        computed[start : start + positions] += 1
        i = start + positions
    assert (computed >= 1).all()
    assert overlap or (computed == 1).all()


def test_only_a_tile_larger_than_the_image_has_rows_that_do_not_exist():
    for count in COUNTS:
        i = 0
        while i < count:
            start, positions, tiles, is_middle = next_tiles(i, count, 14, 7, 1)
            assert positions == tiles * (7 if is_middle else 14) or count < 7
            i = start + positions


@pytest.mark.parametrize(("column", "count"), [(0, 1), (0, 5), (3, 2), (3, 9), (2, 23)])
def test_rows_wrap_at_the_width_of_the_image(column, count):
    table = np.zeros(count + 4, np.int64)
    fill_rows(data_address(table), 1000, column, 5, count, 100, 8, 3)
    positions = column + np.arange(count)
    want = 1000 + positions // 5 * 100 + positions % 5 * 8
    assert table.tolist() == [*want, *[want[-1]] * 3, 0]


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize(("rows", "panels", "together"), [(1, 1, 1), (7, 36, 4), (14, 21, 8), (112, 3, 1), (56, 5, 5)])
def test_bands_and_blocks_cover_rows_and_panels(monkeypatch, threads, rows, panels, together):
    monkeypatch.setattr("tnnquant.kernels.conv_rows.thread_count", lambda: threads)
    for images in (1, 5):
        block, blocks, band_rows, bands = cut_by_rows(images, rows, panels, together)
        assert block <= together
        assert (blocks - 1) * block < panels <= blocks * block
        assert (bands - 1) * band_rows < rows <= bands * band_rows
    assert (rows_a_task(rows) == rows) == (threads == 1 or rows == 1)


def test_one_thread_cuts_for_one_thread():
    work = Work(1, 196, 14, 196 * 64 * 64, 64, 64 * 64, 4, True, False)
    with one_thread():
        assert cut_into_tasks(work, 14) == (196, 1, 1)
    if numba.get_num_threads() > 1:
        _, blocks, panel_blocks = cut_into_tasks(work, 14)
        assert blocks * panel_blocks > 1
