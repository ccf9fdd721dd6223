"""Constants that a few bytes ask for are bounded by the file."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tnnquant.errors import UnsupportedLayerError
from tnnquant.onnx import budget, convert


def model(nodes, constants):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def of_shape(*dims):
    return model(
        [helper.make_node("ConstantOfShape", ["d"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])],
        {"d": np.array(dims)},
    )


def test_weights_made_of_a_shape_are_taken():
    assert convert(of_shape(300, 4)).graph.nodes


@pytest.mark.parametrize("dims", [(1 << 40, 4), (1 << 28, 4), (20000, 20000, 1, 4)])
def test_giants_are_refused(dims):
    with pytest.raises(UnsupportedLayerError, match=r"more than a model of this size may ask for"):
        convert(of_shape(*dims))


def test_many_small_ones_are_refused_together(monkeypatch):
    monkeypatch.setattr(budget, "MADE_BYTES", 1 << 20)
    nodes, last = [], "x"
    for k in range(40):
        nodes.append(helper.make_node("ConstantOfShape", ["d"], [f"c{k}"]))
        nodes.append(helper.make_node("Add", [last, f"c{k}"], [f"s{k}"]))
        last = f"s{k}"
    nodes[-1].output[0] = "y"
    with pytest.raises(UnsupportedLayerError, match=r"more than a model of this size may ask for"):
        convert(model(nodes, {"d": np.array((4000, 4))}))


def test_beside_a_large_file_more_may_be_made(monkeypatch):
    monkeypatch.setattr(budget, "MADE_BYTES", 0)
    nodes = [helper.make_node("Add", ["x", "w"], ["a"]), helper.make_node("Expand", ["v", "d"], ["c"]),
             helper.make_node("Add", ["a", "c"], ["y"])]  # fmt: skip
    constants = {"w": np.ones((1000, 4), np.float32), "v": np.ones((1, 4), np.float32), "d": np.array((1000, 4))}
    assert convert(model(nodes, constants)).graph.nodes
