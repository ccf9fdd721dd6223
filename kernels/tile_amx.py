"""int8 matrix products by tiles: 16 or 32 output positions x a panel of 32 output channels at a time, to int8 results.

A tile is a register of 16 rows of 64 bytes; one instruction multiplies a tile of 16 positions x 64 products by one of
64 products x 16 channels, signed bytes both. Positions are read where they lie, rows at a constant distance; weights
are packed as for ``vpdpbusd`` (:mod:`~tnnquant.kernels.pack_i8`), whose groups of four are what a tile of weights wants
too. The sums start at 0 and go through 4 KB of memory, where START is added and the results are made
(:mod:`~tnnquant.kernels.direct_i8`; those that are not simple as :mod:`~tnnquant.kernels.requantize_i8` makes them).

Activation and Add are constants of a *runner*, a compiled function an op names by its address, so that only those are
compiled which a model has. :class:`_PlainTiles` does the same in plain arithmetic, for tests where there is no AMX.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tnnquant.kernels.direct_i8 import emit_direct
from tnnquant.kernels.dot_i8 import PANEL, emit_dot
from tnnquant.kernels.jit import Intrinsic, Kernel, kernel
from tnnquant.kernels.program import aligned_empty
from tnnquant.kernels.requantize_i8 import emit_row
from tnnquant.kernels.results_i8 import TILE_START, parameter
from tnnquant.kernels.simd import I8, I32, I64, Emitter
from tnnquant.kernels.target import isa

__all__ = [
    "BLOCK",
    "CONFIG",
    "FRAME",
    "STEP",
    "SUMS_BYTES",
    "TILE",
    "configure",
    "emit_bare_blocks",
    "emit_bare_loop",
    "release",
    "runner",
]

_PATH = isa()
_LANES = _PATH.lanes
#: Positions of a tile, of the largest block, and products of a step.
TILE, BLOCK, STEP = 16, 32, 64
#: int64 words that a runner reads, see :func:`runner`.
FRAME = 20
#: Memory for the sums of a block.
SUMS_BYTES = BLOCK * PANEL * 4
_STEP_BYTES = STEP * PANEL
_ROWS = 8  # whose results are made together


def _tile_config() -> np.ndarray:
    """What ``ldtilecfg`` reads: palette 1, all eight tiles 16 rows of 64 bytes."""
    config = aligned_empty((64,), np.uint8)
    config[:] = 0
    config[0] = 1
    config[16:32:2] = 64
    config[48:56] = TILE
    return config


CONFIG = _tile_config()


class _Amx:
    """The instructions, on numbered tiles. They have effects of their own: LLVM keeps their order."""

    def __init__(self, emit):
        self._emit = emit

    def _call(self, name, *args):
        self._emit.call("llvm.x86." + name, ir.VoidType(), *args)

    def zero(self, tile):
        self._call("tilezero", I8(tile))

    def load(self, tile, address, stride):
        self._call("tileloadd64", I8(tile), self._emit.pointer(address), stride)

    def load_once(self, tile, address, stride):
        """What is not read again before much else is: it does not drive that out of the nearest cache."""
        self._call("tileloaddt164", I8(tile), self._emit.pointer(address), stride)

    def dot(self, sums, positions, weights):
        self._call("tdpbssd", I8(sums), I8(positions), I8(weights))

    def store(self, tile, address, stride):
        self._call("tilestored64", I8(tile), self._emit.pointer(address), stride)


class _PlainTiles:
    """The same on 8 KB of the stack."""

    def __init__(self, emit):
        self._emit = Emitter(emit.builder, TILE, I32)
        kind = ir.ArrayType(I32, 8 * TILE * TILE)
        self._memory = emit.builder.bitcast(cgutils.alloca_once(emit.builder, kind), I32.as_pointer())

    def _row(self, tile, r):
        return self._emit.at(
            self._memory, self._emit.builder.add(I64(tile * TILE * TILE), self._emit.builder.mul(r, I64(TILE)))
        )

    def _rows(self):
        return self._emit.loop(I64(TILE))

    def zero(self, tile):
        with self._rows() as r:
            self._emit.store(self._emit.constant(0), self._row(tile, r))

    def load(self, tile, address, stride):
        with self._rows() as r:
            at = self._emit.builder.add(address, self._emit.builder.mul(r, stride))
            self._emit.store(self._emit.load(self._emit.pointer(at)), self._row(tile, r))

    load_once = load

    def dot(self, sums, positions, weights):
        emit = self._emit
        with self._rows() as r:
            row = self._row(sums, r)
            slot = emit.variable(emit.load(row))
            with self._rows() as k:
                group = emit.splat(emit.builder.load(emit.at(self._row(positions, r), k)))
                column = emit.load(self._row(weights, k))
                emit.builder.store(emit_dot(emit, emit.builder.load(slot), group, column, "generic4s"), slot)
            emit.store(emit.builder.load(slot), row)

    def store(self, tile, address, stride):
        with self._rows() as r:
            at = self._emit.builder.add(address, self._emit.builder.mul(r, stride))
            self._emit.store(self._emit.load(self._row(tile, r)), self._emit.pointer(at))


_Tiles = _Amx if _PATH.tiles == "amx" else _PlainTiles


@intrinsic
def configure(typingctx, address):
    """Makes the tiles usable on this thread; ``address`` of :data:`CONFIG`."""

    def codegen(context, builder, sig, args):
        if _Tiles is _Amx:
            emit = Emitter(builder, 1, I32)
            emit.call("llvm.x86.ldtilecfg", ir.VoidType(), emit.pointer(args[0]))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def release(typingctx):
    """Gives the tiles back: a thread that holds none costs nothing when the system switches."""

    def codegen(context, builder, sig, args):
        if _Tiles is _Amx:
            Emitter(builder, 1, I32).call("llvm.x86.tilerelease", ir.VoidType())
        return context.get_dummy_value()

    return types.void(), codegen


def emit_bare_loop(builder, source, target, count):
    """``count`` times four products of tiles from registers: what a core can do at most. Tiles are 1 KB each; one at
    the address ``source`` is read, four at ``target`` are written.
    """
    emit = Emitter(builder, 1, I32)
    tiles = _Tiles(emit)
    for i in range(4):
        tiles.zero(i)
        tiles.load(4 + i, source, I64(STEP))
    with emit.loop(count):
        for i in range(4):
            tiles.dot(i, 4 + i // 2, 6 + i % 2)
    for i in range(4):
        tiles.store(i, builder.add(target, I64(i * TILE * STEP)), I64(STEP))


def _emit_sums(emit, tiles, starts, pitch, taps, tap_count, steps, weights, sums, fetch, lines, once):
    """``sums = A B`` of one or two tiles of positions and the two tiles of a panel; int32 (16 or 32, PANEL)."""
    builder, count = emit.builder, len(starts)
    for c in range(2 * count):
        tiles.zero(c)
    at = emit.variable(weights)
    table = emit.pointer(taps, I64)

    def load_weights(tile, address):
        with builder.if_else(once) as (passing, staying):
            with passing:
                tiles.load_once(tile, address, I64(4 * PANEL))
            with staying:
                tiles.load(tile, address, I64(4 * PANEL))

    with emit.loop(tap_count) as t:
        offset = builder.load(emit.at(table, t))
        bases = [builder.add(start, offset) for start in starts]
        with emit.loop(steps) as k:
            here, move = builder.load(at), builder.mul(k, I64(STEP))
            # In this order, each tile as late as it can be.
            load_weights(6, here)
            tiles.load(4, builder.add(bases[0], move), pitch)
            tiles.dot(0, 4, 6)
            load_weights(7, builder.add(here, I64(4 * TILE)))
            tiles.dot(1, 4, 7)
            if count > 1:
                tiles.load(5, builder.add(bases[1], move), pitch)
                tiles.dot(2, 5, 6)
                tiles.dot(3, 5, 7)
            builder.store(builder.add(here, I64(_STEP_BYTES)), at)
            # Weights of a later panel, which are still in a farther cache.
            with emit.loop(lines) as i:
                line = builder.add(builder.load(fetch), builder.mul(i, I64(64)))
                emit.call("llvm.prefetch.p0", ir.VoidType(), emit.pointer(line), I32(0), I32(2), I32(1))
            builder.store(builder.add(builder.load(fetch), builder.mul(lines, I64(64))), fetch)
    for i in range(count):
        for j in (0, 1):
            to = builder.add(sums, I64(i * TILE * 4 * PANEL + j * 4 * TILE))
            tiles.store(2 * i + j, to, I64(4 * PANEL))


def emit_bare_blocks(builder, positions, weights, panels, steps, sums, nothing, once):
    """Sums of a block of 32 positions, ``steps`` times 64 bytes each, and of ``panels`` panels after another, as a
    runner makes them, and no results. ``nothing``: address of an int64 0; ``once`` as in :func:`runner`, an int1.
    """
    emit = Emitter(builder, _LANES, I32)
    tiles = _Tiles(emit)
    pitch = builder.mul(steps, I64(STEP))
    starts = [positions, builder.add(positions, builder.mul(pitch, I64(TILE)))]
    fetch = emit.variable(weights)
    with emit.loop(panels) as p:
        at = builder.add(weights, builder.mul(builder.mul(p, steps), I64(_STEP_BYTES)))
        _emit_sums(emit, tiles, starts, pitch, nothing, I64(1), steps, at, sums, fetch, I64(0), once)


def _emit_results(emit, groups, sums, outs, others, params, channel, n, activation, fusion, simple):
    """int8 results of ``groups`` (int64 value) times 8 rows of sums; outs, others: tables of addresses of channel 0."""
    builder = emit.builder
    starts = [parameter(emit, params, j, TILE_START, I32) for j in (0, 1)]
    flat = emit.pointer(sums, I32)

    def address(table, r):
        return builder.add(builder.load(emit.at(emit.pointer(table, I64), r)), channel)

    if not simple:
        with emit.loop(builder.mul(groups, I64(_ROWS))) as r:
            row = emit.at(flat, builder.mul(r, I64(PANEL)))
            pair = [builder.add(emit.load(emit.at(row, j * _LANES)), starts[j]) for j in (0, 1)]
            emit_row(emit, pair, params, address(outs, r), n, activation, fusion, address(others, r))
        return
    with emit.loop(groups) as g:
        first = builder.mul(g, I64(_ROWS))
        rows = [builder.add(first, I64(r)) for r in range(_ROWS)]
        at = emit.at(flat, builder.mul(first, I64(PANEL)))
        values = [
            [builder.add(emit.load(emit.at(at, r * PANEL + j * _LANES)), starts[j]) for j in (0, 1)]
            for r in range(_ROWS)
        ]
        added = [address(others, r) for r in rows] if fusion is not None else None
        emit_direct(emit, values, [params], [address(outs, r) for r in rows], n, activation, fusion, added)


def _emit_panels(builder, frame, activation, fusion, simple):
    emit = Emitter(builder, _LANES, I32)
    words = emit.pointer(frame, I64)
    (tables, blocks, outs, others, pitch, taps, tap_count, steps, weights, params, panel_bytes, params_bytes, channel,
     end, panels, chunk, sums, lines, last, once) = (builder.load(emit.at(words, i)) for i in range(FRAME))  # fmt: skip
    if not simple:
        activation, fusion = (builder.load(emit.at(words, i)) for i in (FRAME, FRAME + 1))
    tiles = _Tiles(emit)
    once = builder.icmp_signed("!=", once, I64(0))
    chunks = builder.sdiv(builder.add(panels, builder.sub(chunk, I64(1))), chunk)
    fetch = emit.variable(weights)
    with emit.loop(chunks) as c:
        first = builder.mul(c, chunk)
        left = builder.sub(panels, first)
        count = builder.select(builder.icmp_signed("<", left, chunk), left, chunk)
        after = builder.add(weights, builder.mul(builder.add(first, count), panel_bytes))
        # Nothing follows the last panels here.
        is_last = builder.icmp_signed("==", left, count)
        builder.store(builder.select(is_last, last, after), fetch)
        with emit.loop(blocks) as b:
            pair = emit.at(emit.pointer(tables, I64), builder.mul(b, I64(2)))
            starts = [builder.load(emit.at(pair, i)) for i in (0, 1)]
            is_whole = builder.icmp_signed("!=", starts[1], I64(0))
            row = builder.mul(b, I64(8 * BLOCK))
            with emit.loop(count) as q:
                panel = builder.add(first, q)
                at = builder.add(weights, builder.mul(panel, panel_bytes))
                rest = (pitch, taps, tap_count, steps, at, sums, fetch, lines, once)
                with builder.if_else(is_whole, likely=True) as (two, one):
                    with two:
                        _emit_sums(emit, tiles, starts, *rest)
                    with one:
                        _emit_sums(emit, tiles, starts[:1], *rest)
                begin = builder.add(channel, builder.mul(panel, I64(PANEL)))
                left = builder.sub(end, begin)
                _emit_results(
                    emit,
                    builder.select(is_whole, I64(BLOCK // _ROWS), I64(TILE // _ROWS)),
                    sums,
                    builder.add(outs, row),
                    builder.add(others, row),
                    builder.add(params, builder.mul(panel, params_bytes)),
                    begin,
                    builder.select(builder.icmp_signed("<", left, I64(PANEL)), left, I64(PANEL)),
                    activation,
                    fusion,
                    simple,
                )


def _panels(activation: int | None = None, fusion: int | None = None, simple: bool = True) -> Intrinsic:
    """An intrinsic ``run(frame)``, see :func:`runner`. ``fusion``: 1 with an Add, None without."""

    @intrinsic
    def run(typingctx, frame):
        def codegen(context, builder, sig, args):
            code = None if activation is None else I64(activation)
            _emit_panels(builder, args[0], code, None if fusion is None else I64(fusion), simple)
            return context.get_dummy_value()

        return types.void(types.int64), codegen

    return run


_plain, _relu, _relu6 = (_panels(activation) for activation in (0, 1, 2))
_plain_add, _relu_add, _relu6_add = (_panels(activation, 1) for activation in (0, 1, 2))
_any = _panels(simple=False)


@kernel
def _run_plain(op, frame, nothing):
    # see runner
    _plain(frame)


@kernel
def _run_relu(op, frame, nothing):
    # see runner
    _relu(frame)


@kernel
def _run_relu6(op, frame, nothing):
    # see runner
    _relu6(frame)


@kernel
def _run_plain_add(op, frame, nothing):
    # see runner
    _plain_add(frame)


@kernel
def _run_relu_add(op, frame, nothing):
    # see runner
    _relu_add(frame)


@kernel
def _run_relu6_add(op, frame, nothing):
    # see runner
    _relu6_add(frame)


@kernel
def _run_any(op, frame, nothing):
    # see runner
    _any(frame)


_SIMPLE = ((_run_plain, _run_plain_add), (_run_relu, _run_relu_add), (_run_relu6, _run_relu6_add))


def runner(activation: int, fusion: int, simple: bool) -> Kernel:
    """The kernel ``run(op, frame, 0)`` that multiplies blocks of positions by panels and makes the results.

    ``frame`` is the address of int64 words:

    * tables, blocks: of each block, the addresses of the first tap of its first and of its 17th position, or 0 where it
      has but 16;
    * outs, others: of each block, 32 addresses of channel 0 of where results go, and of the added blob;
    * pitch: bytes from a position to the next;
    * taps, tap_count: int64 byte offsets added to every position; each tap has
    * steps: times 64 bytes in sequence, which exist, whatever they are multiplied by;
    * weights, params, panel_bytes, params_bytes: of the first panel, and from one to the next;
    * channel, end: the first panel's first channel, and the last panel's last plus one;
    * panels, chunk: how many panels, and how many of them are run before the next block;
    * sums: memory for the sums of a block;
    * lines, last: cache lines of the next chunk that a step fetches, and the address that takes the place of a next
      chunk after the last;
    * once: whether the weights of a chunk are so many that they pass by the nearest cache (1) or stay in it (0);
    * activation, fusion: read only where the results are not simple.
    """
    return _SIMPLE[activation][fusion] if simple else _run_any
