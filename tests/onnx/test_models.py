"""Real networks, beside what onnxruntime makes of them; ../shared holds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tnnquant.engine.executor import Executor
from tnnquant.onnx import convert

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "onnx"
MODELS = sorted(FOLDER.glob("*.onnx"))

pytestmark = pytest.mark.skipif(not MODELS, reason="../shared/data/onnx is not there")


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_outputs(path):
    """On four inputs each: within 1e-4 of the largest magnitude."""
    data = np.load(path.with_suffix(".npz"))
    names = [key[4:] for key in data.files if key.startswith("in0:")]
    conversion = convert(path, {name: data[f"in0:{name}"].shape for name in names})
    executor = Executor(conversion.graph)
    for k in range(4):
        feeds = {}
        for name in names:
            blob = conversion.renamed.get(name, name)
            feeds[blob] = data[f"in{k}:{name}"].astype(executor.specs[blob].dtype.numpy)
        made = executor.run(feeds)
        for key in data.files:
            if key.startswith(f"out{k}:"):
                wanted, got = data[key], made[conversion.renamed.get(key[5:], key[5:])]
                assert got.size == wanted.size
                apart = np.abs(got.reshape(wanted.shape).astype(np.float64) - wanted).max()
                assert apart <= 1e-4 * np.abs(wanted).max() + 1e-6, key
