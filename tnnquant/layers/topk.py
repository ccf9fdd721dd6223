"""ArgMaxOrMin and TopK: the largest or smallest elements of an axis."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["ArgMaxOrMin", "TopK"]


@layer(199, "ArgMaxOrMin")
class ArgMaxOrMin(Layer):
    """The index of the first maximum (``mode`` not 0) or minimum (0) along ``axis``."""

    mode: int = param()
    axis: int = param()
    keep_dims: int = param(default=1)
    select_last_index: int = param(default=0)


@layer(328, "TopK")
class TopK(Layer):
    """The ``k`` largest or smallest elements along ``axis``, and their indices."""

    axis: int = param(default=-1)
    largest: int = param(default=1)
    sorted: int = param(default=1)
    k: int = param(default=-1)
