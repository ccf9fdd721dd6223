"""What is kept between runs: whatever its files hold, it is read or done again."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.search.state import State


@pytest.fixture
def state(tmp_path, inspected):
    """A state with a result, statistics and a model."""
    kept = State(tmp_path, "key")
    kept.remember("trial", lambda: {"agreement": 1.0})
    kept.save_statistics({"blob": np.arange(6.0).reshape(2, 3)})
    kept.save_model("trial", inspected)
    return kept


def test_what_is_kept_comes_back(state, tmp_path, inspected):
    again = State(tmp_path, "key")
    assert again.recall("trial") == {"agreement": 1.0}
    np.testing.assert_array_equal(again.load_statistics()["blob"], [[0, 1, 2], [3, 4, 5]])
    assert [node.name for node in again.load_model("trial").nodes] == [node.name for node in inspected.nodes]
    assert again.load_model("another") is None


@pytest.mark.parametrize("text", [
    "", "[", "[]", "3", '"x"', "{}", '{"version": 1}', '{"version": 1, "results": 3}', '{"version": 1, "results": [3]}',
    '{"version": 1, "results": {"trial": 3}}', '{"version": 1, "results": {"trial": "x"}}', "[" * 100_000, "\udcff",
])  # fmt: skip
def test_damaged_results_are_forgotten(state, tmp_path, text):
    (state.folder / "results.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert State(tmp_path, "key").recall("trial") is None


def test_damaged_statistics_and_models_are_forgotten(state):
    rng = np.random.default_rng(4)
    for path in (*state.folder.glob("*.npz"), *state.folder.glob("*.tnn*")):
        data = path.read_bytes()
        for _ in range(100):
            damaged = bytearray(data[: int(rng.integers(len(data))) if rng.random() < 0.3 else len(data)])
            for _ in range(3):
                if damaged:
                    damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            state.load_statistics()
            state.load_model("trial")
        path.write_bytes(data)
    assert state.load_model("trial") is not None
