"""The .tnnproto: golden text as literals, what is tolerated, and every way to be wrong."""

from __future__ import annotations

import tracemalloc

import pytest

from tnnquant.base.tensor import DataType
from tnnquant.errors import GraphError, ModelFormatError
from tnnquant.format import read_proto, write_proto
from tnnquant.format.proto import stored_type
from tnnquant.graph import Graph, InputSpec, Node
from tnnquant.layers.base import find_layer

# Written by TNN (docs/tnn-format.md, 1.4).
QUANTIZED = b'''"1 14 1 4206624772 ,"
"input 4 1 3 16 16 0 ,"
" a1o c1o c2o c3o c4o c5o cco fco input mpo r1o r2o r3o sgo ,"
"fco ,"
" 11 ,"
"QuantizedConvolution c1 1 1 input r1o 1 3 8 3 3 1 1 1 1 1 -1 1 1 1 ,"
"QuantizedConvolution c2 1 1 r1o r2o 8 1 8 3 3 1 1 1 1 1 -1 1 1 2 ,"
"QuantizedConvolution c3 1 1 r2o c3o 1 8 8 1 1 1 1 0 0 1 -1 1 1 0 ,"
"QuantizedAdd a1 2 1 c3o r1o a1o -1 ,"
"QuantizedReLU r3 1 1 a1o r3o ,"
"QuantizedConvolution c4 1 1 r3o c4o 2 4 8 3 3 2 2 1 1 1 -1 1 1 0 ,"
"QuantizedConvolution c5 1 1 c4o c5o 1 8 8 1 1 1 1 0 0 1 -1 1 1 0 ,"
"QuantizedConcat cc 2 1 c4o c5o cco 1 ,"
"QuantizedPooling mp 1 1 cco mpo 0 2 2 2 2 0 0 -1 -1 -1 0 0 0 0 ,"
"Sigmoid sg 1 1 mpo sgo ,"
"QuantizedInnerProduct fc 1 1 sgo fco 5 1 0 1 ,"
'''

SMALL = b'"1 2 1 4206624772 ,"\n"x 4 1 3 8 8 0 ,"\n" x y ,"\n"y ,"\n" 1 ,"\n"Softmax s 1 1 x y 1 ,"\n'


def with_line(number: int, line: bytes, proto: bytes = SMALL) -> bytes:
    """The proto with one line (from 1) replaced; ``line`` without quotes and comma."""
    lines = proto.splitlines()
    lines[number - 1] = b'"' + line + b' ,"'
    return b"\n".join(lines) + b"\n"


def graph_of(*nodes: Node, inputs=None, outputs=("y",)) -> Graph:
    return Graph(inputs or {"x": InputSpec((1, 3, 8, 8))}, outputs, nodes)


def node_of(type_string: str, name: str = "s", inputs=("x",), outputs=("y",), kind: str = "", **flags) -> Node:
    layer = find_layer(kind or type_string)
    parameters = {"Pooling": ["0", "2", "2"], "InnerProduct": ["5", "1", "0", "1"]}.get(layer.TYPE_NAMES[0], [])
    return Node(name, type_string, layer.parse(parameters), tuple(inputs), tuple(outputs), **flags)


# --- reading ---


def test_golden_text_is_read_and_written_back():
    graph = read_proto(QUANTIZED)
    assert graph.inputs == {"input": InputSpec((1, 3, 16, 16), DataType.FLOAT)}
    assert graph.outputs == ("fco",)
    assert graph.extra_blobs == {"c1o", "c2o"}
    assert [node.name for node in graph.nodes if not node.quantized] == ["sg"]
    assert graph.nodes[3].inputs == ("c3o", "r1o")
    assert graph.nodes[1].layer.activation_type == 2
    assert write_proto(graph) == QUANTIZED


def test_float_model_forgets_untouched_blob_names():
    graph = read_proto(with_line(3, b" a b x y z"))
    assert graph.extra_blobs == frozenset()
    assert write_proto(graph) == SMALL


