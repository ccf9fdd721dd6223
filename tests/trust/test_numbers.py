"""What is promised of unusual numbers and shapes, each against a float64 reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tnnquant import recipes
from tnnquant.config import QuantizeConfig, choice_codes
from tnnquant.engine.executor import Executor
from tnnquant.errors import CalibrationError
from tnnquant.inputs.split import Split
from tnnquant.quantization.quantize import quantize_graph


@dataclass
class Sample:
    name: str
    arrays: dict


def samples(*arrays):
    return [Sample(f"s{number}", {"input": np.asarray(array, np.float32)}) for number, array in enumerate(arrays)]


def convolution(x, weight, bias, pad):
    """float64, stride 1; weight (O, C, K, K)."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    kernel = weight.shape[-1]
    height, width = x.shape[2] - kernel + 1, x.shape[3] - kernel + 1
    out = np.zeros((len(x), len(weight), height, width))
    for i in range(kernel):
        for j in range(kernel):
            part = x[:, :, i : i + height, j : j + width]
            out += np.einsum("nchw,oc->nohw", part, weight[:, :, i, j].astype(np.float64))
    return out + np.asarray(bias, np.float64)[None, :, None, None]


def one_layer(build, dims, weight, bias):
    """A convolution of stride 1 that keeps the size."""
    net = build(dims)
    kernel = weight.shape[-1]
    tensors = {"filter": weight.astype(np.float32), "bias": np.asarray(bias, np.float32)}
    fields = {"group": 1, "input_channel": dims[1], "output_channel": len(weight), "kernel_h": kernel,
              "kernel_w": kernel, "stride_h": 1, "stride_w": 1, "pad_h": kernel // 2, "pad_w": kernel // 2, "bias": 1,
              "pad_type": -1}  # fmt: skip
    return net.graph(net.add("Convolution", "input", tensors=tensors, name="c", **fields))


def bound(result, x, weight, pad):
    """The most that the int8 convolution of ``x`` may be off: half a step each of input, weight, bias and output; and
    1e-5, up to which a blob counts as zero."""
    node = result.graph.nodes[0]
    source, target = result.graph.scales["input"], result.graph.scales[node.outputs[0]]
    in_scale = np.broadcast_to(source.scale.astype(np.float64), x.shape[1])
    step = np.broadcast_to(node.tensors["scale"].data.astype(np.float64), len(weight))
    out_step = np.broadcast_to(target.scale.astype(np.float64), len(weight))[None, :, None, None]
    scaled = np.abs(weight.astype(np.float64)) * in_scale[None, :, None, None]
    ones = np.ones_like(x, np.float64)
    zero = np.zeros(len(weight))
    codes = np.abs(x) / np.where(in_scale > 0, in_scale, np.inf)[None, :, None, None] + 0.5
    of_input = convolution(0.54 * ones, scaled, zero, pad)
    of_weights = convolution(codes, np.ones_like(scaled), zero, pad) * 0.5 * step[None, :, None, None]
    return of_input + of_weights + 0.5 * step[None, :, None, None] + 0.54 * out_step + 1e-5


def check(build, arrays, weight, bias, merge_type="channel", **methods):
    """Quantize one convolution and compare its int8 outputs with float64."""
    dims = np.shape(arrays[0])
    data = samples(*arrays)
    config = QuantizeConfig(merge_type=merge_type, **methods)
    result = quantize_graph(one_layer(build, dims, weight, bias), data, config)
    executor, pad = Executor(result.graph), weight.shape[-1] // 2
    for sample in data:
        x = sample.arrays["input"]
        got = executor.run({"input": x})["c_out"].astype(np.float64)
        assert np.isfinite(got).all()
        error = np.abs(got - convolution(x, weight, bias, pad))
        assert (error <= bound(result, x, weight, pad) * 1.0001).all()
    return result


def bits(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("merge_type", ["channel", "mix", "tensor"])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30], ids=["1e-30", "1", "1e30"])
def test_weights_of_any_size(build, rng, merge_type, size):
    weight = bits(rng, 5, 3, 3, 3) * np.float32(size)
    check(build, [bits(rng, 1, 3, 7, 5) for _ in range(3)], weight, bits(rng, 5) * np.float32(size), merge_type)


