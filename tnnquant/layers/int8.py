"""What the int8 forms of layers share: kernels over pixels, weights with their scales (docs/tnn-format.md, 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tnnquant.base.tensor import DataType, QuantParams, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobScales, BlobSpec, Layer, channels_last, from_channels_last
from tnnquant.layers.halves import Int8Half
from tnnquant.layers.movement import copy_ops

if TYPE_CHECKING:
    from tnnquant.kernels.pack_i8 import ConvQuant

__all__ = [
    "PixelInt8",
    "ThroughFloat",
    "as_pixels",
    "dequantized",
    "from_pixels",
    "int8_quant",
    "pixels_of",
    "quantized",
    "through_float",
]


_Kind = TypeVar("_Kind", bound=Layer, covariant=True)


class PixelInt8(Int8Half[_Kind]):
    """An int8 form made of kernels over arrays of pixels (N, H, W, C), see :meth:`ops`.

    Blobs of rank 2 are pixels as they lie in memory; those of other ranks but 4 are copied to pixels and back.
    """

    def ops(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        """The rows of a kernel program that compute outputs from inputs, all (N, H, W, C); see :meth:`emit`."""
        raise NotImplementedError

    def emit(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        blobs = [*inputs, *outputs]
        pixels = [seen for seen in map(_placed_pixels, blobs) if seen is not None]
        if len(pixels) < len(blobs):
            return None
        rows = self.ops(pixels[: len(inputs)], pixels[len(inputs) :], state, keep)
        # Those that are no view of the blob are copied to and fro.
        apart = [not np.may_share_memory(x, seen) for x, seen in zip(blobs, pixels, strict=True)]
        if rows is None or not any(apart):
            return rows
        keep += pixels
        count = len(inputs)
        pairs = [(rows_of(x), seen) for x, seen, alone in zip(blobs, pixels, apart, strict=True) if alone]
        first = sum(apart[:count])
        before, after = copy_ops(pairs[:first]), copy_ops([(seen, x) for x, seen in pairs[first:]])
        return None if before is None or after is None else np.concatenate([before, rows, after])

    def forward(self, inputs: Sequence[np.ndarray], outputs: Sequence[BlobSpec], state: Any) -> list[np.ndarray]:
        from tnnquant.kernels.program import run

        results = [_empty_pixels(spec) for spec in outputs]
        keep = [as_pixels(x) for x in inputs]  # alive until the rows have run
        rows = self.ops(keep[: len(inputs)], results, state, keep)
        assert rows is not None  # of contiguous pixels
        run(rows)
        return [from_pixels(x, spec.dims) for x, spec in zip(results, outputs, strict=True)]


def pixels_of(x: np.ndarray) -> np.ndarray | None:
    """The memory of a blob as pixels (N, H, W, C), or None if channels do not lie side by side."""
    if x.ndim == 4:
        return x.transpose(0, 2, 3, 1)
    return x[:, None, None, :] if x.ndim == 2 else None


def _placed_pixels(x: np.ndarray) -> np.ndarray | None:
    """Pixels of a blob with a place: a view if channels lie side by side, else memory of their own."""
    seen = pixels_of(x)
    if seen is None and x.ndim and x.flags.c_contiguous:
        return np.empty_like(rows_of(x), order="C")
    return seen


def _empty_pixels(spec: BlobSpec) -> np.ndarray:
    """What :func:`as_pixels` makes of a blob, uninitialised."""
    count, channels = (*spec.dims, 1, 1)[:2]
    rest = spec.dims[2:] if len(spec.dims) == 4 else (1, prod(spec.dims[2:]))
    return np.empty((count, *rest, channels), spec.dtype.numpy)


def as_pixels(x: np.ndarray) -> np.ndarray:
    """A blob of any rank as contiguous pixels (N, H, W, C); axes after the channels become one row."""
    if x.ndim == 4:
        return channels_last(x)
    return np.ascontiguousarray(rows_of(x))


def rows_of(x: np.ndarray) -> np.ndarray:
    """A blob of any rank as pixels (N, 1, W, C), channels not side by side; a view of one that is contiguous."""
    n, c = (*x.shape, 1, 1)[:2]
    return x.reshape(n, c, -1).transpose(0, 2, 1)[:, None]


def from_pixels(x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """The blob of logical ``dims`` of which :func:`as_pixels` made ``x``."""
    return from_channels_last(x) if len(dims) == 4 else x[:, 0].transpose(0, 2, 1).reshape(dims)


def int8_quant(
    tensors: Mapping[str, Tensor], scales: BlobScales, count: int, *, has_bias: bool, what: str
) -> ConvQuant:
    """The :class:`~tnnquant.kernels.pack_i8.ConvQuant` of a node with int8 weights.

    Parameters
    ----------
    tensors
        Of the node: ``what``, ``scale``, ``zero_point`` (absent in the old layout), ``bias``.
    scales : BlobScales
    count : int
        Output channels.
    has_bias : bool
        Whether a bias that is there is added.
    what : str
        Name of the weight tensor, ``filter`` or ``weight``.

    Raises
    ------
    GraphError
        The weights are not INT8; scales, zero points or bias are missing, of a wrong count or not usable.
    """
    from tnnquant.kernels.pack_i8 import ConvQuant

    weight = tensors.get(what)
    if weight is None or not weight.size:
        raise GraphError(f"has no {what} in the model file")
    if weight.dtype != DataType.INT8:
        raise GraphError(f"{what} is {weight.dtype.name} in a quantized layer, expected INT8")
    if "scale" not in tensors or not tensors["scale"].size:
        raise GraphError(f"has an INT8 {what} without a scale")
    scale = tensors["scale"].float32()
    if scale.size not in (1, count):
        raise GraphError(f"{what} has {scale.size} scales, expected 1 or OC = {count}")
    if not np.isfinite(scale).all() or (scale < 0).any():
        raise GraphError(f"scale {int(np.argmax(~(scale >= 0) | ~np.isfinite(scale)))} of {what} is not a number >= 0")
    zero = tensors["zero_point"].data if "zero_point" in tensors else np.zeros(scale.size, np.int8)
    if zero.size not in (1, count):
        raise GraphError(f"{what} has {zero.size} zero points, expected 1 or OC = {count}")
    bias = tensors.get("bias") if has_bias else None
    if bias is not None and bias.size:
        if bias.dtype != DataType.INT32:
            raise GraphError(f"bias is {bias.dtype.name} in a quantized layer, expected INT32")
        if bias.size != count:
            raise GraphError(f"bias has {bias.size} values, expected OC = {count}")
    source, *added = scales.of_inputs
    (target,) = scales.of_outputs
    return ConvQuant(
        scale, zero, source.zero_point, bias.data if bias is not None and bias.size else None,
        target.scale, target.zero_point, *((added[0].scale, added[0].zero_point) if added else (None, None)),
    )  # fmt: skip


# --- int8 forms by way of float: rare ones, in NumPy; zero points are ignored as in TNN ---


class ThroughFloat(Int8Half[Layer]):
    """Dequantize, run the fp32 form, quantize."""

    def prepare_scaled(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec], scales: BlobScales
    ) -> tuple[Any, BlobScales]:
        return self.layer.prepare(tensors, inputs), scales

    def forward(self, inputs: Sequence[np.ndarray], outputs: Sequence[BlobSpec], state: Any) -> list[np.ndarray]:
        return through_float(self.layer, inputs, state)


def through_float(layer: Layer, inputs: Sequence[np.ndarray], state: tuple[Any, BlobScales]) -> list[np.ndarray]:
    """Dequantize, run the fp32 form, quantize; ``state``: that of the fp32 form and the scales of the blobs."""
    prepared, scales = state
    values = [_along_channels(p.scale, x) * x.astype(np.float32) for x, p in zip(inputs, scales.of_inputs, strict=True)]
    results = layer.forward(values, prepared)
    return [
        quantized(result, QuantParams(params.scale, np.zeros_like(params.zero_point)))
        for result, params in zip(results, scales.of_outputs, strict=True)
    ]


def dequantized(x: np.ndarray, params: QuantParams) -> np.ndarray:
    """``scale * float32(x - zero_point)`` of an int8 blob (N, C, ...), float32."""
    zero = _along_channels(params.zero_point.astype(np.float32), x)
    values: np.ndarray = _along_channels(params.scale, x) * (x.astype(np.float32) - zero)
    return values


def quantized(x: np.ndarray, params: QuantParams) -> np.ndarray:
    """``f2i8(float32(x / scale) + zero_point)`` of a float32 blob (N, C, ...); 0 where the scale is 0."""
    scale, zero = _along_channels(params.scale, x), _along_channels(params.zero_point.astype(np.float32), x)
    with np.errstate(all="ignore"):
        value = x / scale + zero
        value += np.where(value >= 0, np.float32(0.5), np.float32(-0.5))
        value = np.where(value < 127, value, np.float32(127))  # NaN too
        value = np.where(value > -128, value, np.float32(-128))
    return np.where(scale != 0, np.trunc(value), np.float32(0)).astype(np.int8)


def _along_channels(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    return values if values.size == 1 else values.reshape(-1, *(1,) * (x.ndim - 2))
