"""Layers with zero points kept in fp32: onnxruntime's very codes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.onnx.qdq.test_apply import Qdq, run_onnx
from tnnquant.base.tensor import DataType
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError
from tnnquant.format import read_model, write_model
from tnnquant.onnx import convert
from tnnquant.onnx.qdq.record import BlobCodes
from tnnquant.onnx.qdq.ties import factor_of_codes, sum_of_codes
from tnnquant.onnx.verify import compare


def outputs(model, inputs, **options):
    """The pair's outputs as values and onnxruntime's, and the conversion."""
    conversion = convert(model, zero_points="fp32", **options)
    mine, theirs = Executor(conversion.graph).run(inputs), run_onnx(model, inputs)
    return [mine[name] for name in theirs], list(theirs.values()), conversion


def check_equal(model, inputs, **options):
    mine, theirs, conversion = outputs(model, inputs, **options)
    for got, wanted in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(got, wanted.reshape(got.shape))
    return conversion


def fed(rng, dims=(1, 4, 12, 12)):
    return {"x": rng.standard_normal(dims).astype(np.float32) * 2}


@pytest.fixture
def net(rng):
    return Qdq(rng, (1, 4, 12, 12), np.uint8)


@pytest.mark.parametrize("zero", [0, 77, 255])
def test_convolutions_have_the_codes_of_onnxruntime(net, rng, zero):
    x = net.pair("x", 0.02, 100)
    x = net.pair(net.op("Relu", net.conv(x, 4, 16, 3, 1)), 0.013, 0)
    x = net.pair(net.conv(x, 16, 8), 0.021, zero)
    x = net.pair(net.depthwise(x, 8, 3, 1), 0.017, 131)
    conversion = check_equal(net.model(net.pair(net.conv(x, 8, 8, 3, 1), 0.02, 90)), fed(rng))
    assert not conversion.graph.is_quantized
    assert not conversion.inexact
    assert any("4 layers are kept in fp32" in note for note in conversion.notes)


@pytest.mark.parametrize("other", [(0.0137, 40), (0.0213, 90)], ids=["other codes", "one scale"])
@pytest.mark.parametrize("kind", ["Add", "Mul", "Concat"])
def test_operators_of_two(net, rng, kind, other):
    x = net.pair("x", 0.02, 100)
    a, b = net.pair(net.conv(x, 4, 8), 0.0213, 90), net.pair(net.conv(x, 4, 8), *other)
    joined = net.op(kind, a, b, **({"axis": 1} if kind == "Concat" else {}))
    check_equal(net.model(net.pair(joined, 0.0213, 90)), fed(rng))


@pytest.mark.parametrize("made", [(0.01, 0), (0.004, 13)], ids=["same codes", "other codes"])
@pytest.mark.parametrize("kind", ["GlobalAveragePool", "MaxPool", "Relu", "Sigmoid", "Transpose", "Flatten"])
def test_operators_of_one(net, rng, kind, made):
    x = net.pair("x", 0.02, 100)
    x = net.pair(net.op("Relu", net.conv(x, 4, 6)), 0.01, 0)
    attributes = {"MaxPool": {"kernel_shape": [3, 3], "pads": [1] * 4}, "Transpose": {"perm": [0, 1, 3, 2]}}
    check_equal(net.model(net.pair(net.op(kind, x, **attributes.get(kind, {})), *made)), fed(rng))


def test_an_average_of_windows(net, rng):
    x = net.pair(net.conv(net.pair("x", 0.02, 100), 4, 6), 0.01, 60)
    out = net.pair(net.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), 0.01, 60)
    mine, theirs, _ = outputs(net.model(out), fed(rng))
    assert np.count_nonzero(mine[0] != theirs[0]) <= 2


@pytest.mark.parametrize("zero", [0, 30])
def test_a_relu6_cuts_off(net, rng, zero):
    x = net.pair("x", 0.05, 100)
    lowest, highest = net.constant(np.float32(0)), net.constant(np.float32(6))
    x = net.pair(net.op("Clip", net.conv(x, 4, 8), lowest, highest), 0.0301, zero)
    conversion = check_equal(net.model(net.pair(net.conv(x, 8, 8), 0.05, 90)), fed(rng))
    assert len([node for node in conversion.graph.nodes if "filter" in node.tensors]) == 2


def test_an_inner_product_and_scores(net, rng):
    x = net.pair(net.op("GlobalAveragePool", net.pair(net.conv(net.pair("x", 0.02, 100), 4, 8), 0.01, 60)), 0.002, 70)
    codes, steps = net.constant(rng.integers(-127, 128, (8, 5)).astype(np.int8)), net.constant(np.float32(0.01))
    weight = net.op("DequantizeLinear", codes, steps, net.constant(np.int8(0)))
    x = net.pair(net.op("MatMul", net.pair(net.op("Flatten", x), 0.002, 70), weight), 0.004, 128)
    check_equal(net.model(x), fed(rng))


def test_weights_may_have_zero_points(net, rng):
    x = net.pair("x", 0.02, 100)
    codes = net.constant(rng.integers(0, 256, (8, 4, 3, 3)).astype(np.uint8))
    weight = net.op("DequantizeLinear", codes, net.constant(np.float32(0.01)), net.constant(np.uint8(120)))
    conversion = check_equal(net.model(net.pair(net.op("Conv", x, weight, pads=[1] * 4), 0.05, 128)), fed(rng))
    (node,) = (node for node in conversion.graph.nodes if "filter" in node.tensors)
    assert node.tensors["filter"].float32().max() > 127


def test_layers_without_zero_points_stay_int8(rng):
    net = Qdq(rng, (1, 4, 12, 12), np.int8)
    x = net.pair("x", 0.02, 0)
    x = net.pair(net.conv(x, 4, 8, 3, 1), 0.02, 0)
    x = net.pair(net.conv(x, 8, 8), 0.02, 5)
    x = net.pair(net.conv(x, 8, 8), 0.02, 0)
    model = net.model(net.pair(net.conv(x, 8, 8), 0.02, 0))
    conversion = convert(model, zero_points="fp32")
    weighted = [node for node in conversion.graph.nodes if "filter" in node.tensors]
    assert [node.quantized for node in weighted] == [True, False, False, True]
    inputs = fed(rng)
    (got,), (wanted,) = Executor(conversion.graph).run(inputs).values(), run_onnx(model, inputs).values()
    assert np.count_nonzero(np.abs(got - wanted) > 1e-6) <= 2  # onnxruntime computes int8 with zero points in fp32


def test_a_symmetric_model_is_the_same_by_either_way(rng, tmp_path):
    net = Qdq(rng, (1, 4, 12, 12), np.int8)
    model = net.model(net.pair(net.conv(net.pair("x", 0.02), 4, 8, 3, 1), 0.02))
    for way in ("int8", "fp32"):
        write_model(convert(model, zero_points=way).graph, tmp_path / f"{way}.tnnproto", tmp_path / f"{way}.tnnmodel")
    for suffix in ("tnnproto", "tnnmodel"):
        assert (tmp_path / f"int8.{suffix}").read_bytes() == (tmp_path / f"fp32.{suffix}").read_bytes()


def test_weights_as_half_are_as_exact(net, rng, tmp_path):
    x = net.pair(net.conv(net.pair("x", 0.02, 100), 4, 16, 3, 1), 0.013, 20)
    model = net.model(net.pair(net.conv(x, 16, 8), 0.021, 50))
    conversion = check_equal(model, fed(rng), half=True)
    weights = [node.tensors["filter"] for node in conversion.graph.nodes if "filter" in node.tensors]
    assert {tensor.dtype for tensor in weights} == {DataType.HALF}
    files = tmp_path / "a.tnnproto", tmp_path / "a.tnnmodel"
    write_model(conversion.graph, *files)
    inputs = fed(rng)
    (got,), (wanted,) = Executor(read_model(*files)).run(inputs).values(), run_onnx(model, inputs).values()
    np.testing.assert_array_equal(got, wanted)


def test_sums_beyond_what_floats_hold_are_told(rng):
    net = Qdq(rng, (1, 1024, 2, 2), np.uint8)
    x = net.pair(net.conv(net.pair("x", 0.02, 100), 1024, 2, 3, 1), 0.02, 100)
    notes = convert(net.model(x), zero_points="fp32").notes
    assert any("sums beyond 2^24" in note for note in notes)


@pytest.mark.parametrize("what", ["filter", "bias"])
def test_a_fault_is_named(net, tmp_path, what):
    x = net.pair("x", 0.02, 100)
    for _ in range(3):
        x = net.pair(net.conv(x, 4, 4, 3, 1), 0.03, 100)
    source, pair = tmp_path / "net.onnx", (tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel")
    onnx.save(net.model(x), source)
    conversion = convert(source, zero_points="fp32")
    write_model(conversion.graph, *pair)
    comparison = compare(source, pair, conversion)
    assert comparison.agrees, comparison.lines()
    assert comparison.layers == 4
    assert comparison.codes_differ < 0.001
    nodes = list(conversion.graph.nodes)
    node = [node for node in nodes if "filter" in node.tensors][1]
    tensor = node.tensors[what]
    changed = type(tensor)(tensor.data + np.float32(2 if what == "filter" else 3000), tensor.dims, tensor.dtype)
    nodes[nodes.index(node)] = node.with_tensors({**node.tensors, what: changed})
    write_model(conversion.graph.with_nodes(nodes), *pair)
    comparison = compare(source, pair, conversion)
    assert not comparison.agrees
    assert comparison.first.removesuffix("_codes") in node.outputs[0]


def test_another_word_is_refused(net):
    with pytest.raises(ConfigError, match="zero_points is 'exact', expected int8 or fp32"):
        convert(net.model(net.pair(net.conv(net.pair("x", 0.02, 100), 4, 4), 0.02, 100)), zero_points="exact")


def test_a_factor_that_gives_all_codes_of_another_scale():
    rng = np.random.default_rng(3)
    for _ in range(50):
        a, b = (
            BlobCodes(np.array([scale], np.float32), np.array([zero]))
            for scale, zero in zip(rng.uniform(0.01, 0.02, 2), rng.integers(-128, 128, 2), strict=True)
        )
        factor = factor_of_codes(a, b)
        steps = np.arange(-128, 128).astype(np.float32) - a.zero[0].astype(np.float32)
        wanted = np.clip(np.rint(steps * a.scale[0] / b.scale[0]), -128 - b.zero[0], 127 - b.zero[0])
        assert factor is not None
        np.testing.assert_array_equal(np.clip(np.rint(steps * factor), -128 - b.zero[0], 127 - b.zero[0]), wanted)


def test_sums_of_all_pairs_of_codes_are_those_of_onnxruntime():
    onnxruntime = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(5)
    for dtype, kind in ((np.uint8, TensorProto.UINT8), (np.int8, TensorProto.INT8)):
        scales = rng.uniform(0.01, 0.05, 3).astype(np.float32)
        zeros = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, 3).astype(dtype)
        constants = [numpy_helper.from_array(np.array(v), n) for n, v in zip(("s0", "s1", "s2"), scales, strict=True)]
        constants += [numpy_helper.from_array(np.array(v), n) for n, v in zip(("z0", "z1", "z2"), zeros, strict=True)]
        node = helper.make_node(
            "QLinearAdd", ["a", "s0", "z0", "b", "s1", "z1", "s2", "z2"], ["c"], domain="com.microsoft"
        )
        infos = [helper.make_tensor_value_info(name, kind, [1, 2, 256, 128]) for name in "abc"]
        graph = helper.make_graph([node], "g", infos[:2], infos[2:], constants)
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        low = np.iinfo(dtype).min
        a, b = (
            (codes + low).astype(dtype).reshape(1, 2, 256, 128)
            for codes in (np.arange(65536) % 256, np.arange(65536) // 256)
        )
        (theirs,) = session.run(None, {"a": a, "b": b})
        codes = [
            BlobCodes.of(np.array([scale]), np.array([zero], dtype)) for scale, zero in zip(scales, zeros, strict=True)
        ]
        first, second, constant = sum_of_codes(*codes)
        sums = a.astype(np.float32) * first + (b.astype(np.float32) * second + constant)
        mine = np.clip(np.rint(sums), low, low + 255).astype(dtype)
        assert np.count_nonzero(mine != theirs) <= 2  # other processors add in another way
