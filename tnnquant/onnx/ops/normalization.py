"""Normalizations."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tnnquant.onnx.builder import Builder
from tnnquant.onnx.common import axis_of, binary, constant_of
from tnnquant.onnx.refusal import Refused
from tnnquant.onnx.registry import operator
from tnnquant.onnx.value import FLOAT, Value


@operator()
def BatchNormalization(
    g: Builder, x: Value, scale: Value, bias: Value, mean: Value, var: Value, *, epsilon: float = 1e-5,
    training_mode: int = 0,
) -> Value:  # fmt: skip
    if training_mode:
        raise Refused("it takes the statistics of the batch (training_mode); export the model for inference")
    arrays = [
        constant_of(v, what) for v, what in ((scale, "scales"), (bias, "biases"), (mean, "means"), (var, "variances"))
    ]
    k, b, m, v = (array.astype(np.float64).reshape(-1) for array in arrays)
    if not k.size == b.size == m.size == v.size == (x.dims[1] if x.rank > 1 else 1):
        raise Refused(f"its parameters are not one for each of {x.dims[1:2]} channels")
    with np.errstate(all="ignore"):
        k = k / np.sqrt(v + epsilon)
    return affine(g, x, k, b - m * k)


def affine(g: Builder, x: Value, k: np.ndarray, b: np.ndarray) -> Value:
    """``x * k[c] + b[c]``."""
    return g.add("BatchNormCxx", [x], tensors={"scale": k.astype(FLOAT), "bias": b.astype(FLOAT)})


@operator()
def InstanceNormalization(g: Builder, x: Value, scale: Value, bias: Value, *, epsilon: float = 1e-5) -> Value:
    k, b = constant_of(scale, "scales"), constant_of(bias, "biases")
    return g.add(
        "InstBatchNormCxx", [x], x.dims[1], epsilon,
        tensors={"scale": k.reshape(-1).astype(FLOAT), "bias": b.reshape(-1).astype(FLOAT)},
    )  # fmt: skip


@operator()
def LayerNormalization(
    g: Builder, x: Value, scale: Value, bias: Value | None = None, *, axis: int = -1, epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Value:  # fmt: skip
    if g.wanted & {1, 2}:
        raise Refused("its mean or inverse deviation is read")
    axis = axis_of(axis, x.rank)
    dims = x.dims[axis:]
    bias = bias if bias is not None else g.constant(np.zeros(dims), np.float32)
    scale, bias = (_over(g, v, dims) for v in (scale, bias))
    return g.add("LayerNorm", [x, scale, bias], len(dims), epsilon)


def _over(g: Builder, value: Value, dims: Sequence[int]) -> Value:
    if value.dims == tuple(dims):
        return value
    if value.is_constant:
        return g.constant(np.broadcast_to(value.elements, dims), np.float32)
    raise Refused(f"its scale or bias is {value.dims}, TNN wants {tuple(dims)}")


@operator()
def GroupNormalization(
    g: Builder, x: Value, scale: Value, bias: Value, *, num_groups: int, epsilon: float = 1e-5
) -> Value:
    k, b = constant_of(scale, "scales"), constant_of(bias, "biases")
    each = x.dims[1] // num_groups
    return _group_norm(g, x, np.repeat(k.reshape(-1), each), np.repeat(b.reshape(-1), each), num_groups, epsilon)


@operator(since=21, name="GroupNormalization")
def GroupNormalization_21(
    g: Builder, x: Value, scale: Value, bias: Value, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    k, b = constant_of(scale, "scales"), constant_of(bias, "biases")
    return _group_norm(g, x, k.reshape(-1), b.reshape(-1), num_groups, epsilon)


def _group_norm(g: Builder, x: Value, k: np.ndarray, b: np.ndarray, groups: int, epsilon: float) -> Value:
    return g.add("GroupNorm", [x, g.constant(k, np.float32), g.constant(b, np.float32)], groups, epsilon)


@operator()
def LpNormalization(g: Builder, x: Value, *, axis: int = -1, p: int = 2) -> Value:
    norm = g.add(f"ReduceL{p}", [x], 1, (axis_of(axis, x.rank),))
    # A vector of zeros stays one.
    return binary(g, "Div", x, binary(g, "Maximum", norm, g.constant(np.finfo(np.float32).tiny, np.float32)))


@operator()
def LRN(g: Builder, x: Value, *, size: int, alpha: float = 0.0001, beta: float = 0.75, bias: float = 1.0) -> Value:
    if x.rank == 4:
        return g.add("LRN", [x], alpha, beta, bias, size)
    flat = g.reshape(x, (*x.dims[:2], 1, prod(x.dims[2:])))
    return g.reshape(g.add("LRN", [flat], alpha, beta, bias, size), x.dims)


@operator()
def MeanVarianceNormalization(g: Builder, x: Value, *, axes: Sequence[int] = (0, 2, 3)) -> Value:
    axes = tuple(axis_of(axis, x.rank) for axis in axes)
    centred = binary(g, "Sub", x, g.add("ReduceMean", [x], 1, axes))
    variance = g.add("ReduceMean", [binary(g, "Mul", centred, centred)], 1, axes)
    deviation = binary(g, "Add", g.add("Sqrt", [variance]), g.constant(1e-9, np.float32))
    return binary(g, "Div", centred, deviation)


@operator()
def RMSNormalization(
    g: Builder, x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    axes = tuple(range(axis_of(axis, x.rank), x.rank))
    mean = g.add("ReduceMean", [binary(g, "Mul", x, x)], 1, axes)
    root = g.add("Sqrt", [binary(g, "Add", mean, g.constant(epsilon, np.float32))])
    return binary(g, "Mul", binary(g, "Div", x, root), scale)