METHODS = [(weights, "minmax") for weights in choice_codes("weight_method").values()]
METHODS += [("minmax", blobs) for blobs in choice_codes("observer").values() if blobs != "minmax"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("weight_method", "blob_method"), METHODS)
def test_every_method_with_weights_of_any_size(build, rng, weight_method, blob_method):
    weight, bias = bits(rng, 5, 3, 3, 3), bits(rng, 5)
    arrays = [bits(rng, 1, 3, 7, 5) for _ in range(4)]
    for size in (1e-38, 1e-30, 1.0, 1e30):
        size = np.float32(size)
        check(build, arrays, weight * size, bias * size, weight_method=weight_method, blob_method=blob_method)


@pytest.mark.parametrize("merge_type", ["channel", "mix"])
def test_channels_of_sizes_far_apart(build, rng, merge_type):
    weight, bias = bits(rng, 5, 3, 3, 3), bits(rng, 5)
    for channel, size in enumerate((1e-38, 1e-30, 1, 1e15, 1e30)):
        weight[channel] *= np.float32(size)
        bias[channel] *= np.float32(size)
    check(build, [bits(rng, 1, 3, 7, 5) for _ in range(3)], weight, bias, merge_type)


@pytest.mark.parametrize("merge_type", ["channel", "mix", "tensor"])
@pytest.mark.parametrize("size", [1e-4, 1e30])
def test_inputs_of_any_size(build, rng, merge_type, size):
    arrays = [bits(rng, 1, 3, 7, 5) * np.float32(size) for _ in range(3)]
    check(build, arrays, bits(rng, 5, 3, 3, 3), bits(rng, 5), merge_type)


@pytest.mark.parametrize("merge_type", ["channel", "mix", "tensor"])
def test_tiny_weights_beside_a_large_bias(build, rng, merge_type):
    """The accumulator's 32 bits hold the bias: the weights' scale is raised."""
    weight = bits(rng, 5, 3, 3, 3) * np.float32(1e-30)
    result = check(build, [bits(rng, 1, 3, 7, 5)], weight, [1, -2, 3, 0, 5], merge_type)
    bias = result.graph.nodes[0].tensors["bias"].data
    assert np.abs(bias.astype(np.int64)).max() <= 2**30


@pytest.mark.parametrize("merge_type", ["channel", "mix", "tensor"])
def test_channels_of_zeros(build, rng, merge_type):
    weight, x = bits(rng, 5, 3, 3, 3), bits(rng, 1, 3, 7, 5)
    weight[2] = 0
    x[:, 1] = 0
    result = check(build, [x], weight, bits(rng, 5), merge_type)
    codes = result.graph.nodes[0].tensors["filter"].data.reshape(weight.shape)
    assert not codes[2].any()


@pytest.mark.parametrize("merge_type", ["channel", "mix"])
def test_a_blob_of_zeros(build, rng, merge_type):
    result = check(build, [np.zeros((1, 3, 7, 5))], bits(rng, 5, 3, 3, 3), bits(rng, 5), merge_type)
    expected = 0 if merge_type == "channel" else np.float32(1e-5 / 127)
    assert (result.graph.scales["input"].scale == expected).all()


@pytest.mark.parametrize("value", [3.0, -0.25])
@pytest.mark.parametrize("merge_type", ["channel", "mix"])
def test_a_constant_blob(build, rng, merge_type, value):
    result = check(build, [np.full((1, 3, 7, 5), value)], bits(rng, 5, 3, 3, 3), bits(rng, 5), merge_type)
    scale = result.graph.scales["input"].scale.astype(np.float64)
    np.testing.assert_allclose(scale, abs(value) * 2047.5 / 2048 / 127, rtol=2e-7)


def test_denormals_count_as_zero(build, rng):
    tiny = np.full((1, 3, 7, 5), 1e-40, np.float32)
    assert 0 < tiny.max() < np.finfo(np.float32).tiny
    result = check(build, [tiny], bits(rng, 5, 3, 3, 3), bits(rng, 5))
    assert (result.graph.scales["input"].scale == 0).all()


