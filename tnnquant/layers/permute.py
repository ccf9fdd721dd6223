"""Permute: reorder the axes (docs/tnn-format.md, 4.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.fields import param
from tnnquant.layers.movement import CopyLayer, Pairs, text

__all__ = ["Permute"]


@layer(32, "Permute", "QuantizedPermute")
class Permute(CopyLayer):
    """Output axis ``i`` is input axis ``orders[i]``; axes that are not listed follow in ascending order."""

    ANY_LAYOUT = True

    orders: tuple = param("ints")

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        super().resolved(inputs, tensors)
        return replace(self, orders=self._complete(inputs[0].dims))

    def _complete(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        orders = (*self.orders, *(axis for axis in range(len(dims)) if axis not in self.orders))
        if sorted(orders) != list(range(len(dims))):
            raise GraphError(f"orders are {list(self.orders)}, expected each axis of {text(dims)} once at most")
        return orders

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        dims = inputs[0].dims
        return [BlobSpec(tuple(dims[axis] for axis in self._complete(dims)), inputs[0].dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        return [inputs[0].transpose(self._complete(inputs[0].shape))]

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        return [(inputs[0].transpose(self._complete(inputs[0].shape)), outputs[0])]
