"""fp32 LSTM, gates in the order I, O, F, C.

Versions, slowest first:

* :func:`lstm_f32_naive`: TNN's loops; the reference.
* :func:`lstm_f32`: the products with the inputs of all steps at once, as one matrix product per direction; then every
  task takes a few sequences of one direction through all steps, with the tiles of :mod:`~tnnquant.kernels.tile_f32` for
  the products with the state. Sequences and directions are all the parallelism there is: a step needs the one before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.elementary import exp_f32
from tnnquant.kernels.gemm_f32 import gemm_f32_op
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.pack_f32 import PackedConv, pack_inner_product_f32
from tnnquant.kernels.simd import f32_view, fill_zero, words
from tnnquant.kernels.tile_f32 import PANEL, ROWS, tile_f32

__all__ = ["PackedLstm", "lstm_f32", "lstm_f32_naive", "pack_lstm_f32"]

_WIDE = 4  # panels at once for a single sequence, whose step is bound by reading weights
_tile_full, _tile_wide = tile_f32(ROWS, 2), tile_f32(1, 2 * _WIDE)
_ONE = np.float32(1)
# tanh(x) = x + x**3 * P(x**2) for |x| < 0.625: Cephes, tanhf.c
_NEAR = np.float32(0.625)
_P0, _P1, _P2 = np.float32(-5.70498872745e-3), np.float32(2.06390887954e-2), np.float32(-5.37397155531e-2)
_P3, _P4 = np.float32(1.33314422036e-1), np.float32(-3.33332819422e-1)


@inline
def _sigmoid(x):
    return _ONE / (_ONE + exp_f32(-x))


@inline
def _tanh(x):
    size = -x if x < np.float32(0) else x
    z = exp_f32(np.float32(-2) * size)
    far = (_ONE - z) / (_ONE + z)
    far = -far if x < np.float32(0) else far
    s = x * x
    near = ((((_P0 * s + _P1) * s + _P2) * s + _P3) * s + _P4) * s * x + x
    return near if size < _NEAR else far


@kernel
def lstm_f32_naive(x, w, r, b, reverse, h, c, y):
    # x: (T, B, I); w: (dirs, 4*H, I); r: (dirs, 4*H, H); b: (dirs, 8*H), of w, then of r; reverse: bool (dirs,);
    # h, c: (dirs, B, H), the state, changed; y: (T, B, dirs*H); all float32
    steps, batch, length = x.shape
    hidden = h.shape[2]
    gates = np.empty(4 * hidden, np.float32)
    for d in range(h.shape[0]):
        for step in range(steps):
            t = steps - 1 - step if reverse[d] else step
            for n in range(batch):
                for g in range(4 * hidden):
                    total = b[d, g] + b[d, 4 * hidden + g]
                    for i in range(length):
                        total += w[d, g, i] * x[t, n, i]
                    for i in range(hidden):
                        total += r[d, g, i] * h[d, n, i]
                    gates[g] = total
                for q in range(hidden):
                    enter = 1 / (1 + np.exp(-np.float64(gates[q])))
                    leave = 1 / (1 + np.exp(-np.float64(gates[hidden + q])))
                    keep = 1 / (1 + np.exp(-np.float64(gates[2 * hidden + q])))
                    cell = np.tanh(np.float64(gates[3 * hidden + q]))
                    c[d, n, q] = np.float32(keep) * c[d, n, q] + np.float32(enter) * np.float32(cell)
                    h[d, n, q] = np.float32(leave * np.tanh(np.float64(c[d, n, q])))
                    y[t, n, d * hidden + q] = h[d, n, q]


class PackedLstm(NamedTuple):
    """Weights of an LSTM.

    Attributes
    ----------
    inputs : tuple of PackedConv
        Of each direction: the weights (4*H, I) with both biases.
    states : float32 (dirs, panels, H, PANEL)
        Of each direction the recurrent weights, panels rounded up to a multiple of 4.
    """

    inputs: tuple[PackedConv, ...]
    states: np.ndarray


def pack_lstm_f32(w: np.ndarray, r: np.ndarray, b: np.ndarray) -> PackedLstm:
    """Pack the weights of an LSTM.

    Parameters
    ----------
    w : float32 (dirs, 4*H, I)
    r : float32 (dirs, 4*H, H)
    b : float32 (dirs, 8*H)
        The biases of ``w``, then those of ``r``.
    """
    dirs, count, hidden = r.shape
    inputs = tuple(pack_inner_product_f32(w[d], b[d, :count] + b[d, count:]) for d in range(dirs))
    panels = -(-count // (PANEL * _WIDE)) * _WIDE
    padded = np.zeros((dirs, panels * PANEL, hidden), np.float32)
    padded[:, :count] = r
    states = np.ascontiguousarray(padded.reshape(dirs, panels, PANEL, hidden).transpose(0, 1, 3, 2))
    return PackedLstm(inputs, states)


@kernel
def _update(hidden, products, gates, cell, state, out):
    # products, gates: float32 (4*hidden,), to be added; cell, state, out: float32 (hidden,), written
    for q in range(hidden):
        enter = _sigmoid(gates[q] + products[q])
        leave = _sigmoid(gates[hidden + q] + products[hidden + q])
        keep = _sigmoid(gates[2 * hidden + q] + products[2 * hidden + q])
        new = _tanh(gates[3 * hidden + q] + products[3 * hidden + q])
        value = keep * cell[q] + enter * new
        cell[q] = value
        value = leave * _tanh(value)
        state[q] = value
        out[q] = value


@kernel
def _lstm_task(op, index, scratch):
    # op words from ARGS on: see lstm_f32. Task: up to ``block`` sequences of one direction, all steps.
    args = words(op, program.WORDS)[program.ARGS :]
    steps, batch, hidden, dirs, block, reversed_from = args[0], args[1], args[2], args[3], args[4], args[5]
    gates, states, panels, h, c, y = args[6], args[7], args[8], args[9], args[10], args[11]
    blocks = (batch + block - 1) // block
    d = index // blocks
    first = (index - d * blocks) * block
    count = min(block, batch - first)
    width = 4 * hidden
    # scratch: one offset (0, the only tap), a bias of zeros, the table of rows, the products
    bias = scratch + 64
    table = bias + 2 * _WIDE * PANEL * 4
    products = table + 8 * ROWS
    words(scratch, 1)[0] = 0
    fill_zero(bias, np.int64(2 * _WIDE * PANEL * 4))
    rows = words(table, ROWS)
    state = h + (d * batch + first) * hidden * 4
    cell = c + (d * batch + first) * hidden * 4
    for n in range(ROWS):
        rows[n] = state + min(np.int64(n), count - 1) * hidden * 4
    panel_bytes = hidden * (PANEL * 4)
    weights = states + d * panels * panel_bytes
    one, none = np.int64(1), np.int64(0)
    for step in range(steps):
        t = steps - 1 - step if d >= reversed_from else step
        if count == 1:
            for p in range(0, panels, _WIDE):
                n = min(np.int64(_WIDE * PANEL), width - p * PANEL)
                _tile_wide(table, scratch, one, hidden, weights + p * panel_bytes, panel_bytes, bias,
                           products + p * (PANEL * 4), width * 4, one, n, none)  # fmt: skip
        else:
            for p in range((width + PANEL - 1) // PANEL):
                n = min(np.int64(PANEL), width - p * PANEL)
                _tile_full(table, scratch, one, hidden, weights + p * panel_bytes, none, bias,
                           products + p * (PANEL * 4), width * 4, count, n, none)  # fmt: skip
        for n in range(count):
            _update(
                hidden,
                f32_view(products + n * width * 4, width),
                f32_view(gates + (((d * steps + t) * batch + first + n) * width) * 4, width),
                f32_view(cell + n * hidden * 4, hidden),
                f32_view(state + n * hidden * 4, hidden),
                f32_view(y + (((t * batch + first + n) * dirs + d) * hidden) * 4, hidden),
            )


def lstm_f32(
    x: np.ndarray, packed: PackedLstm, reverse: bool, h: np.ndarray, c: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Run an LSTM over sequences.

    ``I, O, F = sigmoid(W x + R h + b)``, ``C = tanh(...)``; ``c = F*c + I*C``; ``h = O*tanh(c)``; ``y[t] = h``.

    Parameters
    ----------
    x : float32 (T, B, I)
        C-contiguous.
    packed : PackedLstm
        Of :func:`pack_lstm_f32`; its second direction, if there is one, runs from the last step to the first.
    reverse : bool
        Whether the only direction does.
    h, c : float32 (dirs, B, H)
        Initial states, replaced by the final ones; C-contiguous.
    y : float32 (T, B, dirs*H)
        Written and returned; C-contiguous.
    """
    steps, batch, _ = x.shape
    dirs, _, hidden = h.shape
    gates = np.empty((dirs, steps * batch, 4 * hidden), np.float32)
    rows = [
        gemm_f32_op(x.reshape(steps * batch, -1), weights, 0, gates[d]) for d, weights in enumerate(packed.inputs)
    ]
    block = min(max(-(-batch // 4), 1), ROWS)
    reversed_from = 1 if dirs > 1 else int(not reverse)
    scratch = 64 + 2 * _WIDE * PANEL * 4 + 8 * ROWS + block * 4 * hidden * 4
    address = program.data_address
    args = [
        steps, batch, hidden, dirs, block, reversed_from,
        address(gates), address(packed.states), packed.states.shape[1], address(h), address(c), address(y),
    ]  # fmt: skip
    rows.append(program.new_op(_lstm_task, dirs * -(-batch // block), scratch, args))
    program.run(np.concatenate(rows))
    return y
