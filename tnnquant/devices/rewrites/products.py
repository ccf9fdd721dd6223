"""Matrix products: by InnerProduct where one operand is a constant, by plain products of two dims otherwise."""

from __future__ import annotations

from math import prod

import numpy as np

from tnnquant.devices.memory import LANES
from tnnquant.devices.rewrites.fragment import Fragment, rewrite
from tnnquant.layers.matmul import MatMul

__all__: list[str] = []

#: A batch of so many products is taken apart at most.
_MOST_PRODUCTS = 512


def _operands(f: Fragment) -> tuple[list[np.ndarray | None], list[str], list[tuple[int, ...]]]:
    """Content (None: not constant), blob and dims of A and B."""
    if len(f.node.inputs) == 2:
        values = [spec.value for spec in f.inputs]
        return values, list(f.node.inputs), [spec.dims for spec in f.inputs]
    stored = f.node.tensors["weight"]
    weight = stored.float32().reshape(stored.dims)
    blob = f.node.inputs[0]
    if f.layer.expect(MatMul).weight_position == 0:
        return [weight, None], ["", blob], [weight.shape, f.inputs[0].dims]
    return [None, weight], [blob, ""], [f.inputs[0].dims, weight.shape]


def _as_matrix(value: np.ndarray | None) -> np.ndarray | None:
    """A constant as one matrix, None if it is several."""
    if value is None or value.ndim < 2 or prod(value.shape[:-2]) != 1:
        return None
    return value.reshape(value.shape[-2:]).astype(np.float32)


def _inner_product(f: Fragment, rows: str, weight: np.ndarray) -> str:
    """``rows @ weight.T``."""
    return f.add(
        "InnerProduct", rows, tensors={"weight": weight, "bias": np.zeros(len(weight), np.float32)}, may_be_int8=True,
        num_output=len(weight), has_bias=1, transpose=0, axis=1,
    )  # fmt: skip


@rewrite("InnerProduct", "MatMul")
def _by_constant(f: Fragment) -> str | None:
    values, blobs, dims = _operands(f)
    right = _as_matrix(values[1])
    if values[0] is not None or right is None or not dims[0]:
        return None
    rows = blobs[0]
    if len(dims[0]) != 2:
        rows = f.add("Reshape", rows, 0, 2, (-1, dims[0][-1]), 0)
    x = _inner_product(f, rows, np.ascontiguousarray(right.T))
    after = f.outputs[0].dims
    return x if len(after) == 2 else f.reshape(x, after, (prod(dims[0][:-1]), after[-1]))


@rewrite("Permute, InnerProduct, Permute", "MatMul")
def _of_constant(f: Fragment) -> str | None:
    values, blobs, dims = _operands(f)
    stored, left = values[0], _as_matrix(values[0])
    if values[1] is not None or stored is None or left is None or len(dims[1]) < 2 or stored.ndim > len(dims[1]):
        return None
    rank = len(dims[1])
    order = (*range(rank - 2), rank - 1, rank - 2)
    rows = f.add("Permute", blobs[1], order)
    if rank != 2:
        rows = f.add("Reshape", rows, 0, 2, (-1, dims[1][-2]), 0)
    x = _inner_product(f, rows, left)
    if rank != 2:
        x = f.reshape(x, (*dims[1][:-2], dims[1][-1], left.shape[0]))
    return f.add("Permute", x, order)


@rewrite("MatMul of two dims", "MatMul")
def _one_by_one(f: Fragment) -> str | None:
    values, blobs, dims = _operands(f)
    if any(len(shape) < 2 for shape in dims):
        return None
    (rows, length), columns = dims[0][-2:], dims[1][-1]
    batches = [prod(shape[:-2]) for shape in dims]
    count = prod(f.outputs[0].dims[:-2])
    if any(batch not in (1, count) for batch in batches) or count > _MOST_PRODUCTS:
        return None
    if batches[1] == 1:
        rows, count, batches = rows * count, 1, [1, 1]
    lefts = _matrices(f, values[0], blobs[0], batches[0], (rows, length))
    rights = _matrices(f, values[1], blobs[1], batches[1], (length, columns))
    lefts, rights = (list(side) * (count if len(side) < count else 1) for side in (lefts, rights))
    wide = _missing(length) if rows > 1 else 0
    lefts = [_padded(f, x, (rows, length), 1, wide) for x in lefts]
    rights = [_padded(f, x, (length, columns), 0, wide) for x in rights]
    more = _missing(columns) if rows > 1 or length + wide > 1 else 0
    rights = [_padded(f, x, (length + wide, columns), 1, more) for x in rights]
    products = [f.add("MatMul", (a, b), -1) for a, b in zip(lefts, rights, strict=True)]
    if more:
        products = [f.slice(x, 1, 0, columns) for x in products]
    if count > 1:
        products = [f.add("Concat", [f.reshape(x, (1, rows, columns)) for x in products], 0)]
    return f.reshape(products[0], f.outputs[0].dims)


def _missing(count: int) -> int:
    """What is missing to a multiple of the lanes."""
    return -count % LANES


def _matrices(f: Fragment, value: np.ndarray | None, blob: str, batch: int, dims: tuple[int, int]) -> list[str]:
    """The matrices of an operand, each a blob of two dims."""
    if value is not None:
        return [f.constant(matrix) for matrix in value.reshape(batch, *dims)]
    if batch == 1:
        return [f.reshape(blob, dims)]
    stacked = f.reshape(blob, (batch, *dims))
    return [f.reshape(x, dims) for x in f.add_many("SplitV", stacked, 0, (1,) * batch, outputs=batch)]


def _padded(f: Fragment, blob: str, dims: tuple[int, int], axis: int, count: int) -> str:
    """The matrix with zeros after it along an axis."""
    if not count:
        return blob
    shape = (dims[0], count) if axis else (count, dims[1])
    if blob in f.constants:  # TNN runs no layer whose inputs are all constants
        return f.constant(np.concatenate([f.constants[blob].array(), np.zeros(shape, np.float32)], axis))
    return f.add("Concat", (blob, f.constant(np.zeros(shape, np.float32))), axis)
