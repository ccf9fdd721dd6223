"""Look at the machine: processor, compiler, threads, cache, and whether all kernels agree."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path

from tnnquant.base.progress import Progress
from tnnquant.base.threads import available_cores, threading_layer, threads_in_use
from tnnquant.base.wording import parameter

__all__ = ["Finding", "Health", "examine"]

OK, NOTE, BAD = "ok", "note", "bad"
OLDEST_NUMBA = (0, 63)
#: Seconds that the test of one path may take, compilation on a slow machine included.
PATIENCE = 900
_SELF_TEST = [sys.executable, "-m", "tnnquant.health.selftest"]


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes
    ----------
    name, value : str
    status : {"ok", "note", "bad"}
    advice : str
        What to do; empty if all is well.
    """

    name: str
    value: str
    status: str = OK
    advice: str = ""


@dataclass
class Health:
    """All findings.

    Attributes
    ----------
    findings : list of Finding
    digests : dict of str to dict
        By instruction path: the outputs' digests of the self-test.
    """

    findings: list[Finding] = field(default_factory=list)
    digests: dict[str, dict] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        """Whether nothing is bad."""
        return all(finding.status != BAD for finding in self.findings)

    def as_dict(self) -> dict:
        """As JSON types."""
        rows = [vars(finding) for finding in self.findings]
        return {"schema": "tnnquant.doctor/1", "well": self.is_well, "findings": rows, "digests": self.digests}


def examine(*, self_test: bool = True, progress: Progress | None = None) -> Health:
    """Examine the machine.

    Parameters
    ----------
    self_test : bool
        Run the kernels of every instruction path that the processor has, each in a process of its own: a wrong one
        would take this process down.
    progress : callable (stage, done, total), optional
        Told of every kernel before it is tested; ``total`` counts those of all paths.
    """
    health = Health()
    health.findings += _software()
    health.findings += _processor()
    health.findings += _threads()
    health.findings += _cache()
    if self_test:
        _test_paths(health, progress or (lambda stage, done, total: None))
    return health


