"""Reductions over axes: sum, mean, maximum, norms, log-sum-exp (reference, 4.4, 5.5, 9)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

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
]


@layer(133, "ReduceSum", "Reduce_Sum")
class ReduceSum(Layer):
    """Sum."""

    keep_dims: int = param("int")
    axes: tuple[int, ...] = param("rest")


@layer(169, "ReduceMean")
class ReduceMean(Layer):
    """Mean."""

    keep_dims: int = param("int")
    axes: tuple[int, ...] = param("rest")


@layer(177, "ReduceMax")
class ReduceMax(Layer):
    """Maximum."""

    keep_dims: int = param("int")
    axes: tuple[int, ...] = param("rest")


@layer(192, "ReduceMin")
class ReduceMin(Layer):
    """Minimum."""

    keep_dims: int = param("int")
    axes: tuple[int, ...] = param("rest")


@layer(193, "ReduceProd")
class ReduceProd(Layer):
    """Product."""

    keep_dims: int = param("int")
    axes: tuple[int, ...] = param("rest")


@layer(188, "ReduceL1")
class ReduceL1(Layer):
    """Sum of magnitudes."""

    keep_dims: int = param("int")
    axes: tuple[int, ...] = param("rest")


@layer(189, "ReduceL2")
class ReduceL2(Layer):
    """Square root of the sum of squares."""

    keep_dims: int = param("int")
    axes: tuple[int, ...] = param("rest")


@layer(190, "ReduceLogSum")
class ReduceLogSum(Layer):
    """Logarithm of the sum."""

    keep_dims: int = param("int")
    axes: tuple[int, ...] = param("rest")


@layer(191, "ReduceLogSumExp")
class ReduceLogSumExp(Layer):
    """log(sum(exp(x))), shifted by the maximum."""

    keep_dims: int = param("int")
    axes: tuple[int, ...] = param("rest")


@layer(194, "ReduceSumSquare")
class ReduceSumSquare(Layer):
    """Sum of squares."""

    keep_dims: int = param("int")
    axes: tuple[int, ...] = param("rest")
