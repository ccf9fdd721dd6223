"""fp32 arithmetic element by element: activations of one array, sums and products of two.

Versions, slowest first: the naive twins, one scalar formula per element; the task functions, whose inner loops LLVM
vectorizes, on all threads. Every element is one fixed sequence of float32 operations, so the bits depend neither on the
blocks nor on the threads; against the twins an exponential may be off by one last bit.
"""

from __future__ import annotations

import math

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.elementary import bits_float, erf_f32, exp_f32, float_word
from tnnquant.kernels.jit import inline, kernel
from tnnquant.kernels.loops import first_row, loop_nest, loop_op
from tnnquant.kernels.simd import f32_view, load_words, prefer_wide_vectors

__all__ = [
    "ADD", "BOUND", "CLIP", "DIV", "ELU", "ERF", "EXP", "FAST_ERF", "FAST_GELU", "GATE", "GELU", "HARD_SIGMOID",
    "HARD_SWISH", "LOG", "LOG_SIGMOID", "MUL", "SELU", "SIGMOID", "SOFTPLUS", "SUB", "SWISH", "binary_f32_naive",
    "binary_f32_op", "map_f32_naive", "map_f32_op",
]  # fmt: skip

#: Functions of :func:`map_f32_op`: made of comparisons, of exponentials, of calls of the C library, of polynomials.
BOUND, CLIP, GATE, HARD_SWISH, HARD_SIGMOID = range(5)
SIGMOID, SWISH, ELU, SELU = range(5, 9)
EXP, LOG, LOG_SIGMOID, SOFTPLUS, ERF, GELU = range(9, 15)
FAST_ERF, FAST_GELU = range(15, 17)
#: Operations of :func:`binary_f32_op`.
ADD, SUB, MUL, DIV = range(4)

_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_GELU = np.float32(0.707106793288165)  # TNN's sqrt(1/2)
_address = program.data_address


# --- functions of one array ---


@kernel
def map_f32_naive(code, x, a, b, out):
    # code: int; x: float32 (n,); a, b: float32; out: float32 (n,)
    for i in range(x.size):
        v = x[i]
        if code == BOUND:  # of NaN: a
            v = v if v > a else a
            v = v if v < b else b
        elif code == CLIP:  # of NaN: b
            v = v if v < b else b
            v = a if v < a else v
        elif code in (GATE, HARD_SWISH):
            gate = v * a + b
            gate = _ONE if gate > _ONE else gate
            gate = _ZERO if gate < _ZERO else gate
            v = gate if code == GATE else v * gate
        elif code == HARD_SIGMOID:
            v = _ZERO if v <= -b / a else (v * a + b if v < (_ONE - b) / a else _ONE)
        elif code == SIGMOID:
            v = _ONE / (_ONE + math.exp(-v))
        elif code == SWISH:
            v = v / (_ONE + math.exp(-v))
        elif code == ELU:
            v = a * (math.exp(v) - _ONE) if v < _ZERO else v
        elif code == SELU:
            v = b * (a * math.exp(v) - a) if v <= _ZERO else b * v
        elif code == EXP:
            v = math.exp(v)
        elif code == LOG:
            v = math.log(v)
        elif code == LOG_SIGMOID:
            v = math.log(_ONE / (_ONE + math.exp(-v)))
        elif code == SOFTPLUS:
            v = math.log(math.exp(v) + _ONE)
        elif code in (ERF, FAST_ERF):
            v = math.erf(v)
        else:
            v = np.float32(np.float64(_HALF * v) * (math.erf(np.float64(v * _GELU)) + 1.0))
        out[i] = v


# One loop per function: a test inside it would keep LLVM from vectorizing. One task per family: only what a model needs
# is compiled.


@kernel
def _comparison_row(code, x, a, b, out):
    # x, out: float32 (n,); a, b: float32
    n = x.size
    if code == BOUND:
        for i in range(n):
            v = x[i] if x[i] > a else a
            out[i] = v if v < b else b
    elif code == CLIP:
        for i in range(n):
            v = x[i] if x[i] < b else b
            out[i] = a if v < a else v
    elif code == GATE:
        for i in range(n):
            gate = x[i] * a + b
            gate = _ONE if gate > _ONE else gate
            out[i] = _ZERO if gate < _ZERO else gate
    elif code == HARD_SWISH:
        for i in range(n):
            gate = x[i] * a + b
            gate = _ONE if gate > _ONE else gate
            out[i] = x[i] * (_ZERO if gate < _ZERO else gate)
    else:
        low, high = -b / a, (_ONE - b) / a
        for i in range(n):
            v = x[i] * a + b if x[i] < high else _ONE
            out[i] = _ZERO if x[i] <= low else v


