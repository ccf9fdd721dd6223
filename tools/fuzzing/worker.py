"""The process that executes a target, over and over; :mod:`fuzzing.supervise` watches it.

Before every execution the input is put where the supervisor can see it, so that nothing is lost when the process dies.
Exceptions do not end it: each kind, told apart by where it was raised, is saved once.
"""

from __future__ import annotations

import gc
import hashlib
import mmap
import os
import random
import resource
import struct
import sys
import time
import traceback
import tracemalloc
from contextlib import suppress
from pathlib import Path

from fuzzing.targets import TARGETS, Target

__all__ = ["BOARD_BYTES", "HEAD", "main", "signature"]

#: Of what both processes see: executions, length of the current input; then that input.
HEAD = struct.Struct("<QQ")
BOARD_BYTES = 1 << 17
#: Every so many executions the memory is measured, which costs some time.
_MEASURED = 128
#: Bytes of address space that the process may gain: what is asked for without being checked does not fit.
_SPACE = 4 << 30


class Worker:
    """Executes one target."""

    def __init__(self, target: Target, board: Path, findings: Path):
        self.target = target
        self.findings = findings
        with board.open("r+b") as file:
            self.board = mmap.mmap(file.fileno(), BOARD_BYTES)
        self.executions = HEAD.unpack_from(self.board)[0]
        self.known = {path.stem for path in findings.glob(f"{target.name}-*.txt")}

    def execute(self, data: bytes) -> None:
        """One execution; what is wrong with it is saved."""
        board = self.board
        board[HEAD.size : HEAD.size + len(data)] = data
        self.executions += 1
        HEAD.pack_into(board, 0, self.executions, len(data))
        try:
            if self.executions % _MEASURED == 0:
                self._execute_measured(data)
            else:
                self.target.run(data)
        except KeyboardInterrupt:
            raise
        except MemoryError:
            self._execute_alone(data)
        except BaseException as error:
            self._save(data, error)

    def _execute_alone(self, data: bytes) -> None:
        """Once more, without the garbage of the executions before, which takes of the same room."""
        gc.collect()
        try:
            self.target.run(data)
        except BaseException as error:
            self._save(data, error)

    def _execute_measured(self, data: bytes) -> None:
        tracemalloc.start()
        try:
            self.target.run(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        limit = 3 * len(data) + self.target.room
        if self.target.asks and peak > _SPACE:
            return  # the process cannot have had it: NumPy tells tracemalloc of what it was refused, too
        assert peak <= limit, f"{peak} bytes of memory for an input of {len(data)}"

    def _save(self, data: bytes, error: BaseException) -> None:
        name = f"{self.target.name}-{signature(error)}"
        if name in self.known:
            return
        self.known.add(name)
        (self.findings / f"{name}.bin").write_bytes(data)
        text = "".join(traceback.format_exception(error))
        (self.findings / f"{name}.txt").write_text(text, encoding="utf-8", errors="backslashreplace")


def signature(error: BaseException) -> str:
    """Names the place an exception comes from."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = [f"{Path(frame.filename).name}:{frame.name}:{frame.lineno}" for frame in frames]
    text = type(error).__name__ + "|".join(places)
    return f"{type(error).__name__}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _run_own(worker: Worker, seed: int, stop: float) -> None:
    """Mutations without feedback, mostly of seeds, sometimes of mutated ones."""
    rng = random.Random(seed)
    target, pool = worker.target, list(worker.target.seeds)
    # After a restart not again: one of them may have ended the process.
    for data in pool if not worker.executions else ():
        worker.execute(data)
    while time.monotonic() < stop:
        for _ in range(50):
            data = target.mutate(rng.choice(pool), rng)
            worker.execute(data)
            if rng.random() < 0.02:
                place = rng.randrange(len(pool) + 1)
                # The seeds themselves stay.
                if place >= len(target.seeds):
                    pool[place:] = [data]
                elif len(pool) < 4 * len(target.seeds):
                    pool.append(data)


def _run_atheris(worker: Worker, seed: int, stop: float, corpus: Path) -> None:
    """Coverage-guided: libFuzzer keeps what reaches new code, and mutates that."""
    import atheris

    target, rng = worker.target, random.Random(seed)
    for number, data in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(data)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        rng.seed(number)
        if rng.random() < 0.3:
            changed: bytes = atheris.Mutate(data, most)
            return changed
        return target.mutate(data, rng)[:most]

    seconds = max(1, int(stop - time.monotonic()))
    options = [f"-max_total_time={seconds}", f"-seed={seed + 1}", f"-max_len={target.most}", "-rss_limit_mb=0"]
    options += ["-timeout=0", "-verbosity=0", "-print_final_stats=0", "-reload=0", "-handle_segv=0", "-handle_abrt=0"]
    options.append(f"-artifact_prefix={corpus}/died-")
    atheris.Setup([sys.argv[0], *options, str(corpus)], worker.execute, custom_mutator=mutate)
    atheris.Fuzz()


def main(name: str, engine: str, seed: int, seconds: float, board: Path, findings: Path, corpus: Path) -> None:
    """Run until the time is over; the process may end without returning."""
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    if engine == "atheris":
        import atheris

        # Kernels are not Python: Numba cannot compile what has been instrumented. zipfile and NumPy's header reader
        # are the rest of what decodes.
        with atheris.instrument_imports(include=["tnnquant", "zipfile"], exclude=["tnnquant.kernels"]):
            _import_all()
    else:
        _import_all()
    target = TARGETS[name]
    for data in target.seeds[:3]:
        with suppress(Exception):  # kernels are compiled now; what goes wrong will again, where it is noticed
            target.run(data)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if _has_proc() else 0
    if used:
        resource.setrlimit(resource.RLIMIT_AS, (used + _SPACE, -1))
    worker = Worker(target, board, findings)
    stop = time.monotonic() + seconds
    if engine == "atheris":
        _run_atheris(worker, seed, stop, corpus)
    else:
        _run_own(worker, seed, stop)


def _has_proc() -> bool:
    return Path("/proc/self/statm").exists()


def _import_all() -> None:
    import tnnquant.cli.options
    import tnnquant.engine.executor
    import tnnquant.format
    import tnnquant.graph.passes
    import tnnquant.inputs.normalize
    import tnnquant.inputs.tensors
    import tnnquant.onnx.convert
    import tnnquant.quantization.plan  # noqa: F401
    from tnnquant.inputs.picture import import_picture_library
    from tnnquant.layers.base import load_layers

    load_layers()
    import_picture_library()
