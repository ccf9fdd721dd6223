"""What the machine is called and what a core of it can do at most, measured."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import numpy as np

from tnnquant.base.threads import threads_in_use
from tnnquant.bench.timing import best_time

__all__ = ["copy_rate", "cpu_name", "describe", "fp32_peak", "int8_peak", "macs_a_second", "tile_peaks"]

_STEPS = 250_000
_BLOCK_MACS = 2_000_000_000  # of a run of bare blocks, about
_COPIED = 64 << 20  # bytes that a measurement of the copy moves, about


@functools.cache
def macs_a_second(kind: str) -> float:
    """Multiply-adds per second of one core in a bare loop; ``kind`` is ``fma`` or a dot product of kernels/peak.py."""
    from tnnquant.kernels.peak import LOOPS, MACS, loop_buffers

    source, target = loop_buffers()
    run = LOOPS[kind]
    run(source, target, 1)
    return MACS[kind] * _STEPS / best_time(lambda: run(source, target, _STEPS), repeats=9, is_serial=True)


def fp32_peak() -> float:
    """float32 multiply-adds per second of one core: the bare loop of fused multiply-adds."""
    return macs_a_second("fma")


def int8_peak() -> float:
    """int8 multiply-adds per second of one core: the best of the path's dot products, that of tiles included."""
    from tnnquant.kernels.peak import loops

    return max(macs_a_second(kind) for kind in loops() if kind != "fma")


@functools.cache
def tile_peaks() -> tuple[float, float] | None:
    """int8 multiply-adds per second of one core that reads tiles from the nearest cache, and weights from the second;
    None without tiles.
    """
    from tnnquant.kernels.amx import tiles

    return (_block_rate(True), _block_rate(False)) if tiles() == "amx" else None


def _block_rate(near: bool) -> float:
    from tnnquant.kernels.peak import block_macs, block_runner

    run, _ = block_runner(near)
    macs = block_macs(near)
    rounds = max(1, _BLOCK_MACS // macs)
    run(1)
    return rounds * macs / best_time(lambda: run(rounds), repeats=9, is_serial=True)


def copy_rate(moved: int) -> float:
    """Bytes per second that one core reads and writes when it copies, in memory as large as ``moved`` bytes in all."""
    return _copy_rate(1 << max(10, min(26, int(moved).bit_length())))


@functools.cache
def _copy_rate(size: int) -> float:
    from tnnquant.kernels.peak import copy_loop

    source, target = np.ones(size // 2, np.uint8), np.zeros(size // 2, np.uint8)
    times = max(1, _COPIED // size)
    copy_loop(source, target, 1)
    return size * times / best_time(lambda: copy_loop(source, target, times), repeats=9, is_serial=True)


def cpu_name() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def describe() -> dict:
    """CPU, instruction path, threads and peaks of a core, as JSON types."""
    from tnnquant.kernels.amx import path_in_use

    tiles = tile_peaks()
    cached = {"int8_nearest_cache_gmacs": tiles[0], "int8_second_cache_gmacs": tiles[1]} if tiles else {}
    return {
        "cpu": cpu_name(),
        "path": path_in_use(),
        "threads": threads_in_use(),
        "fp32_peak_gmacs": round(fp32_peak() / 1e9, 1),
        "int8_peak_gmacs": round(int8_peak() / 1e9, 1),
        **{name: round(rate / 1e9, 1) for name, rate in cached.items()},
    }
