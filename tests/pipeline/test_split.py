"""Two models of one."""

from __future__ import annotations

import numpy as np

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.pipeline.devices import fitting_recipe
from tnnquant.pipeline.split import after, snippet, split_graph


def tail_net(build):
    """A side output in int8, many copies of scores, and what is made of both after them."""
    net = build((1, 3, 8, 8))
    x = net.add("ReLU", net.conv("input", 3, 8, name="first"))
    scores = net.conv(x, 8, 5, kernel=1, name="scores")
    copies = net.add("Tile", scores, (1, 1, 1, 300), name="copies")
    side = net.conv(x, 8, 4, name="side")
    return net.graph(net.add("Cast", copies, 0, name="float"), side)


def test_parts_give_what_the_whole_gives(build, rng):
    graph = tail_net(build)
    tail = after(graph, {"copies"})
    assert tail == ["copies", "float"]
    body, rest = split_graph(graph, tail)
    assert body.outputs == ("scores_out", "side_out")
    assert (tuple(rest.inputs), rest.outputs) == (("scores_out",), ("float_out",))
    assert rest.inputs["scores_out"].dims == (1, 5, 8, 8)
    arrays = {"input": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)}
    wanted = Executor(graph).run(arrays)
    first = Executor(body).run(arrays)
    np.testing.assert_array_equal(first["side_out"], wanted["side_out"])
    second = Executor(rest).run({"scores_out": first["scores_out"]})
    np.testing.assert_array_equal(second["float_out"], wanted["float_out"])
    assert any('"scores_out"' in line for line in snippet(rest.inputs))


def test_the_recipe_that_fits(build):
    graph = tail_net(build)
    config, told = fitting_recipe(graph, QuantizeConfig(), compares=False)
    assert config.recipe == "dynamic"
    assert "'copies'" in told[0]
    assert "give split=True" in told[0]
    config, told = fitting_recipe(graph, QuantizeConfig(split=True), compares=False)
    assert config.recipe == "tnn"
    assert config.fp32_layers.keys() == {"copies", "float"}
    for same in (QuantizeConfig(device="naive"), QuantizeConfig(device="x86"), QuantizeConfig(recipe="dynamic")):
        assert fitting_recipe(graph, same, compares=False) == (same, [])
    plain = build((1, 3, 8, 8))
    graph = plain.graph(plain.conv("input", 3, 8))
    config, told = fitting_recipe(graph, QuantizeConfig(split=True), compares=False)
    assert config.recipe == "tnn"
    assert "one is written" in told[0]


def test_nothing_before_the_tail_means_no_split(build):
    net = build((1, 3, 8, 8))
    copies = net.add("Tile", "input", (1, 1, 1, 300))
    graph = net.graph(net.conv(copies, 3, 4))
    config, told = fitting_recipe(graph, QuantizeConfig(split=True), compares=False)
    assert config.recipe == "dynamic"
    assert "dynamic" in told[0]