def test_version_1_inputs_have_dims_only():
    graph = read_proto(with_line(2, b"x 1 3 8 8 : b 7", with_line(1, b"1 2 1 4206624770")))
    assert graph.inputs == {"b": InputSpec((7,), None), "x": InputSpec((1, 3, 8, 8), None)}
    assert list(graph.inputs) == ["b", "x"]
    assert write_proto(graph).splitlines()[1] == b'"b 1 7 0 : x 4 1 3 8 8 0 ,"'


def test_version_2_inputs_have_rank_and_type():
    graph = read_proto(with_line(2, b"x 4 1 3 8 8 0 : a 2 5 6 3 : s 0 2"))
    assert graph.inputs == {
        "a": InputSpec((5, 6), DataType.INT32),
        "s": InputSpec((), DataType.INT8),
        "x": InputSpec((1, 3, 8, 8), DataType.FLOAT),
    }
    assert write_proto(graph).splitlines()[1] == b'"a 2 5 6 3 : s 0 2 : x 4 1 3 8 8 0 ,"'


def test_outputs_are_in_byte_order_without_duplicates():
    graph = read_proto(with_line(4, b"z a z \xff \xf0\x9f\x98\x80"))
    assert graph.outputs == ("a", "z", "\U0001f600", "\udcff")


def test_flags_follow_the_prefix():
    proto = with_line(6, b"DynamicRangeQuantizedInnerProduct s 1 1 x y 5 1 0 1")
    node = read_proto(proto).nodes[0]
    assert (node.dynamic_range, node.quantized, node.type_string) == (True, False, "DynamicRangeQuantizedInnerProduct")
    assert write_proto(read_proto(proto)) == proto
    assert read_proto(with_line(6, b"QuantizedReLU s 1 1 x y")).nodes[0].quantized


@pytest.mark.parametrize(
    "proto",
    [
        SMALL.replace(b"\n", b"\r\n"),
        SMALL.replace(b"\n", b"\n\n \n"),
        SMALL.replace(b'"', b""),
        SMALL.replace(b'"', b"").replace(b"\n", b""),
        SMALL.replace(b" s 1 1 x", b"   s  1 1   x"),
        SMALL.replace(b" 1 ,", b" 99 ,", 1),
        with_line(3, b""),
        with_line(3, b"\t" + b"n" * 5000),
        with_line(5, b"many"),
        with_line(1, b"1 2 1 4206624772 more words"),
        with_line(1, b"9 x y 4206624772"),
        with_line(6, b"Softmax s 1 1 x y 1 8 9 surplus"),
        with_line(6, b"Softmax s 1 1 x y"),
        SMALL.replace(b"x 4", b"\tx 4").replace(b"y 1 ,", b"y 1\t,"),
        SMALL[:-2],
        SMALL + b" ,,\n , ",
        b"\xef\xbb\xbf" + SMALL,
        SMALL.replace(b"4206624772", str(4206624772 + 2**32).encode()),
    ],
)
def test_what_tnn_tolerates(proto):
    assert write_proto(read_proto(proto)) == SMALL


def test_names_are_raw_bytes():
    proto = with_line(6, b"Softmax \xff\xfe\xe4 1 1 x y 1")
    assert read_proto(proto).nodes[0].name == "\udcff\udcfe\udce4"
    assert write_proto(read_proto(proto)) == proto


def test_no_layers():
    proto = b'"1 0 1 4206624772 ,"\n"x 1 1 0 ,"\n" ,"\n"x ,"\n" 0 ,"\n'
    assert read_proto(proto).nodes == ()
    assert write_proto(read_proto(proto)) == proto


