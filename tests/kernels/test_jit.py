"""Cached machine code: loaded by the next process without Numba's typing rules, which stay available."""

import os
import subprocess
import sys

PROGRAM = """
import sys
import numpy as np
from tnnquant.kernels import jit, rounding
from tnnquant.kernels.weights_range import minmax_naive

codes, scales = np.empty((1, 3), np.int8), np.empty(1, np.float32)
minmax_naive(np.array([[1, -2, 4]], np.float32), codes, scales)
assert codes.tolist() == [[32, -64, 127]], codes
print("typed" if "numba.np.arraymath" in sys.modules else "loaded")

@jit.kernel
def mean(x):
    return np.sqrt(x).mean()

assert mean(np.array([1.0, 9.0])) == 2
"""


def test_cached_code_needs_no_typing(tmp_path):
    """Compiled, then loaded; what is not in the cache is compiled beside what is."""
    environment = {**os.environ, "TNNQUANT_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert said == [["typed"], ["loaded"]]
