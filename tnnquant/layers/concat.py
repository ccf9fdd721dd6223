"""Concat: inputs side by side along one axis (docs/tnn-format.md, 4.4, 5.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, QuantParams, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobScales, BlobSpec, QuantRole, layer
from tnnquant.layers.fields import param
from tnnquant.layers.halves import Int8Half, int8_form
from tnnquant.layers.int8 import as_pixels, from_pixels
from tnnquant.layers.movement import (
    CopyLayer,
    Pairs,
    axis_of,
    carried_dtype,
    copy_all,
    empty_blob,
    is_channels_last,
    owned,
    text,
)

if TYPE_CHECKING:
    from tnnquant.kernels.eltwise_i8 import Scales

__all__ = ["Concat"]


@layer(8, "Concat", "Concat_nhwc", "QuantizedConcat")
class Concat(CopyLayer):
    """Inputs side by side along ``axis``; every other dim must match. Empty inputs are skipped."""

    QUANT = QuantRole.JOIN

    axis: int = param(default=1)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        super().resolved(inputs, tensors)
        return replace(self, axis=axis_of(self.axis, len(inputs[0].dims)))

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        kinds = {spec.dtype for spec in inputs}
        if len(kinds) > 1 and not all(kind in (DataType.INT32, DataType.INT64) for kind in kinds):
            names = ", ".join(sorted(kind.name for kind in kinds))
            raise GraphError(f"joins blobs of different data types: {names}; cast them to one")
        return [BlobSpec(self._dims([spec.dims for spec in inputs]), carried_dtype(inputs))]

    def _dims(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        filled = [dims for dims in shapes if 0 not in dims] or [shapes[0]]
        first = filled[0]
        axis = axis_of(self.axis, len(first))
        for dims in filled[1:]:
            if len(dims) != len(first) or any(dims[i] != first[i] for i in range(len(first)) if i != axis):
                both = f"{text(first)} and {text(dims)}"
                raise GraphError(f"joins {both}: all dims but that of axis {axis} must be equal")
        total = sum(dims[axis] for dims in filled)
        return (*first[:axis], total, *first[axis + 1 :])

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> Any:
        return carried_dtype(inputs).numpy

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        filled = [x for x in inputs if x.size]
        if len(filled) < 2:
            return [owned((filled or inputs)[0].astype(state, copy=False), inputs)]
        dims = self._dims([x.shape for x in filled])
        size = sum(x.size for x in filled if is_channels_last(x))
        out = empty_blob(dims, state, last=2 * size >= sum(x.size for x in filled))
        axis = axis_of(self.axis, len(dims))
        copy_all(_side_by_side(filled, out, axis))
        return [out]

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        return _side_by_side(inputs, outputs[0], axis_of(self.axis, outputs[0].ndim))

    def joins_in_place(self, state: Any) -> bool:
        return self.axis == 1

    def why_not_int8(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> str | None:
        return "has one input; TNN joins two or more" if len(inputs) < 2 else None


@int8_form(Concat)
class ConcatInt8(Int8Half[Concat]):
    """Bytes are copied, or rescaled where all blobs have one scale."""

    def prepare_scaled(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec], scales: BlobScales
    ) -> list[tuple[QuantParams, QuantParams] | None]:
        """The scales each input is taken from and to, or None where bytes are copied (docs/tnn-format.md, 6.5)."""
        (made,) = scales.of_outputs
        target = QuantParams(made.scale[:1], made.zero_point[:1])
        if any(params.scale.size != 1 for params in scales.of_inputs):
            return [None] * len(inputs)
        return [None if _is_same(params, target) else (params, target) for params in scales.of_inputs]

    def forward(self, inputs: Sequence[np.ndarray], outputs: Sequence[BlobSpec], state: Any) -> list[np.ndarray]:
        parts = [x if params is None else _rescaled(x, *params) for x, params in zip(inputs, state, strict=True)]
        return self.layer.forward(parts, np.dtype(np.int8))

    def emit(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        if all(params is None for params in state):
            return self.layer.emit(inputs, outputs, state)
        pairs = self.layer.copies(inputs, outputs, state)
        if pairs is None or self.layer.axis != 1 or outputs[0].ndim != 4 or len(pairs) != len(inputs):
            return None
        from tnnquant.kernels.eltwise_i8 import copy_i8_op, rescale_i8_op

        rows = []
        for (x, out), params in zip(pairs, state, strict=True):
            x, out = x.transpose(0, 2, 3, 1), out.transpose(0, 2, 3, 1)
            if params is None:
                rows.append(copy_i8_op(x, out))
                continue
            op, table = rescale_i8_op(x, *_pair(*params), out)
            keep.append(table)
            rows.append(op)
        return np.concatenate(rows)

    def joins_in_place(self, state: Any) -> bool:
        return self.layer.axis == 1 and all(params is None for params in state)


def _is_same(a: QuantParams, b: QuantParams) -> bool:
    """Whether rescaling from a to b changes no integer: (x * s) / s is x again, unless x * s is subnormal."""
    return bool(a.scale[0] == b.scale[0] >= 1e-30 and a.zero_point[0] == b.zero_point[0])


def _rescaled(x: np.ndarray, source: QuantParams, target: QuantParams) -> np.ndarray:
    from tnnquant.kernels.eltwise_i8 import rescale_i8

    pixels = as_pixels(x)
    out = rescale_i8(pixels, *_pair(source, target), np.empty_like(pixels))
    return from_pixels(out, x.shape)


def _pair(source: QuantParams, target: QuantParams) -> tuple[Scales, Scales]:
    from tnnquant.kernels.eltwise_i8 import Scales

    return Scales(source.scale, source.zero_point), Scales(target.scale, target.zero_point)


def _side_by_side(inputs: Sequence[np.ndarray], out: np.ndarray, axis: int) -> Pairs:
    pairs, start = [], 0
    for x in inputs:
        if x.size:
            stop = start + x.shape[axis]
            pairs.append((x, out[(slice(None),) * axis + (slice(start, stop),)]))
            start = stop
    return pairs
