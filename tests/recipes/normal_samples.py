"""What the tests of the recipes calibrate with, and how far their models are from fp32."""

from dataclasses import dataclass

import numpy as np

from tnnquant.engine.executor import Executor


@dataclass
class Sample:
    name: str
    arrays: dict


def samples(rng, count=12, shape=(1, 3, 12, 10)):
    """Samples of normal numbers for the input "input"."""
    return [Sample(f"s{i}", {"input": rng.standard_normal(shape).astype(np.float32)}) for i in range(count)]


def squared_error(result, data):
    """Squared error of the only output of a quantization over samples, relative to its power."""
    fp32, int8 = Executor(result.fp32), Executor(result.graph)
    pairs = [(*fp32.run(s.arrays).values(), *int8.run(s.arrays).values()) for s in data]
    return sum(np.square(a - b).sum() for a, b in pairs) / sum(np.square(a).sum() for a, _ in pairs)
