"""The same network as an ONNX model, so that onnxruntime can be measured beside tnnquant in the same run.

Covers the layers of classifiers (SqueezeNet, EfficientNet-Lite, MobileNet, ResNet); any other type is refused by name.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.graph import Graph, Node
from tnnquant.graph.infer import infer

OPSET = 17


def write_onnx(graph: Graph, path: Path) -> Path:
    """Write the fp32 graph as an ONNX model of opset 17."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    inference = infer(graph)
    nodes, initializers = [], []

    def constant(name: str, array: np.ndarray) -> str:
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    for name, tensor in inference.graph.constants.items():
        constant(name, tensor.array())
    for node in inference.graph.nodes:
        nodes += _CONVERTERS[_type(node)](node, inference.specs, constant, helper)
    specs = inference.specs
    inputs, outputs = (
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(specs[n].dims)) for n in names]
        for names in (inference.graph.inputs, inference.graph.outputs)
    )
    model = helper.make_model(
        helper.make_graph(nodes, "twin", inputs, outputs, initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def _type(node: Node) -> str:
    name = node.layer.TYPE_NAMES[0]
    if name not in _CONVERTERS:
        raise NotImplementedError(f"{node}: no ONNX twin for this type")
    return name


def _convolution(node, specs, constant, helper):
    layer, (x,), (y,) = node.layer, node.inputs, node.outputs
    (_, channels, *size), (_, _, *target) = specs[x].dims, specs[y].dims
    kernel, stride, dilation = (
        (layer.kernel_h, layer.kernel_w), (layer.stride_h, layer.stride_w), (layer.dilation_h, layer.dilation_w)
    )
    weight = _float(node.tensors["filter"]).reshape(layer.output_channel, channels // layer.group, *kernel)
    inputs = [x, constant(f"{node.name}.w", weight)]
    if "bias" in node.tensors and node.tensors["bias"].size:
        inputs.append(constant(f"{node.name}.b", _float(node.tensors["bias"])))
    begin = [layer.pad_h, layer.pad_w]
    if layer.pad_type != -1:
        total = [
            (target[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 - size[i] for i in range(2)
        ]
        begin = [t // 2 for t in total]
        end = [t - b for t, b in zip(total, begin, strict=True)]
    else:
        end = begin
    linear = y if not layer.activation_type else f"{y}.linear"
    made = [
        helper.make_node(
            "Conv", inputs, [linear], name=node.name, kernel_shape=kernel, strides=stride, dilations=dilation,
            group=layer.group, pads=[*begin, *end],
        )
    ]
    return made + _activation(node, layer.activation_type, linear, y, constant, helper)


def _activation(node, code, x, y, constant, helper):
    if code == 1:
        return [helper.make_node("Relu", [x], [y])]
    if code == 2:
        low, high = (constant(f"{node.name}.{n}", np.float32(v)) for n, v in (("low", 0), ("high", 6)))
        return [helper.make_node("Clip", [x, low, high], [y])]
    return []


def _pooling(node, specs, constant, helper):
    layer, (x,), (y,) = node.layer, node.inputs, node.outputs
    _, _, *size = specs[x].dims
    _, _, *target = specs[y].dims
    kernel = [layer.kernel_h or size[0], layer.kernel_w or size[1]]
    kind = "MaxPool" if layer.pool_type == 0 else "AveragePool"
    if kernel == list(size) and target == [1, 1]:
        return [helper.make_node("Global" + kind, [x], [y], name=node.name)]
    stride, begin = [layer.stride_h, layer.stride_w], [layer.pad_h, layer.pad_w]
    return [
        helper.make_node(
            kind, [x], [y], name=node.name, kernel_shape=kernel, strides=stride, pads=[*begin, *begin],
            ceil_mode=layer.ceil_mode,
        )
    ]


def _inner_product(node, specs, constant, helper):
    (x,), (y,) = node.inputs, node.outputs
    weight = _float(node.tensors["weight"]).reshape(node.layer.num_output, -1)
    bias = node.tensors.get("bias")
    inputs = [f"{y}.flat", constant(f"{node.name}.w", weight)]
    if bias is not None and bias.size:
        inputs.append(constant(f"{node.name}.b", _float(bias)))
    rest = list(specs[y].dims)
    return [
        helper.make_node("Flatten", [x], [f"{y}.flat"], axis=1),
        helper.make_node("Gemm", inputs, [f"{y}.flat_out"], name=node.name, transB=1),
        helper.make_node("Reshape", [f"{y}.flat_out", constant(f"{node.name}.shape", np.array(rest, np.int64))], [y]),
    ]


def _reshape(node, specs, constant, helper):
    (y,) = node.outputs
    shape = constant(f"{node.name}.shape", np.array(specs[y].dims, np.int64))
    return [helper.make_node("Reshape", [node.inputs[0], shape], [y])]


def _plain(kind: str, **attributes):
    def convert(node, specs, constant, helper):
        values = {key: getattr(node.layer, field) for key, field in attributes.items()}
        return [helper.make_node(kind, list(node.inputs), list(node.outputs), name=node.name, **values)]

    return convert


def _relu6(node, specs, constant, helper):
    return _activation(node, 2, node.inputs[0], node.outputs[0], constant, helper)


def _float(tensor: Tensor) -> np.ndarray:
    return tensor.float32()


_CONVERTERS = {
    "Convolution": _convolution,
    "Pooling": _pooling,
    "InnerProduct": _inner_product,
    "ReLU": _plain("Relu"),
    "ReLU6": _relu6,
    "Add": _plain("Add"),
    "Concat": _plain("Concat", axis="axis"),
    "Softmax": _plain("Softmax", axis="axis"),
    "Reshape": _reshape,
    "Flatten": _reshape,
}
