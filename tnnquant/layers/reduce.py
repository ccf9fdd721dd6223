"""Reductions over axes: sum, mean, maximum, norms, log-sum-exp (docs/tnn-format.md, 4.4, 5.5, 9).

The axes are reduced one after another in ascending order, each in the order of its indices, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.elementwise import in_double
from tnnquant.layers.fields import param
from tnnquant.layers.memory import dense, memory_axes, restored, split_at
from tnnquant.layers.movement import INT_MAX, INT_MIN, axis_of

__all__ = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Reduction",
    "folded",
]


def folded(fold: str, x: np.ndarray, axes: Sequence[int], factor: Callable[[int], float] = lambda n: 1.0) -> np.ndarray:
    """Reduce one axis after another, each in the order of its indices; the reduced axes stay as 1.

    Parameters
    ----------
    fold : str
        Name of the code in :mod:`tnnquant.kernels.reduce`.
    x : float32, not empty
        In any memory layout, which does not change the result.
    axes : sequence of int
    factor : callable
        What the elements of an axis of n are multiplied with before they are added.
    """
    from tnnquant.kernels import reduce

    x, order = dense(x)
    for axis in axes:
        position = order.index(axis)
        outer, n, inner = split_at(x, position)
        out = np.empty((outer, inner), np.float32)
        reduce.reduce_f32(getattr(reduce, fold), x.reshape(outer, n, inner), factor(n), out)
        x = out.reshape(*x.shape[:position], 1, *x.shape[position + 1 :])
    return restored(x, order)


@dataclass(frozen=True)
class Reduction(Layer):
    keep_dims: int = param("int")
    axes: tuple[int, ...] = param("rest")

    FOLD: ClassVar[str] = "SUM"
    """Name of the code in :mod:`tnnquant.kernels.reduce`."""
    EMPTY: ClassVar[float] = 0.0
    """What no elements reduce to."""
    TYPES: ClassVar[tuple[DataType, ...]] = (DataType.FLOAT, DataType.INT32)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        check_types(inputs, *self.TYPES)
        rank = len(inputs[0].dims)
        axes = tuple(axis_of(axis, rank) for axis in self.axes) or tuple(range(rank))
        return replace(self, axes=axes)

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        dims = inputs[0].dims
        if self.keep_dims:
            dims = tuple(1 if i in self.axes else d for i, d in enumerate(dims))
        else:
            dims = tuple(d for i, d in enumerate(dims) if i not in self.axes)
        return [BlobSpec(dims, inputs[0].dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        axes = sorted(set(self.axes))
        with np.errstate(all="ignore"):
            x = self.reduced(inputs[0], axes)
        return [np.asarray(x if self.keep_dims else x.squeeze(tuple(axes)))]

    def reduced(self, x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        """The reduction, with the reduced axes kept as 1."""
        if not x.size:
            dims = [1 if i in axes else d for i, d in enumerate(x.shape)]
            empty = self.EMPTY if x.dtype == np.float32 else np.clip(self.EMPTY, INT_MIN, INT_MAX)
            return np.full(dims, empty, x.dtype)
        if x.dtype == np.float32:
            return self.finish(self.folded(self.start(x), axes))
        return self.integers(x, tuple(axes))

    def start(self, x: np.ndarray) -> np.ndarray:
        """What is done to every float before."""
        return x

    def finish(self, x: np.ndarray) -> np.ndarray:
        """What is done to every float after."""
        return x

    def factor(self, n: int) -> float:
        """What the floats of an axis of n are multiplied with before they are added."""
        return 1.0

    def folded(self, x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        """One axis after another, in order."""
        return folded(self.FOLD, x, axes, self.factor)

    def integers(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        """The reduction of INT32, with the reduced axes kept as 1."""
        raise NotImplementedError


class _Emitted(Reduction):
    """A reduction without a step before or after: one op for every axis. The state keeps what lies between alive."""

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> list[np.ndarray]:
        return []

    def emit(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: list[np.ndarray]
    ) -> np.ndarray | None:
        from tnnquant.kernels import reduce

        axes, order = sorted(set(self.axes)), memory_axes(inputs[0])
        x = inputs[0].transpose(order)
        kept = [axis for axis in order if axis not in axes]
        # The logical axes that are left must lie in the output as they lie in the input.
        out = outputs[0].reshape([d for i, d in enumerate(outputs[0].shape) if not (self.keep_dims and i in axes)])
        if not np.shares_memory(out, outputs[0]):
            return None
        out = out.transpose([sorted(kept).index(axis) for axis in kept])
        if not (axes and x.size and x.flags.c_contiguous and out.flags.c_contiguous):
            return None
        ops = []
        for axis in axes:
            position = order.index(axis)
            outer, n, inner = split_at(x, position)
            target = out.reshape(outer, inner) if axis == axes[-1] else np.empty((outer, inner), np.float32)
            ops.append(
                reduce.reduce_f32_op(getattr(reduce, self.FOLD), x.reshape(outer, n, inner), self.factor(n), target)
            )
            state.append(target)
            x = target.reshape(*x.shape[:position], 1, *x.shape[position + 1 :])
        return np.concatenate(ops)


def _cut_off(x: np.ndarray) -> np.ndarray:
    """float64 to INT32 as an x86 converts: towards zero, what does not fit to the lowest."""
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(x) < 2.0**31, x, INT_MIN).astype(np.int32)


def _integer_sum(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return x.sum(axes, dtype=np.int32, keepdims=True)


@layer(133, "ReduceSum", "Reduce_Sum")
class ReduceSum(_Emitted):
    """Sum."""

    def integers(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return _integer_sum(x, axes)


@layer(169, "ReduceMean")
class ReduceMean(_Emitted):
    """Mean: the sum of x * (1 / n); of integers the sum of each axis divided by n, cut off towards zero."""

    def factor(self, n: int) -> float:
        return float(np.float32(1) / np.float32(n))

    def integers(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        for axis in axes:
            total = _integer_sum(x, (axis,))
            x = (np.sign(total) * (np.abs(total.astype(np.int64)) // x.shape[axis])).astype(np.int32)
        return x


@layer(177, "ReduceMax")
class ReduceMax(_Emitted):
    """Maximum, not below the lowest finite number; NaN is passed over."""

    FOLD = "MAX"
    EMPTY = -float(np.finfo(np.float32).max)

    def integers(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return x.max(axes, keepdims=True)


@layer(192, "ReduceMin")
class ReduceMin(_Emitted):
    """Minimum, not above the highest finite number; NaN is passed over."""

    FOLD = "MIN"
    EMPTY = float(np.finfo(np.float32).max)

    def integers(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return x.min(axes, keepdims=True)


@layer(193, "ReduceProd")
class ReduceProd(Reduction):
    """Product."""

    EMPTY = 1.0

    def folded(self, x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        for axis in axes:
            x = np.multiply.reduce(x, axis, keepdims=True)
        return x

    def integers(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return x.prod(axes, dtype=np.int32, keepdims=True)


@layer(188, "ReduceL1")
class ReduceL1(Reduction):
    """Sum of magnitudes."""

    def start(self, x: np.ndarray) -> np.ndarray:
        return np.abs(x)

    def integers(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return _integer_sum(np.abs(x), axes)


@layer(189, "ReduceL2")
class ReduceL2(Reduction):
    """Square root of the sum of squares; of integers cut off."""

    def start(self, x: np.ndarray) -> np.ndarray:
        return x * x

    def finish(self, x: np.ndarray) -> np.ndarray:
        return np.sqrt(x)

    def integers(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.sqrt(_integer_sum(x * x, axes).astype(np.float32)).astype(np.int32)


@layer(190, "ReduceLogSum")
class ReduceLogSum(Reduction):
    """Logarithm of the sum."""

    EMPTY = -math.inf

    def finish(self, x: np.ndarray) -> np.ndarray:
        return in_double(np.log, x)

    def integers(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return _cut_off(np.log(_integer_sum(x, axes).astype(np.float64)))


@layer(191, "ReduceLogSumExp")
class ReduceLogSumExp(Reduction):
    """log(sum(exp(x - max))) + max, for every axis again.

    Of integers TNN cuts off every step: of the sum remains how often the largest occurs.
    """

    EMPTY = -math.inf

    def folded(self, x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        for axis in axes:
            largest = np.maximum(np.fmax.reduce(x, axis, keepdims=True), np.finfo(np.float32).min)
            total = super().folded(in_double(np.exp, x - largest), [axis])
            x = in_double(np.log, total) + largest
        return x

    def integers(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        for axis in axes:
            largest = x.max(axis, keepdims=True)
            count = (x == largest).sum(axis, keepdims=True)
            x = _cut_off(np.log(count.astype(np.float64)) + largest)
        return x


@layer(194, "ReduceSumSquare")
class ReduceSumSquare(Reduction):
    """Sum of squares."""

    def start(self, x: np.ndarray) -> np.ndarray:
        return x * x

    def integers(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return _integer_sum(x * x, axes)