LONG = b"Concat c 900 1 " + b"x " * 899 + b"x y 1"


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (b"", r"^p: line 1: expected the header .*, found ''; it looks like an empty file$"),
        (b"1 2 1", "line 1: expected the header `1 <blobs> 1 4206624772`"),
        (with_line(1, b"1 2 1 0xFABC0004"), "line 1: expected the header .*, found '1 2 1 0xFABC0004'$"),
        (with_line(1, b"1 2 1 4206624773"), "line 1: expected the header"),
        (with_line(1, b"1  2 1 4206624772"), "line 1: expected the header"),
        (with_line(1, b"1 2 1 " + b"9" * 5000), "line 1: expected the header"),
        (b"1 2 1 4206624772 , x 1 1 0, x, y", "the file ends after 3 commas, expected header, inputs, blobs"),
        (with_line(2, b""), "line 2: expected the model inputs, each a name, rank, dims and data type, found ''"),
        (with_line(2, b"x"), "line 2: expected the model inputs"),
        (with_line(2, b"x 4 1 3 8 8 0 :"), "line 2: expected the model inputs"),
        (with_line(2, b"x 4 1 3  8 8 0"), "line 2: two spaces in a row in the line of model input 'x'"),
        (with_line(2, b"x 4 1 3 8 8"), r"line 2: model input 'x': expected 4 dims and a data type .* found 4 words"),
        (with_line(2, b"x 4 1 3 8"), "line 2: model input 'x': expected 4 dims"),
        (with_line(2, b"x -1 0"), "line 2: model input 'x': the rank is -1, expected 0 to 32"),
        (with_line(2, b"x 33 " + b"1 " * 33 + b"0"), "line 2: model input 'x': the rank is 33, expected 0 to 32"),
        (with_line(2, b"x 2000000000 1 0"), "line 2: model input 'x': the rank is 2000000000"),
        (with_line(2, b"x 1 8 7"), "line 2: model input 'x': the data type is 7, expected -1 to 6"),
        (with_line(2, b"x 1 a 0"), "line 2: model input 'x': a dim is 'a', expected an integer"),
        (with_line(2, b"x 1 4294967295 0"), "line 2: model input 'x': a dim is 4294967295, expected a number of 32"),
        (with_line(2, b"x 1 8 0 : x 1 8 0"), "line 2: the model input 'x' is listed twice"),
        (with_line(2, b"x 1\t8 0"), r"line 2: the control character '\\t' inside the line, expected spaces"),
        (with_line(2, b"x 1 8 0 : " * 600 + b"z 1 8 0"), r"line 2: \d+ bytes up to the comma, expected at most 4095"),
        (with_line(4, b""), "line 4: expected the names of the model outputs, found an empty line"),
        (with_line(6, b"Softmax s 1"), "line 6: expected a layer's type, name, numbers of inputs and outputs"),
        (with_line(6, b"Softmax s 1 1 x"), r"line 6: layer 's' \(Softmax\): announces 1 inputs and 1 outputs, 1 words"),
        (with_line(6, b"Softmax s -1 1 x y"), r"line 6: layer 's' \(Softmax\): announces -1 inputs"),
        (with_line(6, b"Softmax s 2000000000 1 x y"), "announces 2000000000 inputs and 1 outputs, 2 words are left"),
        (with_line(6, b"Softmax s one 1 x y"), r"layer 's' \(Softmax\): the number of inputs is 'one', expected"),
        (with_line(6, b"Softmax s 1 1 x y axis"), r"line 6: layer 's' \(Softmax\): parameter 'axis' is 'axis'"),
        (with_line(6, b"Permute s 1 1 x y 9 0 1"), r"line 6: layer 's' \(Permute\): .* announces 9 values, 2 tokens"),
        (with_line(6, b"Flatten s 1 1 x y"), r"line 6: layer 's' \(Flatten\): parameter 'axis' is missing"),
        (with_line(6, b"Softmax s 1 1\tx y 1"), r"line 6: the control character '\\t' inside the line"),
        (with_line(6, b"Softmax s 1 1 x \x00y 1"), r"line 6: the control character '\\x00' inside the line"),
        (with_line(6, b"Sotfmax s 1 1 x y"), "line 6: layer 's' has the type 'Sotfmax', which TNN does not .*Softmax"),
        (with_line(6, b"softmax s 1 1 x y"), "'softmax', which TNN does not know; the nearest it knows: .*Softmax"),
        (with_line(6, b"QuantizedRelu s 1 1 x y"), "'QuantizedRelu', which TNN does not know; .*QuantizedReLU"),
        (with_line(6, b"# a comment line here"), "which TNN does not know: a proto has no comments"),
        (with_line(6, LONG + b" " + b"9" * 2300), r"line 6: 4\d+ bytes up to the comma, .* at most 4095: TNN cuts"),
    ],
)
def test_what_is_refused(proto, message):
    with pytest.raises(ModelFormatError, match=message) as caught:
        read_proto(proto, "p")
    assert str(caught.value).startswith("p: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_lines_are_counted_with_blank_lines_and_line_ends_of_windows():
    proto = b"\n\n" + SMALL.replace(b"\n", b"\r\n\r\n").replace(b"Softmax", b"Sotfmax")
    with pytest.raises(ModelFormatError, match=r"^p: line 13: "):
        read_proto(proto, "p")


def test_the_longest_line():
    name = b"n" * (4095 - len(b"Softmax  1 1 x y 1 "))
    proto = with_line(6, b"Softmax " + name + b" 1 1 x y 1")
    assert write_proto(read_proto(proto)) == proto
    with pytest.raises(ModelFormatError, match="4096 bytes up to the comma, expected at most 4095"):
        read_proto(with_line(6, b"Softmax " + name + b"nn 1 1 x y 1"), "p")


def test_lines_are_counted_over_empty_segments():
    proto = SMALL + b", ,,\n , \n\n,,\"\"\n Sotfmax s 1 1 x y 1,"
    with pytest.raises(ModelFormatError, match=r"^p: line 11: layer 's' has the type 'Sotfmax'"):
        read_proto(proto, "p")


def test_too_many_layers_and_blob_names():
    layers = SMALL + b"Sigmoid s 0 0," * 50_000
    with pytest.raises(ModelFormatError, match="p: line 7: more than 50000 layers"):
        read_proto(layers, "p")
    names = b" ".join(b"n%d" % i for i in range(50_001))
    proto = with_line(3, names, QUANTIZED)
    with pytest.raises(ModelFormatError, match="p: line 3: more than 50000 blob names"):
        read_proto(proto, "p")
    assert read_proto(with_line(3, names)).extra_blobs == frozenset()
    with pytest.raises(ModelFormatError, match="expected a text of at most 16777216 bytes; it looks like binary"):
        read_proto(bytes(20 << 20))


def test_a_file_of_commas_takes_little_memory():
    data = SMALL + b"\r\n,\" \"," * 200_000
    tracemalloc.start()
    try:
        assert len(read_proto(data).nodes) == 1
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data)
    finally:
        tracemalloc.stop()


