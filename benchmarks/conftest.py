"""Appends what the pytest-benchmark suite has measured to ``benchmarks/results/suite.jsonl``, a line per case.

    python -m pytest benchmarks -o python_files="bench_*.py"

Each line names the CPU, the instruction path and the threads. Peers (onnxruntime) are skipped where they are not
installed; models and pictures are those of ``../shared``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

# NumPy's own threads, which it starts when it is imported: peers get one, as the kernels do.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

RESULTS = Path(__file__).parent / "results" / "suite.jsonl"


def pytest_sessionfinish(session, exitstatus):
    """Write the lines; nothing without ``pytest-benchmark``, or if no benchmark has run."""
    suite = getattr(session.config, "_benchmarksession", None)
    measured = [bench for bench in getattr(suite, "benchmarks", []) if not bench.has_error]
    if not measured:
        return
    import numba

    from tnnquant.bench.machine import cpu_name
    from tnnquant.kernels.amx import path_in_use

    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        for bench in measured:
            line = {
                "date": time.strftime("%Y-%m-%d"), "cpu": cpu_name(), "path": path_in_use(),
                "threads": bench.extra_info.get("threads", numba.get_num_threads()),
                "benchmark": Path(bench.fullname.split("::")[0]).stem, "case": bench.name,
                "min_s": round(bench.stats.min, 9), "median_s": round(bench.stats.median, 9),
                "rounds": bench.stats.rounds,
                **{key: value for key, value in bench.extra_info.items() if key != "threads"},
            }  # fmt: skip
            file.write(json.dumps(line) + "\n")
