"""Second moments of the int8 codes that a layer reads, exact: what rounding its weights needs, and most of its time.

Where there are tiles (:mod:`~tnnquant.kernels.tile_amx`), codes are packed, some windows at a time, once as rows and
once as columns of tiles, and a block of 32 by 32 sums stays in four of them. Elsewhere the matrix product of float32
does it, over so few windows at a time that it is exact. Both give the same integers.

Versions: the naive twin, window by window; the ops, one task per few windows, or per few blocks of rows.
"""

from __future__ import annotations

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.amx import tiles
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import I32, I64, Emitter, _pointer, f32_view, f64_view, i8_view, i32_view, words
from tnnquant.kernels.tile_amx import CONFIG, STEP, TILE, _Tiles, configure, release

__all__ = [
    "MOST_WINDOWS", "centred_moments", "centred_moments_naive", "code_moments", "code_moments_naive", "column_sums",
]  # fmt: skip

#: Windows whose sums of products of int8 fit into int32.
MOST_WINDOWS = 2**31 // 2**14 - 1
#: Rows and columns of a block of sums; blocks of rows of a task, whose tiles fit into the second cache.
BLOCK, _TOGETHER = 2 * TILE, 8
_TILE_BYTES = TILE * STEP
#: Windows that are packed at a time.
_CHUNK = 32 * STEP
#: Rows of integers whose products float32 sums exactly: 1024 * 128 * 128 = 2**24; columns of a block of the result.
_EXACT_ROWS, _COLUMNS = 1024, 512
_SUMMED, _CENTRED = 256, 32  # columns, rows of a task


@kernel
def code_moments_naive(codes, columns, moments):
    # codes: int8 (windows, K); columns: int64 (K,), the order of rows and columns of the result; moments: int32 (K, K),
    # of which the upper triangle counts
    for i in range(columns.size):
        for j in range(i, columns.size):
            total = np.int32(0)
            for window in range(codes.shape[0]):
                total += np.int32(codes[window, columns[i]]) * np.int32(codes[window, columns[j]])
            moments[i, j] = total


