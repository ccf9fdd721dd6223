"""int8 ONNX models in: the codes of the file, run by the Executor, against onnxruntime."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.errors import UnsupportedLayerError
from tnnquant.format import read_model, write_model
from tnnquant.onnx import convert
from tnnquant.onnx.export import export_graph
from tnnquant.quantization.quantize import quantize_graph


def run_onnx(model, inputs):
    """The outputs of an ONNX model by name."""
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


def cosine(a, b):
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


class Qdq:
    """Builds a QDQ model: each method returns the name of a tensor."""

    def __init__(self, rng, dims, dtype=np.int8):
        self.rng, self.dims, self.dtype = rng, dims, np.dtype(dtype)
        self.nodes, self.initializers = [], []

    def constant(self, array):
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind, *inputs, **attributes):
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"n{len(self.nodes)}", **attributes))
        return name

    def pair(self, x, scale, zero=0):
        steps = self.constant(np.float32(scale)), self.constant(np.array(zero, self.dtype))
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, *steps), *steps)

    def conv(self, x, channels, out, kernel=1, pad=0):
        codes = self.rng.integers(-127, 128, (out, channels, kernel, kernel)).astype(np.int8)
        scale = (self.rng.uniform(0.5, 1, out) * 2 / 127 / (channels * kernel * kernel) ** 0.5).astype(np.float32)
        steps = self.constant(scale), self.constant(np.zeros(out, np.int8))
        weight = self.op("DequantizeLinear", self.constant(codes), *steps, axis=0)
        bias = self.constant((self.rng.standard_normal(out) * 0.1).astype(np.float32))
        return self.op("Conv", x, weight, bias, pads=[pad] * 4)

    def depthwise(self, x, channels, kernel, pad, scale=None):
        codes = self.rng.integers(-127, 128, (channels, 1, kernel, kernel)).astype(np.int8)
        values = self.rng.uniform(0.5, 1, channels) * 2 / 127 / kernel if scale is None else np.asarray(scale)
        steps = self.constant(values.astype(np.float32)), self.constant(np.zeros(channels, np.int8))
        weight = self.op("DequantizeLinear", self.constant(codes), *steps, axis=0)
        bias = self.constant((self.rng.standard_normal(channels) * 0.1).astype(np.float32))
        return self.op("Conv", x, weight, bias, pads=[pad] * 4, group=channels)

    def model(self, output):
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.dims)]
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("unsigned", [False, True], ids=["int8", "uint8"])
def test_what_was_exported_comes_back(build, unsigned, tmp_path):
    net = build((1, 3, 12, 10))
    x = net.add("ReLU", net.conv("input", 3, 8, stride=2))
    x = net.add("Add", [net.conv(x, 8, 8), net.conv(x, 8, 8)], -1)
    out = net.inner_product(net.pool(net.add("Concat", [x, net.conv(x, 8, 4)], 1)), 12 * 3 * 2, 5)
    samples = [
        SimpleNamespace(name=f"s{i}", arrays={"input": net.rng.standard_normal((1, 3, 12, 10)).astype(np.float32)})
        for i in range(4)
    ]
    quantized = quantize_graph(net.graph(out), samples, QuantizeConfig(merge_type="tensor")).graph
    conversion = convert(export_graph(quantized, unsigned=unsigned))
    weighted = [node for node in conversion.graph.nodes if {"filter", "weight"} & node.tensors.keys()]
    assert [str(node) for node in weighted if not node.quantized] == [], conversion.notes
    files = tmp_path / "a.tnnproto", tmp_path / "a.tnnmodel"
    write_model(conversion.graph, *files)
    for sample in samples:
        wanted = Executor(quantized).run(sample.arrays)[out]
        for graph in (conversion.graph, read_model(*files)):
            got = Executor(graph).run(sample.arrays)[out]
            assert np.abs(got - wanted).max() <= 1.01 * quantized.scales[out].scale[0]


def test_scales_and_weights_are_the_files(rng):
    net = Qdq(rng, (1, 4, 6, 6))
    x = net.pair("x", 0.02)
    out = net.pair(net.op("Relu", net.conv(x, 4, 8, 3, 1)), 0.03)
    model = net.model(out)
    graph = convert(model).graph
    (node,) = (node for node in graph.nodes if node.tensors)
    codes = numpy_helper.to_array(next(entry for entry in model.graph.initializer if len(entry.dims) == 4))
    np.testing.assert_array_equal(node.tensors["filter"].data, codes.reshape(-1))
    assert graph.scales["x"].scale == np.float32(0.02)
    assert graph.scales[node.outputs[0]].scale == np.float32(0.03)
    inputs = {"x": rng.standard_normal((1, 4, 6, 6)).astype(np.float32)}
    error = np.abs(Executor(graph).run(inputs)[out] - run_onnx(model, inputs)[out])
    assert error.max() <= 0.03 * 1.01
    assert (error > 1e-6).mean() < 0.01


@pytest.mark.parametrize("with_relu", [True, False])
def test_behind_a_relu_uint8_keeps_all_its_codes(rng, with_relu):
    net = Qdq(rng, (1, 4, 6, 6), np.uint8)
    x = net.pair("x", 0.02, 128)
    x = net.conv(x, 4, 8)
    x = net.pair(net.op("Relu", x) if with_relu else x, 0.01, 0)  # saturation alone is a ReLU, too
    out = net.pair(net.conv(x, 8, 4), 0.02, 128)
    model = net.model(out)
    conversion = convert(model)
    assert any("the codes are kept" in note for note in conversion.notes)
    assert not any(params.zero_point.any() for params in conversion.graph.scales.values())
    inputs = {"x": rng.standard_normal((1, 4, 6, 6)).astype(np.float32)}
    error = np.abs(Executor(conversion.graph).run(inputs)[out] - run_onnx(model, inputs)[out])
    assert error.max() <= 0.02 * 1.01
    assert (error > 1e-6).mean() < 0.1


def test_an_average_of_shifted_codes_is_shifted_back(rng):
    net = Qdq(rng, (1, 4, 6, 6), np.uint8)
    x = net.pair(net.conv(net.pair("x", 0.02, 128), 4, 8), 0.01, 0)
    model = net.model(net.op("GlobalAveragePool", x))
    (out,) = (entry.name for entry in model.graph.output)
    inputs = {"x": rng.standard_normal((1, 4, 6, 6)).astype(np.float32)}
    np.testing.assert_allclose(
        Executor(convert(model).graph).run(inputs)[out], run_onnx(model, inputs)[out], atol=2e-3
    )


def run_both(model):
    """The pair's outputs and onnxruntime's, for inputs that lie on the codes."""
    conversion = convert(model)
    rng = np.random.default_rng(3)
    dims = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    inputs = {"x": rng.standard_normal(dims).astype(np.float32)}
    (out,) = (entry.name for entry in model.graph.output)
    return conversion, Executor(conversion.graph).run(inputs)[out], run_onnx(model, inputs)[out]


@pytest.mark.parametrize("zero", [-128, -14, 1, 90])
def test_zero_points_are_kept_where_a_convolution_pads(rng, zero):
    net = Qdq(rng, (1, 4, 6, 6))
    x = net.pair("x", 0.025, zero)
    x = net.pair(net.conv(x, 4, 8, 3, 1), 0.06, 10)
    model = net.model(net.pair(net.conv(x, 8, 4, 3, 1), 0.06, -3))
    conversion, mine, wanted = run_both(model)
    assert any("an fp32 layer writes the border" in note for note in conversion.notes)
    assert not any(params.zero_point.any() for params in conversion.graph.scales.values())
    error = np.abs(mine - wanted)
    assert error.max() <= 0.06 * 1.01
    assert (error > 1e-6).mean() < 0.02


def test_fp32_layers_take_zero_points_along(rng):
    net = Qdq(rng, (1, 4, 8, 8), np.uint8)
    x = net.pair("x", 0.02, 120)
    left = net.pair(net.conv(x, 4, 8), 0.05, 100)
    right = net.pair(net.conv(x, 4, 8), 0.04, 140)
    total = net.pair(net.op("Add", left, right), 0.06, 90)
    both = net.pair(net.op("Concat", total, left, axis=1), 0.055, 77)
    small = net.pair(net.op("MaxPool", both, kernel_shape=[2, 2], strides=[2, 2]), 0.055, 77)
    model = net.model(net.pair(net.op("Sigmoid", net.pair(net.conv(small, 16, 4), 0.05, 131)), 1 / 256, 0))
    conversion, mine, wanted = run_both(model)
    assert not any(params.zero_point.any() for params in conversion.graph.scales.values())
    error = np.abs(mine - wanted)
    # A code between the roundings of fp32 layers, which larger blobs do not get.
    assert error.max() <= 0.25 * 0.06
    assert cosine(mine, wanted) > 0.9999


def test_a_depthwise_layer_that_pads_gets_coarser_codes_and_says_so(rng):
    net = Qdq(rng, (1, 4, 6, 6), np.uint8)
    x = net.pair(net.conv(net.pair("x", 0.02, 128), 4, 8), 0.01, 0)
    codes = net.constant(rng.integers(-127, 128, (8, 1, 3, 3)).astype(np.int8))
    weight = net.op("DequantizeLinear", codes, net.constant(np.float32(0.01)), net.constant(np.int8(0)))
    model = net.model(net.pair(net.op("Conv", x, weight, group=8, pads=[1] * 4), 0.02, 128))
    conversion, mine, wanted = run_both(model)
    assert any("rescaled to symmetric codes" in note for note in conversion.notes)
    assert cosine(mine, wanted) >= 0.995


def test_a_convolution_is_rounded_before_it_is_added(rng):
    """TNN fuses the two and rounds once."""
    net = Qdq(rng, (1, 8, 6, 6))
    x = net.pair(net.conv(net.pair("x", 0.02), 8, 8, 3, 1), 0.03)
    model = net.model(net.pair(net.op("Add", net.pair(net.conv(x, 8, 8), 0.05), x), 0.05))
    conversion, mine, wanted = run_both(model)
    assert all(node.quantized for node in conversion.graph.nodes)
    np.testing.assert_allclose(mine, wanted, atol=1e-6)


@pytest.mark.parametrize("scale", [0.02, 0.021])
def test_an_activation_between_two_roundings_is_one(rng, scale):
    net = Qdq(rng, (1, 4, 6, 6))
    x = net.pair(net.conv(net.pair("x", 0.02), 4, 8), 0.02)
    model = net.model(net.pair(net.conv(net.pair(net.op("Relu", x), scale), 8, 4), 0.02))
    _, mine, wanted = run_both(model)
    np.testing.assert_allclose(mine, wanted, atol=1e-6)


@pytest.mark.parametrize("most", [6.0, 5.0])
def test_a_convolution_with_codes_and_a_clip_without(rng, most):
    net = Qdq(rng, (1, 4, 6, 6))
    x = net.pair(net.conv(net.pair("x", 0.02), 4, 8), 6 / 127)
    bounds = net.constant(np.float32(0)), net.constant(np.float32(most))
    model = net.model(net.op("GlobalAveragePool", net.op("Clip", x, *bounds)))
    conversion, mine, wanted = run_both(model)
    assert [node.quantized for node in conversion.graph.nodes if node.tensors] == [True]
    np.testing.assert_allclose(mine, wanted, rtol=1e-5)


def test_codes_reach_an_inner_product_through_a_flatten(rng):
    net = Qdq(rng, (1, 4, 6, 6))
    x = net.op("GlobalAveragePool", net.pair(net.conv(net.pair("x", 0.02), 4, 8), 0.03))
    x = net.pair(net.op("Flatten", x), 0.01)
    codes = net.constant(rng.integers(-127, 128, (5, 8)).astype(np.int8))
    weight = net.op("DequantizeLinear", codes, net.constant(np.float32(0.01)), net.constant(np.int8(0)))
    model = net.model(net.pair(net.op("Gemm", x, weight, transB=1), 0.02))
    conversion, mine, wanted = run_both(model)
    assert any(node.quantized and "weight" in node.tensors for node in conversion.graph.nodes)
    np.testing.assert_allclose(mine, wanted, atol=1e-6)


def test_scores_are_rounded_between_fp32_layers(rng):
    net = Qdq(rng, (1, 4, 6, 6))
    x = net.pair(net.conv(net.pair("x", 0.02), 4, 8), 0.03)
    out = net.op("Softmax", net.pair(net.op("GlobalAveragePool", x), 0.1), axis=1)
    model = net.model(out)
    conversion = convert(model)
    assert any("rounded to int8 for fp32 layers" in note for note in conversion.notes)
    inputs = {"x": rng.standard_normal((1, 4, 6, 6)).astype(np.float32)}
    np.testing.assert_allclose(Executor(conversion.graph).run(inputs)[out], run_onnx(model, inputs)[out], rtol=1e-5)


def test_layers_without_codes_stay_fp32_and_are_named(rng):
    net = Qdq(rng, (1, 4, 6, 6))
    x = net.pair(net.conv(net.pair("x", 0.02), 4, 8), 0.03)
    weight = net.constant((rng.standard_normal((4, 8, 1, 1)) * 0.3).astype(np.float32))
    out = net.pair(net.op("Conv", x, weight), 0.05)
    conversion = convert(net.model(out))
    assert any("kept in fp32: its weights have no codes of 8 bits" in note for note in conversion.notes)
    assert [node.quantized for node in conversion.graph.nodes if node.tensors] == [True, False]


def test_layers_of_whole_operators(rng):
    net = Qdq(rng, (1, 4, 6, 6), np.uint8)
    steps = [net.constant(np.float32(v)) for v in (0.02, 0.01, 0.03)]
    zeros = [net.constant(np.array(v, t)) for v, t in ((128, np.uint8), (0, np.int8), (128, np.uint8))]
    codes = net.op("QuantizeLinear", "x", steps[0], zeros[0])
    weight = net.constant(rng.integers(-127, 128, (8, 4, 3, 3)).astype(np.int8))
    bias = net.constant(rng.integers(-500, 500, 8).astype(np.int32))
    made = net.op(
        "QLinearConv", codes, steps[0], zeros[0], weight, steps[1], zeros[1], steps[2], zeros[2], bias, pads=[1] * 4
    )
    out = net.op("DequantizeLinear", made, steps[2], zeros[2])
    model = net.model(out)
    graph = convert(model).graph
    assert [node.quantized for node in graph.nodes] == [True]
    inputs = {"x": rng.standard_normal((1, 4, 6, 6)).astype(np.float32)}
    error = np.abs(Executor(graph).run(inputs)[out] - run_onnx(model, inputs)[out])
    assert error.max() <= 0.03 * 1.01
    assert (error > 1e-6).mean() < 0.01


def test_arithmetic_of_codes_is_refused(rng):
    net = Qdq(rng, (1, 4, 6, 6))
    codes = net.op("QuantizeLinear", "x", net.constant(np.float32(0.02)), net.constant(np.int8(0)))
    out = net.op("Cast", codes, to=TensorProto.FLOAT)
    with pytest.raises(UnsupportedLayerError, match="computes with codes of int8"):
        convert(net.model(out))


def test_a_bias_beyond_32_bits_takes_a_coarser_scale(rng):
    """Weights of a channel that does nothing have next to no scale, and its bias would have too many steps."""
    net = Qdq(rng, (1, 4, 6, 6), np.uint8)
    x = net.depthwise(net.pair("x", 0.02, 128), 4, 3, 0, scale=[0.01, 1e-9, 1e-12, 0.02])
    _, got, wanted = run_both(net.model(net.pair(net.op("Relu", x), 0.02, 0)))
    assert np.abs(got - wanted).max() <= 0.02 * 1.01
    np.testing.assert_allclose(got[:, 1:3], wanted[:, 1:3], atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_that_is_none_is_refused(rng, scale):
    net = Qdq(rng, (1, 4, 6, 6))
    with pytest.raises(UnsupportedLayerError, match="a scale is not a number above 0"):
        convert(net.model(net.pair("x", scale)))


def test_quantize_static_of_squeezenet(shared, tmp_path):
    pytest.importorskip("onnxruntime")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    from tnnquant.inputs import InputConfig, Samples, scan

    data = shared / "data"
    graph = read_model(data / "squeezenet_v1.1.tnnproto", data / "squeezenet_v1.1.tnnmodel")
    config = InputConfig(mean=(104.006, 116.669, 122.679), reverse_channel=True)
    samples = [s.arrays for s in Samples(scan(data / "calibration-227")[:6], graph.inputs, config)]
    pictures = [{"data": np.ascontiguousarray(arrays["data"])} for arrays in samples]

    class Reader(CalibrationDataReader):
        left = iter(pictures[:4])

        def get_next(self):
            return next(self.left, None)

    onnx.save(export_graph(graph), tmp_path / "fp32.onnx")
    quantize_static(
        tmp_path / "fp32.onnx", tmp_path / "int8.onnx", Reader(), quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8, extra_options={"ActivationSymmetric": True},
    )  # fmt: skip
    model = onnx.load(tmp_path / "int8.onnx")
    int8 = convert(model).graph
    assert all(node.quantized for node in int8.nodes if node.tensors)
    for picture in pictures[4:]:
        assert cosine(Executor(int8).run(picture)["prob"], run_onnx(model, picture)["prob"]) >= 0.9995
