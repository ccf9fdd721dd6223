"""Upsample: resize height and width (docs/tnn-format.md, 4.4, 5.6).

Nearest moves elements of any type; bilinear and cubic are fp32. The formulas are computed in TNN's float32 steps.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, from_channels_last, layer
from tnnquant.layers.fields import param
from tnnquant.layers.halves import int8_form
from tnnquant.layers.int8 import ThroughFloat
from tnnquant.layers.movement import (
    CopyLayer,
    Pairs,
    carried_dtype,
    contiguous,
    copy_all,
    empty_blob,
    integers,
    is_channels_last,
    owned,
    text,
)

__all__ = ["Upsample"]

NEAREST, BILINEAR, CUBIC = 1, 2, 3
F32 = np.float32


@layer(149, "Upsample", "QuantizedUpsample")
class Upsample(CopyLayer):
    """Resize by nearest (``mode`` 1), bilinear (2) or cubic (3) interpolation.

    ``dims`` is (height, width), or empty: then the factors ``scale_h``, ``scale_w`` decide. Constant inputs may hold
    the factors (second of two inputs, third of three) or the sizes (fourth of four); their last two entries count.
    """

    mode: int = param()
    scale_h: float = param("float")
    scale_w: float = param("float")
    align_corners: int = param(default=0)
    dims: tuple = param("rest", default=())

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> Self:
        """The output size counts only if both its tokens are there."""
        parsed = super().parse(tokens)
        return replace(parsed, dims=parsed.dims[:2] if len(parsed.dims) >= 2 else ())

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        super().resolved(inputs, tensors)
        filled = self._filled([spec.value for spec in inputs])
        if filled.align_corners < 0 and not filled.dims:
            # Not said: corners are aligned when an axis shrinks.
            return replace(filled, align_corners=int(min(filled.scale_h, filled.scale_w) < 1))
        return filled

    def _filled(self, values: Sequence[np.ndarray | None]) -> Self:
        value = values[min(len(values), 4) - 1] if len(values) > 1 else None
        if value is None:
            return self
        if value.size < 2:
            raise GraphError(f"the input that holds its factors or sizes has {value.size} elements, expected 2 or 4")
        if len(values) >= 4:
            return replace(self, dims=integers(value)[-2:])
        scale_h, scale_w = (float(v) for v in value.reshape(-1)[-2:])
        return replace(self, scale_h=scale_h, scale_w=scale_w)

    def _size(self, dims: tuple[int, ...]) -> tuple[int, int]:
        if len(dims) != 4:
            raise UnsupportedLayerError(
                f"Upsample of a blob of dims {text(dims)}: TNN resizes rank 4 (N, C, H, W) only; reshape it before"
            )
        if self.mode not in (NEAREST, BILINEAR, CUBIC):
            raise UnsupportedLayerError(f"mode is {self.mode}, expected 1 (nearest), 2 (bilinear) or 3 (cubic)")
        size = self.dims or (_scaled(dims[2], self.scale_h), _scaled(dims[3], self.scale_w))
        if min(size) < 1:
            raise GraphError(
                f"resizes {text(dims)} to height {size[0]}, width {size[1]} (factors {self.scale_h:g}, "
                f"{self.scale_w:g}): neither sizes nor factors are usable"
            )
        return size

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        dtype = carried_dtype(inputs)
        if self.mode != NEAREST and dtype != DataType.FLOAT:
            raise UnsupportedLayerError(f"mode {self.mode} of {dtype.name} data: only nearest (mode 1) moves integers")
        dims = inputs[0].dims
        return [BlobSpec((*dims[:2], *self._size(dims)), dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = inputs[0]
        resolved = self._filled([None, *inputs[1:]])
        size = resolved._size(x.shape)
        if self.mode == NEAREST:
            return [owned(_nearest(x, size), inputs)]
        aligned = resolved.align_corners != 0
        return [owned(_bilinear(x, size, aligned), inputs) if self.mode == BILINEAR else _cubic(x, size, aligned)]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> Any:
        # The tables a program reads stay alive with the state.
        dims, size = inputs[0].dims, self._size(inputs[0].dims)
        return _tables(dims[2:], size, self.align_corners != 0) if self.mode == BILINEAR and len(inputs) == 1 else None

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        x, out = inputs[0], outputs[0]
        if x.shape == out.shape and self.mode != CUBIC:
            return [(x, out)]
        return _repeated(x, out) if self.mode == NEAREST else None

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> np.ndarray | None:
        if state is None or inputs[0].shape == outputs[0].shape:
            return super().emit(inputs, outputs, state)
        from tnnquant.kernels.upsample import bilinear_f32_op

        rows, row_weights, columns, column_weights = state
        x, out = inputs[0].transpose(0, 2, 3, 1), outputs[0].transpose(0, 2, 3, 1)
        return bilinear_f32_op(x, rows, row_weights, columns, column_weights, out)


@int8_form(Upsample)
class UpsampleInt8(ThroughFloat):
    """By way of float, nearest too."""

    def emit(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        return None


def _scaled(size: int, factor: float) -> int:
    """``round(f32(size) * factor)``, half away from zero."""
    product = float(F32(size) * F32(factor))
    return math.floor(product + 0.5) if math.isfinite(product) else 0


# --- nearest ---


@functools.lru_cache(maxsize=256)
def _nearest_table(size: int, out_size: int) -> tuple[np.ndarray, bool]:
    """The input index of each output index, and whether each is repeated ``out_size / size`` times."""
    places = (np.arange(out_size, dtype=F32) * (F32(size) / F32(out_size))).astype(np.int64)
    places = np.minimum(places, size - 1)
    whole = out_size % size == 0 and bool((places == np.arange(out_size) // (out_size // size)).all())
    return places, whole


def _nearest(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if size == x.shape[2:]:
        return x
    out = empty_blob((*x.shape[:2], *size), x.dtype, last=is_channels_last(x))
    pairs = _repeated(x, out)
    if pairs is not None:
        copy_all(pairs)
        return out
    rows, columns = _nearest_table(x.shape[2], size[0])[0], _nearest_table(x.shape[3], size[1])[0]
    if is_channels_last(x):
        return from_channels_last(x.transpose(0, 2, 3, 1)[:, rows][:, :, columns])
    return x[:, :, rows][:, :, :, columns]


def _repeated(x: np.ndarray, out: np.ndarray) -> Pairs | None:
    """The copy that repeats every pixel of ``x`` in a block of ``out``; None if the blocks are not all equal."""
    n, c, h, w = x.shape
    size = out.shape[2:]
    if not (_nearest_table(h, size[0])[1] and _nearest_table(w, size[1])[1]):
        return None
    blocks = (n, c, h, size[0] // h, w, size[1] // w)
    return [(np.broadcast_to(x[:, :, :, None, :, None], blocks), out.reshape(blocks))]


# --- bilinear and cubic ---


def _step(size: int, out_size: int, aligned: bool) -> np.float32:
    if out_size <= 1:
        return F32(0)
    return F32(size - 1) / F32(out_size - 1) if aligned else F32(size) / F32(out_size)


def _positions(size: int, out_size: int, aligned: bool) -> np.ndarray:
    """float32 (out_size,): where in the input each output lies."""
    step = _step(size, out_size, aligned)
    if aligned:
        return step * np.arange(out_size, dtype=F32)
    return (np.float64(step) * (np.arange(out_size) + 0.5) - 0.5).astype(F32)


@functools.lru_cache(maxsize=256)
def _bilinear_table(size: int, out_size: int, aligned: bool) -> tuple[np.ndarray, np.ndarray]:
    """int64 (out_size, 2) indices and float32 (out_size, 2) weights."""
    at = np.clip(_positions(size, out_size, aligned), F32(0), F32(size - 1))
    first = at.astype(np.int64)
    second = first + (first < size - 1)
    weight = at - first.astype(F32)
    return np.stack([first, second], axis=1), np.stack([F32(1) - weight, weight], axis=1)


def _tables(
    size: Sequence[int], out_size: Sequence[int], aligned: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows, row weights, columns, column weights for the kernel."""
    return (*_bilinear_table(size[0], out_size[0], aligned), *_bilinear_table(size[1], out_size[1], aligned))


