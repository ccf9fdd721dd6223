"""Squeeze and Unsqueeze: remove and insert dims of 1 (docs/tnn-format.md, 4.4)."""

from __future__ import annotations

from tnnquant.errors import GraphError
from tnnquant.layers.base import layer
from tnnquant.layers.fields import param
from tnnquant.layers.movement import Relabeling, axis_of, text

__all__ = ["Squeeze", "Unsqueeze"]


@layer(118, "Squeeze")
class Squeeze(Relabeling):
    """Remove axes of dim 1, from the last entry of the list to the first, each counted in the dims left by then."""

    ANY_LAYOUT = True

    axes: tuple = param("ints", default=())

    def dims_of(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        left = list(dims)
        for axis in reversed(self.axes):
            position = axis_of(axis, len(left))
            if left[position] != 1:
                raise GraphError(f"axis {axis} of {text(left)} is {left[position]}, only dims of 1 can be removed")
            del left[position]
        return tuple(left)


@layer(164, "Unsqueeze")
class Unsqueeze(Relabeling):
    """Insert axes of dim 1, in the order of the list, each counted in the dims reached by then."""

    ANY_LAYOUT = True

    axes: tuple = param("ints", default=())

    def dims_of(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        grown = list(dims)
        for axis in self.axes:
            grown.insert(axis_of(axis, len(grown) + 1), 1)
        return tuple(grown)
