"""SqueezeNet v1.1 as an ONNX model, in the form that PyTorch exports.

The nodes, names and attributes are those of ``torch.onnx.export(torchvision.models.squeezenet1_1(), ...)``: weights are
initializers named after the modules, the classifier begins with a Dropout, which evaluation drops, and ends with an
adaptive average pooling to one pixel and a Flatten. What torchvision's network does not have, the softmax, comes last,
as in the Caffe model. Made with the ``onnx`` package, not by the project's own exporter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tnnquant.example.squeezenet import CLASSES, FIRE, INPUT_SIZE, Weights

__all__ = ["squeezenet_onnx"]

OPSET = 17
#: Places of the layers in torchvision's ``features``, a Sequential; conv1 is number 0.
_MODULES = {"fire2": 3, "fire3": 4, "fire4": 6, "fire5": 7, "fire6": 9, "fire7": 10, "fire8": 11, "fire9": 12}
_POOLS = {"conv1": 2, "fire3": 5, "fire5": 8}


def _scope(module: str) -> str:
    """Where PyTorch puts the nodes of a module: ``features.3.squeeze`` in ``/features/features.3/squeeze``."""
    sequential, number, *inner = module.split(".")
    return "/".join(["", sequential, f"{sequential}.{number}", *inner])


class _Export:
    """Collects nodes and initializers under the names that PyTorch gives them."""

    def __init__(self, weights: Weights):
        self.weights = weights
        self.nodes: list = []
        self.initializers: list = []

    def op(self, kind: str, scope: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        from onnx import helper

        made = output or f"{scope}/{kind}_output_0"
        self.nodes.append(helper.make_node(kind, list(inputs), [made], name=f"{scope}/{kind}", **attributes))
        return made

    def conv_relu(self, layer: str, module: str, source: str, *, stride: int = 1, pad: int = 0, relu: str = "") -> str:
        from onnx import numpy_helper

        filters, bias = self.weights[layer]
        for name, array in (("weight", filters), ("bias", bias)):
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), f"{module}.{name}"))
        scope = _scope(module)
        kernel = list(filters.shape[2:])
        x = self.op(
            "Conv", scope, source, f"{module}.weight", f"{module}.bias", dilations=[1, 1], group=1,
            kernel_shape=kernel, pads=[pad] * 4, strides=[stride] * 2,
        )  # fmt: skip
        return self.op("Relu", relu or f"{scope}_activation", x)

    def max_pool(self, number: int, source: str) -> str:
        return self.op(
            "MaxPool", _scope(f"features.{number}"), source, ceil_mode=1, dilations=[1, 1], kernel_shape=[3, 3],
            pads=[0] * 4, strides=[2, 2],
        )  # fmt: skip

    def fire(self, name: str, source: str) -> str:
        module = f"features.{_MODULES[name]}"
        narrow = self.conv_relu(f"{name}_squeeze1x1", f"{module}.squeeze", source)
        left = self.conv_relu(f"{name}_expand1x1", f"{module}.expand1x1", narrow)
        right = self.conv_relu(f"{name}_expand3x3", f"{module}.expand3x3", narrow, pad=1)
        return self.op("Concat", _scope(module), left, right, axis=1)


def squeezenet_onnx(weights: Weights) -> bytes:
    """The file: input ``input`` float32 (1, 3, 227, 227), output ``output`` float32 (1, 1000), probabilities.

    Parameters
    ----------
    weights : mapping of str to (filter, bias)
        As :func:`tnnquant.example.squeezenet.read_weights` returns them.
    """
    from onnx import TensorProto, helper

    net = _Export(weights)
    x = net.conv_relu("conv1", "features.0", "input", stride=2, relu=_scope("features.1"))
    x = net.max_pool(_POOLS["conv1"], x)
    for name in FIRE:
        x = net.fire(name, x)
        if name in _POOLS:
            x = net.max_pool(_POOLS[name], x)
    x = net.conv_relu("conv10", "classifier.1", x, relu=_scope("classifier.2"))
    x = net.op("GlobalAveragePool", _scope("classifier.3"), x)
    x = net.op("Flatten", "", x, axis=1)
    net.op("Softmax", "", x, output="output", axis=1)
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, INPUT_SIZE, INPUT_SIZE])
    result = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, CLASSES])
    graph = helper.make_graph(net.nodes, "main_graph", [image], [result], net.initializers)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="tnnquant example")
    model.ir_version = 8
    data: bytes = model.SerializeToString(deterministic=True)
    return data
