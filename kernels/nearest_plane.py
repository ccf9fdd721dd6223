"""Rounding to a grid by second-order information: the nearest-plane method of Babai, which is what GPTQ does.

Weights w of one output are to become ``q * s`` with integer q so that the output changes least for the inputs seen:
minimise ``(w - q*s)' H (w - q*s)`` with H the second moments of the inputs. With ``H = R'R``, R upper triangular, the
objective is ``sum over i of (R[i,i] * (t[i] - q[i]*s))**2`` where ``t[i] = w[i] + sum over j > i of R[i,j]/R[i,i] *
(w[j] - q[j]*s)``: going from the last weight to the first, each is rounded where the errors made so far have moved it.
(Frantar et al., GPTQ, 2022, go the other way with the factor of the inverse of H; the result is the same, and this
needs no inverse. That it is Babai's method: Chen et al., The geometry of LLM quantization, 2025.)

Versions, slowest first: the naive twins, one weight at a time; the tasks, one vector lane per output and a tile of rows
at a time, whose sums stay in registers. All sums are float32 in a fixed order, products rounded before they are added,
so that the result has the same bits on every machine. That is precise enough: what float32 cannot hold of the second
moments is less than they are damped by, and a pivot that came out too small all the same is raised.
"""

from __future__ import annotations

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.simd import F32, I64, Emitter, _pointer, f32_view, i8_view, words

__all__ = ["cholesky", "cholesky_naive", "nearest_plane", "nearest_plane_naive"]

#: Columns and rows of a tile of sums.
LANES, ROWS = 32, 8
#: Rows of a factor that are taken off those below together: they fit into the second cache.
_PANEL = 128
#: Columns of a task.
_STRIP = 256
_VECTOR = 16
#: A squared pivot is at least this share of the entry that the diagonal had.
_LEAST = np.float32(1e-6)
_HALF, _MOST, _NONE = np.float32(0.5), np.float32(127), np.float32(0)


