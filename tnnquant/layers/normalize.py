"""Normalize: division by a norm over the channels (docs/tnn-format.md, 5.5, 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_rank, check_types
from tnnquant.layers.fields import param
from tnnquant.layers.memory import like
from tnnquant.layers.movement import INT_MAX, INT_MIN
from tnnquant.layers.reduce import folded

__all__ = ["Normalize"]

_FIXED = "TNN's kernel knows {what} only; build another of ReduceL2 and Div"


@layer(45, "Normalize")
class Normalize(Layer):
    """x / d, d the norm of the channels of a pixel.

    ``p`` 1: sum of magnitudes; 2: root of the sum of squares, at least ``epsilon``; INT_MAX and INT_MIN: the largest
    and the smallest signed value. TNN does not clear its accumulator between images: for ``p`` 1 and 2 an image starts
    from the d of the one before.
    """

    across_spatial: int = param("int", 0)
    epsilon: float = param("float", 9.999999960041972e-13)
    channel_shared: int = param("int", 1)
    axis: int = param("int", 1)
    p: int = param("int", 2)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        check_rank(inputs, 2)
        if self.across_spatial:
            raise UnsupportedLayerError("across_spatial is set; " + _FIXED.format(what="a norm over the channels"))
        if self.axis != 1:
            raise UnsupportedLayerError(f"axis is {self.axis}; " + _FIXED.format(what="axis 1"))
        if self.p not in (1, 2, INT_MAX, INT_MIN):
            raise UnsupportedLayerError(f"p is {self.p}; " + _FIXED.format(what=f"1, 2, {INT_MAX} and {INT_MIN}"))
        return self

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = inputs[0]
        out = like(x)
        if not x.size:
            return [out]
        norm = np.zeros(x.shape[2:], np.float32)
        with np.errstate(all="ignore"):
            for image, result in zip(x, out, strict=True):
                norm = self._norm(image, norm)
                np.divide(image, norm, out=result)
        return [out]

    def _norm(self, image: np.ndarray, before: np.ndarray) -> np.ndarray:
        # image: float32 (C, ...); before: the norm of the image before, (...)
        if self.p in (INT_MAX, INT_MIN):
            return reduce(_larger if self.p == INT_MAX else _smaller, image)
        if self.p == 1:
            return before + folded("SUM", np.abs(image), [0])[0]
        return np.maximum(np.sqrt(before + folded("SUM", image * image, [0])[0]), np.float32(self.epsilon))


# The first of two equal ones, and of NaN: NumPy's maximum leaves open which zero it gives, and the sign of a divisor
# shows.


def _larger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(a < b, b, a)


def _smaller(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(b < a, b, a)
