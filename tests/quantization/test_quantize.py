"""The pipeline on small networks: scales, weights, biases, determinism."""

from dataclasses import dataclass

import numpy as np
import pytest

from tnnquant import recipes
from tnnquant.config import QuantizeConfig
from tnnquant.errors import CalibrationError, ConfigError, GraphError
from tnnquant.format import model_bytes, read_model, write_model, write_proto
from tnnquant.inputs.split import Split
from tnnquant.quantization.quantize import plan_graph, quantize_graph


@dataclass
class Sample:
    name: str
    arrays: dict


def samples(rng, count=6, shape=(1, 3, 12, 10), name="input"):
    return [Sample(f"s{i}", {name: rng.standard_normal(shape).astype(np.float32)}) for i in range(count)]


def small_net(build):
    net = build()
    a = net.add("ReLU", net.conv("input", 3, 8, name="a"))
    b = net.add("ReLU6", net.conv(a, 8, 8, groups=8, name="dw"))
    c = net.conv(b, 8, 8, kernel=1, name="c")
    s = net.add("Add", [c, a], name="sum")
    p = net.pool(net.add("Concat", [s, b], 1, name="cat"), name="pool")
    return net.graph(net.inner_product(p, 16 * 6 * 5, 7, name="fc"))


def test_min_max_by_hand(build, rng):
    net = build((1, 2, 4, 4))
    out = net.conv("input", 2, 3, kernel=1, name="c")
    graph = net.graph(out)
    data = samples(rng, shape=(1, 2, 4, 4))
    result = quantize_graph(graph, data).graph
    peak = np.max([np.abs(s.arrays["input"]).max((0, 2, 3)) for s in data], axis=0).astype(np.float64)
    interval = (np.float32(2048) / peak.astype(np.float32)).astype(np.float64)
    scale = (2047.5 / interval / 127).astype(np.float32)
    np.testing.assert_array_equal(result.scales["input"].scale, scale)
    weight = graph.nodes[0].tensors["filter"].data.reshape(3, 2) * scale
    tensors = result.nodes[0].tensors
    weight_scale = (np.abs(weight).max(1) / np.float32(127)).astype(np.float32)
    np.testing.assert_array_equal(tensors["scale"].data, weight_scale)
    codes = tensors["filter"].data.reshape(3, 2)
    np.testing.assert_allclose(codes * weight_scale[:, None], weight, atol=weight_scale.max() / 2 * 1.0001)
    bias = graph.nodes[0].tensors["bias"].data.astype(np.float64) / weight_scale
    np.testing.assert_array_equal(tensors["bias"].data, np.trunc(bias + np.copysign(0.5, bias)))


@pytest.mark.parametrize("blob_method", ["minmax", "kl", "asymmetric", "aciq-gauss", "aciq-laplace"])
@pytest.mark.parametrize("merge_type", ["channel", "mix", "tensor"])
def test_every_method_writes_a_model_that_reads_back(build, rng, tmp_path, blob_method, merge_type):
    config = QuantizeConfig(blob_method=blob_method, weight_method="admm", merge_type=merge_type, device="naive")
    graph = quantize_graph(small_net(build), samples(rng), config).graph
    paths = tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel"
    write_model(graph, *paths)
    again = read_model(*paths)
    assert [node.quantized for node in again.nodes] == [node.quantized for node in graph.nodes]
    assert again.scales.keys() == graph.scales.keys()
    for name, params in again.scales.items():
        np.testing.assert_array_equal(params.scale, graph.scales[name].scale)
        assert (params.scale > 0).all()


def test_the_bytes_do_not_depend_on_the_order_of_samples_or_on_threads(build, rng):
    import numba

    data = samples(rng, 8)
    seen = set()
    before = numba.get_num_threads()
    try:
        for blob_method in ("kl", "aciq-laplace"):
            config = QuantizeConfig(blob_method=blob_method, weight_method="admm")
            seen.clear()
            for threads in (1, before):
                numba.set_num_threads(threads)
                for order in (data, data[::-1]):
                    graph = quantize_graph(small_net(build_again(build)), order, config).graph
                    seen.add((write_proto(graph), model_bytes(graph)))
            assert len(seen) == 1
    finally:
        numba.set_num_threads(before)


