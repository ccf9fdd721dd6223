"""From ONNX to a graph: names, dims, types, folding, control flow, patterns; and what is refused, and how."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.base.tensor import DataType
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError, ModelFormatError, TnnQuantError, UnsupportedLayerError
from tnnquant.format import read_model, write_model
from tnnquant.onnx import convert
from tnnquant.onnx.listing import list_operators

onnx = pytest.importorskip("onnx")
helper = onnx.helper
F, I64, U8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.UINT8


def model(nodes, inputs, outputs, constants=None, opset=17, types=None, **more):
    """A ModelProto; ``inputs``: {name: dims}, ``constants``: {name: array}."""
    types = types or {}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(n, types.get(n, F), d) for n, d in inputs.items()],
        [helper.make_tensor_value_info(n, types.get(n, F), None) for n in outputs],
        [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **more)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def kinds(proto, **options):
    return [n.type_string for n in convert(proto, **options).graph.nodes]


def run(proto, **feeds):
    conversion = convert(proto)
    executor = Executor(conversion.graph)
    return executor.run({k: np.asarray(v, np.float32) for k, v in feeds.items()})


def reference(proto, **feeds):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(proto).run(None, {k: np.asarray(v, np.float32) for k, v in feeds.items()})


RNG = np.random.default_rng(3)
X = RNG.standard_normal((1, 4, 6, 6)).astype(np.float32)
W = RNG.standard_normal((8, 4, 3, 3)).astype(np.float32)


# --- patterns ---


def test_what_follows_a_convolution_goes_into_its_weights():
    c = {"w": W, "s": RNG.random(8, np.float32) + 0.5, "b": RNG.random(8, np.float32), "m": RNG.random(8, np.float32),
         "v": RNG.random(8, np.float32) + 0.5, "k": RNG.random((8, 1, 1), np.float32), "a": RNG.random((1, 8, 1, 1), np.float32)}  # noqa: E501  # fmt: skip
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
        node("Mul", ["k", "n"], ["p"]), node("Add", ["p", "a"], ["q"]), node("Relu", ["q"], ["y"]),
    ]  # fmt: skip
    proto = model(nodes, {"x": X.shape}, ["y"], c)
    assert kinds(proto) == ["Convolution", "ReLU"]
    np.testing.assert_allclose(run(proto, x=X)["y"], reference(proto, x=X)[0], rtol=1e-4, atol=1e-5)


def test_not_where_something_else_reads_the_convolution():
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Add", ["c", "a"], ["y"])]
    proto = model(nodes, {"x": X.shape}, ["y", "c"], {"w": W, "a": np.ones((1, 8, 1, 1), np.float32)})
    assert kinds(proto) == ["Convolution", "Add"]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("nodes", "kind"),
    [
        ([("Sigmoid", ["x"], "s"), ("Mul", ["x", "s"], "y")], "Swish"),
        ([("Add", ["x", "three"], "p"), ("Clip", ["p", "zero", "six"], "c"), ("Div", ["c", "six"], "y")],
         "HardSigmoid"),
        ([("Add", ["three", "x"], "p"), ("Clip", ["p", "zero", "six"], "c"), ("Mul", ["c", "x"], "m"),
          ("Div", ["m", "six"], "y")], "HardSwish"),
        ([("Div", ["x", "root"], "d"), ("Erf", ["d"], "e"), ("Add", ["e", "one"], "p"), ("Mul", ["x", "p"], "m"),
          ("Mul", ["m", "half"], "y")], "GELU"),
        ([("Mul", ["x", "half"], "h"), ("Div", ["x", "root"], "d"), ("Erf", ["d"], "e"), ("Add", ["one", "e"], "p"),
          ("Mul", ["h", "p"], "y")], "GELU"),
    ],
)  # fmt: skip
def test_activations_written_as_arithmetic(nodes, kind, swapped):
    """By who reads what: the operands stand in any order."""
    constants = {"three": 3.0, "zero": 0.0, "six": 6.0, "one": 1.0, "half": 0.5, "root": np.sqrt(2.0)}
    made = []
    for op, inputs, output in nodes:
        order = inputs[::-1] if swapped and op in ("Add", "Mul") else inputs
        made.append(node(op, order, [output]))
    proto = model(made, {"x": (1, 4, 3, 3)}, ["y"], {k: np.float32(v) for k, v in constants.items()})
    assert kinds(proto) == [kind]
    x = RNG.standard_normal((1, 4, 3, 3)).astype(np.float32) * 4
    np.testing.assert_allclose(run(proto, x=x)["y"], reference(proto, x=x)[0], rtol=1e-5, atol=1e-6)


def test_a_near_miss_changes_nothing():
    nodes = [
        node("Add", ["x", "three"], ["p"]),
        node("Clip", ["p", "zero", "six"], ["c"]),
        node("Div", ["c", "five"], ["y"]),
    ]
    constants = {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6), "five": np.float32(5)}
    proto = model(nodes, {"x": (1, 4)}, ["y"], constants)
    assert "HardSigmoid" not in kinds(proto)
    x = np.array([[-4, -1, 1, 5]], np.float32)
    np.testing.assert_allclose(run(proto, x=x)["y"], reference(proto, x=x)[0], rtol=1e-6)


def test_layer_norm():
    c = {
        "two": np.float32(2),
        "eps": np.float32(1e-5),
        "g": RNG.random(16, np.float32),
        "b": RNG.random(16, np.float32),
    }
    nodes = [
        node("ReduceMean", ["x"], ["m"], axes=[-1]), node("Sub", ["x", "m"], ["d"]), node("Pow", ["d", "two"], ["s"]),
        node("ReduceMean", ["s"], ["v"], axes=[-1]), node("Add", ["v", "eps"], ["e"]), node("Sqrt", ["e"], ["r"]),
        node("Div", ["d", "r"], ["q"]), node("Mul", ["q", "g"], ["p"]), node("Add", ["p", "b"], ["y"]),
    ]  # fmt: skip
    proto = model(nodes, {"x": (1, 5, 16)}, ["y"], c)
    assert kinds(proto) == ["LayerNorm"]
    x = RNG.standard_normal((1, 5, 16)).astype(np.float32)
    np.testing.assert_allclose(run(proto, x=x)["y"], reference(proto, x=x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("inner", "perm", "out", "kind"),
    [
        ((1, 2, 2, 6, 6), (0, 2, 1, 3, 4), (1, 4, 6, 6), "ShuffleChannel"),
        ((1, 1, 2, 2, 6, 6), (0, 1, 4, 2, 5, 3), (1, 1, 12, 12), "Reorg"),
        ((1, 2, 2, 1, 6, 6), (0, 3, 4, 1, 5, 2), (1, 1, 12, 12), "Reorg"),
        ((1, 4, 3, 2, 3, 2), (0, 3, 5, 1, 2, 4), (1, 16, 3, 3), "Reorg"),
    ],
)
def test_moves_that_are_one_layer(inner, perm, out, kind):
    nodes = [
        node("Reshape", ["x", "a"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=perm),
        node("Reshape", ["t", "b"], ["y"]),
    ]
    proto = model(nodes, {"x": X.shape}, ["y"], {"a": np.array(inner), "b": np.array(out)})
    assert kinds(proto) == [kind]
    np.testing.assert_array_equal(run(proto, x=X)["y"], reference(proto, x=X)[0])


def test_a_product_with_a_matrix_is_an_inner_product_with_its_bias():
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["b", "m"], ["y"])]
    c = {"w": RNG.random((6, 5), np.float32), "b": RNG.random(5, np.float32)}
    proto = model(nodes, {"x": (1, 7, 6)}, ["y"], c)
    assert kinds(proto) == ["Reshape", "InnerProduct", "Reshape"]
    x = RNG.random((1, 7, 6), np.float32)
    np.testing.assert_allclose(run(proto, x=x)["y"], reference(proto, x=x)[0], rtol=1e-5)


def unrolled(steps, op):
    """A recurrence as exporters write it out: each step multiplies by the same two constants."""
    rng = np.random.default_rng(4)
    c = {"w": rng.standard_normal((12, 6)), "r": rng.standard_normal((6, 6)), "b": rng.standard_normal(6)}
    c = {name: array.astype(np.float32) for name, array in c.items()}
    nodes, h = [], "h"
    for k in range(steps):
        c[f"k{k}"] = np.array(k)
        nodes += [node("Gather", ["x", f"k{k}"], [f"x{k}"], axis=0)]
        if op == "Gemm":
            nodes += [node("Gemm", [f"x{k}", "w", "b"], [f"u{k}"]), node("Gemm", [h, "r"], [f"v{k}"], transB=1)]
        else:
            nodes += [node("MatMul", [f"x{k}", "w"], [f"u{k}"]), node("MatMul", [h, "r"], [f"v{k}"])]
        nodes += [node("Add", [f"u{k}", f"v{k}"], [f"s{k}"]), node("Tanh", [f"s{k}"], [f"h{k}"])]
        h = f"h{k}"
    return model(nodes, {"x": (steps, 1, 12), "h": (1, 6)}, [h], c)


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_weights_that_every_step_reads_are_stored_once(op):
    proto, rng = unrolled(9, op), np.random.default_rng(5)
    graph = convert(proto).graph
    stored = sum(t.size for node in graph.nodes for t in node.tensors.values())
    stored += sum(t.size for t in graph.constants.values())
    assert stored < 2 * 12 * 6 + 2 * 6 * 6
    assert "InnerProduct" not in [node.type_string for node in graph.nodes]
    feeds = {"x": rng.standard_normal((9, 1, 12)), "h": rng.standard_normal((1, 6))}
    (got,) = run(proto, **feeds).values()
    np.testing.assert_allclose(got, reference(proto, **feeds)[0], rtol=1e-5, atol=1e-6)


def test_branches_that_share_weights_keep_their_inner_products():
    assert kinds(unrolled(3, "MatMul")).count("InnerProduct") == 6


def test_weights_in_many_layers_are_told():
    nodes = []
    for k in range(4):
        nodes += [node("Conv", ["x" if not k else f"y{k - 1}", "w"], [f"y{k}"], pads=[1, 1, 1, 1])]
    notes = convert(model(nodes, {"x": (1, 512, 4, 4)}, ["y3"], {"w": np.ones((512, 512, 3, 3), np.float32)})).notes
    assert [note for note in notes if note.startswith("28 of 38 MB are weights that several layers read")]


def test_uneven_borders():
    """SAME_UPPER with a stride is TNN's SAME; a border wider before is a layer of its own.

    Beside onnxruntime: the reference of older onnx packages puts the odd row of SAME_LOWER on the other side.
    """
    onnxruntime = pytest.importorskip("onnxruntime")
    for attributes, wanted in (
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, ["Convolution"]),
        ({"auto_pad": "SAME_LOWER", "strides": [2, 2]}, ["Pad", "Convolution"]),
        ({"pads": [2, 1, 0, 1]}, ["Pad", "Convolution"]),
    ):
        proto = model([node("Conv", ["x", "w"], ["y"], **attributes)], {"x": X.shape}, ["y"], {"w": W})
        assert kinds(proto) == wanted
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(run(proto, x=X)["y"], session.run(None, {"x": X})[0], rtol=1e-4, atol=1e-4)


# --- folding and control flow ---


def test_dims_are_computed_in_64_bits():
    nodes = [
        node("Shape", ["x"], ["s"]), node("Mul", ["s", "big"], ["p"]), node("Div", ["p", "big"], ["d"]),
        node("Reshape", ["x", "d"], ["r"]), node("Slice", ["r", "zero", "end", "axis"], ["y"]),
    ]  # fmt: skip
    c = {"big": np.int64(10**12), "zero": np.array([0]), "end": np.array([2**63 - 1]), "axis": np.array([1])}
    proto = model(nodes, {"x": (1, 3)}, ["y"], c)
    assert run(proto, x=[[1, 2, 3]])["y"].tolist() == [[1, 2, 3]]


def test_branches_loops_and_functions_are_run_in_place():
    branch = [helper.make_graph([node(op, ["x"], ["o"])], op, [], [helper.make_tensor_value_info("o", F, None)])
              for op in ("Relu", "Unique")]  # fmt: skip
    body = helper.make_graph(
        [node("Add", ["v", "x"], ["w"]), node("Identity", ["c"], ["d"])], "body",
        [helper.make_tensor_value_info("i", I64, []), helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
         helper.make_tensor_value_info("v", F, None)],
        [helper.make_tensor_value_info("d", onnx.TensorProto.BOOL, []), helper.make_tensor_value_info("w", F, None)],
    )  # fmt: skip
    nodes = [
        node("If", ["yes"], ["a"], then_branch=branch[0], else_branch=branch[1]),
        node("Loop", ["three", "", "a"], ["b"], body=body),
        helper.make_node("Twice", ["b"], ["y"], domain="mine"),
    ]
    proto = model(nodes, {"x": (1, 2)}, ["y"], {"yes": np.array(True), "three": np.array(3)})
    double = helper.make_function(
        "mine", "Twice", ["p"], ["q"], [node("Add", ["p", "p"], ["q"])], [helper.make_opsetid("", 17)]
    )
    proto.functions.append(double)
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    assert run(proto, x=[[1, -2]])["y"].tolist() == [[8, -12]]


# --- names, dims, types ---


def test_names_that_a_proto_cannot_hold(tmp_path):
    nodes = [node("Relu", ["in, put"], ["a b"]), node("Abs", ["a_b"], ["z"]), node("Relu", ["a b"], ["a_b"])]
    proto = model(nodes, {"in, put": (1, 2)}, ["z", "a b"])
    conversion = convert(proto)
    assert len(set(conversion.renamed.values())) == len(conversion.renamed) == 3
    write_model(conversion.graph, tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")
    assert read_model(tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel").outputs == conversion.graph.outputs


def test_an_output_keeps_its_name():
    """After an Identity whose source is read elsewhere too, and of an input itself."""
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Identity", ["a"], ["y"]),
        node("Abs", ["a"], ["z"]),
        node("Identity", ["x"], ["w"]),
    ]
    out = run(model(nodes, {"x": (1, 2)}, ["y", "z", "w"]), x=[[1, -1]])
    assert {k: v.tolist() for k, v in out.items()} == {"y": [[1, 0]], "z": [[1, 0]], "w": [[1, -1]]}


def test_dims_that_are_left_open():
    proto = model([node("Relu", ["x"], ["y"])], {"x": ("n", 3, "h", "w")}, ["y"])
    with pytest.raises(ConfigError, match=r"nx3xhxw.*input_dims=\{'x': \(1, 3, 224, 224\)\}"):
        convert(proto)
    assert convert(proto, {"x": (2, 3, 8, 8)}).graph.inputs["x"].dims == (2, 3, 8, 8)
    with pytest.raises(ConfigError, match="no input 'xx'; it has x"):
        convert(proto, {"xx": (1,)})
    with pytest.raises(ConfigError, match="4 dims"):
        convert(proto, {"x": (1, 3)})
    conversion = convert(model([node("Relu", ["x"], ["y"])], {"x": ("n", 3)}, ["y"]))
    assert conversion.graph.inputs["x"].dims == (1, 3)
    assert "1 is assumed" in conversion.notes[0]


def test_pictures_of_bytes_become_floats():
    nodes = [node("Cast", ["x"], ["f"], to=F), node("Relu", ["f"], ["y"])]
    conversion = convert(model(nodes, {"x": (1, 3, 2, 2)}, ["y"], types={"x": U8}))
    assert conversion.graph.inputs["x"].dtype == DataType.FLOAT
    assert [n.type_string for n in conversion.graph.nodes] == ["ReLU"]


def test_a_constant_beyond_32_bits_is_refused():
    proto = model(
        [node("Add", ["x", "c"], ["y"])], {"x": (1, 2)}, ["y"], {"c": np.array([2**40])}, types={"x": I64, "y": I64}
    )
    with pytest.raises(UnsupportedLayerError, match="does not fit into the 32 bits"):
        convert(proto)


def test_half(tmp_path):
    proto = model([node("Conv", ["x", "w"], ["y"])], {"x": X.shape}, ["y"], {"w": W})
    graph = convert(proto, half=True).graph
    assert graph.nodes[0].tensors["filter"].dtype == DataType.HALF
    write_model(graph, tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")
    again = read_model(tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")
    np.testing.assert_allclose(Executor(again).run({"x": X})["y"], run(proto, x=X)["y"], atol=0.05)


# --- refusals ---


def test_all_refused_nodes_are_named_at_once():
    nodes = [
        node("Unique", ["x"], ["u"], name="first"), node("Relu", ["u"], ["r"]),
        node("Det", ["x"], ["d"], name="second"),
        helper.make_node("Odd", ["r"], ["o"], domain="com.odd", name="third"),
    ]  # fmt: skip
    proto = model(nodes, {"x": (2, 2)}, ["o", "d"])
    proto.opset_import.append(helper.make_opsetid("com.odd", 1))
    with pytest.raises(UnsupportedLayerError) as caught:
        convert(proto)
    text = str(caught.value)
    for word in ("3 nodes", "'first'", "'second'", "'third'", "com.odd", "opset 17", "Nothing was written"):
        assert word in text
    assert "Relu" not in text


def test_list_operators(tmp_path):
    proto = model([node("Relu", ["x"], ["r"]), node("Unique", ["r"], ["y"])], {"x": (2,)}, ["y"])
    onnx.save(proto, tmp_path / "m.onnx")
    listing = list_operators(tmp_path / "m.onnx")
    assert [row[0] for row in listing.rows()] == ["Relu", "Unique"]
    assert len(listing.refusals) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.graph.node[0].input.__setitem__(0, "nowhere"), "reads 'nowhere'"),
        (lambda p: p.graph.node[0].input.__setitem__(0, "y"), "cycle"),
        (lambda p: p.graph.node.append(node("Relu", ["x"], ["y"])), "made by two nodes"),
        (lambda p: p.graph.output[0].__setattr__("name", "other"), "is made by no node"),
        (lambda p: p.opset_import[0].__setattr__("version", 999), "upgrade it"),
        (lambda p: p.opset_import.pop(), "no operator set"),
        (lambda p: p.graph.initializer[0].dims.__setitem__(0, 1 << 40), "dims"),
        (lambda p: p.graph.initializer[0].__setattr__("data_type", 99), "type"),
        (lambda p: p.ClearField("graph"), "no graph"),
    ],
)
def test_inconsistent_models(change, message):
    proto = model([node("Add", ["x", "c"], ["y"])], {"x": (1, 2)}, ["y"], {"c": np.ones(2, np.float32)})
    change(proto)
    with pytest.raises(ModelFormatError, match=message) as caught:
        convert(proto)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x1c\x00\x00\x00TFL3" + bytes(20), "TensorFlow Lite"),
        (b"PK\x03\x04" + bytes(20), "PyTorch"),
        (b"\x80\x02" + bytes(20), "pickle"),
        (b"", "empty"),
        (b"\xff\xff\xff garbage", "cannot be read"),
    ],
)
def test_files_of_other_kinds(tmp_path, data, message):
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match=message):
        convert(path)


def test_data_beside_the_model(tmp_path):
    proto = model([node("Add", ["x", "c"], ["y"])], {"x": (1, 2)}, ["y"], {"c": np.arange(2, dtype=np.float32)})
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert convert(tmp_path / "m.onnx").graph.nodes[0].tensors["element"].data.tolist() == [0, 1]
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelFormatError, match=r"w\.bin"):
        convert(tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    for place in ("../w.bin", "/etc/hostname"):
        for entry in proto.graph.initializer[0].external_data:
            if entry.key == "location":
                entry.value = place
        (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
        with pytest.raises(ModelFormatError, match="outside the model's folder"):
            convert(tmp_path / "m.onnx")


def test_hostile_sizes_are_refused():
    proto = model([node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"], ["y"])], {"x": (1, 2)}, ["y"],
                  {"s": np.array([1 << 30, 1 << 30])})  # fmt: skip
    with pytest.raises(TnnQuantError, match="more than a model of this size may ask for"):
        convert(proto)