def _bilinear(x: np.ndarray, size: tuple[int, int], aligned: bool) -> np.ndarray:
    from tnnquant.kernels.upsample import bilinear_f32

    n, c, h, w = x.shape
    if size == (h, w):
        return x
    out = np.empty((n, *size, c), F32)
    image = contiguous(x.transpose(0, 2, 3, 1))
    rows, row_weights, columns, column_weights = _tables((h, w), size, aligned)
    return from_channels_last(bilinear_f32(image, rows, row_weights, columns, column_weights, out))


@functools.lru_cache(maxsize=256)
def _cubic_table(size: int, out_size: int, aligned: bool) -> tuple[np.ndarray, np.ndarray]:
    """int64 (4, out_size) indices and float32 (4, out_size) weights of the cubic convolution with A = -0.75."""
    at = _positions(size, out_size, aligned)
    first = np.floor(at)
    places = first.astype(np.int64) + np.arange(-1, 3)[:, None]
    a, x = F32(-0.75), at - first

    def outer(t: np.ndarray) -> np.ndarray:
        return ((a * (t + F32(1)) - F32(5) * a) * (t + F32(1)) + F32(8) * a) * (t + F32(1)) - F32(4) * a

    def inner(t: np.ndarray) -> np.ndarray:
        weight: np.ndarray = ((a + F32(2)) * t - (a + F32(3))) * t * t + F32(1)
        return weight

    c0, c1, c2 = outer(x), inner(x), inner(F32(1) - x)
    return np.clip(places, 0, size - 1), np.stack([c0, c1, c2, F32(1) - c0 - c1 - c2])


def _cubic(x: np.ndarray, size: tuple[int, int], aligned: bool) -> np.ndarray:
    _, _, h, w = x.shape
    rows, row_weights = _cubic_table(h, size[0], aligned)
    columns, column_weights = _cubic_table(w, size[1], aligned)
    image = contiguous(x.transpose(0, 2, 3, 1))
    # Along each row, then across the rows; taps are added in order.
    across = sum(image[:, :, columns[i]] * column_weights[i][:, None] for i in range(4))
    return from_channels_last(sum(across[:, rows[i]] * row_weights[i][:, None, None] for i in range(4)))
