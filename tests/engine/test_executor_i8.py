"""The executor on int8 graphs: TNN's integers, borders between int8 and fp32, what is refused."""

import dataclasses

import numpy as np
import pytest

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.engine.executor import Executor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.format import read_model
from tnnquant.graph import QuantParams, Resource
from tnnquant.layers.concat import Concat
from tnnquant.layers.int8 import dequantized, quantized

CONFIGURATIONS = [
    *[f"squeezenet/{name}" for name in ("b0w0t0", "b2w1t0", "b2w1t1", "b2w1t2", "b3w3t0", "b4w0t1")],
    *[f"efficientnet_lite0/{name}" for name in ("b0w0t0", "b2w1t1")],
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_golden_networks_give_the_integers_of_tnn(shared, configuration):
    folder = shared / "golden" / configuration
    graph = read_model(folder / "model.quantized.tnnproto", folder / "model.quantized.tnnmodel")
    golden, fed = np.load(folder / "out.npz"), np.load(folder.parent / "fp32.npz")["in"]
    executor, blobs, (name,) = Executor(graph), {}, graph.inputs
    executor.run({name: fed[:1]}, lambda blob, array: blobs.update({blob: array.copy()}))
    wanted = {key.removeprefix("blob:"): golden[key] for key in golden.files if golden[key].dtype == np.int8}
    assert len(wanted) >= 38
    for blob, value in wanted.items():
        np.testing.assert_array_equal(blobs[blob].reshape(value.shape), value, err_msg=blob)
    for picture, expected in zip(fed[1:], golden["out"][1:], strict=True):
        (result,) = executor.run({name: picture[None]}).values()
        np.testing.assert_allclose(result.reshape(-1), expected, rtol=1e-6, atol=1e-7)


def int8_graph(graph, rng, slots=None, kinds=("Convolution", "InnerProduct", "Add", "Concat", "ReLU", "Pooling")):
    """The graph with nodes of these types flagged, random int8 weights, and scales that fit the blobs' ranges."""
    executor, peaks = Executor(graph), {}
    inputs = {n: rng.standard_normal(s.dims).astype(np.float32) for n, s in graph.inputs.items()}
    executor.run(inputs, lambda name, x: peaks.update({name: (float(abs(x).max()), x.shape[1])}))
    scales = {
        name: QuantParams(np.full(n := slots or channels, peak / 127, np.float32), np.zeros(n, np.int8))
        for name, (peak, channels) in peaks.items()
    }
    for node in graph.nodes:
        if isinstance(node.layer, Concat) and slots is None:  # bytes are copied: the inputs take the output's scale
            scale = scales[node.outputs[0]].scale[0]
            scales |= {name: QuantParams(np.full_like(scales[name].scale, scale), scales[name].zero_point)
                       for name in node.inputs}  # fmt: skip
    nodes = []
    for node in graph.nodes:
        if type(node.layer).TYPE_NAMES[0] not in kinds:
            nodes.append(node)
            continue
        resource = node.resource
        if resource and ({"filter", "weight"} & resource.tensors.keys()):
            resource = _int8_resource(node, scales[node.inputs[0]])
        nodes.append(node.replace(quantized=True, resource=resource))
    return graph.with_nodes(nodes).replace(scales=scales), inputs


def _int8_resource(node, source):
    what = "filter" if "filter" in node.tensors else "weight"
    weight, bias = node.layer.weight_array(node.tensors), node.layer.bias_array(node.tensors)
    factor = abs(weight).max() * source.scale[0] / 127
    integers = np.rint(weight * source.scale[0] / factor).astype(np.int8)
    return Resource(
        {
            what: Tensor(integers.reshape(-1), (), DataType.INT8),
            "bias": Tensor(np.rint(bias / factor).astype(np.int32), (), DataType.INT32),
            "scale": Tensor(np.array([factor], np.float32)),
            "zero_point": Tensor(np.zeros(1, np.int8), (), DataType.INT8),
        },
        node.resource.extras,
    )


@pytest.mark.parametrize("fed", [np.float32, np.float64])
def test_an_input_that_several_layers_read(build, rng, fed):
    net = build((1, 3, 6, 5))
    one, two = net.conv("input", 3, 4, name="one"), net.conv("input", 3, 4, name="two")
    graph, inputs = int8_graph(net.graph(net.add("Add", [one, two], name="sum")), rng, slots=1)
    executor = Executor(graph)
    seen: dict[str, np.ndarray] = {}
    executor.run(inputs, lambda name, x: seen.update({name: np.array(x)}))
    (result,) = executor.run({name: x.astype(fed) for name, x in inputs.items()}).values()
    np.testing.assert_array_equal(result, seen["sum_out"] * graph.scales["sum_out"].scale)
    assert len(np.unique(seen["sum_out"])) > 20


def branching_net(build):
    """int8 and fp32 branches that share blobs, an add that is fused, two concats, two outputs, one of them int8."""
    net = build((1, 3, 15, 13))
    stem = net.conv("input", 3, 16, stride=2, activation_type=1)
    gate = net.add("Sigmoid", stem)  # fp32, reads an int8 blob
    left = net.conv(gate, 16, 8)  # int8, reads an fp32 blob
    right = net.conv(stem, 16, 16, kernel=1)
    total = net.add("Add", [right, stem])  # fused into the convolution before it
    joined = net.add("Concat", [left, total], 1)
    pooled = net.pool(net.add("ReLU", joined), kernel=3)
    flat = net.inner_product(net.pool(pooled, kind=1, kernel=0, stride=1), 24, 10)
    return net.graph(net.add("Softmax", flat, 1), joined)


@pytest.mark.parametrize("slots", [None, 1])
def test_int8_and_fp32_layers_mix(build, rng, slots):
    fp32 = branching_net(build)
    graph, inputs = int8_graph(fp32, rng, slots, ("Convolution", "Add", "Concat", "ReLU"))
    executor = Executor(graph)
    types = [type(node.layer).__name__ for node in executor.graph.nodes]
    assert types.count("Reformat") == 3
    assert "Add" not in types
    assert "ConvolutionAdd" in types
    wanted, got = Executor(fp32).run(inputs), executor.run(inputs)
    for name in wanted:
        a, b = wanted[name].reshape(-1), got[name].reshape(-1)
        assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.999


def test_programs_taps_and_single_layers_agree(build, rng):
    graph, inputs = int8_graph(branching_net(build), rng)
    executor, seen = Executor(graph), {}
    plain = executor.run(inputs)
    tapped = executor.run(inputs, lambda name, x: seen.update({name: x.copy()}))
    for name in plain:
        np.testing.assert_array_equal(plain[name], tapped[name])
    assert seen["input"].dtype == np.int8
    np.testing.assert_array_equal(seen["input"], quantized(inputs["input"], graph.scales["input"]))
    for step in executor._steps:
        if step.node.quantized:
            again = step.forward(seen)
            for name, value in again.items():
                np.testing.assert_array_equal(value, seen[name], err_msg=name)


def test_an_int8_array_is_taken_as_quantized_already(build, rng):
    graph, inputs = int8_graph(branching_net(build), rng)
    executor = Executor(graph)
    plain = executor.run(inputs)
    codes = executor.run({"input": quantized(inputs["input"], graph.scales["input"])})
    for name in plain:
        np.testing.assert_array_equal(plain[name], codes[name])


def test_an_int8_output_is_dequantized(build, rng):
    net = build((2, 3, 9, 7))
    graph, inputs = int8_graph(net.graph(net.conv("input", 3, 5)), rng)
    executor, seen = Executor(graph), {}
    (result,) = executor.run(inputs, lambda name, x: seen.update({name: x.copy()})).values()
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, dequantized(seen["convolution0_out"], graph.scales["convolution0_out"]))


