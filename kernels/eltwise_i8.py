"""Elementwise int8 steps with TNN's binary32 arithmetic (docs/tnn-format.md, 6.1, 6.2 and 6.5): quantize, dequantize,
Add, the rescaling Concat, ReLU, copies into a slice of channels, and floats that get a bias and a border on their way
to int8.

Versions, slowest first: the ``*_naive`` twins; one vectorized task over rows of channels. Images with few channels are
seen as rows of several pixels, so that a row always fills vectors; the parameters are repeated to the same length.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.conv_i8 import round_to_i8
from tnnquant.kernels.geometry import pixel_stride
from tnnquant.kernels.jit import Intrinsic, kernel
from tnnquant.kernels.results_i8 import emit_round
from tnnquant.kernels.simd import F32, I8, I32, I64, load_word, load_words, store_word, sweep
from tnnquant.kernels.target import isa

__all__ = [
    "Scales",
    "add_i8",
    "add_i8_naive",
    "add_i8_op",
    "bordered_i8",
    "bordered_i8_naive",
    "bordered_i8_ops",
    "copy_i8",
    "copy_i8_op",
    "dequantize_i8",
    "dequantize_i8_naive",
    "dequantize_i8_op",
    "quantize_i8",
    "quantize_i8_naive",
    "quantize_i8_op",
    "relu_i8",
    "relu_i8_op",
    "rescale_i8",
    "rescale_i8_op",
]

_LANES = isa().lanes
_QUANTIZE, _DEQUANTIZE, _SUM, _RELU, _COPY, _MOVE = range(6)


class Scales(NamedTuple):
    """``real = scale * (q - zero_point)``; float32 (n,) and int8 (n,), n = 1 or the channel count."""

    scale: np.ndarray
    zero_point: np.ndarray


@kernel
def quantize_i8_naive(x, scale, zero, out):
    # x: float32 (P, C); scale: float32 (C,); zero: int8 (C,); out: int8 (P, C)
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            if scale[c] != 0:
                out[p, c] = round_to_i8(x[p, c] / scale[c] + np.float32(zero[c]))
            else:
                out[p, c] = 0


@kernel
def bordered_i8_naive(x, bias, scale, zero, top, left, out):
    # x: float32 (H, W, C); bias, scale: float32 (C,); zero: int8 (C,); top, left: int, rows above and columns before x;
    # out: int8 (rows, columns, C), written
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            y, z = row - top, column - left
            within = 0 <= y < x.shape[0] and 0 <= z < x.shape[1]
            for c in range(x.shape[2]):
                value = x[y, z, c] + bias[c] if within else bias[c]
                if scale[c] != 0:
                    out[row, column, c] = round_to_i8(value / scale[c] + np.float32(zero[c]))
                else:
                    out[row, column, c] = 0


@kernel
def dequantize_i8_naive(x, scale, zero, out):
    # x: int8 (P, C); scale: float32 (C,); zero: int8 (C,); out: float32 (P, C)
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[p, c] = scale[c] * np.float32(np.int32(x[p, c]) - np.int32(zero[c]))


@kernel
def add_i8_naive(x, scale, zero, scale_out, zero_out, out):
    # x: int8 (operands, P, C); scale: float32 (operands, C); zero: int8 (operands, C); scale_out: float32 (C,);
    # zero_out: int8 (C,); out: int8 (P, C)
    for p in range(out.shape[0]):
        for c in range(out.shape[1]):
            total = scale[0, c] * np.float32(np.int32(x[0, p, c]) - np.int32(zero[0, c]))
            for i in range(1, x.shape[0]):
                total += scale[i, c] * np.float32(np.int32(x[i, p, c]) - np.int32(zero[i, c]))
            out[p, c] = round_to_i8(total / scale_out[c] + np.float32(zero_out[c]))


def _to_i8(emit, integers):
    return emit.builder.trunc(integers, ir.VectorType(I8, emit.lanes))


def _dequantized(emit, pointer, scale, zero):
    """``scale * f32(q - zero)`` of a vector; zero is float32: the difference of two small integers is exact in it."""
    builder = emit.builder
    value = builder.sext(emit.load(pointer, ir.VectorType(I8, emit.lanes)), ir.VectorType(I32, emit.lanes))
    return builder.fmul(scale, builder.fsub(builder.sitofp(value, emit.vector), zero))


def _row(kind: int) -> Intrinsic:
    """An intrinsic for one row: ``row(operands, count, params, stride, elements, out)``, all int64.

    operands: int64 (count, 2), where each operand begins (the second word is not read); params: float32 rows ``stride``
    bytes apart: scale and zero point of each operand, then of the output; out: where the result begins.
    """

    @intrinsic
    def row(typingctx, operands, count, params, stride, elements, out):
        def codegen(context, builder, sig, args):
            operands, count, params, stride, elements, out = args
            table = builder.inttoptr(operands, I64.as_pointer())
            zero = I64(0)

            def body(emit, at):
                def param(which):
                    start = emit.pointer(builder.add(params, builder.mul(which, stride)), F32)
                    return emit.load(emit.at(start, at))

                def operand(i, element):
                    address = builder.load(emit.at(table, builder.mul(i, I64(2))))
                    return emit.at(emit.pointer(address, element), at)

                emit.store(_step(kind, emit, param, operand, count, zero), emit.at(emit.pointer(out, _OUT[kind]), at))

            sweep(builder, elements, (2 * _LANES,), F32, body)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), codegen

    return row


def _step(kind, emit, param, operand, count, zero):
    """The result of one vector: ``param(which)`` and ``operand(i, element)`` load at its position."""
    builder, one = emit.builder, I64(1)
    if kind in (_QUANTIZE, _MOVE):
        scale, value = param(zero), emit.load(operand(zero, F32))
        if kind == _MOVE:
            value = builder.fadd(value, param(I64(2)))
        rounded = emit_round(emit, builder.fadd(builder.fdiv(value, scale), param(one)))
        is_dead = builder.fcmp_ordered("==", scale, emit.constant(0.0))
        return _to_i8(emit, builder.select(is_dead, emit.constant(0, I32), rounded))
    if kind == _DEQUANTIZE:
        return _dequantized(emit, operand(zero, I8), param(zero), param(one))
    if kind == _SUM:
        total = emit.variable(_dequantized(emit, operand(zero, I8), param(zero), param(one)))
        with emit.loop(builder.sub(count, one)) as i:
            i = builder.add(i, one)
            row = builder.mul(i, I64(2))
            term = _dequantized(emit, operand(i, I8), param(row), param(builder.add(row, one)))
            builder.store(builder.fadd(builder.load(total), term), total)
        row = builder.mul(count, I64(2))
        shifted = builder.fadd(builder.fdiv(builder.load(total), param(row)), param(builder.add(row, one)))
        return _to_i8(emit, emit_round(emit, shifted))
    value = emit.load(operand(zero, I8), ir.VectorType(I8, emit.lanes))
    if kind == _RELU:
        nothing = emit.constant(0, I8)
        value = builder.select(builder.icmp_signed(">", value, nothing), value, nothing)
    return value


_OUT = {_QUANTIZE: I8, _DEQUANTIZE: F32, _SUM: I8, _RELU: I8, _COPY: I8, _MOVE: I8}
_quantize_row, _dequantize_row, _sum_row, _relu_row, _copy_row, _move_row = (_row(kind) for kind in _OUT)


@kernel
def _rows_task(op, index, scratch):
    # op words from ARGS on: see _row_op
    rows, length, last_length, block, out, out_step, params, stride, count, kind = load_words(op + 8 * program.ARGS, 10)
    pairs = op + 8 * (program.ARGS + 10)
    for row in range(index * block, min((index + 1) * block, rows)):
        for i in range(0, 16 * count, 16):
            store_word(scratch + i, load_word(pairs + i) + row * load_word(pairs + i + 8))
        to = out + row * out_step
        elements = last_length if row == rows - 1 else length
        if kind == _QUANTIZE:
            _quantize_row(scratch, count, params, stride, elements, to)
        elif kind == _DEQUANTIZE:
            _dequantize_row(scratch, count, params, stride, elements, to)
        elif kind == _SUM:
            _sum_row(scratch, count, params, stride, elements, to)
        elif kind == _RELU:
            _relu_row(scratch, count, params, stride, elements, to)
        elif kind == _MOVE:
            _move_row(scratch, count, params, stride, elements, to)
        else:
            _copy_row(scratch, count, params, stride, elements, to)


class _Rows(NamedTuple):
    rows: int
    length: int
    last: int
    pixels: int


def _as_rows(arrays: list[np.ndarray]) -> _Rows:
    """How to walk over the arrays: one pixel per row, or, where all are contiguous, enough pixels to fill vectors."""
    images, height, width, channels = arrays[0].shape
    total = images * height * width
    together = 1
    if channels < 16 * _LANES and all(pixel_stride(a) == channels for a in arrays):
        together = min(-(-64 * _LANES // channels), total)
    rows = -(-total // together)
    return _Rows(rows, together * channels, (total - (rows - 1) * together) * channels, together)


def _block(rows: int, length: int) -> int:
    """Rows of a task: some 8 tasks, but no tiny ones."""
    return max(1, min(-(-rows // 8), 16384 // max(length, 1) + 1))


def _row_op(kind: int, operands: list[np.ndarray], params: np.ndarray | None, out: np.ndarray) -> np.ndarray:
    """The op of an elementwise step; ``params`` comes from :func:`_parameters` and must stay alive."""
    shape = _as_rows([*operands, out])
    block = _block(shape.rows, shape.length)
    args = [
        shape.rows, shape.length, shape.last, block,
        program.data_address(out), shape.pixels * pixel_stride(out) * out.itemsize,
        program.data_address(params), 0 if params is None else params.strides[0], len(operands), kind,
    ]  # fmt: skip
    for operand in operands:
        args += [program.data_address(operand), shape.pixels * pixel_stride(operand) * operand.itemsize]
    return program.new_op(_rows_task, -(-shape.rows // block), 16 * len(operands), args)


def _parameters(arrays: list[np.ndarray], scales: list[Scales]) -> np.ndarray:
    """float32 (2 * len(scales), elements of a row): scale and zero point of each, repeated pixel by pixel."""
    channels = arrays[0].shape[3]
    pixels = _as_rows(arrays).pixels
    table = np.empty((2 * len(scales), pixels * channels), np.float32)
    for index, (scale, zero_point) in enumerate(scales):
        table[2 * index] = np.tile(np.broadcast_to(np.asarray(scale, np.float32), (channels,)), pixels)
        table[2 * index + 1] = np.tile(np.broadcast_to(np.asarray(zero_point, np.float32), (channels,)), pixels)
    return table


def _run(op_and_params: tuple[np.ndarray, np.ndarray]) -> None:
    program.run(op_and_params[0])


def quantize_i8_op(x: np.ndarray, to: Scales, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The op of :func:`quantize_i8` and the table it reads; both and the arrays must stay alive."""
    params = _parameters([x, out], [to])
    return _row_op(_QUANTIZE, [x], params, out), params


