"""What the kernel benchmarks share: the ceilings of this core, timing, and the record of results.

``python benchmarks/bench_conv.py`` prints a table and appends a line a case to ``benchmarks/results/kernels.jsonl``,
with the CPU's name, instruction path and threads. Every case is checked against a reference before it is timed. Times
are the smallest of many repeats: what is measured is the kernel, not what else the machine does.
"""

from __future__ import annotations

import functools
import json
import platform
import time
from pathlib import Path

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tnnquant.kernels import program
from tnnquant.kernels.dot_i8 import BYTE_DOT, emit_dot
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import F32, I32, Emitter
from tnnquant.kernels.target import isa

RESULTS = Path(__file__).parent / "results" / "kernels.jsonl"


def _opaque(emit, value):
    """The same value, but LLVM does not know it: no product of it can be hoisted out of the loop."""
    constraint = "=v,0" if platform.machine().lower() in ("x86_64", "amd64") else "=w,0"
    function_type = ir.FunctionType(value.type, [value.type])
    return emit.builder.asm(function_type, "", constraint, [value], side_effect=True)


def _bare_loop(kind: str):
    """A kernel of ``count`` steps of a full tile of multiply-adds, registers only."""
    # A row less than the tile has for the dot products: the product before it is added takes a register too.
    rows, lanes = isa().rows - (kind != "fma"), isa().lanes

    @intrinsic
    def body(typingctx, source, target, count):
        def codegen(context, builder, sig, args):
            emit = Emitter(builder, lanes, F32 if kind == "fma" else I32)
            read, write = (emit.pointer(address, emit.element) for address in args[:2])
            values = [emit.load(emit.at(read, lanes * i)) for i in range(3)]
            sums = [emit.variable(emit.constant(0)) for _ in range(2 * rows)]
            with emit.loop(args[2]):
                for r in range(rows):
                    row = _opaque(emit, values[0])
                    for j in (0, 1):
                        slot = sums[2 * r + j]
                        total = builder.load(slot)
                        if kind == "fma":
                            total = emit.multiply_add(row, values[1 + j], total)
                        else:
                            total = emit_dot(emit, total, row, values[1 + j], kind)
                        builder.store(total, slot)
            for i, slot in enumerate(sums):
                emit.store(builder.load(slot), emit.at(write, lanes * i))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 3), codegen

    @kernel
    def run(source, target, count):
        body(np.int64(source.ctypes.data), np.int64(target.ctypes.data), np.int64(count))

    return run


@functools.cache
def peak(kind: str) -> float:
    """Multiply-adds a second of one core, in 1e9: ``fma`` or a dot product of ``dot_i8.emit_dot``."""
    run, path = _bare_loop(kind), isa()
    rows = path.rows - (kind != "fma")
    products = 1 if kind == "fma" else {"vpmaddwd": 2, "generic2": 2}.get(kind, 4)
    source, target = np.ones(3 * path.lanes, np.int32), np.zeros(2 * path.rows * path.lanes, np.int32)
    run(source, target, 1)
    steps = 1_000_000
    best = best_time(lambda: run(source, target, steps), repeats=9)
    return 2 * rows * path.lanes * products * steps / best / 1e9


def int8_peak() -> float:
    """The better of the path's dot products, in 1e9 multiply-adds a second."""
    return max(peak(kind) for kind in {isa().dot, BYTE_DOT or isa().dot})


def best_time(function, repeats: int = 30, budget: float = 0.5) -> float:
    """Smallest of at least 5 and at most ``repeats`` times, in seconds, within a budget of seconds.

    On one thread the clock is the thread's processor time, which other processes do not add to.
    """
    clock = time.thread_time if numba.get_num_threads() == 1 else time.perf_counter
    best, start = np.inf, time.perf_counter()
    for i in range(repeats):
        before = clock()
        function()
        best = min(best, clock() - before)
        if i >= 4 and time.perf_counter() - start > budget:
            break
    return best


def op_time(op: np.ndarray) -> float:
    """Seconds of an op in a program of many: without the fork and join of a call."""
    count = 8
    plan = program.Program([op] * count)
    return best_time(plan.run) / count


def cpu_name() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def record(benchmark: str, case: str, **figures) -> None:
    """Append a result to :data:`RESULTS`."""
    RESULTS.parent.mkdir(exist_ok=True)
    line = {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": cpu_name(),
        "path": isa().name,
        "threads": numba.get_num_threads(),
        "benchmark": benchmark,
        "case": case,
        **{key: round(value, 6) if isinstance(value, float) else value for key, value in figures.items()},
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


def header(threads: int) -> None:
    """Set the number of threads and print what the figures are compared with."""
    numba.set_num_threads(threads)
    fma, dot = peak("fma"), int8_peak()
    print(f"{cpu_name()}, path {isa().name}, {threads} thread(s); a core: {fma:.1f} GMAC/s fp32, {dot:.1f} GMAC/s int8")