@kernel
def _exponential_row(code, x, a, b, out):
    # x, out: float32 (n,); a, b: float32
    prefer_wide_vectors()
    n = x.size
    if code == SIGMOID:
        for i in range(n):
            out[i] = _ONE / (_ONE + exp_f32(-x[i]))
    elif code == SWISH:
        for i in range(n):
            out[i] = x[i] / (_ONE + exp_f32(-x[i]))
    elif code == ELU:
        for i in range(n):
            v = a * (exp_f32(x[i]) - _ONE)
            out[i] = v if x[i] < _ZERO else x[i]
    else:
        for i in range(n):
            v = b * (a * exp_f32(x[i]) - a)
            out[i] = v if x[i] <= _ZERO else b * x[i]


@kernel
def _library_row(code, x, a, b, out):
    # x, out: float32 (n,); a, b: not read. The functions of the C library are those that TNN calls
    n = x.size
    if code == EXP:
        for i in range(n):
            out[i] = math.exp(x[i])
    elif code == LOG:
        for i in range(n):
            out[i] = math.log(x[i])
    elif code == LOG_SIGMOID:
        for i in range(n):
            out[i] = math.log(_ONE / (_ONE + math.exp(-x[i])))
    elif code == SOFTPLUS:
        for i in range(n):
            out[i] = math.log(math.exp(x[i]) + _ONE)
    elif code == ERF:
        for i in range(n):
            out[i] = math.erf(x[i])
    else:
        for i in range(n):
            out[i] = np.float32(np.float64(_HALF * x[i]) * (math.erf(np.float64(x[i] * _GELU)) + 1.0))


@kernel
def _polynomial_row(code, x, a, b, out):
    # x, out: float32 (n,); a, b: not read
    prefer_wide_vectors()
    n = x.size
    if code == FAST_ERF:
        for i in range(n):
            out[i] = erf_f32(x[i])
    else:
        for i in range(n):
            out[i] = _HALF * x[i] * (_ONE + erf_f32(x[i] * _GELU))


@inline
def _each_row(op, index, function):
    # op words: see loop_op; arrays out, x; parameters code, a, b (float32 bits). function: of (code, x, a, b, out)
    args = load_words(op + 8 * program.ARGS, 16)
    o, r, count, c, n = first_row(args[:5], index)
    a, b = bits_float(np.int32(args[14])), bits_float(np.int32(args[15]))
    for _ in range(count):
        out = f32_view(args[5] + o * args[6] + r * args[7] + 4 * c, n)
        function(args[13], f32_view(args[9] + o * args[10] + r * args[11] + 4 * c, n), a, b, out)
        r += 1
        if r == args[1]:
            o, r = o + 1, np.int64(0)


@kernel
def _comparison_task(op, index, scratch):
    # op words: see _each_row
    _each_row(op, index, _comparison_row)


@kernel
def _exponential_task(op, index, scratch):
    # op words: see _each_row
    prefer_wide_vectors()
    _each_row(op, index, _exponential_row)


@kernel
def _library_task(op, index, scratch):
    # op words: see _each_row
    _each_row(op, index, _library_row)


@kernel
def _polynomial_task(op, index, scratch):
    # op words: see _each_row
    prefer_wide_vectors()
    _each_row(op, index, _polynomial_row)


def map_f32_op(code: int, x: np.ndarray, a: float, b: float, out: np.ndarray) -> np.ndarray | None:
    """The op of a function of every element.

    Parameters
    ----------
    code : int
        Comparisons: :data:`BOUND` min(b, max(a, x)), a where x is NaN; :data:`CLIP` max(a, min(b, x)), max(a, b) where
        x is NaN; :data:`GATE` max(min(x * a + b, 1), 0); :data:`HARD_SWISH` x times that; :data:`HARD_SIGMOID` 0 up to
        -b / a, 1 from (1 - b) / a on, x * a + b between. Exponentials: :data:`SIGMOID` 1 / (1 + exp(-x)); :data:`SWISH`
        x / (1 + exp(-x)); :data:`ELU` x, below 0 a * (exp(x) - 1); :data:`SELU` b * x, up to 0 b * (a * exp(x) - a).
        The C library: :data:`EXP`, :data:`LOG`, :data:`LOG_SIGMOID` log(1 / (1 + exp(-x))), :data:`SOFTPLUS`
        log(exp(x) + 1), :data:`ERF`; :data:`GELU` x / 2 * (erf(x / sqrt(2)) + 1), from erf on in double, as in TNN.
        Polynomials: :data:`FAST_ERF` within 2 ulp, :data:`FAST_GELU` of it, in float32 throughout.
    x : float32, not empty
    a, b : float
        Parameters of the function, rounded to float32.
    out : float32, of the same shape

    Returns
    -------
    int64 (1, WORDS), or None
        None: the strides of the arrays do not allow it. The arrays must stay alive.
    """
    nest = loop_nest(out, x)
    firsts = ((FAST_ERF, _polynomial_task), (EXP, _library_task), (SIGMOID, _exponential_task), (0, _comparison_task))
    task = next(task for first, task in firsts if code >= first)
    return nest and loop_op(task, [_address(out), _address(x)], nest, code, float_word(a), float_word(b))


