"""What is written instead of a layer gives the same, and breaks no rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tnnquant.base.tensor import DataType
from tnnquant.devices import findings
from tnnquant.devices.findings import shapes_of
from tnnquant.devices.rewrites import make_right
from tnnquant.engine.executor import Executor
from tnnquant.errors import TnnQuantError
from tnnquant.format.proto import write_proto
from tnnquant.graph import InputSpec


def index(values):
    return np.array(values, np.int32)


# name: (kind, input dims, positional parameters, {"constants": [...], "tensors": {...}, "outputs": n}, mixed)
def cases(rng):
    def r(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    def weights(dirs, hidden):
        return [r(dirs, 4 * hidden, 6), r(dirs, 4 * hidden, hidden), r(dirs, 8 * hidden)]

    return {
        "squeeze": ("Squeeze", [(1, 5, 1, 3)], [(0, 2)], {}),
        "unsqueeze": ("Unsqueeze", [(2, 5, 3)], [(0,)], {}),
        "expand": ("Expand", [(1, 5, 1)], [(2, 1, 5, 3)], {}),
        "expand same rank": ("Expand", [(2, 3, 1, 4)], [(2, 3, 5, 4)], {}),
        "tile": ("Tile", [(1, 3, 2, 5)], [(2, 1, 3, 2)], {}),
        "tile more": ("Tile", [(3, 5)], [(2, 1, 2)], {}),
        "relu of a vector": ("ReLU", [(7,)], [], {}),
        "softmax of a vector": ("Softmax", [(7,)], [0], {}),
        "softmax of axis 0": ("Softmax", [(3, 5, 2)], [0], {}),
        "concat of vectors": ("Concat", [(7,), (3,)], [0], {}),
        "three addends": ("Add", [(1, 5, 2, 3)] * 3, [-1], {}),
        "four factors": ("Mul", [(1, 5, 2, 3)] * 4, [-1], {}),
        "lower rank": ("Mul", [(1, 3, 4, 5), (3, 1, 1)], [-1], {}),
        "lower rank first": ("Sub", [(4, 5), (1, 3, 4, 5)], [-1], {}),
        "constant of lower rank": ("Div", [(1, 3, 5)], [-1], {"constants": [r(5) + 5]}),
        "constant first": ("Sub", [(1, 3, 5)], [-1], {"constants_first": [r(1)]}),
        "vector and element": ("Add", [(5,)], [1], {"tensors": {"element": r(5)}}),
        "element and vector": ("Sub", [(5,)], [0], {"tensors": {"element": r(1)}}),
        "vectors": ("Maximum", [(5,), (5,)], [-1], {}),
        "hard swish": ("HardSwish", [(1, 5, 3, 5), (1, 5)], [1 / 6, 0.5], {}),
        "hard swish both ways": ("HardSwish", [(1, 5, 1, 3), (1, 1, 4, 3)], [1 / 6, 0.5], {}),
        "glu": ("GLU", [(1, 12, 3, 2)], [1], {}),
        "log softmax": ("LogSoftmax", [(2, 5, 3)], [1], {}),
        "squared difference": ("SquaredDifference", [(2, 5, 3), (3,)], [-1], {}),
        "inverse": ("Inverse", [(3, 2, 2)], [], {}),
        "best channel": ("ArgMaxOrMin", [(1, 5, 3, 7)], [1, 1], {}),
        "worst row, dropped": ("ArgMaxOrMin", [(2, 6, 4, 5)], [0, 2, 0], {}),
        "best of sequences": ("ArgMaxOrMin", [(3, 1, 11)], [1, -1, 0], {}),
        "best of a batch": ("ArgMaxOrMin", [(3, 4, 2, 2)], [1, 0], {}),
        "erf": ("Erf", [(2, 5, 3)], [], {}),
        "matmul by a weight": ("MatMul", [(5, 7)], [1], {"weight": r(7, 10)}),
        "matmul by a constant": ("MatMul", [(2, 3, 5, 7)], [-1], {"constants": [r(7, 10)]}),
        "matmul of a constant": ("MatMul", [(2, 5, 7)], [-1], {"constants_first": [r(3, 5)]}),
        "matmul of a weight": ("MatMul", [(5, 7)], [0], {"weight": r(3, 5)}),
        "matmul of two": ("MatMul", [(1, 5, 7), (1, 7, 10)], [-1], {}),
        "matmul of batches": ("MatMul", [(2, 3, 5, 7), (2, 3, 7, 9)], [-1], {}),
        "matmul of a batch by one": ("MatMul", [(3, 5, 8), (8, 6)], [-1], {}),
        "matmul of one by a batch": ("MatMul", [(5, 8), (3, 8, 12)], [-1], {}),
        "matmul by a batch of constants": ("MatMul", [(3, 5, 8)], [-1], {"constants": [r(3, 8, 6)]}),
        "layer norm": ("LayerNorm", [(1, 5, 7)], [1, 1e-5], {"constants": [r(7), r(7)]}),
        "layer norm of two axes": ("LayerNorm", [(2, 3, 5, 7)], [2, 1e-5], {"constants": [r(5, 7), r(5, 7)]}),
        "layer norm of rows": ("LayerNorm", [(1, 5, 8)], [1, 1e-5], {"constants": [r(8), r(8)]}),
        "group norm": ("GroupNorm", [(2, 6, 3, 5)], [3, 1e-5], {"constants": [r(6), r(6)]}),
        "gather": ("Gather", [(3, 5, 2)], [1, False, True], {"tensors": {"indices": index([4, 0, -1, 1, 2])}}),
        "gather rows": ("Gather", [(3, 5, 2)], [0, False, True], {"tensors": {"indices": index([[2, 1], [0, 0]])}}),
        "gather many": (
            "Gather", [(1, 300, 2, 3)], [1, False, True], {"tensors": {"indices": index(range(299, 0, -2))}},
        ),
        "look up": ("Gather", [(3, 5, 2)], [1, False, False], {"index": ((4,), 5)}),
        "look up rows": ("Gather", [(6, 8)], [0, False, False], {"index": ((2, 3), 6)}),
        "look up channels": ("Gather", [(2, 5, 3, 2)], [1, False, False], {"index": ((7,), 5)}),
        "look up in a table": ("Gather", [], [0, True, False], {"index": ((2, 4), 9), "tensors": {"data": r(9, 5)}}),
        "look up in a constant": ("Gather", [], [1, False, False], {"index": ((4,), 5), "constants": [r(3, 5, 2)]}),
        "scatter": (
            "ScatterND", [(4, 5, 2), (2, 5, 2)], [], {"tensors": {"indices": index([[3], [1]])}},
        ),
        "slice from the end": ("StridedSlice", [(1, 5, 6, 7)], [(0, -3, 0, 1), (0, 0, -1, 0), (1, 1, 2, 1)], {}),
        "adaptive average": ("Pooling", [(1, 5, 6, 8)], [1, 0, 0, 0, 0, 0, 0, -1, -1, 0, 0, 1, 3, 2], {}),
        "adaptive average of all": ("Pooling", [(1, 5, 6, 8)], [1, 0, 0, 0, 0, 0, 0, -1, -1, 0, 0, 1, 1, 1], {}),
        "adaptive average, uneven": ("Pooling", [(1, 5, 7, 8)], [1, 0, 0, 0, 0, 0, 0, -1, -1, 0, 0, 1, 3, 3], {}),
        "pooling of rows": ("Pooling1D", [(2, 5, 11)], [0, 3, 2, 1, -1, -1, -1, 0], {}),
        "average of rows": ("Pooling1D", [(2, 5, 11)], [1, 3, 2, 1, -1, -1, -1, 1], {}),
        "reflect": ("PadV2", [(3, 5, 7)], [(0, 1, 2, 0, 2, 1), 1, 0.0], {}),
        "channels reflect": ("PadV2", [(1, 5, 4, 3)], [(0, 1, 0, 0, 0, 2, 0, 0), 1, 0.0], {}),
        "batch and more": ("PadV2", [(1, 5, 4, 3)], [(1, 0, 1, 0, 0, 2, 0, 0), 0, 2.0], {}),
        "product": ("ReduceProd", [(2, 5, 3)], [0, (1,)], {}),
        "product of two axes": ("ReduceProd", [(2, 5, 3)], [1, (0, 2)], {}),
        "sum of axis 0": ("ReduceSum", [(3, 5, 2)], [0, (0,)], {}),
        "mean of axis 0": ("ReduceMean", [(3, 5, 2)], [0, (0, 1)], {}),
        "lstm": ("LSTMONNX", [(5, 1, 6)], [0.0, 3, 0], {"constants": weights(1, 3), "outputs": 3}),
        "lstm reversed": ("LSTMONNX", [(5, 1, 6)], [0.0, 3, 1], {"constants": weights(1, 3), "outputs": 3}),
        "lstm both ways": ("LSTMONNX", [(4, 2, 6)], [0.0, 4, 2], {"constants": weights(2, 4), "outputs": 3}),
        "lstm begun": (
            "LSTMONNX", [(1, 1, 6)], [0.0, 3, 2],
            {"constants": [*weights(2, 3), r(2, 1, 3), r(2, 1, 3)], "outputs": 3},
        ),
        "lstm of one output": ("LSTMONNX", [(3, 1, 6)], [0.0, 3, 0], {"constants": weights(1, 3)}),
    }  # fmt: skip


NAMES = list(cases(np.random.default_rng(0)))


def graph_of(build, kind, shapes, values, extra):
    net = build(shapes[0] if shapes else (1,))
    inputs = ["input"] if shapes else []
    if not shapes:
        del net.inputs["input"]
    for number, dims in enumerate(shapes[1:]):
        inputs.append(f"input{number}")
        net.inputs[inputs[-1]] = InputSpec(tuple(dims))
    for number, array in enumerate(extra.get("constants", [])):
        net.constants[f"c{number}"] = array
        inputs.append(f"c{number}")
    for number, array in enumerate(extra.get("constants_first", [])):
        net.constants[f"f{number}"] = array
        inputs.insert(0, f"f{number}")
    if "index" in extra:
        net.inputs["index"] = InputSpec(extra["index"][0], DataType.INT32)
        inputs.append("index")
    tensors = dict(extra.get("tensors", {}))
    if "weight" in extra:
        tensors["weight"] = extra["weight"]
    made = net.add(kind, inputs, *values, tensors=tensors or None, outputs=extra.get("outputs", 1), name="layer")
    graph = net.graph(*([made] if isinstance(made, str) else made))
    if not tensors:
        return graph
    from tnnquant.base.tensor import Tensor

    node = graph.nodes[0]
    from dataclasses import replace

    resource = replace(node.resource, tensors={name: Tensor.from_array(array) for name, array in tensors.items()})
    return graph.with_nodes([node.replace(resource=resource)])


def drawn_input(rng, name, spec, extra):
    """Normal numbers; indices of a whole axis."""
    if spec.dtype != DataType.INT32:
        return rng.standard_normal(spec.dims).astype(np.float32)
    return rng.integers(0, extra["index"][1], spec.dims).astype(np.int32)


@pytest.mark.parametrize("name", NAMES)
def test_same_outputs_and_no_rule_broken(build, rng, name):
    kind, shapes, values, extra = cases(np.random.default_rng(NAMES.index(name)))[name]
    graph = graph_of(build, kind, shapes, values, extra)
    made = make_right(graph, "any", mixed=True)
    assert made.graph is not graph, "no rule was broken"
    assert not made.left, [str(finding) for finding in made.left]
    inference = shapes_of(made.graph)
    left = [f for f in findings(inference.graph, inference.specs, "any", mixed=True) if f.outcome.breaks]
    assert not left, [str(finding) for finding in left]
    arrays = {n: drawn_input(rng, n, spec, extra) for n, spec in graph.inputs.items()}
    wanted, got = Executor(graph).run(arrays), Executor(made.graph).run(arrays)
    assert got.keys() == wanted.keys()
    for blob, values in wanted.items():
        assert got[blob].shape == values.shape
        scale = np.abs(values).max()
        np.testing.assert_allclose(got[blob], values, rtol=0, atol=2e-5 * scale, err_msg=blob)
    # On the devices where the layer is right nothing is changed.
    assert make_right(graph, "naive", mixed=True).graph is graph


#: What became of each case on the devices beside an int8 layer: the layer itself, and what is written instead.
RECORDED = json.loads((Path(__file__).parents[1] / "data" / "rewrites.json").read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_the_devices_ran_what_is_written(build, name):
    """What is written now is what TNN's ARM (without and with dot product), x86 and naive devices got right."""
    kind, shapes, values, extra = cases(np.random.default_rng(NAMES.index(name)))[name]
    graph, recorded = graph_of(build, kind, shapes, values, extra), RECORDED[name]
    assert set(recorded["rewritten"].values()) == {"right"}
    written = write_proto(make_right(graph, "any", mixed=True).graph).decode()
    assert written == recorded["written"], "in this form the devices have not run it: that must be seen to first"
    inference = shapes_of(graph)
    for run, outcome in recorded["original"].items():
        device = run.partition("-")[0]
        found = [f for f in findings(inference.graph, inference.specs, device, mixed=True) if f.outcome.breaks]
        assert found or outcome == "right", f"{run}: {outcome}"