@intrinsic
def _subtract_products(typingctx, tile, tile_row, a, a_row, a_step, b, b_step, count):
    """``tile[r, :] -= a[r, k] * b[k, :]`` for k = 0 .. count - 1 in order, over ROWS rows of LANES float32.

    The arguments are addresses and steps in bytes, all int64; each product is rounded before it is subtracted.
    """

    def codegen(context, builder, sig, args):
        tile, tile_row, a, a_row, a_step, b, b_step, count = args
        emit = Emitter(builder, _VECTOR)
        places = [
            [
                emit.at(emit.pointer(builder.add(tile, builder.mul(tile_row, I64(r))), F32), _VECTOR * v)
                for v in range(LANES // _VECTOR)
            ]
            for r in range(ROWS)
        ]
        sums = [[emit.variable(emit.load(place)) for place in row] for row in places]
        with emit.loop(count) as k:
            along = emit.pointer(builder.add(b, builder.mul(b_step, k)), F32)
            vectors = [emit.load(emit.at(along, _VECTOR * v)) for v in range(LANES // _VECTOR)]
            here = builder.add(a, builder.mul(a_step, k))
            for r, row in enumerate(sums):
                at = builder.add(here, builder.mul(a_row, I64(r)))
                factor = emit.splat(emit.load_scalar(emit.pointer(at, F32), F32))
                for total, vector in zip(row, vectors, strict=True):
                    builder.store(builder.fsub(builder.load(total), builder.fmul(factor, vector)), total)
        for row, totals in zip(places, sums, strict=True):
            for place, total in zip(row, totals, strict=True):
                emit.store(builder.load(total), place)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), codegen


@inline
def _rounded(t):
    q = np.floor(abs(t) + _HALF)
    return np.copysign(min(q, _MOST), t)


@kernel
def cholesky_naive(h):
    # h: float32 (groups, K, K), symmetric positive definite; becomes R with R'R = h, upper triangular
    for g in range(h.shape[0]):
        for i in range(h.shape[1]):
            for j in range(h.shape[1]):
                if j < i:
                    h[g, i, j] = _NONE
                    continue
                total, least = h[g, i, j], h[g, i, j] * _LEAST
                for k in range(i):
                    total -= h[g, k, i] * h[g, k, j]
                h[g, i, j] = np.sqrt(max(total, least)) if j == i else total / h[g, i, i]


@inline
def _take_off(first, n, low, high, top, end, left, right):
    """``h[i, j] -= sum of h[k, i] * h[k, j]`` over k = low .. high - 1 in order.

    Rows are top .. end - 1, columns from i, or a few before, and ``left``, a multiple of LANES, to ``right`` - 1;
    ``first``: address of h. Rows are a multiple of ROWS, or go to the last; columns one of LANES, or so.
    """
    tiled = right // LANES * LANES
    banded = top + (end - top) // ROWS * ROWS
    for j in range(max(top // LANES * LANES, left), tiled, LANES):
        for i in range(top, min(banded, j + LANES), ROWS):
            _subtract_products(
                first + 4 * (n * i + j), 4 * n, first + 4 * (n * low + i), np.int64(4), 4 * n,
                first + 4 * (n * low + j), 4 * n, high - low,
            )  # fmt: skip
    for i in range(top if right > tiled else banded, end):
        row = f32_view(first + 4 * n * i, n)
        begin = max(tiled if i < banded else left, i)
        for k in range(low, high):
            above = f32_view(first + 4 * n * k, n)
            factor = above[i]
            for j in range(begin, right):
                row[j] -= factor * above[j]


@kernel
def _panel_task(op, index, scratch):
    # op words from ARGS on: addresses of h float32 (groups, K, K) and of the diagonals it had, float32 (groups, K); K,
    # the panel's first row. Task: within the panel, what the rows above take off a band, then row by row
    args = words(op, program.WORDS)[program.ARGS :]
    n, base = args[2], args[3]
    first, diagonal = args[0] + 4 * n * n * index, f32_view(args[1] + 4 * n * index, n)
    end = min(base + _PANEL, n)
    for top in range(base, end, ROWS):
        bottom = min(top + ROWS, end)
        _take_off(first, n, base, top, top, bottom, np.int64(0), n)
        for i in range(top, bottom):
            row = f32_view(first + 4 * n * i, n)
            for k in range(top, i):
                above = f32_view(first + 4 * n * k, n)
                factor = above[i]
                for j in range(i, n):
                    row[j] -= factor * above[j]
            root = np.sqrt(max(row[i], diagonal[i] * _LEAST))
            for j in range(i):
                row[j] = _NONE
            row[i] = root
            for j in range(i + 1, n):
                row[j] /= root


@kernel
def _below_task(op, index, scratch):
    # op words from ARGS on: as above, then how many strips of columns a matrix has. Task: what the panel takes off all
    # rows below it, in one strip
    args = words(op, program.WORDS)[program.ARGS :]
    n, base, strips = args[2], args[3], args[4]
    group, strip = index // strips, index % strips
    end, left = base + _PANEL, _STRIP * strip
    _take_off(args[0] + 4 * n * n * group, n, base, end, end, n, left, min(left + _STRIP, n))


def cholesky(h: np.ndarray) -> None:
    """Replace symmetric positive definite matrices by their upper factors R, ``R'R = h``.

    Each sum goes by rising rows, a panel of rows at a time.

    Parameters
    ----------
    h : float32 (groups, K, K)
        C-contiguous; overwritten. Only what is on and above the diagonal is read.
    """
    if not h.size:
        return
    groups, n = h.shape[:2]
    diagonal = np.einsum("gkk->gk", h).copy()
    strips, ops = -(-n // _STRIP), []
    for base in range(0, n, _PANEL):
        args = [program.data_address(h), program.data_address(diagonal), n, base]
        ops.append(program.new_op(_panel_task, groups, 0, args))
        if base + _PANEL < n:
            ops.append(program.new_op(_below_task, groups * strips, 0, [*args, strips]))
    program.run(np.concatenate(ops))


@kernel
def nearest_plane_naive(weights, factor, steps, codes, chosen, error):
    # weights: float32 (groups, rows, K); factor: float32 (groups, K, K); steps: float32 (groups, rows, trials);
    # codes: int8 (groups, rows, K); chosen: float32 (groups, rows); error: float32 (groups, rows)
    n = weights.shape[2]
    for g in range(weights.shape[0]):
        for row in range(weights.shape[1]):
            error[g, row] = np.float32(np.inf)
            for trial in range(steps.shape[2]):
                step = steps[g, row, trial]
                left = np.zeros(n, np.float32)
                q = np.zeros(n, np.float32)
                total = _NONE
                for i in range(n - 1, -1, -1):
                    moved = _NONE
                    for j in range(n - 1, i, -1):
                        moved += factor[g, i, j] * left[j]
                    target = weights[g, row, i] + moved / factor[g, i, i]
                    q[i] = _rounded(target / step) if step > 0 else _NONE
                    left[i] = weights[g, row, i] - q[i] * step
                    off = factor[g, i, i] * (target - q[i] * step)
                    total += off * off
                if total < error[g, row]:
                    error[g, row] = total
                    chosen[g, row] = steps[g, row, trial]
                    for i in range(n):
                        codes[g, row, i] = np.int8(q[i])


@kernel
def _plane_task(op, index, scratch):
    # op words from ARGS on: addresses of weights, factor, steps, codes, chosen, error (as in the naive twin); rows, K,
    # trials, lane blocks per group. Scratch: float32 (3, K, LANES): weights, what is left of them, codes; (ROWS + 3,
    # LANES): what the errors made so far move the weights of a band by, negative; totals, least totals, steps
    args = words(op, program.WORDS)[program.ARGS :]
    rows, n, trials, blocks = args[6], args[7], args[8], args[9]
    group, first = index // blocks, index % blocks * LANES
    lanes = min(np.int64(LANES), rows - first)
    weights = carray(_pointer(scratch, np.float32), (n, LANES))
    at_left, at_moved = scratch + 4 * n * LANES, scratch + 12 * n * LANES
    left = carray(_pointer(at_left, np.float32), (n, LANES))
    codes = carray(_pointer(scratch + 8 * n * LANES, np.float32), (n, LANES))
    moved = carray(_pointer(at_moved, np.float32), (ROWS, LANES))
    work = carray(_pointer(at_moved + 4 * ROWS * LANES, np.float32), (3, LANES))
    total, best, step = work[0], work[1], work[2]
    factor = args[1] + 4 * n * n * group
    for lane in range(LANES):
        row = group * rows + first + min(np.int64(lane), lanes - 1)
        source = f32_view(args[0] + 4 * n * row, n)
        best[lane] = np.float32(np.inf)
        for i in range(n):
            weights[i, lane] = source[i]
    for trial in range(trials):
        for lane in range(LANES):
            row = group * rows + first + min(np.int64(lane), lanes - 1)
            step[lane] = f32_view(args[2] + 4 * trials * row, trials)[trial]
            total[lane] = _NONE
        bottom = n
        while bottom > 0:
            # The odd rows come first, so that all other bands are whole.
            top = bottom - (n % ROWS if bottom == n and n % ROWS else ROWS)
            moved[:] = _NONE
            if bottom < n:
                _subtract_products(
                    at_moved, np.int64(4 * LANES), factor + 4 * (n * top + n - 1), 4 * n, np.int64(-4),
                    at_left + 4 * LANES * (n - 1), np.int64(-4 * LANES), n - bottom,
                )  # fmt: skip
            for i in range(bottom - 1, top - 1, -1):
                upper = f32_view(factor + 4 * n * i, n)
                mine = moved[i - top]
                for j in range(bottom - 1, i, -1):
                    along = upper[j]
                    for lane in range(LANES):
                        mine[lane] -= along * left[j, lane]
                pivot = upper[i]
                for lane in range(LANES):
                    target = weights[i, lane] - mine[lane] / pivot
                    q = _rounded(target / step[lane]) if step[lane] > 0 else _NONE
                    codes[i, lane] = q
                    left[i, lane] = weights[i, lane] - q * step[lane]
                    off = pivot * (target - q * step[lane])
                    total[lane] += off * off
            bottom = top
            # Errors only grow: what is no better now will not be.
            is_better = False
            for lane in range(lanes):
                is_better |= total[lane] < best[lane]
            if not is_better:
                break
        for lane in range(lanes):
            if total[lane] < best[lane]:
                best[lane] = total[lane]
                row = group * rows + first + lane
                f32_view(args[4] + 4 * row, 1)[0] = step[lane]
                f32_view(args[5] + 4 * row, 1)[0] = total[lane]
                target_codes = i8_view(args[3] + n * row, n)
                for i in range(n):
                    target_codes[i] = np.int8(codes[i, lane])


def nearest_plane(
    weights: np.ndarray, factor: np.ndarray, steps: np.ndarray, codes: np.ndarray, chosen: np.ndarray, error: np.ndarray
) -> None:
    """Round groups of weights with the step, of several, that gives the smallest error.

    Parameters
    ----------
    weights : float32 (groups, rows, K)
        C-contiguous, as are all others.
    factor : float32 (groups, K, K)
        Upper factors of the second moments of the inputs, diagonals above 0. The last weight is rounded first: sort the
        inputs so that the ones with the largest second moments come last.
    steps : float32 (groups, rows, trials)
        Steps to try, per row. A step of 0 gives codes 0.
    codes : int8 (groups, rows, K)
        Written: -127..127.
    chosen : float32 (groups, rows)
        Written: the step of each row; the first of equals.
    error : float32 (groups, rows)
        Written: ``(w - q*s)' H (w - q*s)`` of each row.
    """
    groups, rows, n = weights.shape
    if not weights.size:
        chosen[:] = 0
        error[:] = 0
        return
    blocks = -(-rows // LANES)
    arrays = [program.data_address(array) for array in (weights, factor, steps, codes, chosen, error)]
    scratch = 4 * LANES * (3 * n + ROWS + 3)
    program.run(program.new_op(_plane_task, groups * blocks, scratch, [*arrays, rows, n, steps.shape[2], blocks]))
