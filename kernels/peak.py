"""What a core can do at most: bare loops of multiply-adds from registers, and a bare copy.

Kernel efficiencies are quoted against these. The multiply-adds are those of the instruction path in force
(:mod:`~tnnquant.kernels.target`), as many independent sums as a GEMM tile has, nothing else in the loop.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tnnquant.kernels.amx import tiles
from tnnquant.kernels.dot_i8 import BYTE_DOT, PANEL, emit_dot, emit_matrix
from tnnquant.kernels.jit import Intrinsic, kernel
from tnnquant.kernels.program import aligned_empty
from tnnquant.kernels.simd import F32, I8, I32, Emitter, copy_bytes
from tnnquant.kernels.target import isa
from tnnquant.kernels.tile_amx import (
    BLOCK,
    CONFIG,
    STEP,
    SUMS_BYTES,
    TILE,
    configure,
    emit_bare_blocks,
    emit_bare_loop,
    release,
)

__all__ = ["LOOPS", "MACS", "block_macs", "block_runner", "copy_loop", "loop_buffers", "loops"]

_PATH = isa()
_FMA, _TILES = "fma", "tdpbssd"


def _opaque(emit, value):
    """The same value, but LLVM does not know it: no product of it can be hoisted out of the loop."""
    constraint = "=v,0" if platform.machine().lower() in ("x86_64", "amd64") else "=w,0"
    function_type = ir.FunctionType(value.type, [value.type])
    return emit.builder.asm(function_type, "", constraint, [value], side_effect=True)


def _rows(kind: str) -> int:
    # A row less than the tile has for the dot products: the product before it is added takes a register too.
    return _PATH.rows - (kind != _FMA)


def _bare_loop(kind: str) -> Intrinsic:
    """An intrinsic ``body(source, target, count)``: ``count`` steps of a full tile of multiply-adds. Addresses, int64.

    source: 3 vectors; target: 2 * rows vectors, written.
    """
    rows, lanes = _rows(kind), _PATH.lanes

    @intrinsic
    def body(typingctx, source, target, count):
        def codegen(context, builder, sig, args):
            emit = Emitter(builder, lanes, F32 if kind == _FMA else I32)
            read, write = (emit.pointer(address, emit.element) for address in args[:2])
            values = [emit.load(emit.at(read, lanes * i)) for i in range(3)]
            sums = [emit.variable(emit.constant(0)) for _ in range(2 * rows)]
            with emit.loop(args[2]):
                for r in range(rows):
                    row = _opaque(emit, values[0])
                    for j in (0, 1):
                        slot = sums[2 * r + j]
                        total = builder.load(slot)
                        if kind == _FMA:
                            total = emit.multiply_add(row, values[1 + j], total)
                        elif kind == _PATH.matrix:
                            operands = [builder.bitcast(v, ir.VectorType(I8, 16)) for v in (row, values[1 + j])]
                            total = emit_matrix(emit, total, *operands)
                        else:
                            total = emit_dot(emit, total, row, values[1 + j], kind)
                        builder.store(total, slot)
            for i, slot in enumerate(sums):
                emit.store(builder.load(slot), emit.at(write, lanes * i))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 3), codegen

    return body


_DOT, _BYTES = _PATH.dot, _PATH.matrix or BYTE_DOT or _PATH.dot
_fma_body, _dot_body, _byte_body = _bare_loop(_FMA), _bare_loop(_DOT), _bare_loop(_BYTES)


@kernel
def _fma_loop(source, target, count):
    # source: int32 (3 * lanes,); target: int32 (2 * rows * lanes,)
    _fma_body(np.int64(source.ctypes.data), np.int64(target.ctypes.data), np.int64(count))


@kernel
def _dot_loop(source, target, count):
    # as _fma_loop
    _dot_body(np.int64(source.ctypes.data), np.int64(target.ctypes.data), np.int64(count))


@kernel
def _byte_loop(source, target, count):
    # as _fma_loop
    _byte_body(np.int64(source.ctypes.data), np.int64(target.ctypes.data), np.int64(count))


@intrinsic
def _tile_body(typingctx, source, target, count):
    def codegen(context, builder, sig, args):
        emit_bare_loop(builder, *args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), codegen


@kernel
def _tile_loop(config, source, target, count):
    # config: uint8 (64,); source: int32 (256,); target: int32 (4 * 256,)
    configure(np.int64(config.ctypes.data))
    _tile_body(np.int64(source.ctypes.data), np.int64(target.ctypes.data), np.int64(count))
    release()


@intrinsic
def _blocks_body(typingctx, positions, weights, panels, steps, sums, nothing, once):
    def codegen(context, builder, sig, args):
        emit_bare_blocks(builder, *args[:6], builder.icmp_signed("!=", args[6], args[6].type(0)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), codegen


@kernel
def _blocks_loop(config, positions, weights, panels, sums, nothing, once, times):
    # config: uint8 (64,); positions: int8 (BLOCK, K); weights: int8 (panels, K * PANEL); sums: int32 (BLOCK, PANEL);
    # nothing: int64 (1,)
    configure(np.int64(config.ctypes.data))
    for _ in range(times):
        _blocks_body(np.int64(positions.ctypes.data), np.int64(weights.ctypes.data), np.int64(panels),
                     np.int64(positions.shape[1] // STEP), np.int64(sums.ctypes.data), np.int64(nothing.ctypes.data),
                     np.int64(once))  # fmt: skip
    release()


@kernel
def copy_loop(source, target, times):
    # source, target: uint8 (n,). Copies them so often.
    for _ in range(times):
        copy_bytes(np.int64(target.ctypes.data), np.int64(source.ctypes.data), np.int64(source.size))


#: Loops by kind: ``fma``, and the dot products of the path, that of signed values and that of bytes (where a path
#: multiplies small matrices, that in its place).
LOOPS = {_FMA: _fma_loop, _DOT: _dot_loop, _BYTES: _byte_loop}
if _PATH.tiles == "amx":
    LOOPS[_TILES] = partial(_tile_loop, CONFIG)
#: Multiply-adds of one step of each.
MACS = {
    kind: 2 * _rows(kind) * _PATH.lanes * {_FMA: 1, "vpmaddwd": 2, "generic2": 2, _PATH.matrix: 8}.get(kind, 4)
    for kind in LOOPS
}
if _TILES in MACS:
    MACS[_TILES] = 4 * TILE * TILE * STEP


def loops() -> list[str]:
    """The kinds of :data:`LOOPS` that this process may run."""
    return [kind for kind in LOOPS if kind != _TILES or tiles()]


_DEPTH, _FAR_PANELS = 8 * STEP, 32  # 16 KB of positions and a panel are near; 512 KB of panels are in the second cache


def block_runner(near: bool) -> tuple[Callable[[int], None], np.ndarray]:
    """Bare products of blocks of tiles as a matrix product has them, without results: positions and weights from the
    nearest cache, or weights that pass by it, from the second. A function of the number of rounds of
    :func:`block_macs`, and the int32 sums of the last block: all factors are 1.
    """
    panels = 1 if near else _FAR_PANELS
    positions, sums = aligned_empty((BLOCK, _DEPTH), np.int8), aligned_empty((SUMS_BYTES // 4,), np.int32)
    weights, nothing = aligned_empty((panels, _DEPTH * PANEL), np.int8), np.zeros(1, np.int64)
    positions[:], weights[:] = 1, 1
    return lambda times: _blocks_loop(CONFIG, positions, weights, panels, sums, nothing, int(not near), times), sums


def block_macs(near: bool) -> int:
    """Multiply-adds of a round of :func:`block_runner`."""
    return BLOCK * _DEPTH * PANEL * (1 if near else _FAR_PANELS)


def loop_buffers() -> tuple[np.ndarray, np.ndarray]:
    """What a loop reads and writes."""
    return np.ones(TILE * TILE, np.int32), np.zeros(4 * TILE * TILE, np.int32)