@pytest.mark.parametrize("name", NAMES)
def test_files_hold_it(build, tmp_path, name):
    from tnnquant.format import read_model, write_model

    kind, shapes, values, extra = cases(np.random.default_rng(NAMES.index(name)))[name]
    made = make_right(graph_of(build, kind, shapes, values, extra), "any", mixed=True)
    paths = tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel"
    write_model(made.graph, *paths)
    again = read_model(*paths)
    assert [node.name for node in again.nodes] == [node.name for node in made.graph.nodes]
    Executor(again)


def test_a_quotient_of_ragged_channels_is_laid_out_anew(build, rng):
    for channels in (8, 9):
        net = build((1, 3, 6, 6))
        net.constants["k"] = rng.uniform(0.5, 1.5, (1, channels, 1, 1)).astype(np.float32)
        x = net.add("Div", [net.add("Sigmoid", net.conv("input", 3, channels)), "k"], -1, name="quotient")
        graph = net.graph(net.conv(x, channels, 4))
        made = make_right(graph, "any", mixed=False)
        assert (made.graph is graph) == (channels == 8)
        assert not made.left
        arrays = {"input": rng.standard_normal((1, 3, 6, 6)).astype(np.float32)}
        for name, values in Executor(graph).run(arrays).items():
            np.testing.assert_array_equal(Executor(made.graph).run(arrays)[name], values)


