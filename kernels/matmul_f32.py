"""fp32 product of two batches of matrices, neither of which is known beforehand.

Versions, slowest first: :func:`matmul_f32_naive`; :func:`matmul_f32`: a task packs one panel of columns of B into the
nearest caches and runs the tiles of :mod:`~tnnquant.kernels.tile_f32` over rows of A, read in place. Products with a
constant right side are :func:`~tnnquant.kernels.gemm_f32.gemm_f32`, which packs once per model.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.conv_rows import fill_rows
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.pair_f32 import HAS_PAIRS, PAIR_ROWS, two_panels
from tnnquant.kernels.simd import copy_pixels, fill_zero, load_words, store_word
from tnnquant.kernels.tile_f32 import PANEL, ROWS, tile_f32

__all__ = ["matmul_f32", "matmul_f32_naive", "matmul_f32_op"]

_tile_full, _tile_one = tile_f32(ROWS, 2), tile_f32(1, 2)
_tile_narrow = tile_f32(ROWS, 0.5)
_QUARTER = PANEL // 4
# Panels that a task takes: two at once where there are registers for them.
_TOGETHER = 2 if HAS_PAIRS else 1

# Rows of A that a task multiplies with its panels: at most, and at least where threads would have nothing to do. Enough
# to make the packing cheap.
_BLOCK, _FEWEST = 32 * ROWS, 4 * ROWS


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
    # op words from ARGS on: see matmul_f32_op. Task: one product, _TOGETHER panels of columns, one block of rows.
    (a, b, out, batch_a, batch_b, rows, length, columns, units, blocks, most) = load_words(op + 8 * program.ARGS, 11)
    block = index % blocks
    unit = index // blocks % units
    product = index // blocks // units
    first = unit * (_TOGETHER * PANEL)
    count = min(np.int64(_TOGETHER * PANEL), columns - first)
    start = block * most
    m_count = min(most, rows - start)
    source = b + ((product % batch_b) * length * columns + first) * 4
    # scratch: one offset (0, the only tap), a bias of zeros, the table of rows, the panels, what two_panels needs
    bias = scratch + 64
    table = bias + _TOGETHER * PANEL * 4
    packed = (table + 8 * (m_count + ROWS) + 63) // 64 * 64
    panel_bytes = length * (PANEL * 4)
    store_word(scratch, np.int64(0))
    fill_zero(bias, np.int64(_TOGETHER * PANEL * 4))
    left = a + ((product % batch_a) * rows + start) * length * 4
    fill_rows(table, left, np.int64(0), m_count, m_count, np.int64(0), length * 4, np.int64(ROWS))
    for p in range((count + PANEL - 1) // PANEL):
        n = min(np.int64(PANEL), count - p * PANEL)
        to = packed + p * panel_bytes
        if n < PANEL:
            fill_zero(to, panel_bytes)
        copy_pixels(to, np.int64(PANEL * 4), source + p * (PANEL * 4), columns * 4, length, n * 4)

    target = out + ((product * rows + start) * columns + first) * 4
    out_stride = columns * 4
    one, none = np.int64(1), np.int64(0)
    if HAS_PAIRS and count > PANEL and m_count >= PAIR_ROWS:
        two_panels(table, m_count, scratch, one, length, length, packed, packed, panel_bytes, bias, target, out_stride,
                   count, none, none, none, none, packed, length * 4)  # fmt: skip
        return
    for p in range((count + PANEL - 1) // PANEL):
        n = min(np.int64(PANEL), count - p * PANEL)
        panel, to = packed + p * panel_bytes, target + p * (PANEL * 4)
        if m_count == 1:
            _tile_one(table, scratch, one, length, panel, none, bias, to, out_stride, one, n, none)
            continue
        for m in range(0, m_count, ROWS):
            at, rows_at, here = to + m * out_stride, table + 8 * m, min(np.int64(ROWS), m_count - m)
            if n <= _QUARTER:
                _tile_narrow(rows_at, scratch, one, length, panel, none, bias, at, out_stride, here, n, none)
            else:
                _tile_full(rows_at, scratch, one, length, panel, none, bias, at, out_stride, here, n, none)


def matmul_f32_op(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The op (:mod:`~tnnquant.kernels.program`) of :func:`matmul_f32`. The arrays must stay alive."""
    products, rows, columns = out.shape
    length = a.shape[2]
    units = -(-columns // (_TOGETHER * PANEL))
    most = _rows_of_a_task(rows, products * units)
    blocks = -(-rows // most)
    table = 8 * (min(rows, most) + ROWS)
    scratch = 192 + _TOGETHER * PANEL * 4 * (1 + length) + table
    address = program.data_address
    args = [address(a), address(b), address(out), a.shape[0], b.shape[0], rows, length, columns, units, blocks, most]
    return program.new_op(_matmul_task, products * units * blocks, scratch, args)


def _rows_of_a_task(rows: int, others: int) -> int:
    """Rows of A in a task, of which there are ``others`` for the same rows."""
    wanted = -(-program.thread_count() // others)
    each = -(-rows // max(1, min(wanted, rows // _FEWEST)))
    return min(_BLOCK, -(-each // ROWS) * ROWS)


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
