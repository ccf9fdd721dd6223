"""QuantizeLinear, DequantizeLinear, and operators that are an int8 layer: one of floats between the two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tnnquant.onnx.builder import Builder
from tnnquant.onnx.common import binary, constant_of
from tnnquant.onnx.ops import activation, arithmetic, convolution, movement, pooling, reduce
from tnnquant.onnx.qdq.record import BlobCodes, CodesValue
from tnnquant.onnx.refusal import Refused
from tnnquant.onnx.registry import operator
from tnnquant.onnx.value import FLOAT, Value

#: The domain of onnxruntime's own operators.
MICROSOFT = "com.microsoft"
_LOWEST = -128
_CHANNELS = 1
#: From this opset on, Softmax is along one axis alone.
_SOFTMAX_BY_AXIS = 13
#: Layers whose outputs are never below 0; layers whose outputs are not if their inputs are not.
_RECTIFY = frozenset(("ReLU", "ReLU6", "Sigmoid", "HardSigmoid", "Softmax", "SoftmaxCaffe", "Exp", "Abs", "Softplus"))
_KEEP = frozenset(("Pooling", "Concat", "Reshape", "Flatten", "Permute", "Squeeze", "Unsqueeze", "Upsample"))


def _params(scale: Value, zero_point: Value | None, x: Value, axis: int, dtype: Any) -> BlobCodes:
    steps = constant_of(scale, "scales").astype(np.float32)
    zero = constant_of(zero_point, "zero points")
    zero = np.zeros(steps.shape, dtype) if zero is None else zero
    if zero.dtype not in (np.int8, np.uint8):
        raise Refused(f"its codes are {zero.dtype}; TNN has codes of 8 bits only")
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise Refused("a scale is not a number above 0")
    if steps.size > 1 and (x.rank < 2 or axis % max(x.rank, 1) != _CHANNELS or steps.size != x.dims[_CHANNELS]):
        raise Refused(f"it has {steps.size} scales along axis {axis}; TNN has one per blob or one per channel")
    return BlobCodes.of(steps, np.broadcast_to(zero, steps.shape) if zero.size == 1 else zero)


@operator()
def QuantizeLinear(
    g: Builder, x: Value, scale: Value, zero_point: Value | None = None, *, axis: int = 1, saturate: int = 1,
    block_size: int = 0, output_dtype: int = 0, precision: int = 0,
) -> Value:  # fmt: skip
    if block_size:
        raise Refused("it has a scale for each block; TNN has one per blob or one per channel")
    dtype = np.dtype(np.int8 if output_dtype == 3 else np.uint8) if zero_point is None else zero_point.dtype
    params = _params(scale, zero_point, x, axis, dtype)
    return _coded(g, x, params, dtype)


def _coded(g: Builder, x: Value, params: BlobCodes, dtype: np.dtype) -> CodesValue:
    """The codes of a blob. Where the lowest code means 0, they stand for a ReLU too."""
    if (params.zero == _LOWEST).all() and x.name not in g.inputs and not _never_negative(g, x.name):
        x = g.add("ReLU", [x])
    g.records.blobs[x.name] = params
    return CodesValue(x.dims, dtype, x.name, None, params)


def _never_negative(g: Builder, blob: str) -> bool:
    maker = next((node for node in reversed(g.nodes) if blob in node.outputs), None)
    if maker is None:
        return False
    kind = maker.layer.TYPE_NAMES[0]
    return kind in _RECTIFY or (kind in _KEEP and all(_never_negative(g, source) for source in maker.inputs))


@operator()
def DequantizeLinear(
    g: Builder, x: Value, scale: Value, zero_point: Value | None = None, *, axis: int = 1, block_size: int = 0,
    output_dtype: int = 0,
) -> Value:  # fmt: skip
    if block_size:
        raise Refused("it has a scale for each block; TNN has one per blob or one per channel")
    if x.is_constant:
        return _constant(g, x, scale, zero_point, axis)
    params = _params(scale, zero_point, x, axis, x.dtype)
    if isinstance(x, CodesValue) and x.params is not None:
        value = Value(x.dims, FLOAT, x.name)
        return value if params.same(x.params) else _restated(g, value, x.params, params)
    # Integers that are no codes of a blob: an input of the model, or what layers of integers made.
    shift = params.zero + (128 if x.dtype == np.uint8 else 0)
    centred = binary(g, "Sub", g.cast(x, FLOAT), _aligned(g, shift, x.rank))
    return binary(g, "Mul", centred, _aligned(g, params.scale, x.rank))


def _aligned(g: Builder, values: np.ndarray, rank: int) -> Value:
    """One value per channel, or one for all."""
    return g.constant(values.reshape(-1, *(1,) * max(rank - 2, 0)) if values.size > 1 else values, np.float32)


def _restated(g: Builder, x: Value, made: BlobCodes, read: BlobCodes) -> Value:
    """Codes that are read with other scales and zero points than they were made with."""
    factor = (read.scale.astype(np.float64) / made.scale).astype(np.float32)
    summand = (read.scale.astype(np.float64) * (made.zero - read.zero)).astype(np.float32)
    y = x if (factor == 1).all() else binary(g, "Mul", x, _aligned(g, factor, x.rank))
    return y if not summand.any() else binary(g, "Add", y, _aligned(g, summand, x.rank))


def _constant(g: Builder, x: Value, scale: Value, zero_point: Value | None, axis: int) -> Value:
    """A constant's values; weights of 8 bits are noted."""
    codes = x.elements
    steps = constant_of(scale, "scales").astype(np.float32)
    zero = constant_of(zero_point, "zero points")
    zero = np.zeros(steps.shape, codes.dtype) if zero is None else zero
    axis = axis + codes.ndim if axis < 0 else axis
    if steps.size > 1 and (axis >= codes.ndim or codes.shape[axis] != steps.size):
        raise Refused(f"it has {steps.size} scales, which do not fit axis {axis} of its constant")
    shape = [-1 if i == axis else 1 for i in range(codes.ndim)] if steps.size > 1 else [1] * codes.ndim
    centred = codes.astype(np.int64) - np.broadcast_to(zero.astype(np.int64).reshape(-1), steps.size).reshape(shape)
    values = (centred * steps.astype(np.float64).reshape(shape)).astype(np.float32)
    if codes.dtype in (np.int8, np.uint8) and codes.ndim >= 2:
        g.records.weight(values, codes, steps, np.broadcast_to(zero.reshape(-1), steps.size), axis)
    return Value.constant(values)