@pytest.mark.parametrize("blob_method", ["minmax", "kl", "asymmetric", "aciq-gauss", "aciq-laplace"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(build, rng, blob_method, bad):
    x = bits(rng, 1, 3, 12, 10)
    x[0, 1, 2, 3] = bad
    graph = one_layer(build, x.shape, bits(rng, 5, 3, 3, 3), bits(rng, 5))
    with pytest.raises(CalibrationError, match=r"^s1: the model input 'input': 1 of 360 values are NaN or infinite"):
        quantize_graph(graph, samples(bits(rng, *x.shape), x), QuantizeConfig(blob_method=blob_method))


def test_nan_of_a_layer_names_it(build, rng):
    net = build((1, 3, 7, 5))
    graph = net.graph(net.conv(net.add("Log", "input", name="log"), 3, 4))
    with pytest.raises(CalibrationError, match=r"^s0: the output 'log_out' of layer 'log' \(Log\): \d+ of 105 values"):
        quantize_graph(graph, samples(bits(rng, 1, 3, 7, 5)))


@pytest.mark.parametrize("merge_type", ["channel", "mix", "tensor"])
@pytest.mark.parametrize("dims", [(1, 3, 1, 1), (1, 1, 1, 1), (1, 7, 13, 11), (1, 13, 1, 17), (3, 5, 7, 2)])
def test_one_pixel_prime_shapes_and_batches(build, rng, dims, merge_type):
    check(build, [bits(rng, *dims) for _ in range(2)], bits(rng, 11, dims[1], 3, 3), bits(rng, 11), merge_type)


def test_a_batch_has_the_scales_of_its_items(build, rng):
    weight, bias, items = bits(rng, 5, 3, 3, 3), bits(rng, 5), bits(rng, 4, 3, 7, 5)
    whole = check(build, [items], weight, bias).graph
    single = check(build, [item[None] for item in items], weight, bias).graph
    for name, params in single.scales.items():
        np.testing.assert_array_equal(params.scale, whole.scales[name].scale)
    for key, tensor in single.nodes[0].tensors.items():
        np.testing.assert_array_equal(tensor.data, whole.nodes[0].tensors[key].data)


def _unusual(rng):
    """Samples, weights and biases of the rows above."""
    weight, bias, usual = bits(rng, 5, 3, 3, 3), bits(rng, 5), [bits(rng, 1, 3, 7, 5) for _ in range(8)]
    for size in (1e-30, 1, 1e30):
        yield f"weights {size}", usual, weight * np.float32(size), bias * np.float32(size)
    apart = weight * np.float32([1e-38, 1e-30, 1, 1e15, 1e30])[:, None, None, None]
    yield "channels far apart", usual, apart, bias
    yield "tiny weights", usual, weight * np.float32(1e-30), np.float32([1, -2, 3, 0, 5])
    yield "a channel of zero weights", usual, weight * np.float32([1, 0, 1, 1, 1])[:, None, None, None], bias
    yield "a channel of zeros", [x * np.float32([1, 0, 1])[:, None, None] for x in usual], weight, bias
    yield "zeros", [x * 0 for x in usual], weight, bias
    yield "a constant", [x * 0 + 3 for x in usual], weight, bias
    yield "denormals", [x * np.float32(1e-40) for x in usual], weight, bias
    yield "large inputs", [x * np.float32(1e30) for x in usual], weight, bias
    for dims in ((1, 3, 1, 1), (1, 13, 1, 17), (3, 5, 7, 2)):
        yield f"dims {dims}", [bits(rng, *dims) for _ in range(8)], bits(rng, 5, dims[1], 3, 3), bias


@pytest.mark.filterwarnings("error")
def test_recipe_best_on_all_of_it(build, rng):
    """Its steps are allowed to clip: a tenth of the largest output, and 1e-5, up to which a blob counts as zero."""
    for name, arrays, weight, bias in _unusual(rng):
        data = samples(*arrays)
        graph = one_layer(build, arrays[0].shape, weight, bias)
        executor = Executor(recipes.quantize(graph, Split(data), QuantizeConfig(recipe="best")).graph)
        wanted = [convolution(x, weight, bias, 1) for x in arrays]
        peaks = np.max(np.abs(wanted), axis=(0, 1, 3, 4))[None, :, None, None]
        for x, y in zip(arrays, wanted, strict=True):
            got = executor.run({"input": x})["c_out"].astype(np.float64)
            assert (np.abs(got - y) <= 0.1 * peaks + 1e-5).all(), name


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_recipe_best_refuses_nan_and_infinity(build, rng, bad):
    arrays = [bits(rng, 1, 3, 7, 5) for _ in range(8)]
    arrays[5][0, 1, 2, 3] = bad
    graph = one_layer(build, (1, 3, 7, 5), bits(rng, 5, 3, 3, 3), bits(rng, 5))
    with pytest.raises(CalibrationError, match=r"^s5: the model input 'input': 1 of 105 values are NaN or infinite"):
        recipes.quantize(graph, Split(samples(*arrays)), QuantizeConfig(recipe="best"))
