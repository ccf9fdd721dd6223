"""LSTM against a direct evaluation in double."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer


def naive(x, w, r, b, h, c, reverse):
    """One direction: x (T, B, I); w (4H, I) in the order I, O, F, C; r (4H, H); b (8H); h, c (B, H)."""
    x, w, r, b, h, c = (array.astype(np.float64) for array in (x, w, r, b, h, c))
    y = np.zeros((x.shape[0], *h.shape))
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        gates = x[t] @ w.T + h @ r.T + b[: len(w)] + b[len(w) :]
        enter, leave, keep, new = np.split(gates, 4, 1)
        c = c / (1 + np.exp(-keep)) + np.tanh(new) / (1 + np.exp(-enter))
        h = np.tanh(c) / (1 + np.exp(-leave))
        y[t] = h
    return y, h, c


def arrays(rng, steps, batch, length, hidden, dirs):
    shapes = [
        (steps, batch, length), (dirs, 4 * hidden, length), (dirs, 4 * hidden, hidden), (dirs, 8 * hidden),
        (dirs, batch, hidden), (dirs, batch, hidden),
    ]  # fmt: skip
    return [(rng.standard_normal(shape) * 0.6).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("constant", [(), (1, 2, 3)], ids=["weights as blobs", "constant weights"])
@pytest.mark.parametrize("given", [False, True], ids=["from zero", "initial states"])
@pytest.mark.parametrize("direction", [0, 1, 2])
@pytest.mark.parametrize("sizes", [(4, 1, 3, 5), (1, 2, 7, 16), (5, 7, 4, 9)])
def test_values(rng, run_layer, sizes, direction, given, constant):
    steps, batch, length, hidden = sizes
    dirs = 2 if direction == 2 else 1
    x, w, r, b, h, c = arrays(rng, steps, batch, length, hidden, dirs)
    inputs = (x, w, r, b, h, c) if given else (x, w, r, b)
    got = run_layer("LSTMONNX", f"0 {hidden} {direction}", *inputs, constant=constant, outputs=3)
    if not given:
        h, c = np.zeros_like(h), np.zeros_like(c)
    parts = [naive(x, w[d], r[d], b[d], h[d], c[d], direction == 1 or d == 1) for d in range(dirs)]
    np.testing.assert_allclose(got[0], np.concatenate([y for y, _, _ in parts], 2), rtol=0, atol=1e-6)
    np.testing.assert_allclose(got[1], np.stack([last for _, last, _ in parts]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(got[2], np.stack([cell for _, _, cell in parts]), rtol=0, atol=1e-6)


def test_more_than_one_feature_axis(rng, run_layer):
    x, w, r, b, *_ = arrays(rng, 3, 2, 6, 4, 1)
    flat = run_layer("LSTMONNX", "0 4 0", x, w, r, b, outputs=3)
    shaped = run_layer("LSTMONNX", "0 4 0", x.reshape(3, 2, 3, 2), w, r, b, outputs=3)
    np.testing.assert_array_equal(flat[0], shaped[0])


def test_errors(rng):
    def specs(line, count=4, **changes):
        x, *others = (BlobSpec(array.shape) for array in arrays(rng, 3, 2, 5, 4, 1)[:count])
        layer = find_layer("LSTMONNX").parse(line.split())
        return layer.output_specs([changes.get("x", x), *others], {})

    assert [spec.dims for spec in specs("0 4 0")] == [(3, 2, 4), (1, 2, 4), (1, 2, 4)]
    with pytest.raises(GraphError, match=r"W has 80 values, expected 1\*16\*7 = 112"):
        specs("0 4 0", x=BlobSpec((3, 2, 7)))
    with pytest.raises(GraphError, match="direction is 3"):
        specs("0 4 3")
    with pytest.raises(GraphError, match="has 3 input blobs"):
        specs("0 4 0", count=3)
    with pytest.raises(GraphError, match="hidden_size is 0"):
        specs("0 0 0")


def test_macs():
    layer = find_layer("LSTMONNX").parse("0 4 2".split())
    assert layer.macs([BlobSpec((3, 2, 5))], []) == 3 * 2 * 2 * 4 * 4 * (5 + 4)
