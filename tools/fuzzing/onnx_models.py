"""Small ONNX models of every construct that the reader knows, to be mutated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["made_onnx", "onnx_words"]


def made_onnx() -> list[bytes]:
    """Nets with weights, constants in every form, branches, loops, functions and data beside the file."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    f, i, b = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
    node, info = helper.make_node, helper.make_tensor_value_info

    def model(
        nodes: Sequence[NodeProto], inputs: Mapping[str, Sequence[int]], outputs: Iterable[str],
        constants: Mapping[str, Any] | None = None, opset: int = 17, **more: Any,
    ) -> bytes:  # fmt: skip
        graph = helper.make_graph(
            nodes, "g", [info(n, f, d) for n, d in inputs.items()], [info(n, f, None) for n in outputs],
            [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
        )  # fmt: skip
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("m", 1)])
        made.functions.extend(more.get("functions", ()))
        data: bytes = made.SerializeToString()
        return data

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
    others += _quantized(model, node)
    beside = onnx.ModelProto.FromString(net)
    tensor = beside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../w.bin"), ("offset", "0"), ("length", "432")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return [net, shapes, control, beside.SerializeToString(), *others]


def _quantized(model: Callable[..., bytes], node: Callable[..., NodeProto]) -> list[bytes]:
    """int8 models: with QuantizeLinear and DequantizeLinear, zero points, padding, joins; and of whole operators."""
    u, s = np.uint8, np.float32
    constants = {
        "s": s(0.02), "t": s(0.03), "z": u(120), "n": u(0), "w": np.ones((4, 4, 3, 3), np.int8), "d": np.int8(0),
        "b": np.ones(4, np.int32), "v": np.full(4, 0.01, s), "o": np.zeros(4, np.int8), "e": np.zeros(4, np.int32),
        "p": np.full(4, 0.0002, s),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"]), node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        node("DequantizeLinear", ["w", "v", "o"], ["wd"], axis=0),
        node("DequantizeLinear", ["b", "p", "e"], ["bd"], axis=0),
        node("Conv", ["xd", "wd", "bd"], ["c"], pads=[1] * 4), node("QuantizeLinear", ["c", "t", "n"], ["cq"]),
        node("DequantizeLinear", ["cq", "t", "n"], ["cd"]), node("Conv", ["cd", "wd"], ["f"], pads=[1] * 4),
        node("QuantizeLinear", ["f", "s", "z"], ["fq"]), node("DequantizeLinear", ["fq", "s", "z"], ["fd"]),
        node("Add", ["fd", "xd"], ["a"]), node("QuantizeLinear", ["a", "t", "z"], ["aq"]),
        node("MaxPool", ["aq"], ["m"], kernel_shape=[2, 2]), node("DequantizeLinear", ["m", "t", "z"], ["md"]),
        node("Concat", ["md", "md"], ["k"], axis=1), node("Sigmoid", ["k"], ["y"]),
    ]  # fmt: skip
    whole = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        node("QLinearConv", ["xq", "s", "z", "w", "v", "o", "t", "n", "b"], ["cq"], pads=[1] * 4),
        node("QLinearAdd", ["cq", "t", "n", "xq", "s", "z", "t", "z"], ["aq"], domain="com.microsoft"),
        node("QLinearSoftmax", ["aq", "t", "z", "s", "n"], ["yq"], domain="com.microsoft", axis=1, opset=13),
        node("DequantizeLinear", ["yq", "s", "n"], ["y"]),
    ]
    shape = {"x": (1, 4, 6, 6)}
    used = [{name for n in part for name in n.input} for part in (nodes, whole)]
    return [
        model(part, shape, ["y"], {k: v for k, v in constants.items() if k in names})
        for part, names in zip((nodes, whole), used, strict=True)
    ]


def onnx_words() -> Sequence[bytes]:
    """Operators, attributes, and numbers as protobuf writes them."""
    words = b"""Relu Abs Conv Gemm MatMul Reshape Transpose Concat Split Slice Gather Pad Tile Expand Range CumSum Trilu
    OneHot Resize Upsample GridSample LSTM GRU RNN If Loop Scan Where Clip ReduceMax TopK NonZero Einsum SequenceAt
    ConstantOfShape EyeLike Attention QuantizeLinear DequantizeLinear QLinearConv QLinearAdd MaxPool
    axis axes perm to kernel_shape pads strides dilations group equation ij,jk->ik
    body then_branch ai.onnx com.microsoft NOTSET SAME_UPPER location /etc/passwd ../x""".split()
    numbers = (b"\xff" * 9 + b"\x01", b"\x80" * 9 + b"\x01", b"\xff\xff\xff\xff\x07", b"\x80\x80\x80\x80\x08", b"\x00")
    return (*words, *numbers)
