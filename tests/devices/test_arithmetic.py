"""The Executor as on ARM, beside what TNN's ARM device gave (numbers of tests/devices/data)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError
from tnnquant.format import read_model

DATA = Path(__file__).parent / "data"


def differing(name, run, **kwargs):
    """Codes of int8 blobs that differ from the device's, and the largest difference of an output to its peak."""
    stored = np.load(DATA / f"{name}.npz")
    executor = Executor(read_model(DATA / f"{name}.tnnproto", DATA / f"{name}.tnnmodel"), **kwargs)
    feed = {key[3:]: stored[key].reshape(executor.specs[key[3:]].dims) for key in stored if key.startswith("in:")}
    blobs = {}
    outputs = executor.run(feed, lambda blob, array: blobs.__setitem__(blob, array.copy()))
    codes = sum(
        int((blobs[key.split(":")[1]].ravel() != stored[key].ravel()).sum())
        for key in stored if key.startswith(f"{run}/blob:")
    )  # fmt: skip
    pairs = [
        (outputs[key.split(":")[1]].ravel(), stored[key].ravel()) for key in stored if key.startswith(f"{run}/out:")
    ]
    return codes, max(float(np.abs(got - wanted).max() / np.abs(wanted).max()) for got, wanted in pairs)


@pytest.mark.parametrize("name", ["sigmoid_out", "squeeze_excite", "swish_parts", "add_saturation", "add_ties"])
def test_equal_to_the_device(name):
    assert differing(name, "arm_dot", device="arm") == (0, 0.0)


@pytest.mark.parametrize("name", ["sigmoid_out", "squeeze_excite", "swish_parts"])
def test_equal_with_high_precision(name):
    codes, error = differing(name, "arm_dot_high", device="arm", high_precision=True)
    assert codes == 0
    assert error < 2e-7


def test_the_naive_arithmetic_differs_there():
    assert differing("sigmoid_out", "arm_dot")[1] > 1e-4
    assert differing("squeeze_excite", "arm_dot")[0] > 0
    assert differing("add_saturation", "arm_dot")[0] == 1
    assert differing("add_ties", "arm_dot")[0] > 100


def test_a_device_whose_arithmetic_is_not_known():
    with pytest.raises(ConfigError, match="'gpu' is not known, expected naive or arm"):
        differing("sigmoid_out", "arm_dot", device="gpu")