@kernel
def _pack_task(op, index, scratch):
    # op words from ARGS on: addresses of codes int8 (windows, K), columns int64 (K,), packed rows and columns int8
    # (tiles, steps, TILE, STEP); windows, K, steps, the first window. Task: a step of STEP windows. What is beyond K
    # may be anything: no sum that counts has it
    args = words(op, program.WORDS)[program.ARGS :]
    windows, n, steps = args[4], args[5], args[6]
    columns = words(args[1], n)
    first = args[7] + STEP * index
    for group in range(STEP // 4):
        at = first + 4 * group
        for j in range(n):
            tile = _TILE_BYTES * (j // TILE * steps + index)
            inside, column = j % TILE, columns[j]
            row = i8_view(args[2] + tile + STEP * inside + 4 * group, 4)
            along = i8_view(args[3] + tile + STEP * group + 4 * inside, 4)
            for k in range(4):
                code = i8_view(args[0] + (at + k) * n + column, 1)[0] if at + k < windows else np.int8(0)
                row[k] = code
                along[k] = code


@intrinsic
def _block_sums(typingctx, rows, columns, steps, sums):
    """``sums``, int32 (BLOCK, BLOCK), of two tiles of rows by two of columns; addresses and a count, all int64."""

    def codegen(context, builder, sig, args):
        rows, columns, steps, sums = args
        emit = Emitter(builder, TILE, I32)
        held = _Tiles(emit)
        apart = builder.mul(steps, I64(_TILE_BYTES))
        for tile in range(4):
            held.zero(tile)
        with emit.loop(steps) as step:
            move = builder.mul(step, I64(_TILE_BYTES))
            for number, first in ((4, rows), (6, columns)):
                at = builder.add(first, move)
                held.load(number, at, I64(STEP))
                held.load(number + 1, builder.add(at, apart), I64(STEP))
            for tile in range(4):
                held.dot(tile, 4 + tile // 2, 6 + tile % 2)
        for tile in range(4):
            at = builder.add(sums, I64(tile // 2 * TILE * 4 * BLOCK + tile % 2 * 4 * TILE))
            held.store(tile, at, I64(4 * BLOCK))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@kernel
def _multiply_task(op, index, scratch):
    # op words from ARGS on: addresses of packed rows and columns as above, of moments int32 (K, K), of the tiles'
    # configuration; K, steps. Task: the sums of _TOGETHER blocks of rows. Scratch: int32 (BLOCK, BLOCK)
    args = words(op, program.WORDS)[program.ARGS :]
    n, steps = args[4], args[5]
    blocks = (n + BLOCK - 1) // BLOCK
    block_bytes = 2 * _TILE_BYTES * steps
    sums = carray(_pointer(scratch, np.int32), (BLOCK, BLOCK))
    configure(args[3])
    for right in range(_TOGETHER * index, blocks):
        width = min(np.int64(BLOCK), n - BLOCK * right)
        for down in range(_TOGETHER * index, min(_TOGETHER * (index + 1), right + 1)):
            _block_sums(args[0] + block_bytes * down, args[1] + block_bytes * right, steps, scratch)
            for i in range(min(np.int64(BLOCK), n - BLOCK * down)):
                target = i32_view(args[2] + 4 * ((BLOCK * down + i) * n + BLOCK * right), width)
                for j in range(width):
                    target[j] += sums[i, j]
    release()


@kernel
def _sums_task(op, index, scratch):
    # op words from ARGS on: addresses of codes int8 (windows, K), sums int32 (2, K); windows, K. Task: _SUMMED columns
    args = words(op, program.WORDS)[program.ARGS :]
    windows, n = args[2], args[3]
    first = _SUMMED * index
    width = min(np.int64(_SUMMED), n - first)
    sums, squares = i32_view(args[1] + 4 * first, width), i32_view(args[1] + 4 * (n + first), width)
    for window in range(windows):
        codes = i8_view(args[0] + window * n + first, width)
        for k in range(width):
            code = np.int32(codes[k])
            sums[k] += code
            squares[k] += code * code


@kernel
def centred_moments_naive(moments, sums, windows, centred):
    # moments: int32 (K, K), of which the upper triangle counts; sums: float64 (K,); windows: int, how many;
    # centred: float32 (K, K), written
    for i in range(sums.size):
        for j in range(i, sums.size):
            centred[i, j] = np.float32(np.float64(moments[i, j]) - sums[i] * (sums[j] / windows))


@kernel
def _centre_task(op, index, scratch):
    # op words from ARGS on: addresses of moments int32 (K, K), which become float32, of sums float64 (K,) and of these
    # by the number of windows; K. Task: _CENTRED rows
    args = words(op, program.WORDS)[program.ARGS :]
    n = args[3]
    for i in range(_CENTRED * index, min(_CENTRED * (index + 1), n)):
        at = args[0] + 4 * (n * i + i)
        whole, centred = i32_view(at, n - i), f32_view(at, n - i)
        total, means = f64_view(args[1] + 8 * i, 1)[0], f64_view(args[2] + 8 * i, n - i)
        for j in range(n - i):
            centred[j] = np.float32(np.float64(whole[j]) - total * means[j])


def centred_moments(moments: np.ndarray, sums: np.ndarray, windows: int) -> np.ndarray:
    """Second moments less what the means make of them, float32 (K, K), on and above the diagonal.

    Parameters
    ----------
    moments : int32 (K, K)
        Of :func:`code_moments`; it becomes the result.
    sums : float64 (K,)
        Of the columns.
    windows : int
    """
    means = sums / windows
    args = [program.data_address(array) for array in (moments, sums, means)]
    program.run(program.new_op(_centre_task, -(-len(sums) // _CENTRED), 0, [*args, len(sums)]))
    return moments.view(np.float32)


def column_sums(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the codes in each column and of their squares, int32 (K,) each.

    Parameters
    ----------
    codes : int8 (windows, K)
        C-contiguous; at most :data:`MOST_WINDOWS` windows.
    """
    sums = np.zeros((2, codes.shape[1]), np.int32)
    if codes.size:
        args = [program.data_address(codes), program.data_address(sums), *codes.shape]
        program.run(program.new_op(_sums_task, -(-codes.shape[1] // _SUMMED), 0, args))
    return sums[0], sums[1]


def code_moments(codes: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Sums over windows of the products of two columns, int32 (K, K): on and above the diagonal.

    Parameters
    ----------
    codes : int8 (windows, K)
        C-contiguous; at most :data:`MOST_WINDOWS` windows.
    columns : int64 (K,)
        The column of the codes that each row and column of the result is of.
    """
    moments = np.zeros((codes.shape[1],) * 2, np.int32)
    if codes.size:
        (_by_tiles if tiles() else _by_floats)(codes, np.ascontiguousarray(columns, np.int64), moments)
    return moments


def _by_tiles(codes: np.ndarray, columns: np.ndarray, moments: np.ndarray) -> None:
    windows, n = codes.shape
    most = min(_CHUNK, -(-windows // STEP) * STEP) // STEP
    packed = program.aligned_empty((2, -(-n // BLOCK) * BLOCK // TILE, most, TILE, STEP), np.int8)
    data = program.data_address
    sides = [data(packed[0]), data(packed[1])]
    ops = []
    for first in range(0, windows, _CHUNK):
        steps = min(most, -(-(windows - first) // STEP))
        ops.append(program.new_op(_pack_task, steps, 0, [data(codes), data(columns), *sides, windows, n, steps, first]))
        tasks = -(-n // (BLOCK * _TOGETHER))
        args = [*sides, data(moments), data(CONFIG), n, steps]
        ops.append(program.new_op(_multiply_task, tasks, 4 * BLOCK * BLOCK, args))
    program.run(np.concatenate(ops))


def _by_floats(codes: np.ndarray, columns: np.ndarray, moments: np.ndarray) -> None:
    for top in range(0, len(codes), _EXACT_ROWS):
        part = codes[top : top + _EXACT_ROWS][:, columns].astype(np.float32)
        for first in range(0, len(columns), _COLUMNS):
            products = part[:, first : first + _COLUMNS].T @ part[:, first:]
            moments[first : first + _COLUMNS, first:] += products.astype(np.int32)
