"""Starts workers, one at a time, watches that each makes progress, keeps what kills one, and writes the log."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzzing.worker import BOARD_BYTES, HEAD

__all__ = ["Result", "fuzz_target"]

#: Seconds of processor time that one execution may take.
HANG_SECONDS = 10.0
#: Of the wall, where the processor's cannot be read.
_WALL_SECONDS = 120.0
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_TOOL = Path(__file__).resolve().parent.parent / "fuzz.py"


@dataclass
class Result:
    """What came of fuzzing a target: executions, seconds, names of findings."""

    executions: int
    seconds: float
    findings: list[str]


def fuzz_target(
    name: str, engine: str, seconds: float, seed: int, findings: Path, corpora: Path | None, log: Callable[[str], None]
) -> Result:
    """Fuzz one target for so many seconds, restarting the worker when an input kills it.

    Parameters
    ----------
    corpora : Path, optional
        Folder in which inputs that reach new code are kept for the next time; None forgets them.
    """
    findings.mkdir(parents=True, exist_ok=True)
    before = {path.stem for path in findings.glob(f"{name}-*.bin")}
    started, executions = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="tnnquant-fuzz-") as folder:
        board = Path(folder, "board")
        board.write_bytes(bytes(BOARD_BYTES))
        corpus = (corpora or Path(folder)) / f"corpus-{name}"
        corpus.mkdir(parents=True, exist_ok=True)
        deaths = 0
        while (left := started + seconds - time.monotonic()) > 0 and deaths < 20:
            job = {"name": name, "engine": engine, "seed": seed + deaths, "seconds": left, "board": str(board),
                   "findings": str(findings), "corpus": str(corpus)}  # fmt: skip
            command = [sys.executable, str(_TOOL), "--worker", json.dumps(job)]
            with Path(folder, "stderr").open("wb") as stderr:
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
                why = _watch(process, board, left, lambda line: log(f"{name}: {line}"))
            executions = HEAD.unpack_from(board.read_bytes())[0]
            if not why:
                break
            deaths += 1
            _keep_death(name, why, board, Path(folder, "stderr"), findings, log)
    found = sorted({path.stem for path in findings.glob(f"{name}-*.bin")} - before)
    return Result(executions, time.monotonic() - started, found)


def _watch(process: subprocess.Popen, board: Path, seconds: float, log: Callable[[str], None]) -> str:
    """Wait for the end of a worker; why it is a finding, or ''."""
    started = told = time.monotonic()
    seen, since_cpu, since_wall = -1, 0.0, started
    while process.poll() is None:
        time.sleep(0.2)
        with board.open("rb") as file:
            count = HEAD.unpack(file.read(HEAD.size))[0]
        cpu, now = _cpu_seconds(process.pid), time.monotonic()
        if count != seen:
            seen, since_cpu, since_wall = count, cpu, now
        is_running = count > 0
        if is_running and (cpu - since_cpu > HANG_SECONDS or (not cpu and now - since_wall > _WALL_SECONDS)):
            process.kill()
            process.wait()
            return "hang"
        if now - started > 1.5 * seconds + 120:  # the engine does not stop by itself
            process.kill()
            process.wait()
            return ""
        if now - told >= 60:
            told = now
            log(f"{count} executions, {now - started:.0f} s")
    return "" if process.returncode == 0 else f"exit{process.returncode}"


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _keep_death(name: str, why: str, board: Path, stderr: Path, findings: Path, log: Callable[[str], None]) -> None:
    content = board.read_bytes()
    executions, length = HEAD.unpack_from(content)
    target = findings / f"{name}-{why}-{executions}"
    target.with_suffix(".bin").write_bytes(content[HEAD.size : HEAD.size + length])
    shutil.copyfile(stderr, target.with_suffix(".txt"))
    if _dies_again(target.with_suffix(".bin")):
        log(f"{name}: {why} after {executions} executions, kept as {target.name}")
        return
    # The engine may end the process by itself; that is no fault of the input.
    log(f"{name}: the worker ended ({why}) after {executions} executions; its input does no harm, going on")
    for suffix in (".bin", ".txt"):
        target.with_suffix(suffix).unlink()


def _dies_again(path: Path) -> bool:
    command = [sys.executable, str(_TOOL), "--replay", str(path)]
    seconds = _children_seconds()
    for _ in range(2):  # the first time kernels may have to be compiled
        began = seconds
        try:
            ended = subprocess.run(command, capture_output=True, check=False, timeout=_WALL_SECONDS)
        except subprocess.TimeoutExpired:
            return True
        seconds = _children_seconds()
        if ended.returncode != 0:
            return True
    return seconds - began > HANG_SECONDS


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
