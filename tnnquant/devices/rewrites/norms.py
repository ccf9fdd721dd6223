"""LayerNorm and GroupNorm: by LayerNorm of rows, or by normalizing the channels of a reshaped blob."""

from __future__ import annotations

from math import prod

import numpy as np

from tnnquant.devices.memory import is_plain
from tnnquant.devices.rewrites.fragment import Fragment, rewrite
from tnnquant.layers.moment_norm import GroupNorm, LayerNorm

__all__: list[str] = []


@rewrite("LayerNorm of rows", "LayerNorm")
def _of_rows(f: Fragment) -> str | None:
    dims, count = f.inputs[0].dims, f.layer.expect(LayerNorm).reduce_dims_size
    length = prod(dims[len(dims) - count :])
    rows = prod(dims) // length
    if any(f.value(number) is None for number in (1, 2)) or not is_plain((rows, length)) or len(dims) == 2:
        return None
    names = list(f.node.inputs[1:])
    if count > 1 or any(spec.dims != (length,) for spec in f.inputs[1:]):
        names = [f.constant(np.asarray(spec.value).reshape(length)) for spec in f.inputs[1:]]
    x = f.add("Reshape", f.node.inputs[0], 0, 2, (-1, length), 0)
    return f.reshape(f.add("LayerNorm", (x, *names), 1, f.layer.expect(LayerNorm).eps), dims, (rows, length))


@rewrite("InstBatchNormCxx, Mul and Add", "LayerNorm")
def _by_channels(f: Fragment) -> str | None:
    dims, count = f.inputs[0].dims, f.layer.expect(LayerNorm).reduce_dims_size
    length = prod(dims[len(dims) - count :])
    rows = prod(dims) // length
    x = f.reshape(f.node.inputs[0], (1, rows, length, 1))
    x = f.reshape(_normalized(f, x, rows, f.layer.expect(LayerNorm).eps), dims)
    last = (*(1,) * (len(dims) - count), *dims[len(dims) - count :])
    return _affine(f, x, last)


@rewrite("InstBatchNormCxx, Mul and Add", "GroupNorm")
def _by_groups(f: Fragment) -> str | None:
    dims, groups = f.inputs[0].dims, f.layer.expect(GroupNorm).group
    x = f.reshape(f.node.inputs[0], (dims[0], groups, prod(dims[1:]) // groups, 1))
    x = f.reshape(_normalized(f, x, groups, f.layer.expect(GroupNorm).eps), dims)
    return _affine(f, x, (1, dims[1], *(1,) * (len(dims) - 2)))


def _normalized(f: Fragment, x: str, channels: int, eps: float) -> str:
    one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return f.add("InstBatchNormCxx", x, channels, eps, tensors={"scale": one, "bias": zero})


def _affine(f: Fragment, x: str, dims: tuple[int, ...]) -> str:
    """Times the layer's scale, plus its bias, both under these dims."""
    for number, kind in ((1, "Mul"), (2, "Add")):
        value = f.value(number)
        blob = f.node.inputs[number]
        operand = f.reshape(blob, dims) if value is None else f.constant(np.asarray(value).reshape(dims))
        x = f.add(kind, (x, operand), -1)
    return x
