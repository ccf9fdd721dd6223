"""Each family of networks as ONNX: what onnxruntime gives, against the Executor."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.errors import UnsupportedLayerError
from tnnquant.onnx.export import export_graph
from tnnquant.quantization.quantize import quantize_graph

onnxruntime = pytest.importorskip("onnxruntime")


def run(model, outputs, inputs):
    """The outputs of an ONNX model, by name."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(list(outputs), inputs), strict=True))


def exportable(network):
    """The graph up to the outputs that are compared: ONNX has no DetectionOutput."""
    graph = network.graph
    kept = [node for node in graph.nodes if node.layer.TYPE_NAMES[0] != "DetectionOutput"]
    if len(kept) < len(graph.nodes):
        with pytest.raises(UnsupportedLayerError, match=r"DetectionOutput.*make the boxes and scores outputs"):
            export_graph(graph)
    return graph.replace(outputs=tuple(sorted(network.compared)), nodes=tuple(kept))


@pytest.mark.parametrize("opset", [13, 17, 20])
def test_fp32(network, opset):
    graph = exportable(network)
    sample = network.sample()
    got = run(export_graph(graph, opset=opset), graph.outputs, sample)
    for name, wanted in Executor(graph).run(sample).items():
        assert got[name].shape == wanted.shape
        assert np.abs(got[name] - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize(
    "config",
    [{}, {"blob_method": "asymmetric", "weight_method": "asymmetric"}, {"merge_type": "tensor"}],
    ids=["default", "asymmetric", "tensor"],
)
def test_int8(network, config, unsigned):
    check(network, QuantizeConfig(**config), unsigned)


def test_best(network):
    check(network, QuantizeConfig(recipe="best"), True)


def check(network, config, unsigned):
    """Codes differ by one where a value lies half-way between two: outputs then differ as much as int8 steps do."""
    graph = exportable(network)
    samples = [SimpleNamespace(name=f"s{i}", arrays=network.sample()) for i in range(4)]
    quantized = quantize_graph(graph, samples, config).graph
    executor = Executor(quantized)
    model = export_graph(quantized, unsigned=unsigned)
    for _ in range(2):
        sample = network.sample()
        got = run(model, graph.outputs, sample)
        for name, wanted in executor.run(sample).items():
            error = np.abs(got[name] - wanted) / np.abs(wanted).max()
            assert error.max() <= 0.1
            assert np.sqrt(np.mean(error**2)) <= 0.01
