"""fp32 product of two batches of matrices, neither of which is known beforehand.

Versions, slowest first: :func:`matmul_f32_naive`; :func:`matmul_f32`: a task packs one panel of columns of B into the
nearest caches and runs the tiles of :mod:`~tnnquant.kernels.tile_f32` over rows of A, read in place. Products with a
constant right side are :func:`~tnnquant.kernels.gemm_f32.gemm_f32`, which packs once per model.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import copy_pixels, fill_zero, words
from tnnquant.kernels.tile_f32 import PANEL, ROWS, tile_f32

__all__ = ["matmul_f32", "matmul_f32_naive", "matmul_f32_op"]

_tile_full, _tile_one = tile_f32(ROWS, 2), tile_f32(1, 2)

# Rows of A that a task multiplies with its panel: enough to make the packing cheap.
_BLOCK = 32 * ROWS


@kernel
def matmul_f32_naive(a, b, out):
    # a: (BA, M, K); b: (BB, K, N); out: (BC, M, N); all float32. Product i is of a[i mod BA] and b[i mod BB].
    for i in range(out.shape[0]):
        left, right = a[i % a.shape[0]], b[i % b.shape[0]]
        for m in range(out.shape[1]):
            for n in range(out.shape[2]):
                total = np.float32(0)
                for k in range(a.shape[2]):
                    total += left[m, k] * right[k, n]
                out[i, m, n] = total


@kernel
def _matmul_task(op, index, scratch):
    # op words from ARGS on: see matmul_f32_op. Task: one product, one panel of columns, one block of rows.
    args = words(op, program.WORDS)[program.ARGS :]
    a, b, out, batch_a, batch_b = args[0], args[1], args[2], args[3], args[4]
    rows, length, columns, panels, blocks = args[5], args[6], args[7], args[8], args[9]
    block = index % blocks
    panel = index // blocks % panels
    product = index // blocks // panels
    first = panel * PANEL
    count = min(np.int64(PANEL), columns - first)
    source = b + ((product % batch_b) * length * columns + first) * 4
    # scratch: one offset (0, the only tap), a bias of zeros, the table of rows, the panel
    bias = scratch + 64
    table = bias + PANEL * 4
    packed = table + 8 * ROWS
    words(scratch, 1)[0] = 0
    fill_zero(bias, np.int64(PANEL * 4))
    if count < PANEL:
        fill_zero(packed, length * (PANEL * 4))
    copy_pixels(packed, np.int64(PANEL * 4), source, columns * 4, length, count * 4)

    table_rows = words(table, ROWS)
    left = a + (product % batch_a) * rows * length * 4
    target = out + (product * rows * columns + first) * 4
    one, none = np.int64(1), np.int64(0)
    last = min(rows, (block + 1) * _BLOCK)
    for m in range(block * _BLOCK, last, ROWS):
        for r in range(ROWS):
            table_rows[r] = left + min(m + r, rows - 1) * length * 4
        to = target + m * columns * 4
        if rows == 1:
            _tile_one(table, scratch, one, length, packed, none, bias, to, columns * 4, one, count, none)
        else:
            m_count = min(np.int64(ROWS), last - m)
            _tile_full(table, scratch, one, length, packed, none, bias, to, columns * 4, m_count, count, none)


def matmul_f32_op(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The op (:mod:`~tnnquant.kernels.program`) of :func:`matmul_f32`. The arrays must stay alive."""
    products, rows, columns = out.shape
    length = a.shape[2]
    panels, blocks = -(-columns // PANEL), -(-rows // _BLOCK)
    scratch = 64 + PANEL * 4 + 8 * ROWS + length * PANEL * 4
    address = program.data_address
    args = [address(a), address(b), address(out), a.shape[0], b.shape[0], rows, length, columns, panels, blocks]
    return program.new_op(_matmul_task, products * panels * blocks, scratch, args)


def matmul_f32(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
    """``out[i] = a[i mod BA] @ b[i mod BB]``, sums over k in order.

    Parameters
    ----------
    a : float32 (BA, M, K)
        C-contiguous.
    b : float32 (BB, K, N)
        C-contiguous.
    out : float32 (BC, M, N)
        Written and returned; C-contiguous.
    """
    program.run(matmul_f32_op(a, b, out))
    return out
