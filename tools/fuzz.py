"""Fuzz everything that reads files: `python tools/fuzz.py --seconds 60`, or `... proto model --seconds 3600`.

Inputs are structured mutations of real files. With atheris (`pip install tnnquant[fuzz]`) they are guided by the code
they reach; without it they are not. A finding is any exception but a TnnQuantError, an error that is not one line, a
file that does not read back as it was written, an execution of more than 10 s, memory beyond three times the input, or
the end of the process; it is kept as NAME.bin and NAME.txt in the folder of findings, and the exit code is 1.
tests/trust/test_corpus.py replays what is in tests/corpus/.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path

from fuzzing.targets import TARGETS

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and fuzz one target after the other."""
    options = _parse(argv)
    if options.worker:
        from fuzzing import worker

        job = json.loads(options.worker)
        worker.main(job.pop("name"), job.pop("engine"), job.pop("seed"), job.pop("seconds"),
                    *(Path(job[key]) for key in ("board", "findings", "corpus")))  # fmt: skip
        return 0
    if options.replay:
        return _replay(options.replay)
    return _fuzz(options)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"Of {', '.join(TARGETS)}; default: all.")
    parser.add_argument("--seconds", type=float, default=60, help="For all targets together. Default: 60.")
    parser.add_argument("--engine", choices=("auto", "atheris", "own"), default="auto")
    parser.add_argument("--seed", type=int, default=1, help="The own engine repeats itself with the same seed.")
    parser.add_argument("--findings", type=Path, help="Folder of findings. Default: a temporary one.")
    parser.add_argument("--corpora", type=Path, help="Folder that keeps inputs which reach new code (atheris).")
    parser.add_argument("--log", type=Path, help="File to which progress is added, too.")
    parser.add_argument("--replay", nargs="+", type=Path, metavar="FILE", help="Run TARGET-*.bin files once, and show.")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    unknown = sorted(set(options.targets) - set(TARGETS))
    if unknown:
        parser.error(f"no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    return options


def _fuzz(options: argparse.Namespace) -> int:
    from fuzzing.supervise import fuzz_target

    has_atheris = importlib.util.find_spec("atheris") is not None
    engine = options.engine if options.engine != "auto" else "atheris" if has_atheris else "own"
    findings = options.findings or Path(tempfile.mkdtemp(prefix="tnnquant-findings-"))
    names = options.targets or list(TARGETS)
    shares = sum(TARGETS[name].share for name in names)

    def log(line: str) -> None:
        print(line, flush=True)
        if options.log:
            with options.log.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%H:%M:%S')} {line}\n")

    total, found = 0, []
    for name in names:
        seconds = options.seconds * TARGETS[name].share / shares
        result = fuzz_target(name, engine, seconds, options.seed, findings, options.corpora, log)
        count = len(result.findings)
        log(f"{name}: {result.executions} executions in {result.seconds:.0f} s ({engine}), {count} findings")
        if not result.executions:
            log(f"{name}: could not be executed at all")
            return 1
        total += result.executions
        found += result.findings
    log(f"all: {total} executions, {len(found)} findings")
    for name in found:
        log(f"  {findings / name}.bin: {_last_line(findings / name)}")
    return 1 if found else 0


def _last_line(path: Path) -> str:
    lines = path.with_suffix(".txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else ""


def _replay(files: list[Path]) -> int:
    for path in files:
        name = path.name.partition("-")[0]
        name = name if name in TARGETS else path.parent.name
        print(f"{path}: {name}", flush=True)
        TARGETS[name].run(path.read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