# --- operations of two arrays ---


@kernel
def binary_f32_naive(code, a, b, out):
    # code: int; a, b, out: float32 (outer, rows, columns), any strides
    for o in range(out.shape[0]):
        for r in range(out.shape[1]):
            for c in range(out.shape[2]):
                u, v = a[o, r, c], b[o, r, c]
                if code == ADD:
                    out[o, r, c] = u + v
                elif code == SUB:
                    out[o, r, c] = u - v
                elif code == MUL:
                    out[o, r, c] = u * v
                else:
                    out[o, r, c] = u / v


@kernel
def _two_rows(code, a, b, out):
    # a, b, out: float32 (n,)
    n = out.size
    if code == ADD:
        for i in range(n):
            out[i] = a[i] + b[i]
    elif code == SUB:
        for i in range(n):
            out[i] = a[i] - b[i]
    elif code == MUL:
        for i in range(n):
            out[i] = a[i] * b[i]
    else:
        for i in range(n):
            out[i] = a[i] / b[i]


@kernel
def _row_and_scalar(code, a, v, out):
    # a, out: float32 (n,); v: float32
    n = out.size
    if code == ADD:
        for i in range(n):
            out[i] = a[i] + v
    elif code == SUB:
        for i in range(n):
            out[i] = a[i] - v
    elif code == MUL:
        for i in range(n):
            out[i] = a[i] * v
    else:
        for i in range(n):
            out[i] = a[i] / v


@kernel
def _scalar_and_row(code, u, b, out):
    # u: float32; b, out: float32 (n,); _row_and_scalar does sums and products
    n = out.size
    if code == SUB:
        for i in range(n):
            out[i] = u - b[i]
    else:
        for i in range(n):
            out[i] = u / b[i]


@kernel
def _rows_task(op, index, scratch):
    # op words: see loop_op; arrays out, a, b, contiguous along the columns; parameter code
    args = load_words(op + 8 * program.ARGS, 18)
    o, r, count, c, n = first_row(args[:5], index)
    for _ in range(count):
        a = f32_view(args[9] + o * args[10] + r * args[11] + 4 * c, n)
        b = f32_view(args[13] + o * args[14] + r * args[15] + 4 * c, n)
        _two_rows(args[17], a, b, f32_view(args[5] + o * args[6] + r * args[7] + 4 * c, n))
        r += 1
        if r == args[1]:
            o, r = o + 1, np.int64(0)


@kernel
def _scalars_task(op, index, scratch):
    # op words: see loop_op; arrays out, a, b, of which a or b is one value along the columns; parameter code
    args = load_words(op + 8 * program.ARGS, 18)
    o, r, count, c, n = first_row(args[:5], index)
    code = args[17]
    for _ in range(count):
        out = f32_view(args[5] + o * args[6] + r * args[7] + 4 * c, n)
        a = args[9] + o * args[10] + r * args[11] + c * args[12]
        b = args[13] + o * args[14] + r * args[15] + c * args[16]
        if args[16] == 0:
            _row_and_scalar(code, f32_view(a, n), f32_view(b, 1)[0], out)
        elif code in (ADD, MUL):
            _row_and_scalar(code, f32_view(b, n), f32_view(a, 1)[0], out)
        else:
            _scalar_and_row(code, f32_view(a, 1)[0], f32_view(b, n), out)
        r += 1
        if r == args[1]:
            o, r = o + 1, np.int64(0)


def binary_f32_op(code: int, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray | None:
    """The op of ``a + b``, ``a - b``, ``a * b`` or ``a / b``.

    Parameters
    ----------
    code : int
        :data:`ADD`, :data:`SUB`, :data:`MUL`, :data:`DIV`.
    a, b : float32
        NumPy must be able to broadcast them to ``out``; at least one has its shape.
    out : float32, not empty

    Returns
    -------
    int64 (1, WORDS), or None
        None: the strides of the arrays do not allow it. The arrays must stay alive.
    """
    a, b = np.broadcast_to(a, out.shape), np.broadcast_to(b, out.shape)
    nest = loop_nest(out, a, b)
    if nest is None:
        return None
    repeated = [steps[2] == 0 for steps in nest[1][1:]]
    if all(repeated):
        return None
    task = _scalars_task if any(repeated) else _rows_task
    return loop_op(task, [_address(out), _address(a), _address(b)], nest, code)