# --- whole layers ---


def _read(g: Builder, x: Value, scale: Value, zero_point: Value | None, axis: int = 1) -> Value:
    return DequantizeLinear(g, x, scale, zero_point, axis=axis)


def _write(g: Builder, y: Value, scale: Value, zero_point: Value | None) -> Value:
    return QuantizeLinear(g, y, scale, zero_point)


@operator()
def QLinearConv(
    g: Builder, x: Value, x_scale: Value, x_zero: Value, w: Value, w_scale: Value, w_zero: Value, y_scale: Value,
    y_zero: Value, b: Value | None = None, *, auto_pad: str = "NOTSET", dilations: Sequence[int] | None = None,
    group: int = 1, kernel_shape: Sequence[int] | None = None, pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    weight, bias = _read(g, w, w_scale, w_zero, 0), _bias(g, b, x_scale, w_scale)
    made = convolution.Conv(
        g, _read(g, x, x_scale, x_zero), weight, bias, auto_pad=auto_pad, dilations=dilations, group=group,
        kernel_shape=kernel_shape, pads=pads, strides=strides,
    )  # fmt: skip
    return _write(g, made, y_scale, y_zero)


def _bias(g: Builder, b: Value | None, x_scale: Value, w_scale: Value) -> Value | None:
    """An int32 bias in steps of the products."""
    if b is None:
        return None
    step = constant_of(x_scale, "scales").reshape(-1).astype(np.float64) * constant_of(w_scale, "scales").reshape(-1)
    return g.constant(constant_of(b, "biases").reshape(-1) * step, np.float32)


@operator()
def QLinearMatMul(
    g: Builder, a: Value, a_scale: Value, a_zero: Value, b: Value, b_scale: Value, b_zero: Value, y_scale: Value,
    y_zero: Value,
) -> Value:  # fmt: skip
    axis = b.rank - 1
    made = convolution.MatMul(g, _read(g, a, a_scale, a_zero), _read(g, b, b_scale, b_zero, axis))
    return _write(g, made, y_scale, y_zero)


@operator(domain=MICROSOFT)
def QGemm(
    g: Builder, a: Value, a_scale: Value, a_zero: Value, b: Value, b_scale: Value, b_zero: Value,
    c: Value | None = None, y_scale: Value | None = None, y_zero: Value | None = None, *, alpha: float = 1.0,
    transA: int = 0, transB: int = 0,
) -> Value:  # fmt: skip
    weight = _read(g, b, b_scale, b_zero, 0 if transB else 1)
    made = convolution.Gemm(
        g, _read(g, a, a_scale, a_zero), weight, _bias(g, c, a_scale, b_scale), alpha=alpha, transA=transA,
        transB=transB,
    )  # fmt: skip
    return made if y_scale is None else _write(g, made, y_scale, y_zero)


def _of_two(kind: str) -> Callable:
    def convert(
        g: Builder, a: Value, a_scale: Value, a_zero: Value | None, b: Value, b_scale: Value, b_zero: Value | None,
        c_scale: Value, c_zero: Value | None = None,
    ) -> Value:  # fmt: skip
        made = binary(g, kind, _read(g, a, a_scale, a_zero), _read(g, b, b_scale, b_zero))
        return _write(g, made, c_scale, c_zero)

    return convert


operator(name="QLinearAdd", domain=MICROSOFT)(_of_two("Add"))
operator(name="QLinearMul", domain=MICROSOFT)(_of_two("Mul"))


def _of_one(kind: str) -> Callable:
    def convert(
        g: Builder, x: Value, x_scale: Value, x_zero: Value | None, y_scale: Value, y_zero: Value | None = None
    ) -> Value:
        return _write(g, g.add(kind, [_read(g, x, x_scale, x_zero)]), y_scale, y_zero)

    return convert


operator(name="QLinearSigmoid", domain=MICROSOFT)(_of_one("Sigmoid"))


@operator(domain=MICROSOFT)
def QLinearLeakyRelu(
    g: Builder, x: Value, x_scale: Value, x_zero: Value | None, y_scale: Value, y_zero: Value | None = None, *,
    alpha: float = 0.01,
) -> Value:  # fmt: skip
    return _write(g, activation.LeakyRelu(g, _read(g, x, x_scale, x_zero), alpha=alpha), y_scale, y_zero)


@operator(domain=MICROSOFT)
def QLinearSoftmax(
    g: Builder, x: Value, x_scale: Value, x_zero: Value | None, y_scale: Value, y_zero: Value | None = None, *,
    axis: int = -1, opset: int = 13,
) -> Value:  # fmt: skip
    softmax = activation.Softmax if opset < _SOFTMAX_BY_AXIS else activation.Softmax_13
    return _write(g, softmax(g, _read(g, x, x_scale, x_zero), axis=axis), y_scale, y_zero)


@operator(domain=MICROSOFT)
def QLinearReduceMean(
    g: Builder, x: Value, x_scale: Value, x_zero: Value | None, y_scale: Value, y_zero: Value | None = None, *,
    axes: Sequence[int] | None = None, keepdims: int = 1,
) -> Value:  # fmt: skip
    made = reduce.ReduceMean(g, _read(g, x, x_scale, x_zero), axes=axes, keepdims=keepdims)
    return _write(g, made, y_scale, y_zero)


@operator(domain=MICROSOFT)
def QLinearWhere(
    g: Builder, condition: Value, x: Value, x_scale: Value, x_zero: Value | None, y: Value, y_scale: Value,
    y_zero: Value | None, z_scale: Value, z_zero: Value | None = None,
) -> Value:  # fmt: skip
    made = arithmetic.Where(g, condition, _read(g, x, x_scale, x_zero), _read(g, y, y_scale, y_zero))
    return _write(g, made, z_scale, z_zero)


operator(name="QuantizeLinear", domain=MICROSOFT)(QuantizeLinear)
operator(name="DequantizeLinear", domain=MICROSOFT)(DequantizeLinear)


@operator(domain=MICROSOFT)
def QLinearConcat(g: Builder, y_scale: Value, y_zero: Value, *parts: Value, axis: int = 0) -> Value:
    if not parts or len(parts) % 3:
        raise Refused(f"it has {len(parts)} operands after its zero point, expected three for each part")
    inputs = [_read(g, x, scale, zero) for x, scale, zero in zip(*(iter(parts),) * 3, strict=True)]
    return _write(g, movement.Concat(g, *inputs, axis=axis), y_scale, y_zero)


@operator(domain=MICROSOFT)
def QLinearGlobalAveragePool(
    g: Builder, x: Value, x_scale: Value, x_zero: Value, y_scale: Value, y_zero: Value, *, channels_last: int = 0
) -> Value:
    if channels_last:
        raise Refused("its channels come last; optimize the model without layout changes")
    made = pooling.GlobalAveragePool(g, _read(g, x, x_scale, x_zero))
    return _write(g, made, y_scale, y_zero)


@operator(domain=MICROSOFT)
def QLinearAveragePool(
    g: Builder, x: Value, x_scale: Value, x_zero: Value, y_scale: Value, y_zero: Value | None = None, *,
    auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0, kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None, strides: Sequence[int] | None = None, channels_last: int = 0,
) -> Value:  # fmt: skip
    if channels_last:
        raise Refused("its channels come last; optimize the model without layout changes")
    made = pooling.AveragePool(
        g, _read(g, x, x_scale, x_zero), auto_pad=auto_pad, ceil_mode=ceil_mode, count_include_pad=count_include_pad,
        kernel_shape=kernel_shape, pads=pads, strides=strides,
    )  # fmt: skip
    return _write(g, made, y_scale, y_zero)