def test_int8_blobs_take_a_quarter_of_the_memory(build, rng):
    net = build((1, 16, 32, 32))
    blob = net.conv("input", 16, 16)
    for _ in range(6):
        blob = net.conv(blob, 16, 16)
    fp32 = net.graph(blob)
    graph, _ = int8_graph(fp32, rng)
    assert 3.9 * Executor(graph).blob_bytes < Executor(fp32).blob_bytes


def _changed(graph, blob, **changes):
    return graph.replace(scales={**graph.scales, blob: dataclasses.replace(graph.scales[blob], **changes)})


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ([1.0, 1.0], r"layer 'convolution0' .*'convolution0_out' has 2 scales and 5 zero points, expected 1 or one"),
        ([1, 1, np.nan, 1, 1], "scale 2 of the int8 blob 'convolution0_out' is nan, expected a number >= 0"),
        ([1, -1, 1, 1, 1], "scale 1 of the int8 blob 'convolution0_out' is -1.0"),
    ],
)
def test_scales_that_do_not_fit_are_named(build, rng, scale, message):
    net = build((1, 3, 9, 7))
    graph, _ = int8_graph(net.graph(net.conv("input", 3, 5)), rng)
    with pytest.raises(GraphError, match=message):
        Executor(_changed(graph, "convolution0_out", scale=np.array(scale, np.float32)))


