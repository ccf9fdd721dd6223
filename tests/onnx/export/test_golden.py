"""Every case of a single layer, and the golden int8 models, as ONNX: what onnxruntime gives, against the Executor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tnnquant.engine.executor import Executor
from tnnquant.errors import TnnQuantError, UnsupportedLayerError
from tnnquant.format import read_model
from tnnquant.onnx.export import export_graph

CASES = Path(__file__).resolve().parents[4] / "shared" / "golden" / "layers"

#: Cases that are refused, by the beginning of their name, and the reason.
REFUSED = {
    "deconvolution_11": "stride and dilation both exceed 1",
    "detectionoutput": "ONNX has no operator for it",
    "detectionpostprocess": "ONNX has no operator for it",
    "hdrguide": "ONNX has no operator for it",
    "inverse": "ONNX has no operator for it",
    "matmul_06": "pairs the matrices",
    "pooling_13": "averages of windows that lie in the padding alone",
    "pooling_20": "averages of windows that lie in the padding alone",
    "reducel2_10": "cuts fractions off",
    "reducemean_11": "cuts fractions off",
}
#: TNN takes the logarithm of a float32 that is nearly 0.
COARSE = {"logsoftmax_07": 1e-3}


def load_cases() -> list[dict]:
    """The cases of the manifest; none if the folder is absent."""
    manifest = CASES / "manifest.json"
    return json.loads(manifest.read_text())["cases"] if manifest.is_file() else []


def of_case(table: dict, name: str):
    """What a table holds for a case, or None."""
    return next((value for prefix, value in table.items() if name.startswith(prefix)), None)


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case["name"])
def test_layer(shared, case, onnxruntime_run):
    folder = shared / "golden" / "layers" / case["name"]
    model = folder / "model.tnnmodel"
    graph = read_model(folder / "model.tnnproto", model if model.is_file() else None)
    arrays = np.load(folder / "case.npz")
    inputs = {key.removeprefix("in:"): arrays[key] for key in arrays.files if key.startswith("in:")}
    try:
        wanted = Executor(graph).run(inputs)
    except TnnQuantError as error:
        pytest.skip(f"the Executor refuses it: {error}")
    reason = of_case(REFUSED, case["name"])
    if reason:
        with pytest.raises(UnsupportedLayerError, match=reason):
            export_graph(graph)
        return
    got = onnxruntime_run(export_graph(graph), inputs)
    for name, values in wanted.items():
        values = np.asarray(values)
        assert (got[name].shape, got[name].dtype) == (values.shape, values.dtype)
        if name in graph.scales:
            assert np.abs(got[name] - values).max() <= 1.01 * graph.scales[name].scale.max()
            continue
        finite = np.isfinite(values) & np.isfinite(got[name])
        np.testing.assert_array_equal(np.isnan(values), np.isnan(got[name]))
        peak = np.abs(values[finite].astype(np.float64)).max(initial=0)
        error = np.abs(values[finite].astype(np.float64) - got[name][finite]).max(initial=0)
        assert error <= (of_case(COARSE, case["name"]) or 1e-4) * peak + 1e-7


def random_picture(rng, dims, peak):
    """Smooth values up to about ``peak``."""
    n, c, h, w = dims
    coarse = rng.standard_normal((n, c, -(-h // 8), -(-w // 8))).repeat(8, 2).repeat(8, 3)[:, :, :h, :w]
    return ((coarse + 0.3 * rng.standard_normal(dims)) * peak / 3).astype(np.float32)


GOLDEN = [
    ("squeezenet/b0w0t0", 128, 0.999), ("squeezenet/b3w3t0", 128, 0.999), ("squeezenet/b2w1t2", 128, 0.999),
    ("efficientnet_lite0/b0w0t0", 1, None), ("real/ppocr_cls/b0w0t0", 1, 0.995), ("real/yolov8n/b0w0t0", 1, 0.999),
]  # fmt: skip


@pytest.mark.parametrize("unsigned", [False, True], ids=["int8", "uint8"])
@pytest.mark.parametrize(("name", "peak", "lowest"), GOLDEN, ids=[name for name, *_ in GOLDEN])
def test_pair_of_tnns_tool(shared, name, peak, lowest, unsigned, rng, onnxruntime_run):
    folder = shared / "golden" / name
    graph = read_model(folder / "model.quantized.tnnproto", folder / "model.quantized.tnnmodel")
    executor = Executor(graph)
    inputs = {blob: random_picture(rng, executor.specs[blob].dims, peak) for blob in graph.inputs}
    got = onnxruntime_run(export_graph(graph, unsigned=unsigned), inputs)
    for blob, values in executor.run(inputs).items():
        if lowest is None:  # the output is int8 itself
            assert np.abs(got[blob] - values).max() <= 1.01 * graph.scales[blob].scale.max()
        a, b = values.astype(np.float64).ravel(), got[blob].astype(np.float64).ravel()
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= (lowest or 0.99)


FP32 = ["squeezenet_v1.1", "efficientnet_lite0", "real/ppocr_cls", "real/ppocr_det", "real/yolov8n"]


@pytest.mark.parametrize("name", FP32)
def test_fp32_network(shared, name, rng, onnxruntime_run):
    base = shared / "data" / name
    graph = read_model(base.with_name(base.name + ".tnnproto"), base.with_name(base.name + ".tnnmodel"))
    executor = Executor(graph)
    inputs = {blob: random_picture(rng, executor.specs[blob].dims, 1) for blob in graph.inputs}
    got = onnxruntime_run(export_graph(graph), inputs)
    for blob, values in executor.run(inputs).items():
        assert np.abs(got[blob] - values).max() <= 1e-4 * np.abs(values).max() + 1e-6
