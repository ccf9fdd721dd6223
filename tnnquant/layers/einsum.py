"""Einstein summation (docs/tnn-format.md, 4.4, 5.7, 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.fields import param

__all__ = ["Einsum"]

Labels = tuple[str, ...]


def parse_equation(equation: str, ranks: Sequence[int]) -> tuple[list[Labels], Labels]:
    """The labels of every axis of the operands, and those of the output.

    The axes that an ellipsis stands for are labelled ``.0``, ``.1``, ... from the left, aligned on the right.

    Raises
    ------
    GraphError
        The equation is malformed or does not fit the ranks.
    """
    left, arrow, right = equation.partition("->")
    terms = left.split(";")
    if len(terms) != len(ranks):
        raise GraphError(f"the equation {equation!r} has {len(terms)} operands, the layer {len(ranks)} inputs")
    named = [_letters(term, equation) for term in terms]
    hidden = [rank - sum(label != "..." for label in labels) for labels, rank in zip(named, ranks, strict=True)]
    for labels, extra, rank in zip(named, hidden, ranks, strict=True):
        if extra < 0 or (extra > 0 and "..." not in labels):
            raise GraphError(f"the equation {equation!r} names {''.join(labels)!r} for an input of rank {rank}")
    most = max(hidden)
    operands = [_expand(labels, extra, most) for labels, extra in zip(named, hidden, strict=True)]
    if arrow:
        output = _expand(_letters(right, equation), most, most)
    else:
        everything = [label for labels in operands for label in labels]
        once = sorted(label for label in set(everything) if label[0] != "." and everything.count(label) == 1)
        output = (*_expand(("...",), most, most), *once)
    known = {label for labels in operands for label in labels}
    if len(set(output)) != len(output) or not known.issuperset(output):
        raise GraphError(f"the output of the equation {equation!r} repeats a label or has one that no operand has")
    return operands, output


def _letters(term: str, equation: str) -> Labels:
    term = term.replace(" ", "")
    before, dots, after = term.partition("...")
    if not all(letter.isascii() and letter.isalpha() for letter in before + after):
        raise GraphError(f"the equation {equation!r} has other signs than letters, '...', ';' and '->'")
    return (*before, *([dots] if dots else ()), *after)


def _expand(labels: Labels, count: int, most: int) -> Labels:
    """The labels with the ellipsis, if there is one, replaced by the last ``count`` of ``most`` numbered ones."""
    if "..." not in labels:
        return labels
    at = labels.index("...")
    return (*labels[:at], *(f".{i}" for i in range(most - count, most)), *labels[at + 1 :])


def label_sizes(operands: Sequence[Labels], shapes: Sequence[Sequence[int]]) -> dict[str, int]:
    """The size of every label; an axis of size 1 fits any.

    Raises
    ------
    GraphError
        A label stands for axes of different sizes.
    """
    sizes: dict[str, int] = {}
    for labels, shape in zip(operands, shapes, strict=True):
        if len(set(labels)) < len(labels):
            own = {size for label, size in zip(labels, shape, strict=True) if labels.count(label) > 1}
            if len(own) > len({label for label in labels if labels.count(label) > 1}):
                raise GraphError(f"a label repeated in {''.join(labels)!r} stands for axes of different sizes {shape}")
        for label, size in zip(labels, shape, strict=True):
            known = sizes.setdefault(label, size)
            if known != size and 1 not in (known, size):
                raise GraphError(f"the label {label!r} stands for axes of {known} and of {size}")
            sizes[label] = max(known, size)
    return sizes


def _reduced(x: np.ndarray, labels: Labels, kept: Labels) -> np.ndarray:
    """``x`` with its axes in the order ``kept``: diagonals of repeated labels, sums over the others."""
    numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    if labels == kept:
        return x
    made: np.ndarray = np.einsum(x, [numbers[label] for label in labels], [numbers[label] for label in kept])
    return made


def _product(a: np.ndarray, a_labels: Labels, b: np.ndarray, b_labels: Labels, kept: set[str]) -> tuple:
    """Product of two operands, summed over the labels that are not kept, as batches of matrix products."""
    from tnnquant.kernels.matmul_f32 import matmul_f32

    both = [label for label in dict.fromkeys(a_labels) if label in b_labels]
    a_only = [label for label in dict.fromkeys(a_labels) if label not in b_labels and label in kept]
    b_only = [label for label in dict.fromkeys(b_labels) if label not in a_labels and label in kept]
    batch, summed = [x for x in both if x in kept], [x for x in both if x not in kept]
    sizes = label_sizes([a_labels, b_labels], [a.shape, b.shape])

    def arranged(x: np.ndarray, labels: Labels, *parts: list[str]) -> np.ndarray:
        order = tuple(label for part in parts for label in part)
        wide = np.broadcast_to(_reduced(x, labels, order), [sizes[label] for label in order])
        return np.ascontiguousarray(wide, np.float32).reshape([prod(sizes[label] for label in p) for p in parts])

    left, right = arranged(a, a_labels, batch, a_only, summed), arranged(b, b_labels, batch, summed, b_only)
    out = matmul_f32(left, right, np.empty((*left.shape[:2], right.shape[2]), np.float32))
    labels = (*batch, *a_only, *b_only)
    return out.reshape([sizes[label] for label in labels]), labels


@layer(321, "Einsum")
class Einsum(Layer):
    """Sum of products over labelled axes; operands are separated by ``;`` because a comma ends the line.

    A full contraction gives one element of dims (1), as in TNN. One operand, more than two, and a label repeated within
    an operand, which TNN cannot run, are what they usually mean.
    """

    equation: str = param("str", default="")

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 1, 100)
        check_types(inputs, DataType.FLOAT)
        operands, output = parse_equation(self.equation, [len(spec.dims) for spec in inputs])
        sizes = label_sizes(operands, [spec.dims for spec in inputs])
        return [BlobSpec(tuple(sizes[label] for label in output) or (1,))]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        operands, output = parse_equation(self.equation, [x.ndim for x in inputs])
        x, labels = inputs[0], operands[0]
        for i in range(1, len(inputs)):
            needed = set(output).union(*operands[i + 1 :])
            x, labels = _product(x, labels, inputs[i], operands[i], needed)
        out = np.array(_reduced(x, labels, output), np.float32, order="C")
        return [out if out.ndim else out.reshape(1)]

    def macs(self, inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec]) -> int:
        operands, _ = parse_equation(self.equation, [len(spec.dims) for spec in inputs])
        return prod(label_sizes(operands, [spec.dims for spec in inputs]).values()) if len(inputs) > 1 else 0
