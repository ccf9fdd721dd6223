"""Run one layer the way the executor does, in every memory layout it may meet."""

from __future__ import annotations

import numpy as np
import pytest

GUARD = np.float32(-77.5)


def _channels_last(x: np.ndarray, wider: int = 0, fill: bool = True) -> np.ndarray:
    """A copy whose memory is channels-last; ``wider``: a slice of an array with more channels."""
    n, c, h, w = x.shape
    memory = np.full((n, h, w, c + wider), GUARD, x.dtype)
    view = memory[..., wider:].transpose(0, 3, 1, 2)
    if fill:
        view[...] = x
    return view


def _equal(got, want):
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def run_layer():
    """A function that runs a layer and returns its outputs; see :func:`_run`."""
    return _run


def _run(kind, line, *inputs, tensors=None, constant=(), outputs=1):
    """Run the layer ``kind`` with the parameters ``line`` (as in a proto) on the arrays ``inputs``.

    Checks on the way: resolving twice changes nothing; the inferred dims and data types are those of the results;
    channels-last inputs, and the kernel program if the layer has one, give the same bits; inputs are not written to.
    ``constant``: positions of inputs that are known beforehand. ``tensors``: arrays of the resource, or Tensors.
    """
    from tnnquant.base.tensor import DataType, Tensor
    from tnnquant.layers.base import BlobSpec, find_layer

    tensors = {k: v if isinstance(v, Tensor) else Tensor.from_array(v) for k, v in (tensors or {}).items()}
    layer = find_layer(kind).parse(line.split())
    if hasattr(layer, "with_outputs"):
        layer = layer.with_outputs(outputs)
    specs = [BlobSpec(x.shape, DataType.of(x), x if i in constant else None) for i, x in enumerate(inputs)]
    layer = layer.resolved(specs, tensors)
    assert layer.resolved(specs, tensors) == layer
    expected = layer.output_specs(specs, tensors)
    state = layer.prepare(tensors, specs)
    frozen = [np.array(x) for x in inputs]
    for x in frozen:
        x.flags.writeable = False
    results = layer.forward(frozen, state)
    assert len(results) >= outputs
    for result, spec in zip(results, expected, strict=False):
        assert isinstance(result, np.ndarray)
        assert result.shape == spec.dims
        assert DataType.of(result) == spec.dtype
    if any(x.ndim == 4 for x in inputs):
        for wider in (0, 3):
            moved = [_channels_last(x, wider) if x.ndim == 4 else x for x in inputs]
            _equal(layer.forward(moved, state), results)
    if not constant and all(x.dtype == np.float32 for x in (*inputs, *results)):
        _check_program(layer, inputs, results, state)
    return [result.copy() for result in results]


def _check_program(layer, inputs, results, state):
    from tnnquant.kernels import program

    for wider in (0, 2):
        sources = [_channels_last(x, wider) if x.ndim == 4 else x for x in inputs]
        targets = [
            _channels_last(x, wider, fill=False) if x.ndim == 4 else np.full(x.shape, GUARD, x.dtype) for x in results
        ]
        rows = layer.emit(sources, targets, state)
        if rows is None:
            return
        program.run(rows)
        _equal(targets, results)
        for target in targets:
            if target.ndim == 4 and wider:
                assert (target.base[..., :wider] == GUARD).all(), "wrote outside its channels"
