"""Expand and Tile: repeat a blob along its axes (docs/tnn-format.md, 4.4, 5.4, 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.fields import param
from tnnquant.layers.movement import (
    CopyLayer,
    Pairs,
    checked_dims,
    copy_all,
    copy_into,
    empty_blob,
    integers,
    is_channels_last,
    owned,
)

__all__ = ["Expand", "Tile"]


@layer(304, "Expand")
class Expand(CopyLayer):
    """Broadcast to ``shape``, aligned on the right.

    As in TNN, a shape given as a second input counts only in a model whose constants are folded (one with a Shape
    layer); otherwise the parameter alone does.
    """

    NEEDS_FOLDING: ClassVar[bool] = True

    shape: tuple = param("ints", default=())

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        super().resolved(inputs, tensors)
        if len(inputs) > 1 and inputs[1].value is not None:
            return replace(self, shape=integers(inputs[1].value))
        return self

    def _dims(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        longer, shorter = (dims, self.shape) if len(dims) >= len(self.shape) else (self.shape, dims)
        out, offset = list(longer), len(longer) - len(shorter)
        for i, other in enumerate(shorter):
            if out[offset + i] in (1, -1):
                out[offset + i] = max(out[offset + i], other)
        return checked_dims(out)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(self._dims(inputs[0].dims), inputs[0].dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = inputs[0]
        dims = self._dims(x.shape)
        if x.shape == dims:
            return [owned(x, inputs)]
        x = x.reshape((1,) * (len(dims) - x.ndim) + x.shape)
        for axis, (have, want) in enumerate(zip(x.shape, dims, strict=True)):
            if have not in (1, want):  # TNN reads such an axis modulo its size
                x = x.take(np.arange(want) % have, axis=axis)
        # A copy, not NumPy's read-only view: the next layer may hand it to a kernel.
        out = empty_blob(dims, x.dtype, last=is_channels_last(x))
        return [copy_into(out, np.broadcast_to(x, dims))]

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        x, out = inputs[0], outputs[0]
        usual = all(have in (1, want) for have, want in zip(x.shape[::-1], out.shape[::-1], strict=False))
        return [(np.broadcast_to(x, out.shape), out)] if usual else None


@layer(148, "Tile", "Repeat")
class Tile(CopyLayer):
    """Repeat the whole blob ``reps[i]`` times along axis ``i``, aligned on the right."""

    reps: tuple = param("rest")

    def _dims(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        rank = max(len(dims), len(self.reps))
        padded = zip((1,) * (rank - len(dims)) + dims, (1,) * (rank - len(self.reps)) + self.reps, strict=True)
        return checked_dims(d * r for d, r in padded)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(self._dims(inputs[0].dims), inputs[0].dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = inputs[0]
        out = empty_blob(self._dims(x.shape), x.dtype, last=is_channels_last(x))
        copy_all(self.copies([x], [out], None))
        return [out]

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs:
        x, out = inputs[0], outputs[0]
        if not out.size:
            return []
        # Both seen as (repeat, dim) for each axis; splitting an axis needs no copy.
        dims = (1,) * (out.ndim - x.ndim) + x.shape
        split = [size for total, d in zip(out.shape, dims, strict=True) for size in (total // d, d)]
        once = x.reshape([size for d in dims for size in (1, d)])
        return [(np.broadcast_to(once, split), out.reshape(split))]
