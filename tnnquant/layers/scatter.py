"""Scatter, ScatterND and ScatterElements: a copy of a blob with some elements replaced."""

from __future__ import annotations

from tnnquant.layers.base import FlagField, Layer, TensorField, layer, param

__all__ = ["Scatter", "ScatterElements", "ScatterND"]

INDICES_AND_UPDATES = (
    FlagField("has_indices", of="indices", width=1),
    TensorField("indices", when="has_indices"),
    FlagField("has_updates", of="updates", width=1),
    TensorField("updates", when="has_updates"),
)


@layer(336, "Scatter")
class Scatter(Layer):
    """``out[.., indices[p], ..] = updates[p]`` along ``axis``."""

    RESOURCE = INDICES_AND_UPDATES

    axis: int = param(default=0)


@layer(305, "ScatterND")
class ScatterND(Layer):
    """``out[indices[p]] = updates[p]`` with index vectors."""

    RESOURCE = INDICES_AND_UPDATES


@layer(331, "ScatterElements")
class ScatterElements(Layer):
    """As Scatter; ``op`` 0 replaces, anything else adds."""

    axis: int = param(default=0)
    op: int = param(default=0)
