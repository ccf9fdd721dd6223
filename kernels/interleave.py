"""Planar images (N, C, H, W) of few channels into pixels (N, H, W, C): float32 as it is, or quantized on the way.

This is how a picture enters a network. Versions, slowest first: the naive twins; a vector of every plane at a time,
woven together by shuffles. On a core of a Zen 4 a picture of 227x227 takes 15 us as float32 and 25 us quantized, which
is the time of the divisions. A strided copy and a pass over its result take 100 us.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.conv_i8 import round_to_i8
from tnnquant.kernels.jit import Intrinsic, kernel
from tnnquant.kernels.results_i8 import emit_round
from tnnquant.kernels.simd import F32, I8, I32, Emitter, load_words, sweep
from tnnquant.kernels.target import isa

__all__ = ["MOST_CHANNELS", "SOURCE", "interleave_f32_naive", "interleave_i8_naive", "interleave_op"]

#: With more channels a strided copy is as good.
MOST_CHANNELS = 4
#: The word of the op that holds the address of the planes, which may be changed between runs.
SOURCE = program.ARGS
_LANES = isa().lanes
_BLOCK = 8192  # pixels of a task: what it reads and writes stays in the first-level cache


@kernel
def interleave_f32_naive(x, out):
    # x: float32 (N, C, P); out: float32 (N, P, C)
    for n in range(x.shape[0]):
        for p in range(x.shape[2]):
            for c in range(x.shape[1]):
                out[n, p, c] = x[n, c, p]


@kernel
def interleave_i8_naive(x, scale, zero, out):
    # x: float32 (N, C, P); scale: float32 (C,); zero: int8 (C,); out: int8 (N, P, C)
    for n in range(x.shape[0]):
        for p in range(x.shape[2]):
            for c in range(x.shape[1]):
                if scale[c] != 0:
                    out[n, p, c] = round_to_i8(x[n, c, p] / scale[c] + np.float32(zero[c]))
                else:
                    out[n, p, c] = 0


def _woven(emit, values):
    """Vectors a, b, c as one vector a0 b0 c0 a1 b1 c1 ..."""
    if len(values) == 1:
        return values[0]
    builder, lanes = emit.builder, emit.lanes
    pairs = []
    for first in range(0, len(values), 2):
        two = values[first : first + 2]
        mask = ir.Constant(ir.VectorType(I32, 2 * lanes), list(range(2 * lanes)))
        pairs.append(builder.shuffle_vector(two[0], two[-1], mask))
    if len(pairs) == 1:
        pairs.append(pairs[0])
    # Vector i of the values lies in pair i // 2, at i % 2 * lanes.
    order = [i // 2 * 2 * lanes + i % 2 * lanes + lane for lane in range(lanes) for i in range(len(values))]
    return builder.shuffle_vector(*pairs, ir.Constant(ir.VectorType(I32, len(order)), order))


def _weave(channels: int, quantize: bool) -> Intrinsic:
    """An intrinsic that weaves ``count`` pixels: ``weave(x, plane, params, out, count)``, all int64, bytes."""

    @intrinsic
    def weave(typingctx, x, plane, params, out, count):
        if (x, plane, params, out, count) != (types.int64,) * 5:
            return None

        def codegen(context, builder, sig, args):
            x, plane, params, out, count = args
            scalars = Emitter(builder, 1)
            table = scalars.pointer(params, F32)
            values = [builder.load(scalars.at(table, i)) for i in range(2 * channels if quantize else 0)]

            def body(emit, at):
                planes = []
                for c in range(channels):
                    source = builder.add(x, builder.mul(plane, ir.Constant(plane.type, c)))
                    value = emit.load(emit.at(emit.pointer(source, F32), at))
                    planes.append(_quantized(emit, value, *values[2 * c : 2 * c + 2]) if quantize else value)
                target = emit.pointer(out, I8 if quantize else F32)
                emit.store(_woven(emit, planes), emit.at(target, builder.mul(at, ir.Constant(at.type, channels))))

            sweep(builder, count, (_LANES,), F32, body)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 5), codegen

    return weave


def _quantized(emit, value, scale, zero):
    builder = emit.builder
    scale = emit.splat(scale)
    rounded = emit_round(emit, builder.fadd(builder.fdiv(value, scale), emit.splat(zero)))
    is_dead = builder.fcmp_ordered("==", scale, emit.constant(0.0))
    return builder.trunc(builder.select(is_dead, emit.constant(0, I32), rounded), ir.VectorType(I8, emit.lanes))


_FLOAT, _INT8 = (tuple(_weave(channels, quantize) for channels in range(1, 5)) for quantize in (False, True))
_float_1, _float_2, _float_3, _float_4 = _FLOAT
_int8_1, _int8_2, _int8_3, _int8_4 = _INT8


@kernel
def _float_task(op, index, scratch):
    # op words from ARGS on: see interleave_op
    x, plane, params, out, pixels, blocks, channels = load_words(op + 8 * program.ARGS, 7)
    image, first = index // blocks, index % blocks * _BLOCK
    source, count = x + image * plane * channels + first * 4, min(pixels - first, np.int64(_BLOCK))
    to = out + (image * pixels + first) * channels * 4
    if channels == 3:
        _float_3(source, plane, params, to, count)
    elif channels == 1:
        _float_1(source, plane, params, to, count)
    elif channels == 2:
        _float_2(source, plane, params, to, count)
    else:
        _float_4(source, plane, params, to, count)


@kernel
def _int8_task(op, index, scratch):
    # op words from ARGS on: see interleave_op
    x, plane, params, out, pixels, blocks, channels = load_words(op + 8 * program.ARGS, 7)
    image, first = index // blocks, index % blocks * _BLOCK
    source, count = x + image * plane * channels + first * 4, min(pixels - first, np.int64(_BLOCK))
    to = out + (image * pixels + first) * channels
    if channels == 3:
        _int8_3(source, plane, params, to, count)
    elif channels == 1:
        _int8_1(source, plane, params, to, count)
    elif channels == 2:
        _int8_2(source, plane, params, to, count)
    else:
        _int8_4(source, plane, params, to, count)


def interleave_op(
    x: np.ndarray, out: np.ndarray, scale: np.ndarray | None = None, zero_point: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The op that makes pixels of planes, and the table it reads; both and the arrays must stay alive.

    Parameters
    ----------
    x : float32 (N, C, H, W)
        C-contiguous, C at most :data:`MOST_CHANNELS`. Another array of that shape may take its place: its address goes
        to word :data:`SOURCE` of the op.
    out : float32 or int8 (N, H, W, C)
        C-contiguous. int8: ``f2i8(f32(x / scale) + zero_point)``, 0 where the scale is 0, as in TNN.
    scale, zero_point : float32 (n,), int8 (n,)
        For int8; n is 1 or C.
    """
    images, channels, height, width = x.shape
    quantize = out.dtype == np.int8
    table = np.zeros((channels, 2), np.float32)
    if quantize:
        table[:, 0], table[:, 1] = scale, zero_point
    pixels, address = height * width, program.data_address
    blocks = -(-pixels // _BLOCK)
    args = [address(x), 4 * pixels, address(table), address(out), pixels, blocks, channels]
    return program.new_op(_int8_task if quantize else _float_task, images * blocks, 0, args), table
