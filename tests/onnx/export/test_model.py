"""Whole graphs: what is declared, refused and folded."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tnnquant.base.tensor import DataType
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError, GraphError, UnsupportedLayerError
from tnnquant.graph import InputSpec
from tnnquant.onnx.export import DEFAULT_OPSET, OLDEST_OPSET, export_graph


def small(build):
    """A convolution with a ReLU and an inner product."""
    net = build((1, 3, 8, 6))
    x = net.pool(net.add("ReLU", net.conv("input", 3, 4, name="stem"), name="act"), name="pool")
    return net.graph(net.inner_product(x, 4 * 4 * 3, 5, name="fc"))


@pytest.mark.parametrize("opset", [None, OLDEST_OPSET, 15, 18, onnx.defs.onnx_opset_version()])
def test_the_opset_is_the_one_asked_for_and_the_model_is_valid(build, opset):
    model = export_graph(small(build), **({} if opset is None else {"opset": opset}))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset or DEFAULT_OPSET)]
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("opset", [12, 0, onnx.defs.onnx_opset_version() + 1])
def test_an_opset_that_cannot_be_written_is_refused(build, opset):
    with pytest.raises(ConfigError, match=f"opset is {opset}, expected 13 to {onnx.defs.onnx_opset_version()}"):
        export_graph(small(build), opset=opset)


def test_names_and_dims_are_those_of_the_model(build):
    graph = small(build)
    model = export_graph(graph, input_dims={"input": (2, 3, 8, 6)})
    (entry,), (result,) = model.graph.input, model.graph.output
    assert (entry.name, [d.dim_value for d in entry.type.tensor_type.shape.dim]) == ("input", [2, 3, 8, 6])
    assert (result.name, [d.dim_value for d in result.type.tensor_type.shape.dim]) == ("fc_out", [2, 5])
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu", "MaxPool", "Flatten", "Gemm"]
    assert all(node.name.split("/")[0] in ("stem", "act", "pool", "fc") for node in model.graph.node)


def test_dims_that_do_not_fit_are_refused(build):
    with pytest.raises(GraphError, match="'nothing'"):
        export_graph(small(build), input_dims={"nothing": (1, 3, 8, 6)})


def test_all_layers_that_onnx_cannot_express_are_named(build):
    net = build((1, 3, 2, 2))
    a = net.add("Inverse", "input", name="first")
    b = net.add("Inverse", net.add("ReLU", a), name="second")
    with pytest.raises(UnsupportedLayerError, match=r"layer 'first' \(Inverse\): .*; layer 'second' \(Inverse\): "):
        export_graph(net.graph(b))


def test_what_follows_from_dims_is_a_constant(build, onnxruntime_run):
    net = build((1, 3, 8, 6))
    x = net.conv("input", 3, 4)
    boxes = net.add(
        "PriorBox", [x, "input"], (2.0,), (), 0, 1, (0.1, 0.1, 0.2, 0.2), (1.0, 2.0), 0, 0, 0, 0, 0.5, name="boxes"
    )
    flat = net.add("Flatten", boxes, 1)
    graph = net.graph(flat, x)
    model = export_graph(graph)
    inputs = {"input": np.ones((1, 3, 8, 6), np.float32)}
    assert [node.op_type for node in model.graph.node] == ["Conv", "Identity"]
    np.testing.assert_allclose(onnxruntime_run(model, inputs)[flat], Executor(graph).run(inputs)[flat], rtol=1e-6)


def test_outputs_whose_size_depends_on_values_have_open_dims(build, onnxruntime_run):
    net = build((1, 6, 4))
    net.inputs["scores"] = InputSpec((1, 2, 6), DataType.FLOAT)
    kept = net.add("NonMaxSuppression", ["input", "scores"], 0, 3, 0.5, 0.1)
    graph = net.graph(kept)
    model = export_graph(graph)
    assert all(dim.dim_param for dim in model.graph.output[0].type.tensor_type.shape.dim)
    inputs = {"input": net.rng.random((1, 6, 4), np.float32), "scores": net.rng.random((1, 2, 6), np.float32)}
    np.testing.assert_array_equal(onnxruntime_run(model, inputs)[kept], Executor(graph).run(inputs)[kept])


def test_equal_graphs_give_equal_bytes(build):
    graph = small(build)
    data = {export_graph(graph).SerializeToString(deterministic=True) for _ in range(2)}
    assert len(data) == 1
