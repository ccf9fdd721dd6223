"""Run the tests as other machines and settings would: `python tools/matrix.py` (all), or `... boundscheck nojit paths`.

    boundscheck  all tests with NUMBA_BOUNDSCHECK=1
    nojit        the tests of single modules with NUMBA_DISABLE_JIT=1 (no model runs without the compiler); what exists
                 only compiled, or takes too long, is skipped, with the reason
    generic      all tests with NUMBA_CPU_NAME=generic
    paths        the same bytes on every instruction path that this machine can run
    arm          all tests on an emulated aarch64 (tools/arm.py), as arm-neon, arm-dotprod and arm-i8mm, which can also
                 be named alone: CPUs without and with those instructions; hours, so mostly with --tests; not one of
                 "all"
    PYTHON       all tests with another interpreter (a path with a slash), after `PYTHON -m pip install -e .[dev]`

Each run has a kernel cache of its own, which is deleted. `--tests` and what follows it goes to pytest. The exit
code is 1 if a run failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = {
    "boundscheck": {"NUMBA_BOUNDSCHECK": "1"},
    "nojit": {"NUMBA_DISABLE_JIT": "1"},
    "generic": {"NUMBA_CPU_NAME": "generic"},
    "paths": {"TNNQUANT_ALL_PATHS": "1"},
}
#: CPUs that LLVM compiles for and that the emulator plays.
ARM_RUNS = {
    "arm-neon": {"NUMBA_CPU_NAME": "cortex-a72", "TNNQUANT_ARM_CPU": "cortex-a72"},
    "arm-dotprod": {"NUMBA_CPU_NAME": "neoverse-n1", "TNNQUANT_ARM_CPU": "neoverse-n1"},
    "arm-i8mm": {"NUMBA_CPU_NAME": "neoverse-v1", "TNNQUANT_ARM_CPU": "max"},
}
#: What a run tests unless told otherwise; all, if it is not here.
TESTS = {
    "nojit": [
        *(f"tests/{name}" for name in ("format", "inputs", "kernels", "layers", "observers", "weights")),
        *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("test_*.py")),
    ],
    "paths": ["tests/trust/test_determinism.py"],
}


def main() -> int:
    """Do the runs that were asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog=__doc__, formatter_class=_Plain)
    parser.add_argument("runs", nargs="*", metavar="RUN", help=f"Of {', '.join(RUNS)}, or the path of a Python.")
    parser.add_argument("--tests", nargs=argparse.REMAINDER, default=[], help="Arguments of pytest, to the end.")
    options = parser.parse_args()
    runs = [each for run in options.runs or RUNS for each in (ARM_RUNS if run == "arm" else [run])]
    unknown = [run for run in runs if run not in RUNS and run not in ARM_RUNS and os.sep not in run]
    if unknown:
        known = ", ".join([*RUNS, "arm", *ARM_RUNS])
        parser.error(f"no run {unknown[0]!r}; there are {known}, or the path of a Python")
    failed = [run for run in runs if not _run(run, options.tests)]
    print(f"{len(runs) - len(failed)} of {len(runs)} runs passed" + "".join(f"; failed: {run}" for run in failed))
    return 1 if failed else 0


class _Plain(argparse.RawDescriptionHelpFormatter):
    pass


def _run(run: str, tests: list[str]) -> bool:
    settings = {**RUNS, **ARM_RUNS}.get(run, {})
    if run in ARM_RUNS:
        import arm

        python, settings = str(arm.ensure()), {**settings, **arm.environment()}
    else:
        python = run if run not in RUNS else sys.executable
    chosen = tests or TESTS.get(run, [])
    with tempfile.TemporaryDirectory(prefix="tnnquant-matrix-") as folder:
        env = {**os.environ, **settings, "TNNQUANT_CACHE_DIR": str(Path(folder, "cache"))}
        print(f"== {run}: {_versions(python, env)}", flush=True)
        started = time.monotonic()
        command = [python, "-m", "pytest", "-rs", "-p", "no:cacheprovider", *chosen]
        code = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
        ended = "passed" if code == 0 else f"failed ({code})"
        print(f"== {run}: {ended} in {time.monotonic() - started:.0f} s", flush=True)
    return code == 0


def _versions(python: str, env: dict) -> str:
    code = "import sys, numpy, numba, llvmlite; print('Python', sys.version.split()[0], *(f'{m.__name__} "
    code += "{m.__version__}' for m in (numpy, numba, llvmlite)))"
    return subprocess.run([python, "-c", code], env=env, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
