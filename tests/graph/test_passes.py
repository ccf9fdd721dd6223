"""Graph passes: the layers TNN calibrates, and the three departures from its own passes."""

import numpy as np

from tnnquant.graph.passes import prepare_for_quantization, widen_dynamic_range


def kinds(graph):
    return [node.layer.TYPE_NAMES[0] for node in graph.nodes]


def test_relu_and_relu6_are_fused_into_the_convolution_before_them(build):
    net = build()
    a = net.add("ReLU", net.conv("input", 3, 4))
    b = net.add("ReLU6", net.conv(a, 4, 4))
    graph = prepare_for_quantization(net.graph(b))
    assert kinds(graph) == ["Convolution", "Convolution"]
    assert [node.layer.activation_type for node in graph.nodes] == [1, 2]
    assert graph.nodes[0].outputs == (a,)
    assert graph.nodes[1].outputs == (b,)
    # The names of fused-away blobs stay listed in the proto, as in TNN.
    assert "convolution0_out" in graph.extra_blobs


def test_an_activation_is_not_fused_if_the_convolution_is_read_elsewhere(build):
    net = build()
    c = net.conv("input", 3, 4)
    out = net.add("Add", [net.add("ReLU", c), c])
    assert kinds(prepare_for_quantization(net.graph(out))) == ["Convolution", "ReLU", "Add"]


def test_an_activation_is_not_fused_if_the_convolution_is_a_model_output(build):
    net = build()
    c = net.conv("input", 3, 4)
    r = net.add("ReLU", c)
    assert kinds(prepare_for_quantization(net.graph(c, r))) == ["Convolution", "ReLU"]


def test_an_activation_is_fused_only_into_the_layer_right_before_it_that_it_reads(build):
    net = build()
    c = net.conv("input", 3, 4)
    d = net.conv("input", 3, 4)
    r = net.add("ReLU", c)
    graph = prepare_for_quantization(net.graph(d, r))
    assert kinds(graph) == ["Convolution", "Convolution", "ReLU"]


def test_a_second_activation_stays(build):
    net = build()
    r = net.add("ReLU6", net.add("ReLU", net.conv("input", 3, 4)))
    assert kinds(prepare_for_quantization(net.graph(r))) == ["Convolution", "ReLU6"]


def test_a_swish_stays_behind_its_convolution(build):
    net = build()
    out = net.add("Swish", net.conv("input", 3, 4))
    graph = prepare_for_quantization(net.graph(out))
    assert kinds(graph) == ["Convolution", "Swish"]
    assert graph.nodes[0].layer.activation_type == 0


def test_sigmoid_and_mul_become_one_swish(build):
    net = build()
    c = net.conv("input", 3, 4)
    out = net.add("Mul", [c, net.add("Sigmoid", c)])
    graph = prepare_for_quantization(net.graph(out))
    assert kinds(graph) == ["Convolution", "Swish"]
    assert graph.nodes[1].inputs == (c,)
    assert graph.nodes[1].outputs == (out,)


def test_a_sigmoid_read_elsewhere_stays(build):
    net = build()
    c = net.conv("input", 3, 4)
    s = net.add("Sigmoid", c)
    out = net.add("Add", [net.add("Mul", [c, s]), s])
    assert kinds(prepare_for_quantization(net.graph(out))) == ["Convolution", "Sigmoid", "Mul", "Add"]


def test_a_swish_fused_in_the_file_is_taken_out_again(build):
    net = build()
    c = net.conv("input", 3, 4, activation_type=256)
    graph = prepare_for_quantization(net.graph(c))
    assert kinds(graph) == ["Convolution", "Swish"]
    assert graph.nodes[1].outputs == (c,)
    assert graph.nodes[0].outputs == graph.nodes[1].inputs


def test_dynamic_range_weights_in_constants_are_widened(build, rng):
    net = build((1, 3, 4, 5))
    codes = rng.integers(-127, 128, (5, 6)).astype(np.int8)
    net.constants = {"w": codes, "w_dynamic_range_quant_scale": np.array([0.02], np.float32)}
    out = net.add("DynamicRangeQuantizedMatMul", ["input", "w"], -1)
    node = net.nodes[-1].replace(dynamic_range=True)
    graph = widen_dynamic_range(net.graph(out).replace(nodes=(node,)))
    assert not graph.nodes[0].dynamic_range
    assert graph.nodes[0].type_string == "MatMul"
    assert list(graph.constants) == ["w"]
    np.testing.assert_array_equal(graph.constants["w"].array(), codes * np.float32(0.02))


def test_sigmoid_and_mul_become_one_swish_where_tnn_would_drop_the_sigmoid(build):
    net = build()
    r = net.add("ReLU", net.conv("input", 3, 4))  # fused: then they stand right after the convolution
    a = net.add("Mul", [r, net.add("Sigmoid", r)])
    assert kinds(prepare_for_quantization(net.graph(a))) == ["Convolution", "Swish"]
    net = build()
    c, d = net.conv("input", 3, 4, kernel=1), net.conv("input", 3, 4, kernel=1)
    s = net.add("Add", [c, d])  # an int8 add becomes part of the convolution before it
    out = net.add("Mul", [s, net.add("Sigmoid", s)])
    assert kinds(prepare_for_quantization(net.graph(out))) == ["Convolution", "Convolution", "Add", "Swish"]
