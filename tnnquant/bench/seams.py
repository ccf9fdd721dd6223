"""Where layers call built-in kernels, and what a kernel with the naive twin's arguments is called with in their place.

A layer packs its weights once (:attr:`Seam.packs`) and makes an op of them (:attr:`Seam.op`). A seam turns the op's
arguments back into the naive twin's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from tnnquant.kernels.channelwise import ChannelTable
    from tnnquant.kernels.eltwise_i8 import Scales
    from tnnquant.kernels.geometry import ConvGeometry
    from tnnquant.kernels.pack_i8 import ConvQuant

__all__ = ["SEAMS", "Plain", "Seam"]


@dataclass(frozen=True)
class Plain:
    """A call of a kernel that takes the naive twin's arguments.

    Attributes
    ----------
    args : tuple
        Arrays are the network's own memory.
    before, after : callable, optional
        What the op does beside the operator: puts operands together, adds another blob.
    """

    args: tuple
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None


@dataclass(frozen=True)
class Seam:
    """Where a built-in kernel enters a network.

    Attributes
    ----------
    op : str
        ``module.function`` of :mod:`tnnquant.kernels` that makes its op.
    plain : callable (packed, *args) -> Plain or None
        From the op's arguments; ``packed`` finds what an argument was packed from. None: they cannot be told so.
    packs : tuple of str
        Functions that pack what the op takes.
    """

    op: str
    plain: Callable[..., Plain | None]
    packs: tuple[str, ...] = ()


Packed = Callable[[Any], tuple]


def _bias(bias: np.ndarray | None, count: int) -> np.ndarray:
    return np.zeros(count, np.float32) if bias is None else np.array(bias, np.float32)


def _viewed(array: np.ndarray, *shape: int) -> np.ndarray | None:
    """The array in another shape, if that takes no copy."""
    seen = array.reshape(shape)
    return seen if np.shares_memory(seen, array) or not array.size else None


def _spread(values: np.ndarray, count: int) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(values, count))


def _conv_f32(
    packed: Packed, x: np.ndarray, weights: Any, geometry: ConvGeometry, activation: int, out: np.ndarray,
    added: np.ndarray | None = None, after: int = 0,
) -> Plain:  # fmt: skip
    weight, bias = packed(weights)[:2]

    def add() -> None:
        from tnnquant.kernels.geometry import NO_ACTIVATION, RELU6

        assert added is not None
        np.add(out, added, out=out)
        if after != NO_ACTIVATION:
            np.maximum(out, np.float32(0), out=out)
        if after == RELU6:
            np.minimum(out, np.float32(6), out=out)

    args = x, np.array(weight), _bias(bias, len(weight)), geometry, activation, out
    return Plain(args, after=None if added is None else add)


def _deconv_f32(packed: Packed, x: np.ndarray, plan: Any, activation: int, out: np.ndarray) -> Plain:
    weight, bias, geometry, *_ = packed(plan)
    plain = np.array(weight).reshape(-1, *weight.shape[2:])
    return Plain((x, plain, _bias(bias, out.shape[3]), geometry, activation, out))


def _gemm_f32(packed: Packed, x: np.ndarray, weights: Any, activation: int, out: np.ndarray) -> Plain:
    weight, bias = (*packed(weights), None)[:2]
    return Plain((x, np.array(weight), _bias(bias, len(weight)), activation, out))


def _quant(quant: ConvQuant, outputs: int, inputs: int, is_added: bool) -> ConvQuant:
    def spread(values: ArrayLike | None, count: int, default: int, dtype: DTypeLike) -> np.ndarray:
        return _spread(np.asarray(default if values is None else values, dtype), count)

    one = outputs, 1, np.float32
    none = outputs, 0, np.int8
    return quant._replace(
        weight_scale=spread(quant.weight_scale, *one), weight_zero=spread(quant.weight_zero, *none),
        input_zero=spread(quant.input_zero, inputs, 0, np.int8), bias=spread(quant.bias, outputs, 0, np.int32),
        output_scale=spread(quant.output_scale, *one), output_zero=spread(quant.output_zero, *none),
        added_scale=spread(quant.added_scale, *one) if is_added else None,
        added_zero=spread(quant.added_zero, *none) if is_added else None,
    )  # fmt: skip


def _conv_i8(
    packed: Packed, x: np.ndarray, weights: Any, geometry: ConvGeometry, activation: int, out: np.ndarray,
    added: np.ndarray | None = None, fusion: int = 0,
) -> Plain:  # fmt: skip
    weight, _, quant = packed(weights)
    other = np.zeros(out.shape, np.int8) if added is None else added
    whole = _quant(quant, len(weight), x.shape[3], True)
    return Plain((x, np.array(weight), whole, geometry, activation, fusion, other, out))


def _gemm_i8(packed: Packed, x: np.ndarray, weights: Any, out: np.ndarray) -> Plain:
    weight, quant = packed(weights)
    return Plain((x, np.array(weight), _quant(quant, len(weight), x.shape[1], False), out))


def _map_f32(packed: Packed, code: int, x: np.ndarray, a: float, b: float, out: np.ndarray) -> Plain | None:
    flat = [array.ravel(order="K") for array in (x, out)]
    same = x.strides == out.strides and np.shares_memory(flat[0], x) and np.shares_memory(flat[1], out)
    return Plain((code, flat[0], np.float32(a), np.float32(b), flat[1])) if same else None


def _binary_f32(packed: Packed, code: int, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Plain | None:
    order = sorted(range(out.ndim), key=lambda axis: -abs(out.strides[axis]))
    arrays = [np.broadcast_to(array, out.shape).transpose(order) for array in (a, b)]
    arrays.append(out.transpose(order))
    dims = arrays[-1].shape
    shape = (1,) * (3 - len(dims)) + dims if len(dims) < 4 else (dims[0], int(np.prod(dims[1:-1])), dims[-1])
    seen = [_viewed(array, *shape) for array in arrays]
    return None if any(array is None for array in seen) else Plain((code, *seen))


def _channel_f32(packed: Packed, code: int, x: np.ndarray, table: ChannelTable, out: np.ndarray) -> Plain | None:
    k, b = packed(table)
    shape = (*x.shape[:2], int(np.prod(x.shape[2:])))
    seen = [_viewed(array, *shape) for array in (x, out)]
    channels = x.shape[1]
    whole = [_spread(np.asarray(values, np.float32).reshape(-1), channels) for values in (k, b)]
    return None if any(array is None for array in seen) else Plain((code, seen[0], *whole, seen[1]))


def _border_i8(packed: Packed, x: np.ndarray, scales: Scales, out: np.ndarray) -> Plain | None:
    channels = x.shape[-1]
    seen = [_viewed(array, -1, channels) for array in (x, out)]
    whole = [_spread(values, channels) for values in scales[:2]]
    return None if any(array is None for array in seen) else Plain((seen[0], *whole, seen[1]))


def _add_i8(
    packed: Packed, operands: Sequence[np.ndarray], scales: Sequence[Scales], to: Scales, out: np.ndarray
) -> Plain | None:
    channels = out.shape[-1]
    flat = _viewed(out, -1, channels)
    if flat is None:
        return None
    x = np.empty((len(operands), *flat.shape), np.int8)
    tables = [np.stack([_spread(each[i], channels) for each in scales]) for i in range(2)]

    def gather() -> None:
        for row, operand in zip(x, operands, strict=True):
            row.reshape(operand.shape)[...] = operand

    return Plain((x, *tables, *(_spread(to[i], channels) for i in range(2)), flat), before=gather)


def _lookup_i8(packed: Packed, x: np.ndarray, table: np.ndarray, out: np.ndarray) -> Plain | None:
    channels = x.shape[-1]
    seen = [_viewed(array, -1, channels) for array in (x, out)]
    whole = np.ascontiguousarray(np.broadcast_to(table, (channels, 256)))
    return None if any(array is None for array in seen) else Plain((seen[0], whole, seen[1]))


def _same(packed: Packed, *args: Any) -> Plain:
    return Plain(args)


def _reduce_f32(packed: Packed, code: int, x: np.ndarray, factor: float, out: np.ndarray) -> Plain:
    return Plain((code, x, np.float32(factor), out))


def _layer_norm_f32(packed: Packed, x: np.ndarray, k: np.ndarray, b: np.ndarray, eps: float, out: np.ndarray) -> Plain:
    return Plain((x, k, b, np.float32(eps), out))


#: By operator. Operators that are missing run when a model is quantized, or are called by layers from Python.
SEAMS: Mapping[str, Seam] = {
    "conv2d_f32": Seam("conv_f32.conv2d_f32_op", _conv_f32, ("pack_f32.pack_conv_f32",)),
    "depthwise_f32": Seam("depthwise_f32.depthwise_f32_op", _conv_f32, ("pack_f32.pack_depthwise_f32",)),
    "deconv2d_f32": Seam("deconv_f32.deconv2d_f32_rows", _deconv_f32, ("deconv_f32.plan_deconv_f32",)),
    "gemm_f32": Seam("gemm_f32.gemm_f32_op", _gemm_f32, ("pack_f32.pack_inner_product_f32",)),
    "matmul_f32": Seam("matmul_f32.matmul_f32_op", _same),
    "conv2d_i8": Seam("conv_i8.conv2d_i8_op", _conv_i8, ("pack_i8.pack_conv_i8",)),
    "depthwise_i8": Seam(
        "depthwise_i8.depthwise_i8_op", _conv_i8, ("pack_i8.pack_depthwise_i8",)
    ),
    "gemm_i8": Seam("gemm_i8.gemm_i8_op", _gemm_i8, ("pack_i8.pack_inner_product_i8",)),
    "map_f32": Seam("eltwise.map_f32_op", _map_f32),
    "binary_f32": Seam("eltwise.binary_f32_op", _binary_f32),
    "channel_f32": Seam("channelwise.channel_f32_op", _channel_f32, ("channelwise.channel_table",)),
    "quantize_i8": Seam("eltwise_i8.quantize_i8_op", _border_i8),
    "dequantize_i8": Seam("eltwise_i8.dequantize_i8_op", _border_i8),
    "add_i8": Seam("eltwise_i8.add_i8_op", _add_i8),
    "lookup_i8": Seam("lookup_i8.lookup_i8_op", _lookup_i8),
    "pool2d_f32": Seam("pool_f32.pool2d_f32_op", _same),
    "pool2d_i8": Seam("pool_i8.pool2d_i8_op", _same),
    "reduce_f32": Seam("reduce.reduce_f32_op", _reduce_f32),
    "softmax_f32": Seam("softmax.softmax_f32_op", _same),
    "layer_norm_f32": Seam("moments.layer_norm_f32_op", _layer_norm_f32),
    "bilinear_f32": Seam("upsample.bilinear_f32_op", _same),
}