# --- writing ---


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (node_of("Softmax"), "Softmax"),
        (node_of("SoftmaxCaffe"), "SoftmaxCaffe"),
        (node_of("ReLU", quantized=True), "QuantizedReLU"),
        (node_of("Relu", quantized=True), "QuantizedReLU"),
        (node_of("Pooling_nhwc", quantized=True), "QuantizedPooling"),
        (node_of("Pooling_split_CC", quantized=True), "QuantizedPooling"),
        (node_of("Concat_nhwc", quantized=True), "QuantizedConcat"),
        (node_of("InnerProduct_nhwc", quantized=True), "QuantizedInnerProduct"),
        (node_of("Convolution_nhwc", quantized=True), "QuantizedConvolution_nhwc"),
        (node_of("QuantizedConvolution", quantized=True), "QuantizedConvolution"),
        (node_of("QuantizedReshapeTensorflow", quantized=True), "QuantizedReshapeTensorflow"),
        (node_of("InnerProduct", dynamic_range=True), "DynamicRangeQuantizedInnerProduct"),
        (node_of("QuantizedConvolution"), "Convolution"),
        (node_of("DynamicRangeQuantizedConvolution"), "Convolution"),
        (node_of("Eltwise9", kind="Add"), "Add"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.type_string,
)
def test_types_that_are_written_can_be_read(node, expected):
    assert stored_type(node) == expected
    again = read_proto(write_proto(graph_of(node))).nodes[0]
    assert (again.quantized, again.dynamic_range) == (node.quantized, node.dynamic_range)
    assert type(again.layer) is type(node.layer)


