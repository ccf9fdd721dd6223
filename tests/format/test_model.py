"""The .tnnmodel: golden bytes as literals, old layouts, order of writing, and every way to be wrong."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, ModelFormatError
from tnnquant.format import model_bytes, read_proto, read_resources
from tnnquant.format.model import attach
from tnnquant.graph import Graph, InputSpec, Node, QuantParams, Resource
from tnnquant.layers.base import find_layer

MAGIC = b"\x04\x00\xbc\xfa"
MAGIC_V1 = b"\x02\x00\xbc\xfa"


def ints(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def string(text: bytes) -> bytes:
    return ints(len(text)) + text


def buffer(array: np.ndarray, *dims: int) -> bytes:
    if array.size == 0:
        return MAGIC + ints(0, 0)
    return MAGIC + ints(DataType.of(array), array.nbytes, len(dims), *dims) + array.tobytes()


def header(number: int, type_string: bytes, name: bytes) -> bytes:
    return ints(number) + string(type_string) + string(name)


F4 = np.float32
I1 = np.int8
WEIGHTS = np.arange(16, dtype=I1)
SCALES = np.array([0.5, 1, 2, 4], F4)
ZEROS = np.zeros(4, I1)

# The worked example of docs/tnn-format.md, 2.6: a quantized 1x1 convolution `c`, 4 -> 4 channels, no bias.
PROTO = (
    b'"1 2 1 4206624772 ,"\n"x 4 1 4 1 1 0 ,"\n" x y ,"\n"y ,"\n" 1 ,"\n'
    b'"QuantizedConvolution c 1 1 x y 1 4 4 1 1 1 1 0 0 0 -1 1 1 0 ,"\n'
)


def blob_scale(blob: bytes, scale: np.ndarray) -> bytes:
    zeros = np.zeros(scale.size, I1), np.zeros(scale.size, np.int32)
    name = blob + b"_scale_data_"
    return header(600, b"BlobScale", name) + buffer(zeros[0]) + buffer(scale) + buffer(zeros[1])


INT8_WEIGHTS = buffer(WEIGHTS) + buffer(ZEROS) + buffer(SCALES)
CONVOLUTION = header(1, b"Convolution", b"c") + string(b"c") + ints(0) + INT8_WEIGHTS
EXAMPLE = MAGIC + ints(3) + blob_scale(b"x", SCALES) + CONVOLUTION + blob_scale(b"y", SCALES[:1])
INNER = header(19, b"InnerProduct", b"f") + string(b"f") + buffer(np.ones(4, F4), 2, 2) + buffer(np.empty(0, F4))


def read(data: bytes, proto: bytes = PROTO) -> Graph:
    return attach(read_proto(proto), read_resources(data, "m"), "m")


def resource_of(data: bytes, name: str = "c") -> Resource:
    return read_resources(data, "m").layers[name][1]


# --- golden bytes ---


def test_worked_example_is_laid_out_as_in_the_reference():
    # Lengths as in the table of section 2.6.
    assert len(EXAMPLE) == 4 + 4 + (4 + 13 + 17 + 20 + 32 + 32) + (4 + 15 + 5) + (5 + 4 + 32 + 20 + 32) + (34 + 17 + 40)


def test_worked_example_is_read_and_written_back():
    graph = read(EXAMPLE)
    node = graph.nodes[0]
    assert node.resource.type_string == "Convolution"
    assert {name: t.data.tolist() for name, t in node.tensors.items()} == {
        "filter": list(range(16)),
        "zero_point": [0, 0, 0, 0],
        "scale": [0.5, 1, 2, 4],
    }
    assert graph.scales["x"].scale.tolist() == [0.5, 1, 2, 4]
    assert graph.scales["y"].zero_point.tolist() == [0]
    assert model_bytes(graph) == EXAMPLE


def test_literal_bytes_of_an_inner_product():
    data = (
        b"\x04\x00\xbc\xfa\x01\x00\x00\x00"
        b"\x13\x00\x00\x00\x0c\x00\x00\x00InnerProduct\x01\x00\x00\x00f"
        b"\x01\x00\x00\x00f"
        b"\x04\x00\xbc\xfa\x00\x00\x00\x00\x10\x00\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00"
        b"\x00\x00\x80?\x00\x00\x80?\x00\x00\x80?\x00\x00\x80?"
        b"\x04\x00\xbc\xfa\x00\x00\x00\x00\x00\x00\x00\x00"
    )
    assert data == MAGIC + ints(1) + INNER
    proto = b'"1 2 1 4206624772 ,"\n"x 2 1 2 0 ,"\n" x y ,"\n"y ,"\n" 1 ,"\n"InnerProduct f 1 1 x y 2 0 0 1 ,"\n'
    graph = read(data, proto)
    assert graph.nodes[0].tensors["weight"].dims == (2, 2)
    assert graph.nodes[0].tensors["bias"].size == 0
    assert model_bytes(graph) == data


def test_a_file_without_resources():
    for data in (MAGIC + ints(0), MAGIC_V1 + ints(0), ints(0)):
        resources = read_resources(data)
        assert (resources.layers, resources.scales, resources.constants) == ({}, {}, {})
    assert model_bytes(Graph({"x": InputSpec((1,))}, ("x",), ())) == MAGIC + ints(0)


# --- old layouts ---


@pytest.mark.parametrize("start", [b"", MAGIC, MAGIC_V1], ids=["no magic", "v2", "v1"])
@pytest.mark.parametrize("flags", [0, 1 << 29, -(1 << 31)])
def test_magic_is_optional_and_the_count_is_masked(start, flags):
    assert read_resources(start + ints(1 | flags) + INNER).layers.keys() == {"f"}


def test_legacy_header_has_no_type_string():
    legacy = MAGIC + ints(1, 19) + INNER[len(header(19, b"InnerProduct", b"f")) - len(string(b"f")) :]
    resource = resource_of(legacy, "f")
    assert resource.type_string == "InnerProduct"
    assert resource.tensors["weight"].data.tolist() == [1, 1, 1, 1]
    body = blob_scale(b"x", SCALES)[len(header(600, b"BlobScale", b"x_scale_data_")) :]
    scale = ints(600) + string(b"x_scale_data_") + body
    assert read_resources(MAGIC + ints(1) + scale).scales["x"].scale.tolist() == SCALES.tolist()


def test_the_type_string_decides_over_the_number():
    assert resource_of(MAGIC + ints(1) + ints(1) + INNER[4:], "f").type_string == "InnerProduct"


def test_old_blob_scale_has_no_zero_points():
    old = header(600, b"BlobScale", b"x_scale_data_") + buffer(SCALES) + buffer(np.zeros(4, np.int32))
    params = read_resources(MAGIC + ints(1) + old).scales["x"]
    assert params.scale.tolist() == SCALES.tolist()
    assert params.zero_point.dtype == np.int8
    assert params.zero_point.tolist() == [0, 0, 0, 0]


def test_old_weight_scales_become_new_ones_in_an_int8_layer():
    old = EXAMPLE.replace(buffer(WEIGHTS) + buffer(ZEROS), buffer(WEIGHTS))
    graph = read(old)
    assert graph.nodes[0].tensors["zero_point"].data.tolist() == [0, 0, 0, 0]
    assert model_bytes(graph) == EXAMPLE


def test_dynamic_range_layers_keep_the_old_layout():
    proto = PROTO.replace(b"QuantizedC", b"DynamicRangeQuantizedC")
    data = (MAGIC + ints(1) + CONVOLUTION).replace(buffer(WEIGHTS) + buffer(ZEROS), buffer(WEIGHTS))
    data = data.replace(string(b"Convolution"), string(b"DynamicRangeQuantizedConvolution"))
    graph = read(data, proto)
    assert set(graph.nodes[0].tensors) == {"filter", "scale"}
    assert model_bytes(graph) == data


def test_the_header_follows_a_layer_that_was_widened():
    proto = PROTO.replace(b"QuantizedC", b"DynamicRangeQuantizedC")
    data = (MAGIC + ints(1) + CONVOLUTION).replace(string(b"Convolution"), string(b"DynamicRangeQuantizedConvolution"))
    node = read(data, proto).nodes[0]
    fp32 = Resource({"filter": Tensor(np.zeros(16, F4))}, node.resource.extras, node.resource.type_string)
    graph = read_proto(PROTO)
    widened = node.replace(dynamic_range=False, type_string="Convolution", resource=fp32)
    expected = header(1, b"Convolution", b"c") + string(b"c") + ints(0) + buffer(np.zeros(16, F4))
    assert model_bytes(graph.replace(nodes=(widened,))) == MAGIC + ints(1) + expected


def test_version_1_buffers():
    v1 = MAGIC_V1 + ints(1) + header(19, b"InnerProduct", b"f") + string(b"f")
    v1 += ints(0, 0, 8) + struct.pack("<2f", 1, 2) + MAGIC_V1 + ints(0, 4) + struct.pack("<f", 3)
    tensors = resource_of(v1, "f").tensors
    assert (tensors["weight"].dims, tensors["weight"].data.tolist()) == ((), [1, 2])
    assert tensors["bias"].data.tolist() == [3]


def test_half_and_bfp16_weights():
    half = buffer(np.array([1, -2], np.float16), 2)
    bfp16 = buffer(np.array([0x3F80, 0xC000], np.uint16), 2)
    data = MAGIC + ints(1) + header(19, b"InnerProduct", b"f") + string(b"f") + half + bfp16
    tensors = resource_of(data, "f").tensors
    assert (tensors["weight"].dtype, tensors["bias"].dtype) == (DataType.HALF, DataType.BFP16)
    assert tensors["weight"].float32().tolist() == tensors["bias"].float32().tolist() == [1, -2]


# --- constants, strays, doubles ---


def test_constants():
    one, two = np.array([3], np.int32), np.array([[1.5]], F4)
    body = string(b"b") + buffer(two, 1, 1) + string(b"a") + buffer(one, 1)
    for magic in (MAGIC, ints(7)):
        constants = read_resources(MAGIC + ints(0) + magic + ints(2) + body).constants
        assert constants["a"].data.tolist() == [3]
        assert constants["b"].dims == (1, 1)
    graph = Graph({"x": InputSpec((1,))}, ("x",), (), constants)
    sorted_body = string(b"a") + buffer(one, 1) + string(b"b") + buffer(two, 1, 1)
    assert model_bytes(graph) == MAGIC + ints(0) + MAGIC + ints(2) + sorted_body


def test_resources_of_unknown_layers_are_left_out():
    stray = header(23, b"Sigmoid", b"nobody") + blob_scale(b"elsewhere", SCALES) + INNER
    data = MAGIC + ints(6) + stray + EXAMPLE[8:]
    graph = read(data)
    assert set(graph.scales) == {"x", "y", "elsewhere"}
    assert model_bytes(graph) == EXAMPLE


def test_a_second_resource_of_a_name_must_be_the_same():
    assert read_resources(MAGIC + ints(2) + INNER + INNER).layers.keys() == {"f"}
    other = INNER.replace(struct.pack("<f", 1), struct.pack("<f", 2))
    with pytest.raises(ModelFormatError, match=r"byte 90: resource 2 of 2, 'f' \(InnerProduct\): expected one "):
        read_resources(MAGIC + ints(2) + INNER + other)
    with pytest.raises(ModelFormatError, match="expected one resource per name, found a second one with other content"):
        read_resources(MAGIC + ints(2) + blob_scale(b"x", SCALES) + blob_scale(b"x", SCALES[:1]))
    constants = string(b"k") + buffer(SCALES, 4) + string(b"k") + buffer(SCALES, 2, 2)
    with pytest.raises(ModelFormatError, match="constant 2 of 2, 'k': expected one resource per name"):
        read_resources(MAGIC + ints(0) + MAGIC + ints(2) + constants)


def test_layers_of_one_name_share_their_resource():
    proto = PROTO.replace(b" y ,", b" y z ,", 1) + b'"QuantizedConvolution c 1 1 y z 1 4 4 1 1 1 1 0 0 0 -1 1 1 0 ,"\n'
    graph = read(EXAMPLE, proto)
    assert graph.nodes[0].resource.tensors is graph.nodes[1].resource.tensors
    written = model_bytes(graph)
    assert read_resources(written).layers.keys() == {"c"}
    changed = Resource({**graph.nodes[1].tensors, "scale": Tensor(2 * SCALES)}, {}, "Convolution")
    with pytest.raises(GraphError, match="two layers are named 'c' and have different tensors; rename one"):
        model_bytes(graph.replace(nodes=(graph.nodes[0], graph.nodes[1].replace(resource=changed))))


@pytest.mark.parametrize("second", ["Deconvolution", "DynamicRangeQuantizedConvolution"])
def test_layers_of_one_name_and_two_types_are_not_written(second):
    # TNN reads the tensors of the one as those of the other; found by tools/fuzz.py.
    proto = PROTO.replace(b" y ,", b" y z ,", 1) + f'"{second} c 1 1 y z 1 4 4 1 1 1 1 0 0 0 -1 1 1 0 ,"\n'.encode()
    with pytest.raises(GraphError, match=f"are named 'c', of the types QuantizedConvolution and {second}; rename one"):
        model_bytes(read(EXAMPLE, proto))


def test_the_resource_must_fit_the_layer():
    with pytest.raises(ModelFormatError, match=r"m: layer 'c' is QuantizedConvolution in the proto, its resource is "):
        read(MAGIC + ints(1) + INNER.replace(string(b"f"), string(b"c"), 1))


def test_kinds_with_the_same_fields_may_share_a_header():
    add = header(38, b"Mul", b"a") + buffer(SCALES, 4)
    proto = b'"1 2 1 4206624772 ,"\n"x 2 1 4 0 ,"\n" x y ,"\n"y ,"\n" 1 ,"\n"Add a 1 1 x y 1 ,"\n'
    assert read(MAGIC + ints(1) + add, proto).nodes[0].tensors["element"].data.tolist() == SCALES.tolist()


# --- bad files ---


def damaged(old: bytes, new: bytes) -> bytes:
    assert EXAMPLE.count(old) >= 1
    return EXAMPLE.replace(old, new, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "^m: byte 0: expected a .tnnmodel, found an empty file$"),
        (MAGIC[:3], "byte 0: expected the number of resources"),
        (MAGIC, r"byte 4: expected the number of resources \(4 bytes\), found 0 bytes before the end of the file"),
        (MAGIC + ints(1), "byte 4: expected a number of resources that fits into the 0 bytes left, found 1"),
        (MAGIC + ints(10000) + bytes(99999), "byte 4: expected a number of resources below 10000, found 10000$"),
        (MAGIC + ints(1, -1, 0), "byte 8: resource 1 of 1: expected a layer type number from 0 to 10000, found -1"),
        (MAGIC + ints(1, 10001, 0), "byte 8: resource 1 of 1: expected a layer type number .* found 10001"),
        (MAGIC + ints(1, 3, 0), "byte 8: resource 1 of 1: expected a type string or type number that TNN knows"),
        (MAGIC + ints(1, 5) + string(b"ReLU") + string(b"r"), "expected a layer type that has tensors, found ReLU"),
        (MAGIC + ints(1, 11) + string(b"Dropout") + string(b"d"), "a layer type that has tensors, found Dropout"),
        (MAGIC + ints(1, 5) + string(b"r"), "expected a layer type that has tensors, found ReLU"),
        (MAGIC + ints(1, 1) + ints(99), "byte 12: resource 1 of 1: expected the length of a type string or layer name"),
        (EXAMPLE[:-1], r"resource 3 of 3, 'y_scale_data_' \(BlobScale\): expected the elements of the unused bias"),
        (EXAMPLE[:100], r"resource 1 of 3, 'x_scale_data_' \(BlobScale\): "),
        (EXAMPLE + b"x", "expected the end of the file, found 1 more bytes"),
        (EXAMPLE + MAGIC + ints(0) + b"12345", "expected the end of the file, found 5 more bytes"),
        (damaged(ints(3), ints(4)), "resource 4 of 4: expected a layer type number"),
        (damaged(ints(3), ints(2)), "expected the number of constants that fits|expected the number of constants from"),
        (EXAMPLE + MAGIC + ints(-1), "expected the number of constants from 0 to 50000, found -1"),
        (EXAMPLE + MAGIC + ints(2) + bytes(20), "expected the number of constants that fits into the 20 bytes left"),
        (EXAMPLE + MAGIC + ints(1) + string(b"k") + MAGIC + ints(9, 4, 0, 0), "constant 1 of 1, 'k': expected the"),
        (EXAMPLE + MAGIC, r"expected the number of constants \(4 bytes\), found 0 bytes"),
        (damaged(buffer(SCALES), buffer(SCALES.astype(np.float16))), r"expected scales \(FLOAT\), found HALF"),
        (damaged(buffer(ZEROS), buffer(ZEROS.astype(np.int32))), r"expected zero points \(INT8\) or scales .* INT32"),
        (damaged(buffer(SCALES), buffer(SCALES[:3])), "as many zero points as scales, at least one, found 4 and 3"),
        (
            MAGIC + ints(1) + header(600, b"BlobScale", b"x_scale_data_") + buffer(SCALES[:0]) * 2,
            "expected as many zero points as scales, at least one, found 0 and 0",
        ),
    ],
)
def test_bad_files(data, message):
    with pytest.raises(ModelFormatError, match=message) as caught:
        read_resources(data, "m")
    assert str(caught.value).startswith("m: byte ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", range(len(EXAMPLE)))
def test_every_truncation_is_noticed(cut):
    with pytest.raises(ModelFormatError):
        read_resources(EXAMPLE[:cut])


# --- writing ---


def int8_node(name: str, inputs: tuple, outputs: tuple, type_string: str = "Add") -> Node:
    return Node(name, type_string, find_layer(type_string).parse([]), inputs, outputs, quantized=True)


def names_of(data: bytes) -> list[bytes]:
    """Resource names of a file of blob scales with one scale each."""
    names, position = [], 8
    while position < len(data):
        length = struct.unpack_from("<i", data, position + 17)[0]
        names.append(data[position + 21 : position + 21 + length].removesuffix(b"_scale_data_"))
        position += 21 + length + 17 + 20 + 20
    return names


def test_blob_scales_are_written_in_the_order_of_the_layers():
    one = QuantParams(np.ones(1, F4), np.zeros(1, I1))
    nodes = (
        int8_node("first", ("b", "a"), ("d",)),
        Node("between", "Sigmoid", find_layer("Sigmoid")(), ("d",), ("e",)),
        int8_node("second", ("d", "a"), ("c",)),
    )
    graph = Graph({"a": InputSpec((1,)), "b": InputSpec((1,))}, ("c",), nodes, scales=dict.fromkeys("abcdez", one))
    assert names_of(model_bytes(graph)) == [b"b", b"a", b"d", b"c"]


def test_flags_are_written_as_they_were_read_unless_the_tensor_came_or_went():
    bias = Tensor(np.zeros(4, np.int32), (), DataType.INT32)
    graph = read(damaged(string(b"c") + ints(0), string(b"c") + ints(0)))
    node = graph.nodes[0]
    for tensors, extras, flag in (
        (node.tensors, {"has_bias": 0}, 0),
        (node.tensors, {"has_bias": 7}, 0),
        (node.tensors, {}, 0),
        ({**node.tensors, "bias": bias}, {"has_bias": 7}, 7),
        ({**node.tensors, "bias": bias}, {"has_bias": 0}, 1),
        ({**node.tensors, "bias": bias}, {}, 1),
    ):
        changed = node.replace(resource=Resource(tensors, extras, "Convolution"))
        data = model_bytes(graph.replace(nodes=(changed,)))
        assert header(1, b"Convolution", b"c") + string(b"c") + ints(flag) + buffer(WEIGHTS) in data
        assert read(data).nodes[0].tensors.keys() == tensors.keys()


def test_the_string_of_a_prelu_is_kept_that_of_a_convolution_is_the_layer_name():
    proto = b'"1 2 1 4206624772 ,"\n"x 2 1 4 0 ,"\n" x y ,"\n"y ,"\n" 1 ,"\n"PReLU p 1 1 x y 0 1 ,"\n'
    data = MAGIC + ints(1) + header(35, b"PReLU", b"p") + string(b"old \xff name") + buffer(SCALES)
    assert model_bytes(read(data, proto)) == data
    assert model_bytes(read(damaged(string(b"c") + ints(0), string(b"other") + ints(0)))) == EXAMPLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "x_scale_data_"}, "names ending with _scale_data_ are kept for blob scales"),
        ({"resource": Resource({"filter": Tensor(WEIGHTS, (), DataType.INT8)})}, "INT8, but there are no scales"),
        ({"resource": Resource({"filter": Tensor(WEIGHTS.astype(np.float64))})}, "filter is float64, expected float32"),
        ({"layer": find_layer("ReLU")(), "type_string": "ReLU"}, "has tensors, but TNN has no room for any"),
    ],
)
def test_what_cannot_be_written(change, message):
    graph = read(EXAMPLE)
    with pytest.raises(GraphError, match=message):
        model_bytes(graph.replace(nodes=(graph.nodes[0].replace(**change),)))


def test_scales_and_zero_points_must_be_as_many():
    graph = read(EXAMPLE)
    with pytest.raises(GraphError, match="the scale of blob 'x' has 4 scales and 1 zero points"):
        model_bytes(graph.replace(scales={"x": QuantParams(SCALES, ZEROS[:1])}))


def test_too_many_resources():
    node = Node("p", "Softmax", find_layer("Softmax")(), ("x",), ("y",), Resource({}))
    graph = Graph({"x": InputSpec((1,))}, ("y",), (node,) * 10000)
    with pytest.raises(GraphError, match="the model has 10000 resources, TNN reads fewer than 10000"):
        model_bytes(graph)