def _software() -> list[Finding]:
    from tnnquant.kernels.target import llvm

    numba = _version("numba")
    old = tuple(int(part) for part in numba.split(".")[:2] if part.isdecimal()) < OLDEST_NUMBA
    advice = "older than 0.63, which is the oldest that is supported: pip install -U numba" if old else ""
    return [
        Finding("tnnquant", _version("tnnquant")),
        Finding("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        Finding("NumPy", _version("numpy")),
        Finding("Numba", numba, BAD if old else OK, advice),
        Finding("llvmlite", f"{_version('llvmlite')}, LLVM {'.'.join(map(str, llvm.llvm_version_info))}"),
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> list[Finding]:
    from tnnquant.bench.machine import cpu_name
    from tnnquant.kernels.amx import path_in_use, refused_paths
    from tnnquant.kernels.target import available_paths, features, isa, llvm

    chosen = path_in_use()
    best = available_paths()[0]
    forced = {name: os.environ[name] for name in ("TNNQUANT_ISA", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
              if os.environ.get(name)}  # fmt: skip
    found = [
        Finding("processor", f"{cpu_name()} ({llvm.get_host_cpu_name()})"),
        Finding("features", " ".join(sorted(features())) or "none that the kernels ask for"),
        Finding("path", chosen, OK if chosen == best else NOTE,
                "" if chosen == best else f"{best} is faster: unset TNNQUANT_ISA"),
    ]  # fmt: skip
    if isa().name in refused_paths():
        found[2] = Finding("path", chosen, NOTE, f"{best} is faster: the CPU has it, the system refuses it here")
    if forced:
        found.append(Finding("forced by", " ".join(f"{k}={v}" for k, v in forced.items()), NOTE))
    if best == "portable":
        found[2] = Finding("path", chosen, NOTE, "no vector instructions that the kernels know: int8 is slow here")
    return found


def _threads() -> list[Finding]:
    cores = available_cores()
    quota = _quota()
    note = ""
    if quota and quota < cores:
        note = f"the container may use {quota:g} of them: give {parameter('threads', max(1, int(quota)))}"
    return [
        Finding("threads", f"{threads_in_use()} of {cores} cores", NOTE if note else OK, note),
        Finding("threading layer", threading_layer()),
    ]


def _quota() -> float | None:
    """Cores that a container's quota allows; None without one."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def _cache() -> list[Finding]:
    from tnnquant.kernels.jit import CACHE_DIR, cache_is_cold

    if CACHE_DIR is None:
        return [Finding("cache", "none: no folder can be written", BAD,
                        "every run compiles anew; set TNNQUANT_CACHE_DIR to a folder of your own")]  # fmt: skip
    files = list(CACHE_DIR.rglob("*.nb?"))
    size = sum(file.stat().st_size for file in files)
    asked = os.environ.get("TNNQUANT_CACHE_DIR")
    if asked and Path(asked).resolve() not in CACHE_DIR.resolve().parents:
        return [Finding("cache", str(CACHE_DIR), NOTE, f"TNNQUANT_CACHE_DIR={asked} cannot be written")]
    state = "empty" if cache_is_cold() else f"{len(files)} files, {size / 1e6:.1f} MB"
    advice = "the first run compiles; tnnquant warmup does it now" if cache_is_cold() else ""
    return [Finding("cache", f"{CACHE_DIR} (writable, {state})", NOTE if advice else OK, advice)]


def _test_paths(health: Health, progress: Progress) -> None:
    from tnnquant.health.selftest import count_cases
    from tnnquant.kernels.amx import refused_paths
    from tnnquant.kernels.target import available_paths

    paths = [name for name in available_paths() if not name.startswith("emulated") and name not in refused_paths()]
    cases = count_cases()
    for number, name in enumerate(paths):
        done = count(number * cases)

        def tell(case: str, name: str = name, done: Iterator[int] = done) -> None:
            progress(f"{name}: {case}", next(done), len(paths) * cases)

        health.findings.append(_test_path(name, health.digests, tell))
    digests = list(health.digests.values())
    if len(digests) > 1:
        differing = sorted({case for other in digests[1:] for case in other if other[case] != digests[0].get(case)})
        value = f"{len(digests)} paths, {len(digests[0])} kernels: " + (
            f"these differ: {', '.join(differing)}" if differing else "equal, bit for bit"
        )
        advice = "results depend on the machine; please report it" if differing else ""
        health.findings.append(Finding("agreement", value, BAD if differing else OK, advice))


def _self_test(name: str, tell: Callable[[str], None]) -> tuple[int | None, str, str]:
    """The self-test on a path in a process of its own: its exit code (None: it was not done in time), the last line
    that it printed, and what it said of errors."""
    environment = {**os.environ, "TNNQUANT_ISA": name}
    last, started = "", time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(_SELF_TEST, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as process,
    ):
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last = line.strip()
                if not last.startswith("{"):
                    tell(last)
            code = process.wait()
        finally:
            timer.cancel()
            process.kill()
        errors.seek(0)
        said = errors.read()
    return (None if time.monotonic() - started >= PATIENCE else code), last, said


def _test_path(name: str, digests: dict, tell: Callable[[str], None]) -> Finding:
    code, result, errors = _self_test(name, tell)
    if code is None:
        return Finding(f"kernels {name}", f"not done within {PATIENCE} s", BAD, "please report it")
    if code:
        last = (errors.strip().splitlines() or ["without a word"])[-1]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        other = "another path may work: set TNNQUANT_ISA=portable, and please report it"
        return Finding(f"kernels {name}", f"died with {how}: {last}", BAD, other)
    report = json.loads(result)
    digests[name] = report["digests"]
    if report["wrong"]:
        return Finding(f"kernels {name}", f"wrong: {', '.join(report['wrong'])}", BAD,
                       "set TNNQUANT_ISA=portable, and please report it")  # fmt: skip
    return Finding(f"kernels {name}", f"{len(report['digests']) - 1} int8 kernels give the integers of plain NumPy "
                                      f"({report['seconds']:.1f} s)")  # fmt: skip
