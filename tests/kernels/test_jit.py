"""Cached machine code: loaded by the next process without Numba's typing rules, which stay available."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import numpy as np
from tnnquant.kernels import jit
from tnnquant.kernels.weights_range import asymmetric_naive, minmax_naive

jit.before_compiling(lambda: print("compiling"))
weights = np.array([[1, -2, 4]], np.float32)
codes, scales, zeros = np.empty((1, 3), np.int8), np.empty(1, np.float32), np.empty(1, np.int8)
minmax_naive(weights, codes, scales)
assert codes.tolist() == [[32, -64, 127]], codes
print("typed" if "numba.np.arraymath" in sys.modules else "loaded")
if sys.argv[1] == "more":
    asymmetric_naive(weights, codes, scales, zeros)
    assert codes.tolist() == [[0, -127, 127]], codes

@jit.kernel
def mean(x):
    return np.sqrt(x).mean()

assert mean(np.array([1.0, 9.0])) == 2
"""


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled, so nothing is cached")
def test_cached_code_needs_no_typing(tmp_path):
    """Compiled, then loaded; what is not in the cache is compiled beside what is, and announced once."""
    environment = {**os.environ, "TNNQUANT_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, more], env=environment, check=True, capture_output=True, text=True
        ).stdout.split()
        for more in ("none", "none", "more")
    ]
    assert said == [["compiling", "typed"], ["loaded"], ["loaded", "compiling"]]


def test_without_a_cache_compiling_is_announced_at_once(monkeypatch):
    from tnnquant.kernels import jit

    told = []
    monkeypatch.setattr(jit, "_announce", None)
    monkeypatch.setattr(jit, "CACHE_DIR", None)
    jit.before_compiling(lambda: told.append(1))
    assert told == [1]
