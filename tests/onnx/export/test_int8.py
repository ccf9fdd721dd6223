"""int8 layers as QDQ: the codes that onnxruntime gives are those of the Executor."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.graph import QuantParams
from tnnquant.onnx.export import export_graph
from tnnquant.onnx.export.quantize import units
from tnnquant.quantization.quantize import quantize_graph


def quantized(net, *outputs, **config):
    """The graph in int8, calibrated on random inputs."""
    graph = net.graph(*outputs)
    dims = {name: spec.dims for name, spec in graph.inputs.items()}
    arrays = [{n: net.rng.standard_normal(d).astype(np.float32) for n, d in dims.items()} for _ in range(4)]
    samples = [SimpleNamespace(name=f"s{i}", arrays=a) for i, a in enumerate(arrays)]
    return quantize_graph(graph, samples, QuantizeConfig(**config)).graph


def chain(build):
    """Convolutions of every kind, joined and added: all layers int8."""
    net = build((1, 3, 12, 10))
    x = net.add("ReLU", net.conv("input", 3, 8, stride=2))
    left = net.conv(net.add("ReLU6", net.conv(x, 8, 8, groups=8)), 8, 8)
    right = net.conv(x, 8, 8, kernel=1)
    x = net.add("Add", [left, right], -1)
    x = net.pool(net.add("Concat", [x, net.conv(x, 8, 4, kernel=1)], 1))
    return net, net.inner_product(net.conv(x, 12, 8), 8 * 3 * 2, 5)


@pytest.mark.parametrize("unsigned", [False, True], ids=["int8", "uint8"])
@pytest.mark.parametrize("merge_type", ["channel", "mix", "tensor"])
@pytest.mark.parametrize("method", ["minmax", "asymmetric"])
def test_all_int8_network(build, onnxruntime_run, unsigned, merge_type, method):
    net, out = chain(build)
    graph = quantized(net, out, blob_method=method, weight_method=method, merge_type=merge_type)
    assert [str(node) for node in graph.nodes if not node.quantized] == []
    model = export_graph(graph, unsigned=unsigned)
    executor = Executor(graph)
    for _ in range(4):
        inputs = {"input": net.rng.standard_normal((1, 3, 12, 10)).astype(np.float32)}
        error = np.abs(onnxruntime_run(model, inputs)[out] - executor.run(inputs)[out])
        assert error.max() <= 1.01 * graph.scales[out].scale.max()


def test_every_int8_tensor_has_one_scale_and_one_type(build):
    net, out = chain(build)
    for unsigned, dtype in ((False, np.int8), (True, np.uint8)):
        model = export_graph(quantized(net, out), unsigned=unsigned)
        constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
        linear = [node for node in model.graph.node if node.op_type.endswith("quantizeLinear")]
        linear += [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
        activations = [node for node in linear if node.input[0] not in constants]
        assert activations
        for node in activations:
            assert (constants[node.input[1]].shape, constants[node.input[2]].dtype) == ((), dtype)
        weights = [constants[node.input[0]].dtype for node in linear if node.input[0] in constants]
        assert {str(d) for d in weights} == {"int8", "int32"}
        onnx.checker.check_model(model, full_check=True)


def test_blobs_with_one_scale_keep_it_and_others_get_a_power_of_two(build):
    net, out = chain(build)
    graph = quantized(net, out)
    for blob, unit in units(graph).items():
        scale = graph.scales[blob].scale
        if (scale == scale[0]).all():
            assert unit == scale[0]
        else:
            assert np.log2(unit) == np.round(np.log2(unit))
            assert 0.5 < unit / scale.max() < 2


def test_blobs_between_which_codes_move_have_one_unit(build):
    net, out = chain(build)
    graph = quantized(net, out)
    found = units(graph)
    moved = [node for node in graph.nodes if node.layer.TYPE_NAMES[0] in ("Concat", "Pooling")]
    assert moved
    for node in moved:
        assert len({float(found[blob]) for blob in (*node.inputs, *node.outputs)}) == 1


def test_a_channel_without_values_stays_zero(build, onnxruntime_run):
    net = build((1, 4, 6, 6))
    out = net.conv("input", 4, 6, name="c")
    graph = quantized(net, out)
    scales = {blob: QuantParams(p.scale.copy(), p.zero_point) for blob, p in graph.scales.items()}
    scales["input"].scale[1] = 0
    scales[out].scale[2] = 0
    graph = graph.replace(scales=scales)
    inputs = {"input": net.rng.standard_normal((1, 4, 6, 6)).astype(np.float32)}
    got, wanted = onnxruntime_run(export_graph(graph), inputs)[out], Executor(graph).run(inputs)[out]
    assert not got[:, 2].any()
    assert np.abs(got - wanted).max() <= 1.01 * scales[out].scale.max()


def test_a_maximum_of_the_lowest_codes_is_minus_127(build, onnxruntime_run):
    net = build((1, 2, 4, 4))
    x = net.conv("input", 2, 2, kernel=1)
    out = net.pool(x)
    graph = quantized(net, out, merge_type="tensor")
    inputs = {"input": np.full((1, 2, 4, 4), -1e3, np.float32)}
    got, wanted = onnxruntime_run(export_graph(graph), inputs)[out], Executor(graph).run(inputs)[out]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    assert (wanted / graph.scales[out].scale[0]).min() >= -127.01


def test_the_recipe_best_with_guards_and_copies(build, onnxruntime_run):
    net = build((1, 3, 16, 12))
    x = net.add("ReLU", net.conv("input", 3, 8))
    x = net.add("ReLU", net.conv(x, 8, 12))
    x = net.conv(net.add("Swish", x), 12, 8)
    out = net.pool(x, 1, 0, 1)
    graph = quantized(net, out, recipe="best", fp32_share=0)
    inputs = {"input": net.rng.standard_normal((1, 3, 16, 12)).astype(np.float32)}
    got, wanted = onnxruntime_run(export_graph(graph), inputs)[out], Executor(graph).run(inputs)[out]
    assert np.abs(got - wanted).max() <= 0.01 * np.abs(wanted).max()
