"""1-D and 3-D pooling against explicit loops."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer


def naive(x, kind, kernel, stride, begin, size):
    """TNN's windows, for any number of axes."""
    out = np.zeros((*x.shape[:2], *size))
    for at in np.ndindex(*size):
        starts = [a * s - b for a, s, b in zip(at, stride, begin, strict=True)]
        stops = [min(a + k, n) for a, k, n in zip(starts, kernel, x.shape[2:], strict=True)]
        cut = [slice(max(a, 0), max(b, 0)) for a, b in zip(starts, stops, strict=True)]
        window = x[(..., *cut)].reshape(*x.shape[:2], -1).astype(np.float64)
        if kind == 0:
            out[(..., *at)] = window.max(2) if window.size else 0
        else:
            out[(..., *at)] = window.sum(2) / np.prod([b - max(a, 0) for a, b in zip(starts, stops, strict=True)])
    return out


# dims, kernel, stride, pad, index, pad type, ceil mode; kernel, begin and size expected
CASES_1D = {
    "3 stride 2 pad 1": ((1, 3, 11), 3, 2, 1, -1, -1, 0, 3, 1, 6),
    "ceil mode": ((2, 17, 10), 3, 2, 0, -1, -1, 1, 3, 0, 5),
    "global": ((1, 3, 8), 0, 1, 0, -1, -1, 0, 8, 0, 1),
    "kernel from a dim": ((1, 3, 8), 2, 1, 0, 1, -1, 0, 3, 0, 6),
    "same, ceil": ((1, 3, 9), 3, 2, 0, -1, 0, 1, 3, 1, 5),
    "same, floor": ((1, 3, 9), 3, 2, 0, -1, 0, 0, 3, 0, 4),
    "same, kernel below stride": ((1, 3, 11), 1, 4, 0, -1, 0, 0, 1, -1, 2),
    "valid": ((1, 3, 10), 4, 3, 0, -1, 1, 0, 4, 0, 3),
}  # fmt: skip


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("name", CASES_1D)
def test_1d(rng, run_layer, name, kind):
    dims, kernel, stride, pad, index, pad_type, ceil_mode, used, begin, size = CASES_1D[name]
    x = rng.standard_normal(dims).astype(np.float32)
    (got,) = run_layer("Pooling1D", f"{kind} {kernel} {stride} {pad} -1 {index} {pad_type} {ceil_mode}", x)
    np.testing.assert_allclose(got, naive(x, kind, (used,), (stride,), (begin,), (size,)), rtol=0, atol=1e-6)


# dims, kernel, stride, pad, index, pad type, ceil mode; kernel, begin and size expected
CASES_3D = {
    "3 stride 2 pad 1": ((1, 3, 5, 6, 7), (3, 3, 3), (2, 2, 2), (1, 1, 1), -1, -1, 0, (3, 3, 3), (1, 1, 1), (3, 3, 4)),
    "mixed": ((2, 17, 4, 5, 6), (1, 2, 3), (1, 2, 3), (0, 0, 1), -1, -1, 1, (1, 2, 3), (0, 0, 1), (4, 3, 3)),
    "global": ((1, 3, 3, 4, 5), (0, 0, 0), (1, 1, 1), (0, 0, 0), -1, -1, 0, (3, 4, 5), (0, 0, 0), (1, 1, 1)),
    "kernel from a dim": ((1, 3, 4, 4, 5), (1, 1, 1), (1, 1, 1), (0, 0, 0), 1, -1, 0, (3, 3, 3), (0, 0, 0), (2, 2, 3)),
    # Computed pads: what is missing, divided by the stride of the height, rounded up.
    "same, ceil": ((1, 2, 5, 6, 7), (3, 3, 3), (2, 2, 2), (0, 0, 0), -1, 0, 1, (3, 3, 3), (1, 1, 1), (3, 3, 4)),
    "same, floor": ((1, 2, 5, 6, 7), (4, 3, 5), (1, 2, 2), (0, 0, 0), -1, 0, 0, (4, 3, 5), (2, 1, 1), (5, 3, 3)),
    "valid": ((1, 2, 5, 6, 7), (2, 3, 4), (2, 1, 2), (0, 0, 0), -1, 1, 0, (2, 3, 4), (-1, 0, -1), (2, 4, 2)),
}  # fmt: skip


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("name", CASES_3D)
def test_3d(rng, run_layer, name, kind):
    dims, kernel, stride, pad, index, pad_type, ceil_mode, used, begin, size = CASES_3D[name]
    x = rng.standard_normal(dims).astype(np.float32)
    numbers = (kind, *kernel, *stride, *pad, index, -1, -1, pad_type, ceil_mode)
    (got,) = run_layer("Pooling3D", " ".join(map(str, numbers)), x)
    np.testing.assert_allclose(got, naive(x, kind, used, stride, begin, size), rtol=0, atol=1e-6)


def test_what_is_saved():
    layer = find_layer("Pooling3D").parse("0 3 3 3 2 2 2 0 0 0 2 -1 3 0 1".split())
    assert " ".join(layer.tokens()) == "0 3 3 3 2 2 2 0 0 0 2 2 3 0 1"
    layer = find_layer("Pooling1D").parse("1 0 1 0".split())
    assert " ".join(layer.tokens()) == "1 0 1 0 -1 -1 0 0"


def test_errors():
    layer = find_layer("Pooling1D").parse("0 3 8 0 -1 -1 0 0".split())
    with pytest.raises(GraphError, match="does not fit an input of 5"):
        layer.output_specs([BlobSpec((1, 2, 5))], {})
    with pytest.raises(GraphError, match="expected 3 dims"):
        layer.output_specs([BlobSpec((1, 2, 5, 5))], {})
    with pytest.raises(GraphError, match="pad_type is 3"):
        find_layer("Pooling3D").parse("0 1 1 1 1 1 1 0 0 0 -1 -1 -1 3 0".split()).resolved(
            [BlobSpec((1, 2, 5, 5, 5))], {}
        )