def build_again(build):
    """The same builder with its generator at the start again: the same weights."""
    return lambda dims=(1, 3, 12, 10): type(build())(np.random.default_rng(5), dims)


def test_scales_are_merged_before_weights_are_quantized(build, rng):
    # conv "b" reads the blob before the pooling; its weights must hold the scale the blob ends up with (7.11, 12).
    net = build()
    a = net.conv("input", 3, 4, name="a")
    b = net.conv(a, 4, 4, kernel=1, bias=False, name="b")
    p = net.pool(a, kernel=3, stride=3, name="p")
    result = quantize_graph(net.graph(b, p), samples(rng)).graph
    scale = result.scales[a].scale
    np.testing.assert_array_equal(scale, result.scales[p].scale)
    node = result.node("b")
    weight = net.nodes[1].resource.tensors["filter"].data.reshape(4, 4) * scale
    np.testing.assert_array_equal(node.tensors["scale"].data, np.abs(weight).max(1) / np.float32(127))


def test_nan_names_the_sample_and_the_layer(build, rng):
    net = build()
    out = net.conv("input", 3, 4, name="c")
    data = samples(rng, 3)
    data[1].arrays["input"][0, 1, 2, 3] = np.nan
    with pytest.raises(CalibrationError, match=r"s1: the model input 'input': 1 of 360 values are NaN or infinite"):
        quantize_graph(net.graph(out), data)


def test_overflow_inside_the_network_names_the_layer(build, rng):
    net = build()
    out = net.conv(net.conv("input", 3, 4, name="a"), 4, 4, name="b")
    net.nodes[1].resource.tensors["filter"].data[:] = 1e38
    data = samples(rng, 2)
    with pytest.raises(CalibrationError, match=r"s0: the output 'b_out' of layer 'b' \(Convolution\)"):
        quantize_graph(net.graph(out), data)


def test_no_samples(build):
    net = build()
    with pytest.raises(CalibrationError, match="no sample"):
        quantize_graph(net.graph(net.conv("input", 3, 4)), [])


def test_a_model_without_anything_to_quantize(build, rng):
    net = build()
    with pytest.raises(ConfigError, match="no layer of the model can be int8"):
        quantize_graph(net.graph(net.add("Sigmoid", "input")), samples(rng))


def test_dead_channels_and_dead_blobs(build, rng):
    net = build()
    a = net.conv("input", 3, 4, name="a")
    tensors = net.nodes[0].resource.tensors
    tensors["filter"].data.reshape(4, -1)[1] = 0
    tensors["bias"].data[:] = [0.5, 0.0, -0.25, 0.125]
    b = net.conv(a, 4, 4, kernel=1, name="b")
    weights = net.nodes[1].resource.tensors
    weights["filter"].data.reshape(4, -1)[2] = 0  # a channel that is its bias, 0.3, whatever it reads
    weights["bias"].data[2] = 0.3
    for merge_type in ("channel", "mix", "tensor"):
        graph = quantize_graph(net.graph(b), samples(rng), QuantizeConfig(merge_type=merge_type)).graph
        stored = graph.node("b").tensors
        scale = np.broadcast_to(stored["scale"].data, 4)
        assert stored["bias"].data[2] * scale[2] == pytest.approx(0.3, rel=1e-2 if merge_type == "tensor" else 1e-6)
        if merge_type == "channel":
            assert graph.scales[a].scale[1] == 0


@pytest.mark.parametrize("name", ["filter", "bias"])
@pytest.mark.parametrize("recipe", ["tnn", "best"])
def test_weights_that_are_no_numbers_are_refused_before_anything_runs(build, name, recipe):
    net = build()
    graph = net.graph(net.conv(net.conv("input", 3, 4, name="a"), 4, 4, name="b"))
    graph.node("b").tensors[name].data.flat[:2] = np.nan
    size = graph.node("b").tensors[name].size
    with pytest.raises(GraphError, match=rf"^layer 'b' \(Convolution\): 2 of the {size} values of its {name} are NaN"):
        recipes.quantize(graph, Split([]), QuantizeConfig(recipe=recipe))
    kept = QuantizeConfig(recipe=recipe, exclude="b")
    assert plan_graph(graph, kept)[1].reasons
