"""Small ONNX models of every construct that the reader knows, to be mutated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["made_onnx", "onnx_words"]


def made_onnx() -> list[bytes]:
    """Nets with weights, constants in every form, branches, loops, functions and data beside the file."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    f, i, b = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
    node, info = helper.make_node, helper.make_tensor_value_info

    def model(nodes, inputs, outputs, constants=None, opset=17, **more) -> bytes:
        graph = helper.make_graph(
            nodes, "g", [info(n, f, d) for n, d in inputs.items()], [info(n, f, None) for n in outputs],
            [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
        )  # fmt: skip
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("m", 1)])
        made.functions.extend(more.get("functions", ()))
        return made.SerializeToString()

    weights = {"w": np.ones((4, 3, 3, 3), np.float32), "s": np.ones(4, np.float32)}
    net = model(
        [
            node("Conv", ["x", "w"], ["c"], auto_pad="SAME_LOWER", strides=[2, 2]),
            node("BatchNormalization", ["c", "s", "s", "s", "s"], ["n"]), node("Sigmoid", ["n"], ["g"]),
            node("Mul", ["n", "g"], ["y"]), node("MaxPool", ["y"], ["p"], kernel_shape=[2, 2], ceil_mode=1),
            node("GlobalAveragePool", ["p"], ["q"]), node("Flatten", ["q"], ["z"]),
        ],
        {"x": (1, 3, 8, 8)}, ["z", "y"], weights,
    )  # fmt: skip
    shapes = model(
        [
            node("Shape", ["x"], ["s"]), node("Gather", ["s", "k"], ["d"]), node("Unsqueeze", ["d", "a"], ["u"]),
            node("Concat", ["u", "m"], ["t"], axis=0), node("Reshape", ["x", "t"], ["r"]),
            node("Expand", ["r", "e"], ["y"]), node("Tile", ["y", "t"], ["z"]), node("Pad", ["r", "p"], ["v"]),
            node("ConstantOfShape", ["e"], ["w"]), node("Add", ["w", "y"], ["o"]),
        ],
        {"x": (2, 6)}, ["z", "o", "v"],
        {"k": np.array(0), "a": np.array([0]), "m": np.array([-1]), "e": np.array([2, 6]), "p": np.array([0, 1, 1, 0])},
    )  # fmt: skip
    branch = [helper.make_graph([node(op, ["x"], ["o"])], op, [], [info("o", f, None)]) for op in ("Relu", "Abs")]
    body = helper.make_graph(
        [node("Add", ["v", "x"], ["w"]), node("Identity", ["c"], ["d"])], "body",
        [info("i", i, []), info("c", b, []), info("v", f, None)], [info("d", b, []), info("w", f, None)],
    )  # fmt: skip
    function = helper.make_function("m", "F", ["p"], ["q"], [node("Neg", ["p"], ["q"])], [helper.make_opsetid("", 17)])
    control = model(
        [
            node("If", ["yes"], ["a"], then_branch=branch[0], else_branch=branch[1]),
            node("Loop", ["n", "", "a"], ["l"], body=body), node("F", ["l"], ["y"], domain="m"),
        ],
        {"x": (1, 2)}, ["y"], {"yes": np.array(True), "n": np.array(2)}, functions=[function],
    )  # fmt: skip
    others = [
        model([node("Resize", ["x", "", "s"], ["y"], mode=mode)], {"x": (1, 1, 3, 3)}, ["y"],
              {"s": np.array([1, 1, 1.5, 2], np.float32)}) for mode in ("nearest", "linear", "cubic")
    ] + [
        model([node("GRU", ["x", "w", "r"], ["y"], hidden_size=2)], {"x": (2, 1, 3)}, ["y"],
              {"w": np.ones((1, 6, 3), np.float32), "r": np.ones((1, 6, 2), np.float32)}),
        model([node("TopK", ["x", "k"], ["v", "p"]), node("Cast", ["p"], ["y"], to=1)], {"x": (1, 5)}, ["v", "y"],
              {"k": np.array([2])}),
        model([node("LayerNormalization", ["x", "s"], ["y"])], {"x": (2, 4)}, ["y"], {"s": np.ones(4, np.float32)}),
    ]  # fmt: skip
    beside = onnx.ModelProto.FromString(net)
    tensor = beside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../w.bin"), ("offset", "0"), ("length", "432")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return [net, shapes, control, beside.SerializeToString(), *others]


def onnx_words() -> Sequence[bytes]:
    """Operators, attributes, and numbers as protobuf writes them."""
    words = b"""Relu Abs Conv Gemm MatMul Reshape Transpose Concat Split Slice Gather Pad Tile Expand Range CumSum Trilu
    OneHot Resize Upsample GridSample LSTM GRU RNN If Loop Scan Where Clip ReduceMax TopK NonZero Einsum SequenceAt
    ConstantOfShape EyeLike Attention axis axes perm to kernel_shape pads strides dilations group equation ij,jk->ik
    body then_branch ai.onnx com.microsoft NOTSET SAME_UPPER location /etc/passwd ../x""".split()
    numbers = (b"\xff" * 9 + b"\x01", b"\x80" * 9 + b"\x01", b"\xff\xff\xff\xff\x07", b"\x80\x80\x80\x80\x08", b"\x00")
    return (*words, *numbers)
