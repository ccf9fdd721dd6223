"""Squeeze and Unsqueeze: remove and insert dims of 1 (docs/tnn-format.md, 4.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.fields import param
from tnnquant.layers.movement import CopyLayer, Pairs, axis_of, reshaped, reshaping, text

__all__ = ["Squeeze", "Unsqueeze"]


@layer(118, "Squeeze")
class Squeeze(CopyLayer):
    """Remove axes of dim 1, from the last entry of the list to the first, each counted in the dims left by then."""

    ANY_LAYOUT = True

    axes: tuple = param("ints", default=())

    def _dims(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        left = list(dims)
        for axis in reversed(self.axes):
            position = axis_of(axis, len(left))
            if left[position] != 1:
                raise GraphError(f"axis {axis} of {text(left)} is {left[position]}, only dims of 1 can be removed")
            del left[position]
        return tuple(left)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(self._dims(inputs[0].dims), inputs[0].dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [reshaped(inputs[0], self._dims(inputs[0].shape))]

    def relabels(self) -> bool:
        return True

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        return reshaping(inputs[0], outputs[0])


@layer(164, "Unsqueeze")
class Unsqueeze(CopyLayer):
    """Insert axes of dim 1, in the order of the list, each counted in the dims reached by then."""

    ANY_LAYOUT = True

    axes: tuple = param("ints", default=())

    def _dims(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        grown = list(dims)
        for axis in self.axes:
            grown.insert(axis_of(axis, len(grown) + 1), 1)
        return tuple(grown)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(self._dims(inputs[0].dims), inputs[0].dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [reshaped(inputs[0], self._dims(inputs[0].shape))]

    def relabels(self) -> bool:
        return True

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        return reshaping(inputs[0], outputs[0])
