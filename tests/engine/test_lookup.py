"""Functions of one int8 blob by table: the same integers as step by step."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.engine.executor import Executor

from .test_executor_i8 import int8_graph

KINDS = ("Convolution", "Pooling")


def swish_net(build):
    """Swish, HardSwish, and Softplus times its input, between convolutions; the first two also in a row."""
    net = build((1, 3, 14, 12))
    x = net.conv("input", 3, 19, stride=2, name="a")
    x = net.conv(net.add("Swish", x, name="swish"), 19, 8, name="b")
    x = net.conv(net.add("HardSwish", x, 1 / 6, 0.5, name="hard"), 8, 16, name="c")
    x = net.conv(net.add("Mul", [x, net.add("Softplus", x, name="gate")], name="product"), 16, 8, name="d")
    x = net.conv(net.add("GELU", net.add("Swish", x, name="inner"), name="outer"), 8, 4, name="e")
    return net.graph(x)


def runs(graph, inputs, exact):
    """The outputs by table, then step by step with every int8 blob."""
    executor = Executor(graph, exact=exact)
    fast = executor.run(inputs)
    seen: dict[str, np.ndarray] = {}
    slow = executor.run(inputs, lambda name, x: seen.update({name: np.array(x)}))
    return executor, fast, slow, seen


@pytest.mark.parametrize("slots", [None, 1])
@pytest.mark.parametrize("exact", [True, False])
def test_the_integers_are_those_of_the_steps(build, rng, slots, exact):
    graph, inputs = int8_graph(swish_net(build), rng, slots, KINDS)
    executor, fast, slow, seen = runs(graph, inputs, exact)
    assert [len(each.members) for each in executor._lookups] == [3, 3, 4, 4]
    assert {len(each.table) for each in executor._lookups} == ({1} if slots else {19, 8, 16})
    for name in slow:
        np.testing.assert_array_equal(fast[name], slow[name])
        assert len(np.unique(slow[name])) > 20
    assert {"swish_out", "gate_out", "inner_out"} <= seen.keys()
    twin = executor.twin()
    np.testing.assert_array_equal(twin.run(inputs)["e_out"], slow["e_out"])
    ops = sum(len(group.program) for group in executor._groups)
    assert ops == sum(len(step.rows) for step in executor.steps) - (2 + 2 + 3 + 3)


def test_zero_points_and_wild_scales(build, rng):
    """Whatever the steps make of a scale of 0, of huge ones and of zero points, the table holds."""
    graph, inputs = int8_graph(swish_net(build), rng, None, KINDS)
    for params in graph.scales.values():
        params.zero_point[...] = rng.integers(-100, 100, params.zero_point.size)
        params.scale[:3] = [0, 1e30, 1e-30]
    _, fast, slow, _ = runs(graph, inputs, True)
    for name in slow:
        np.testing.assert_array_equal(fast[name], slow[name])


@pytest.mark.parametrize("case", ["output", "other reader", "layer with shape", "operand"])
def test_what_others_read_is_computed(build, rng, case):
    net = build((1, 3, 14, 12))
    x = net.conv("input", 3, 8, name="a")
    swish = net.add("Swish", x, name="swish")
    outputs = []
    if case == "output":
        outputs = [swish]
    elif case == "other reader":
        outputs = [net.add("Softmax", swish, 1, name="other")]
    elif case == "layer with shape":
        swish = net.add("Softmax", swish, 1, name="soft")
    else:
        swish = net.add("Mul", [swish], tensors={"element": rng.standard_normal(8).astype(np.float32)}, name="scaled")
    graph, inputs = int8_graph(net.graph(net.conv(swish, 8, 4, name="b"), *outputs), rng, None, KINDS)
    executor, fast, slow, _ = runs(graph, inputs, True)
    assert not executor._lookups
    for name in slow:
        np.testing.assert_array_equal(fast[name], slow[name])


def test_the_input_is_kept_until_the_table_reads_it(build, rng):
    """Steps between the conversions that do not belong to the function write over nothing."""
    net = build((1, 3, 14, 12))
    stem = net.conv("input", 3, 8, name="stem")
    x = net.conv(stem, 8, 8, name="a")
    gate = net.add("Softplus", x, name="gate")
    other = net.add("Softmax", net.conv(stem, 8, 8, name="busy"), 1, name="soft")
    more = net.conv(other, 8, 8, name="more")
    y = net.conv(net.add("Mul", [x, gate], name="product"), 8, 8, name="b")
    graph, inputs = int8_graph(net.graph(y, more), rng, None, KINDS)
    executor, fast, slow, _ = runs(graph, inputs, True)
    assert len(executor._lookups) == 1
    for name in slow:
        np.testing.assert_array_equal(fast[name], slow[name])
