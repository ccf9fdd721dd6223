"""Run the tests as other machines and settings would: `python tools/matrix.py` (all), or `... boundscheck nojit paths`.

    boundscheck  all tests with NUMBA_BOUNDSCHECK=1
    nojit        the tests of single modules with NUMBA_DISABLE_JIT=1 (no model runs without the compiler); what exists
                 only compiled, or takes too long, is skipped, with the reason
    generic      all tests with NUMBA_CPU_NAME=generic
    paths        the same bytes on every instruction path that this machine can run
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
    runs = options.runs or list(RUNS)
    unknown = [run for run in runs if run not in RUNS and os.sep not in run]
    if unknown:
        parser.error(f"no run {unknown[0]!r}; there are {', '.join(RUNS)}, or the path of a Python")
    failed = [run for run in runs if not _run(run, options.tests)]
    print(f"{len(runs) - len(failed)} of {len(runs)} runs passed" + "".join(f"; failed: {run}" for run in failed))
    return 1 if failed else 0


class _Plain(argparse.RawDescriptionHelpFormatter):
    pass


def _run(run: str, tests: list[str]) -> bool:
    python = run if run not in RUNS else sys.executable
    chosen = tests or TESTS.get(run, [])
    with tempfile.TemporaryDirectory(prefix="tnnquant-matrix-") as folder:
        env = {**os.environ, **RUNS.get(run, {}), "TNNQUANT_CACHE_DIR": str(Path(folder, "cache"))}
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
