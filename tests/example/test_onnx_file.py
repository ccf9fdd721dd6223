"""SqueezeNet as ONNX: the same network as the TNN one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import tnnquant
from tnnquant.engine.executor import Executor
from tnnquant.example.onnx_file import squeezenet_onnx
from tnnquant.example.squeezenet import CLASSES, FIRE, INPUT_SIZE, build_graph


@pytest.fixture(scope="module")
def weights():
    """Random ones that keep the size of activations."""
    rng = np.random.default_rng(1)
    shapes, channels = {"conv1": (64, 3, 3, 3)}, 64
    for name, (squeeze, expand) in FIRE.items():
        shapes[f"{name}_squeeze1x1"] = (squeeze, channels, 1, 1)
        shapes[f"{name}_expand1x1"] = (expand, squeeze, 1, 1)
        shapes[f"{name}_expand3x3"] = (expand, squeeze, 3, 3)
        channels = 2 * expand
    shapes["conv10"] = (CLASSES, channels, 1, 1)
    made = {}
    for name, shape in shapes.items():
        scale = (2 / np.prod(shape[1:])) ** 0.5
        filters = (rng.standard_normal(shape) * scale).astype(np.float32)
        made[name] = filters, (rng.standard_normal(shape[0]) * 0.1).astype(np.float32)
    return made


@pytest.fixture(scope="module")
def picture():
    """A picture, and what the TNN network gives for it."""
    return np.random.default_rng(2).standard_normal((1, 3, INPUT_SIZE, INPUT_SIZE)).astype(np.float32) * 50


def test_onnxruntime_gives_what_the_tnn_network_gives(weights, picture):
    onnxruntime = pytest.importorskip("onnxruntime")
    data = squeezenet_onnx(weights)
    (got,) = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"input": picture})
    wanted = Executor(build_graph(weights)).run({"data": picture})["prob"].reshape(1, CLASSES)
    assert np.abs(got - wanted).max() <= 1e-5


def test_the_converted_pair_gives_what_the_tnn_network_gives(weights, picture, tmp_path):
    path = tmp_path / "squeezenet.onnx"
    path.write_bytes(squeezenet_onnx(weights))
    got = Executor(tnnquant.read_model(path)).run({"input": picture})["output"]
    wanted = Executor(build_graph(weights)).run({"data": picture})["prob"].reshape(got.shape)
    assert np.abs(got - wanted).max() <= 1e-5


def test_the_file_is_valid_and_looks_like_one_of_pytorch(weights):
    model = onnx.load_from_string(squeezenet_onnx(weights))
    onnx.checker.check_model(model, full_check=True)
    names = [entry.name for entry in model.graph.initializer]
    assert names[:2] == ["features.0.weight", "features.0.bias"]
    assert names[-2:] == ["classifier.1.weight", "classifier.1.bias"]
    assert model.graph.node[0].name == "/features/features.0/Conv"
    assert [node.op_type for node in model.graph.node[-3:]] == ["GlobalAveragePool", "Flatten", "Softmax"]


def test_equal_weights_give_equal_bytes(weights):
    assert squeezenet_onnx(weights) == squeezenet_onnx(weights)