def test_indices_of_the_run_are_counted_from_either_end(build, rng):
    net = build((3, 5, 2))
    net.inputs["index"] = InputSpec((10,), DataType.INT32)
    graph = net.graph(net.add("Gather", ["input", "index"], 1, False, False))
    made = make_right(graph, "arm", mixed=True).graph
    arrays = {"input": rng.standard_normal((3, 5, 2)).astype(np.float32), "index": np.arange(-5, 5, dtype=np.int32)}
    for name, values in Executor(graph).run(arrays).items():
        np.testing.assert_array_equal(Executor(made).run(arrays)[name], values)


def test_an_axis_too_long_to_compare_with_is_left(build):
    net = build((2000, 4))
    net.inputs["index"] = InputSpec((3,), DataType.INT32)
    graph = net.graph(net.add("Gather", ["input", "index"], 0, False, False))
    assert make_right(graph, "arm", mixed=True).graph is graph


def test_deconvolution_with_pad_type_0(build, rng):
    for kernel, stride in ((4, 2), (3, 2), (3, 1), (2, 2)):
        net = build((1, 3, 5, 4))
        weight = rng.standard_normal((1, 3, 5, kernel, kernel)).astype(np.float32)
        made = net.add(
            "Deconvolution", "input", 1, 3, 5, kernel, kernel, stride, stride, 0, 0, 1, 0, 1, 1, 256,
            tensors={"filter": weight, "bias": np.ones(5, np.float32)},
        )  # fmt: skip
        graph = net.graph(made)
        after = make_right(graph, "any", mixed=False)
        assert not after.left, f"kernel {kernel}, stride {stride}"
        arrays = {"input": rng.standard_normal((1, 3, 5, 4)).astype(np.float32)}
        wanted, got = (Executor(g).run(arrays)[made] for g in (graph, after.graph))
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_what_no_rewrite_helps_is_left(build):
    net = build((1, 5, 4, 3))
    graph = net.graph(net.add("Tile", "input", (1, 1, 1, 300)))
    made = make_right(graph, "any", mixed=True)
    assert made.graph is graph
    assert [(f.type, f.rule, f.device) for f in made.left] == [("Tile", "channels first", "arm")]
    assert not make_right(graph, "any", mixed=False).left


def test_a_broken_graph_is_an_error_of_its_layer(build):
    net = build((1, 5, 4, 3))
    graph = net.graph(net.add("Squeeze", "input", (1,), name="odd"))
    with pytest.raises(TnnQuantError, match="'odd'"):
        make_right(graph, "any", mixed=True)


def test_integers_are_left(build):
    net = build((1, 5, 1, 3))
    graph = net.graph(net.add("Squeeze", "input", (2,)))
    graph = graph.replace(inputs={"input": InputSpec((1, 5, 1, 3), DataType.INT32)})
    assert make_right(graph, "arm", mixed=True).left