def quantize_i8(x: np.ndarray, to: Scales, out: np.ndarray) -> np.ndarray:
    """``q = f2i8(f32(x / scale) + zero_point)``, 0 where the scale is 0; a true division, as in TNN.

    Parameters
    ----------
    x : float32 (N, H, W, C)
        C-contiguous, or a slice of channels; likewise all arrays of this module.
    to : Scales
    out : int8 (N, H, W, C)
        Written and returned.
    """
    _run(quantize_i8_op(x, to, out))
    return out


def bordered_i8_ops(
    x: np.ndarray, bias: np.ndarray, to: Scales, corner: tuple[int, int], out: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The ops of :func:`bordered_i8` and what they read; these and the arrays must stay alive."""
    height, width, channels = x.shape[1:]
    row, inner, outer = width * channels, out[:, corner[0] :, corner[1] :], out.shape[2] * channels
    params = np.empty((3, row), np.float32)
    for at, values in enumerate((to.scale, to.zero_point, bias)):
        params[at] = np.tile(np.broadcast_to(np.asarray(values, np.float32), (channels,)), width)
    edge = np.zeros((1, 1, 1, channels), np.float32) + np.asarray(bias, np.float32)
    codes = quantize_i8(edge, to, np.empty(edge.shape, np.int8)).reshape(-1)
    keep, ops = [params], []
    for image in range(len(x)):
        ops.append(_plane_op(_MOVE, height, row, x[image], 4 * row, params, inner[image], outer))
        before, after = corner[1] * channels, outer - row - corner[1] * channels
        spans = [  # of whole rows: where they begin, how many, values of each
            (0, corner[0], outer), ((corner[0] + height) * outer, out.shape[1] - height - corner[0], outer),
            (corner[0] * outer, height, before), (corner[0] * outer + before + row, height, after),
        ]  # fmt: skip
        flat = out[image].reshape(-1)
        for first, count, length in spans:
            if count * length:
                line = np.tile(codes, length // channels)
                keep.append(line)
                ops.append(_plane_op(_COPY, count, length, line, 0, None, flat[first:], outer))
    return np.concatenate(ops), keep


def _plane_op(
    kind: int, rows: int, length: int, x: np.ndarray, x_step: int, params: np.ndarray | None, out: np.ndarray, step: int
) -> np.ndarray:
    """An op over rows of ``length`` values, ``x_step`` bytes apart in ``x`` and ``step`` in ``out``."""
    block = _block(rows, length)
    args = [
        rows, length, length, block, program.data_address(out), step, program.data_address(params),
        0 if params is None else params.strides[0], 1, kind, program.data_address(x), x_step,
    ]  # fmt: skip
    return program.new_op(_rows_task, -(-rows // block), 16, args)


def bordered_i8(x: np.ndarray, bias: np.ndarray, to: Scales, corner: tuple[int, int], out: np.ndarray) -> np.ndarray:
    """``q = f2i8(f32(f32(x + bias) / scale) + zero_point)`` within a border that is what 0 would be.

    Parameters
    ----------
    x : float32 (N, H, W, C)
        C-contiguous.
    bias : float32 (C,)
    to : Scales
    corner : (int, int)
        Rows above x, columns on its left.
    out : int8 (N, OH, OW, C)
        C-contiguous; written and returned.
    """
    ops, keep = bordered_i8_ops(x, bias, to, corner, out)
    program.run(ops)
    del keep
    return out


def dequantize_i8_op(x: np.ndarray, source: Scales, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The op of :func:`dequantize_i8` and the table it reads; both and the arrays must stay alive."""
    params = _parameters([x, out], [source])
    return _row_op(_DEQUANTIZE, [x], params, out), params


def dequantize_i8(x: np.ndarray, source: Scales, out: np.ndarray) -> np.ndarray:
    """``scale * f32(q - zero_point)``, as in TNN.

    Parameters
    ----------
    x : int8 (N, H, W, C)
    source : Scales
    out : float32 (N, H, W, C)
        Written and returned.
    """
    _run(dequantize_i8_op(x, source, out))
    return out


def add_i8_op(
    operands: list[np.ndarray], scales: list[Scales], to: Scales, out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The op of :func:`add_i8` and the table it reads; both and the arrays must stay alive."""
    params = _parameters([*operands, out], [*scales, to])
    return _row_op(_SUM, operands, params, out), params


def add_i8(operands: list[np.ndarray], scales: list[Scales], to: Scales, out: np.ndarray) -> np.ndarray:
    """Quantized Add: ``f2i8(f32((s0*f32(x0-z0) + s1*f32(x1-z1) + ...) / s_out) + z_out)``, every step in binary32.

    Parameters
    ----------
    operands : list of int8 (N, H, W, C), 1 to 8 of the same shape
    scales : list of Scales, one per operand
        TNN decides by input 0 whether one scale or C are used for all; the caller applies that rule.
    to : Scales
    out : int8 (N, H, W, C)
        Written and returned. 0 / 0 gives 127, as in TNN.
    """
    _run(add_i8_op(operands, scales, to, out))
    return out


def rescale_i8_op(x: np.ndarray, source: Scales, to: Scales, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The op of :func:`rescale_i8` and the table it reads; both and the arrays must stay alive."""
    return add_i8_op([x], [source], to, out)


def rescale_i8(x: np.ndarray, source: Scales, to: Scales, out: np.ndarray) -> np.ndarray:
    """One input of a Concat whose inputs all have one scale: from its scale to that of the output.

    Parameters
    ----------
    x : int8 (N, H, W, C)
    source, to : Scales
    out : int8 (N, H, W, C)
        Written and returned; mostly a slice of the output's channels.
    """
    return add_i8([x], [source], to, out)


def relu_i8_op(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The op of :func:`relu_i8`; the arrays must stay alive."""
    return _row_op(_RELU, [x], None, out)


def relu_i8(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """``max(0, q)``, the zero point ignored as in TNN; int8 (N, H, W, C)."""
    program.run(relu_i8_op(x, out))
    return out


def copy_i8_op(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The op of :func:`copy_i8`; the arrays must stay alive."""
    return _row_op(_COPY, [x], None, out)


def copy_i8(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """One input of a Concat that moves bytes; int8 (N, H, W, C), out usually a slice of channels."""
    program.run(copy_i8_op(x, out))
    return out