def test_no_int8_form():
    with pytest.raises(GraphError, match=r"layer 's' \(Softmax\): TNN knows no int8 form of the layer type Softmax"):
        write_proto(graph_of(node_of("Softmax", quantized=True)))


@pytest.mark.parametrize("name", ["a,b", "a b", 'a"b', "a\nb", "a\tb", "", "a\x00"])
def test_names_a_proto_has_no_room_for(name):
    for node in (node_of("Softmax", name), node_of("Softmax", inputs=(name,)), node_of("Softmax", outputs=(name,))):
        with pytest.raises(GraphError, match=r"name .* cannot be written"):
            write_proto(graph_of(node))
    with pytest.raises(GraphError, match=r"name .* cannot be written"):
        write_proto(graph_of(node_of("Softmax"), outputs=(name,)))


def test_colons_are_refused_in_inputs_alone():
    proto = write_proto(graph_of(node_of("Softmax", "a:0", outputs=("y:0",)), outputs=("y:0",)))
    assert b"Softmax a:0 1 1 x y:0 1 " in proto
    with pytest.raises(GraphError, match="colons separate inputs"):
        write_proto(graph_of(inputs={"x:0": InputSpec((1,))}))


def test_lines_that_are_too_long_are_refused():
    inputs = tuple(f"blob_{i:04}" for i in range(500))
    with pytest.raises(GraphError, match=r"layer 'cc' \(Concat\) takes \d+ bytes in the proto, TNN reads at most 4095"):
        write_proto(graph_of(node_of("Concat", "cc", inputs=inputs)))
    with pytest.raises(GraphError, match="the line of the model inputs takes"):
        write_proto(graph_of(inputs={name: InputSpec((1,)) for name in inputs}))


def test_a_model_without_input_or_output_is_refused():
    with pytest.raises(GraphError, match="the model has no input"):
        write_proto(Graph({}, ("y",), ()))
    with pytest.raises(GraphError, match="the model has no output"):
        write_proto(graph_of(outputs=()))


def test_adaptive_pooling_sizes_are_written_as_they_are_read():
    proto = with_line(6, b"Pooling p 1 1 x y 1 0 0 1 1 0 0 -1 -1 -1 0 1 3 5")
    layer = read_proto(proto).nodes[0].layer
    assert (layer.out_h, layer.out_w) == (3, 5)
    assert write_proto(read_proto(proto)) == proto


@pytest.mark.parametrize("kept", [6, 7])
def test_a_file_that_is_cut_short_says_so(kept):
    """Between two layers, and within one: the fifth line tells how many there should be."""
    layers = ["ReLU a 1 1 in x ,", "ReLU b 1 1 x y ,", "ReLU c 1 1 y out ,"]
    lines = ["1 4 1 4206624772 ,", "in 4 1 2 3 3 0 ,", " in out x y ,", "out ,", " 3 ,", *layers]
    whole = "".join(f'"{line}"\n' for line in lines)
    assert len(read_proto(whole.encode()).nodes) == 3
    cut = "".join(f'"{line}"\n' for line in lines[:kept])
    with pytest.raises(ModelFormatError, match=rf"announces 3 layers, {kept - 5} were found: is the file cut short\?"):
        read_proto(cut.encode())
    with pytest.raises(ModelFormatError, match=rf"line {kept + 1}: .*3 layers, {kept - 5} were found"):
        read_proto((cut + '"ReLU b 1').encode())
