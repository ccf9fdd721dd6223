"""Every single-layer case of the golden folder: what TNN computes, against what the executor computes.

The cases, their tolerances and their quirks are described in the README beside them. Run one type with
``pytest tests/layers/test_golden.py -k convolution``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tnnquant.engine.executor import Executor
from tnnquant.format import read_model
from tnnquant.graph.passes import prepare_for_quantization, widen_dynamic_range

CASES = Path(__file__).resolve().parents[3] / "shared" / "golden" / "layers"

TOLERANCE = 1e-5
"""Of the largest finite magnitude of an array."""

WIDE_RANGE = re.compile("special values|large magnitudes|extreme values")
"""Cases whose small values would be lost beside the large ones: compared element by element..."""

SUMS = re.compile("Reduce|Pooling")
"""... unless the layer is a sum, where cancellation moves small results."""



def load_cases() -> list[dict]:
    """The cases of the manifest; none if the folder is absent."""
    manifest = CASES / "manifest.json"
    return json.loads(manifest.read_text())["cases"] if manifest.is_file() else []


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case["name"])
def test_case(shared, case):
    folder = shared / "golden" / "layers" / case["name"]
    graph = read_case(folder)
    stuck = [node for node in graph.nodes if not node.layer.runnable()]
    if stuck:
        pytest.skip(f"{stuck[0].type_string} cannot be run: {stuck[0].layer.WHY_NOT or 'no kernel yet'}")

    graph = widen_dynamic_range(graph)
    arrays = np.load(folder / "case.npz")
    inputs = {key.removeprefix("in:"): arrays[key] for key in arrays.files if key.startswith("in:")}
    blobs: dict[str, np.ndarray] = {}
    outputs = Executor(graph).run(inputs, tap=lambda name, array: blobs.update({name: np.array(array)}))
    compare(case, arrays, outputs, blobs)

    if case["kind"] == "int8":
        return
    fused = prepare_for_quantization(graph)
    if len(fused.nodes) != len(graph.nodes):
        compare(case, arrays, Executor(fused).run(inputs), {})


def read_case(folder: Path):
    """The model of a case; those without tensors have no .tnnmodel."""
    model = folder / "model.tnnmodel"
    return read_model(folder / "model.tnnproto", model if model.is_file() else None)


def compare(case: dict, arrays, outputs: dict, blobs: dict) -> None:
    """Every output, and every inner blob that both sides have."""
    element_wise = bool(WIDE_RANGE.search(case["description"])) and not SUMS.search(case["type"])
    for key in arrays.files:
        role, name = key.split(":", 1)
        if role == "out":
            assert_same(outputs[name], arrays[key], f"{case['name']}: output {name}", element_wise)
        elif role == "blob" and name in blobs:
            assert_same(blobs[name], arrays[key], f"{case['name']}: blob {name}", element_wise)


def assert_same(got: np.ndarray, wanted: np.ndarray, what: str, element_wise: bool = False) -> None:
    """Integers equal; floats within ``TOLERANCE``, NaN and infinities at the same places; shapes equal."""
    assert got.shape == wanted.shape, f"{what} is {got.shape}, expected {wanted.shape}"
    if wanted.dtype.kind in "iu":
        assert got.dtype.kind in "iu", f"{what} is {got.dtype}, expected {wanted.dtype}"
        np.testing.assert_array_equal(got, wanted, err_msg=what)
        return
    assert got.dtype == np.float32, f"{what} is {got.dtype}, expected float32"
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(got[~finite], wanted[~finite], err_msg=what)
    got, wanted = got[finite].astype(np.float64), wanted[finite].astype(np.float64)
    allowed = TOLERANCE * np.abs(wanted).max(initial=0)
    if element_wise:
        allowed = np.minimum(allowed, TOLERANCE * np.abs(wanted) + 1e-30)
    wrong = ~(np.abs(got - wanted) <= allowed)
    assert not wrong.any(), (
        f"{what}: {wrong.sum()} of {wrong.size} elements differ, the worst by {np.abs(got - wanted).max()}: "
        f"got {got[wrong][:4]}, expected {wanted[wrong][:4]}"
    )