def test_a_single_scale_of_zero_is_an_error(build, rng):
    net = build((1, 3, 9, 7))
    graph, _ = int8_graph(net.graph(net.conv("input", 3, 5)), rng, 1)
    with pytest.raises(GraphError, match="the scale of the int8 blob 'convolution0_out' is 0"):
        Executor(_changed(graph, "convolution0_out", scale=np.zeros(1, np.float32)))


def test_a_missing_scale_is_an_error(build, rng):
    net = build((1, 3, 9, 7))
    graph, _ = int8_graph(net.graph(net.conv("input", 3, 5)), rng)
    scales = {name: params for name, params in graph.scales.items() if name != "input"}
    with pytest.raises(GraphError, match=r"^layer 'convolution0' .* the int8 blob 'input' has no scale"):
        Executor(graph.replace(scales=scales))


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("filter", Tensor(np.zeros(134, np.int8), (), DataType.INT8), r"filter has 134 values, expected OC\*C/G\*KH"),
        ("filter", Tensor(np.zeros(135, np.float32)), "filter is FLOAT in a quantized layer, expected INT8"),
        ("scale", Tensor(np.ones(3, np.float32)), "filter has 3 scales, expected 1 or OC = 5"),
        ("scale", Tensor(np.full(5, np.inf, np.float32)), "scale 0 of filter is not a number >= 0"),
        ("zero_point", Tensor(np.zeros(2, np.int8), (), DataType.INT8), "filter has 2 zero points"),
        ("bias", Tensor(np.zeros(4, np.int32), (), DataType.INT32), "bias has 4 values, expected OC = 5"),
        ("bias", Tensor(np.zeros(5, np.float32)), "bias is FLOAT in a quantized layer, expected INT32"),
    ],
)
def test_weights_that_do_not_fit_are_named(build, rng, name, tensor, message):
    net = build((1, 3, 9, 7))
    graph, _ = int8_graph(net.graph(net.conv("input", 3, 5)), rng)
    node = graph.nodes[0]
    resource = dataclasses.replace(node.resource, tensors={**node.tensors, name: tensor})
    with pytest.raises(GraphError, match=f"^layer 'convolution0' .*: {message}"):
        Executor(graph.with_nodes([node.replace(resource=resource)]))


def test_a_type_without_int8_form_is_refused(build, rng):
    net = build((1, 4, 9, 7))
    graph, _ = int8_graph(net.graph(net.add("Softmax", net.conv("input", 4, 4), 1)), rng)
    flagged = [graph.nodes[0], graph.nodes[1].replace(quantized=True)]
    with pytest.raises(UnsupportedLayerError, match=r"'softmax1' \(Softmax\); tnnquant has no int8 form of it"):
        Executor(graph.with_nodes(flagged))


def test_a_quantized_add_of_a_constant_is_refused(build, rng):
    net = build((1, 4, 9, 7))
    net.constants["k"] = np.ones((1, 4, 9, 7), np.float32)
    graph, _ = int8_graph(net.graph(net.add("Add", [net.conv("input", 4, 4), "k"])), rng, kinds=("Convolution",))
    flagged = [graph.nodes[0], graph.nodes[1].replace(quantized=True)]
    with pytest.raises(GraphError, match="reads 'k', a float constant"):
        Executor(graph.with_nodes(flagged))
