"""Scatter, ScatterND and ScatterElements: a copy of a blob with some elements replaced (docs/tnn-format.md, 4.4, 5.4,
9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.fields import FlagField, TensorField, param
from tnnquant.layers.gather import stored_array, wrapped
from tnnquant.layers.movement import Movement, axis_of, contiguous, text

__all__ = ["Scatter", "ScatterElements", "ScatterND"]

INDICES_AND_UPDATES = (
    FlagField("has_indices", of="indices", width=1),
    TensorField("indices", when="has_indices"),
    FlagField("has_updates", of="updates", width=1),
    TensorField("updates", when="has_updates"),
)


def _stored(tensors: Mapping[str, Tensor], count: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Indices and updates of the model file; None for those among the ``count`` inputs."""
    found = [stored_array(tensors[name]) if name in tensors else None for name in ("indices", "updates")]
    wanted = 1 + sum(array is None for array in found)
    if count < wanted:
        raise GraphError(f"has {count} inputs; with what lies in the model file, {wanted} are needed")
    return found[0], found[1]


def _operands(inputs: Sequence[np.ndarray], state: Any) -> tuple[np.ndarray, np.ndarray]:
    indices, updates = state
    if indices is None:
        indices = inputs[1]
    return indices, inputs[-1] if updates is None else updates


def _fresh(x: np.ndarray) -> np.ndarray:
    data = contiguous(x)
    return data.copy() if data is x or data.base is not None else data


def scatter_along(data: np.ndarray, indices: np.ndarray, updates: np.ndarray, axis: int, add: bool) -> np.ndarray:
    """A copy of ``data`` where ``updates`` replace (or are added to) the elements at their own coordinates, with the
    one along ``axis`` taken from ``indices``; ``axis`` -1: no coordinate is. The last of equal places wins."""
    if indices.shape != updates.shape or indices.ndim != data.ndim:
        got = f"indices {text(indices.shape)} and updates {text(updates.shape)}"
        raise GraphError(f"{got} must have the same dims, as many as the data ({text(data.shape)})")
    places: list[np.ndarray] = list(np.indices(indices.shape, sparse=True))
    if axis >= 0:
        places[axis] = wrapped(indices, data.shape[axis])
    if any(updates.shape[i] > data.shape[i] for i in range(data.ndim) if i != axis):
        raise GraphError(f"updates {text(updates.shape)} reach beyond the data ({text(data.shape)})")
    out = _fresh(data)
    if add:
        np.add.at(out, tuple(places), updates)
    else:
        out[tuple(places)] = updates
    return out


@layer(336, "Scatter")
class Scatter(Movement):
    """``out[.., indices[p], ..] = updates[p]`` along ``axis``; indices or updates may lie in the model file."""

    RESOURCE = INDICES_AND_UPDATES

    axis: int = param(default=0)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        axis_of(self.axis, len(inputs[0].dims))
        return [BlobSpec(inputs[0].dims, inputs[0].dtype)]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> Any:
        return _stored(tensors, len(inputs))

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        data = inputs[0]
        return [scatter_along(data, *_operands(inputs, state), axis_of(self.axis, data.ndim), add=False)]


@layer(331, "ScatterElements")
class ScatterElements(Movement):
    """As :class:`Scatter`; ``op`` 0 replaces, anything else adds.

    As in TNN, a negative axis is not counted from the end: the updates then go to their own coordinates.
    """

    LEAST_INPUTS = 3

    axis: int = param(default=0)
    op: int = param(default=0)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        if self.axis >= len(inputs[0].dims):
            axis_of(self.axis, len(inputs[0].dims))
        dtype = inputs[0].dtype if inputs[0].dtype != DataType.INT8 else DataType.FLOAT
        return [BlobSpec(inputs[0].dims, dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        data, indices, updates = inputs[:3]
        return [scatter_along(data, indices, updates, max(self.axis, -1), add=self.op != 0)]


@layer(305, "ScatterND")
class ScatterND(Movement):
    """``out[indices[p]] = updates[p]`` with index vectors; indices or updates may lie in the model file."""

    RESOURCE = INDICES_AND_UPDATES

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(inputs[0].dims, inputs[0].dtype)]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> Any:
        return _stored(tensors, len(inputs))

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        data = inputs[0]
        indices, updates = _operands(inputs, state)
        depth = indices.shape[-1] if indices.ndim else 0
        if not 1 <= depth <= data.ndim or updates.shape != indices.shape[:-1] + data.shape[depth:]:
            raise GraphError(
                f"indices {text(indices.shape)} and updates {text(updates.shape)} do not fit data of dims "
                f"{text(data.shape)}"
            )
        out = _fresh(data)
        out[tuple(wrapped(indices[..., i], data.shape[i]) for i in range(depth))] = updates
        return [out]
