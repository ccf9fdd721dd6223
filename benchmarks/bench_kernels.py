"""Every kernel of ``tnnquant bench kernels`` on its shape table, and a few of NumPy as peers.

    python -m pytest benchmarks/bench_kernels.py -o python_files="bench_*.py"

A case is compared with its naive twin before it is timed; ``extra_info`` holds the work a second and the share of the
peak of one core. Convolutions beside onnxruntime are in ``bench_conv.py``.
"""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.base.threads import set_threads
from tnnquant.bench.check import Arguments, difference
from tnnquant.bench.entries import seeded
from tnnquant.bench.kernels import ceiling, run_builtin
from tnnquant.bench.operators import find_operator, operators
from tnnquant.kernels.program import Program

CASES = [(name, case) for name, entry in operators().items() for case in entry.cases]


@pytest.fixture(autouse=True)
def one_thread():
    """Shares are those of one core."""
    set_threads(1)


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}/{case}" for name, case in CASES])
def test_kernel(benchmark, name, case):
    entry = find_operator(name)
    args = seeded(entry, case)
    want, got = Arguments(entry, args), Arguments(entry, args)
    returned = entry.naive(*want.values)
    assert difference(entry, want, got, (returned, run_builtin(entry.builtin(*got.values)))) == ""
    prepared = entry.builtin(*got.values)
    run = prepared.call if prepared.op is None else Program([prepared.op], keep=(prepared,)).run
    benchmark(run)
    rate, limit = entry.work(*args) / benchmark.stats.stats.min, ceiling(entry, args)
    benchmark.extra_info.update(threads=1, unit=entry.unit, rate=rate, of_peak=limit and round(rate / limit, 4))


@pytest.mark.parametrize("size", [(8, 512, 512), (512, 512, 512)], ids=str)
def test_numpy_matrix_product(benchmark, size):
    """The peer of gemm_f32: the BLAS that NumPy was built with."""
    rows, depth, columns = size
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((rows, depth), np.float32), rng.standard_normal((depth, columns), np.float32)
    out = np.empty((rows, columns), np.float32)
    benchmark(np.matmul, x, weight, out)
    benchmark.extra_info.update(threads=1, unit="fp32 MAC", rate=rows * depth * columns / benchmark.stats.stats.min)


def test_numpy_dequantize(benchmark):
    """The peer of dequantize_i8 on 3136 pixels of 64 channels."""
    entry = find_operator("dequantize_i8")
    x, scale, zero, out = seeded(entry, "64 at 56")
    benchmark(lambda: np.multiply(x.astype(np.float32) - zero, scale, out=out))
    benchmark.extra_info.update(threads=1, unit="B", rate=(x.nbytes + out.nbytes) / benchmark.stats.stats.min)
