"""The int32 sums of an int8 tile while they are in registers: how a step of the reduction is added to them.

A step is what lies side by side in the weights of a channel: a group of 4 bytes that one dot product sums
(:class:`_DotSums`), or 8 bytes of two rows and two channels for a path that multiplies small matrices
(:class:`_MatrixSums`).
"""

from __future__ import annotations

from llvmlite import ir

from tnnquant.kernels.dot_i8 import PANEL, emit_dot, emit_matrix
from tnnquant.kernels.simd import I8, I32, I64
from tnnquant.kernels.target import isa

__all__ = ["sums_of"]

_PATH = isa()


def sums_of(emit, initial, rows, dot, weights, panel_stride):
    """Sums of ``rows`` rows that begin with the vectors ``initial``; see :func:`~tnnquant.kernels.tile_i8.tile_i8`."""
    return (_MatrixSums if _PATH.matrix else _DotSums)(emit, initial, rows, dot, weights, panel_stride)


class _DotSums:
    """Sums of dot products: a step is a group of 4 bytes of every row times a vector of channels."""

    # Where an instruction takes a group out of a vector by itself, four groups of a row are loaded at once.
    TOGETHER = 4 if _PATH.lanes == 4 and _PATH.group == 4 else 1

    def __init__(self, emit, initial, rows, dot, weights, panel_stride):
        self.emit, self.rows, self.vectors, self.dot = emit, rows, len(initial), dot
        self.panel_stride = panel_stride
        self.sums = self._begin(initial)
        self.weight_at = emit.variable(weights)

    def _begin(self, initial):
        return [[self.emit.variable(value) for value in initial] for _ in range(self.rows)]

    def end(self):
        """The sums, vectors ``[row][vector]``."""
        return [[self.emit.builder.load(slot) for slot in line] for line in self.sums]

    def _columns(self):
        """The weights of a step as vectors; goes on to the next step."""
        emit, builder = self.emit, self.emit.builder
        here = builder.load(self.weight_at)
        columns = []
        for j in range(self.vectors):
            panel = here if j < 2 else builder.add(here, builder.mul(self.panel_stride, I64(j // 2)))
            columns.append(emit.load(emit.at(emit.pointer(panel, I32), (j % 2) * emit.lanes)))
        builder.store(builder.add(here, I64(4 * PANEL)), self.weight_at)
        return columns

    def _add(self, groups):
        builder = self.emit.builder
        columns = self._columns()
        for line, group in zip(self.sums, groups, strict=True):
            for slot, column in zip(line, columns, strict=True):
                builder.store(emit_dot(self.emit, builder.load(slot), group(), column, self.dot), slot)

    def step(self, pixels, k):
        """Step ``k`` of a tap; ``pixels``: where it begins in every row, pointers to int32."""
        emit, builder = self.emit, self.emit.builder
        self._add([lambda row=row: emit.splat(builder.load(emit.at(row, k), align=1)) for row in pixels])

    def run(self, pixels, k):
        """Steps ``k`` to ``k + TOGETHER - 1``."""
        emit, builder = self.emit, self.emit.builder
        whole = [emit.load(emit.at(row, k)) for row in pixels]
        for lane in range(self.TOGETHER):
            order = ir.Constant(emit.vector, [lane] * emit.lanes)
            self._add([lambda row=row, order=order: builder.shuffle_vector(row, row, order) for row in whole])


class _MatrixSums(_DotSums):
    """Sums of products of two rows with two channels: a step is 8 bytes of each."""

    TOGETHER = 2

    def _begin(self, initial):
        emit, builder = self.emit, self.emit.builder
        orders = [ir.Constant(emit.vector, [first, first + 1] * 2) for first in (0, 2)]
        starts = [builder.shuffle_vector(vector, vector, order) for vector in initial for order in orders]
        return [[emit.variable(start) for start in starts] for _ in range((self.rows + 1) // 2)]

    def end(self):
        builder, results = self.emit.builder, []
        orders = [ir.Constant(self.emit.vector, order) for order in ([0, 1, 4, 5], [2, 3, 6, 7])]
        for row in range(self.rows):
            line = [builder.load(slot) for slot in self.sums[row // 2]]
            pairs = zip(line[::2], line[1::2], strict=True)
            results.append([builder.shuffle_vector(a, b, orders[row % 2]) for a, b in pairs])
        return results

    def _columns(self):
        emit, builder = self.emit, self.emit.builder
        here = builder.load(self.weight_at)
        columns = []
        for pair in range(2 * self.vectors):
            panel = here if pair < 4 else builder.add(here, builder.mul(self.panel_stride, I64(pair // 4)))
            columns.append(emit.load(emit.at(emit.pointer(panel), 16 * (pair % 4)), ir.VectorType(I8, 16)))
        builder.store(builder.add(here, I64(8 * PANEL)), self.weight_at)
        return columns

    def _multiply(self, halves):
        # halves: 8 bytes of every row. Without a last row its neighbour is computed twice.
        emit, builder = self.emit, self.emit.builder
        columns = self._columns()
        for line, (a, b) in zip(self.sums, self._pairs(halves), strict=True):
            both = builder.bitcast(
                builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, 2), [0, a.type.count])),
                ir.VectorType(I8, 16),
            )
            for slot, column in zip(line, columns, strict=True):
                builder.store(emit_matrix(emit, builder.load(slot), both, column), slot)

    def _pairs(self, halves):
        return [(halves[r], halves[min(r + 1, self.rows - 1)]) for r in range(0, self.rows, 2)]

    def step(self, pixels, k):
        emit, builder = self.emit, self.emit.builder
        at = builder.mul(k, I64(2))
        self._multiply([emit.load(emit.at(row, at), ir.VectorType(I64, 1)) for row in pixels])

    def run(self, pixels, k):
        emit, builder = self.emit, self.emit.builder
        at = builder.mul(k, I64(2))
        whole = [emit.load(emit.at(row, at), ir.VectorType(I64, 2)) for row in pixels]
        self._multiply(whole)
        upper = ir.Constant(ir.VectorType(I32, 2), [1, 0])
        self._multiply([builder.shuffle_vector(row, row, upper) for row in whole])
