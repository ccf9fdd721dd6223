"""Rules found in small graphs, and in the pairs that devices were measured with."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tnnquant.base.tensor import QuantParams
from tnnquant.devices import Outcome, device_names, examine, findings, rules_of
from tnnquant.devices.findings import shapes_of
from tnnquant.devices.memory import is_plain
from tnnquant.errors import ConfigError
from tnnquant.format import read_model
from tnnquant.graph import InputSpec


def rules(graph, device, **kwargs):
    inference = shapes_of(graph)
    return {(f.type, f.rule, f.outcome) for f in findings(inference.graph, inference.specs, device, **kwargs)}


def one(build, dims, kind, *values, constants=(), **params):
    """The graph of one layer on an input of these dims, and on constants of these dims."""
    net = build(dims)
    names = ["input"]
    for number, shape in enumerate(constants):
        net.constants[f"c{number}"] = np.ones(shape, np.float32)
        names.append(f"c{number}")
    made = net.add(kind, names, *values, **params)
    return net.graph(made if isinstance(made, str) else made[0])


@pytest.mark.parametrize(
    ("dims", "plain"),
    [
        ((1, 7), True), ((1, 7, 1, 1), True), ((3, 8), True), ((3, 7), False), ((1, 8, 2, 1), False), ((5,), False),
        ((1,), True), ((), True), ((2, 4, 1), True),
    ],
)  # fmt: skip
def test_rule_a(dims, plain):
    assert is_plain(dims) is plain


@pytest.mark.parametrize(
    ("dims", "kind", "values", "broken"),
    [
        ((1, 7, 1, 1), "Squeeze", [(2, 3)], False), ((2, 7, 1, 1), "Squeeze", [(2, 3)], True),
        ((2, 8, 1, 5), "Squeeze", [(2,)], False), ((2, 8, 5), "Unsqueeze", [(3,)], False),
        ((1, 8, 1, 5), "Squeeze", [(0,)], True), ((2, 8, 3), "Tile", [(2, 1, 1)], False),
        ((2, 8, 3), "Tile", [(1, 1, 2)], True), ((2, 2, 2), "Inverse", [], True),
    ],
)  # fmt: skip
def test_channels_first(build, dims, kind, values, broken):
    graph = one(build, dims, kind, *values)
    wanted = {(kind, "channels first", Outcome.WRONG)} if broken else set()
    assert rules(graph, "arm", mixed=True) == wanted
    assert rules(graph, "arm") == set(), "only in a model with an int8 layer"
    assert rules(graph, "x86", mixed=True) == set()


@pytest.mark.parametrize(
    ("dims", "constant", "broken"),
    [
        ((2, 5), (5,), False), ((2, 3, 5), (5,), True), ((2, 3, 5), (1, 1, 5), False), ((1, 3, 4, 5), (3, 1, 1), True),
        ((1, 3, 4, 5), (1,), False),
    ],
)  # fmt: skip
def test_rule_b(build, dims, constant, broken):
    graph = one(build, dims, "Mul", -1, constants=[constant])
    assert rules(graph, "arm") == ({("Mul", "lower rank", Outcome.WRONG)} if broken else set())
    assert rules(graph, "x86") == set()


def test_types_without_kernel_and_operands(build):
    assert rules(one(build, (1, 4, 3, 3), "LogSoftmax", 1), "arm") == {("LogSoftmax", "no kernel", Outcome.REFUSED)}
    assert rules(one(build, (1, 8, 3, 3), "GroupNorm", 2, constants=[(8,), (8,)]), "x86") == {
        ("GroupNorm", "group norm", Outcome.WRONG)
    }
    three = one(build, (1, 3), "Add", -1, constants=[(1, 3), (1, 3)])
    assert {rule for _, rule, _ in rules(three, "any")} == {"crowd of operands"}


def test_int8_rules(build):
    net = build((2, 9, 4, 4))
    x = net.conv("input", 9, 10, kernel=1, name="first")
    y = net.conv(x, 10, 10, name="second")
    made = net.conv(net.add("Sigmoid", net.add("Add", [x, y, y], -1)), 10, 4, name="last")
    graph = net.graph(made)
    int8 = {"first", "second", graph.nodes[2].name}
    touched = {b for node in graph.nodes if node.name in int8 for b in (*node.inputs, *node.outputs)}
    scales = {blob: QuantParams(np.ones(1, np.float32), np.full(1, 3, np.int8)) for blob in touched}
    nodes = [node.replace(quantized=node.name in int8) for node in graph.nodes]
    found = rules(graph.with_nodes(nodes).replace(scales=scales), "arm")
    assert {rule for _, rule, _ in found} == {
        "zero point", "three addends", "int8 add of a batch", "int8 border", "fast sigmoid", "1x1 of a batch"
    }  # fmt: skip


def test_deconvolution_behind_int8_input(build):
    net = build((1, 4, 4, 4))
    x = net.conv("input", 4, 8, name="first")
    weight = np.ones((1, 8, 4, 2, 2), np.float32)
    made = net.add(
        "Deconvolution", x, 1, 8, 4, 2, 2, 2, 2, 0, 0, 1, -1, 1, 1, 0,
        tensors={"filter": weight, "bias": np.zeros(4, np.float32)},
    )  # fmt: skip
    graph = net.graph(made)
    assert rules(graph, "any") == set()
    graph = graph.with_nodes([graph.nodes[0].replace(quantized=True), graph.nodes[1]])
    assert rules(graph, "arm") == {
        ("Deconvolution", "int8 input before a deconvolution", Outcome.REFUSED)
    }


def test_unknown_device(build):
    with pytest.raises(ConfigError, match="did you mean arm"):
        rules(one(build, (1, 4), "ReLU"), "arms")
    assert device_names() == ("any", "arm", "x86", "naive")
    assert {device for device, _ in rules_of("any")} == {"arm", "x86", "naive"}


def test_measured_nets(shared):
    """Every pair that a device got wrong breaks a rule, but for lanes that hold harmless memory by luck."""
    folder = shared / "golden" / "devices"
    lucky = {"old_nan13", "old_nan3", "old_nansig18"}
    inexact = {"edge12", "edge16"}
    for name, entry in json.loads((folder / "manifest_nets.json").read_text()).items():
        graph = read_model(folder / "nets" / f"{name}.tnnproto", folder / "nets" / f"{name}.tnnmodel")
        for device, outcome in entry["devices"].items():
            if device.endswith("_high"):
                continue
            found = examine(graph, device.split("_")[0])
            bad = outcome["status"] != "ran" or bool(outcome["differs_from_naive"])
            if name in inexact:
                continue
            if bad:
                assert found, f"{name} on {device}: {outcome}"
            elif name not in lucky and name != "batch2_1x1":
                assert not [f for f in found if f.outcome.breaks], f"{name} on {device}: {found}"


def test_input_spec_is_not_needed_beyond_dims(build):
    graph = one(build, (1, 4), "ReLU").replace(inputs={"input": InputSpec((1, 4), None)})
    assert rules(graph, "any") == set()
