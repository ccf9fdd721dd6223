"""What the kernel benchmarks share: the ceilings of this core, timing, and the record of results.

``python benchmarks/bench_conv.py`` prints a table and appends a line per case to ``benchmarks/results/kernels.jsonl``,
with the CPU's name, instruction path and threads. Every case is checked against a reference before it is timed. Times
are the smallest of many repeats: what is measured is the kernel, not what else the machine does.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numba
import numpy as np

from tnnquant.bench import machine
from tnnquant.bench.machine import cpu_name
from tnnquant.bench.timing import best_time
from tnnquant.kernels import program
from tnnquant.kernels.amx import path_in_use

__all__ = ["RESULTS", "best_time", "cpu_name", "header", "int8_peak", "op_time", "peak", "record"]

RESULTS = Path(__file__).parent / "results" / "kernels.jsonl"


# The peaks and the clock are those of `tnnquant bench kernels`, where they moved to: tnnquant/bench/machine.py and
# tnnquant/bench/timing.py, on the bare loops of kernels/peak.py.


def peak(kind: str) -> float:
    """Multiply-adds a second of one core, in 1e9: ``fma`` or a dot product of the path."""
    return machine.macs_a_second(kind) / 1e9


def int8_peak() -> float:
    """The better of the path's dot products, in 1e9 multiply-adds per second."""
    return machine.int8_peak() / 1e9


def op_time(op: np.ndarray) -> float:
    """Seconds of an op in a program of many: without the fork and join of a call."""
    count = 8
    plan = program.Program([op] * count)
    return best_time(plan.run) / count


def record(benchmark: str, case: str, file: Path = RESULTS, **figures) -> None:
    """Append a result to a file of results."""
    file.parent.mkdir(exist_ok=True)
    line = {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": cpu_name(),
        "path": path_in_use(),
        "threads": numba.get_num_threads(),
        "benchmark": benchmark,
        "case": case,
        **{key: round(value, 6) if isinstance(value, float) else value for key, value in figures.items()},
    }
    with file.open("a") as lines:
        lines.write(json.dumps(line) + "\n")


def header(threads: int) -> None:
    """Set the number of threads and print what the figures are compared with."""
    numba.set_num_threads(threads)
    fma, dot = peak("fma"), int8_peak()
    peaks = f"a core: {fma:.1f} GMAC/s fp32, {dot:.1f} GMAC/s int8"
    print(f"{cpu_name()}, path {path_in_use()}, {threads} thread(s); {peaks}")
