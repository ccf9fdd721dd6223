"""The recipes on small networks: what each step promises."""

from dataclasses import replace

import numpy as np
import pytest

from tnnquant import recipes
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.errors import CalibrationError, ConfigError
from tnnquant.format import model_bytes, read_model, write_model
from tnnquant.inputs.split import Split
from tnnquant.layers.base import QuantRole
from tnnquant.recipes.best.workbench import STEPS, Steps, quantize_with

from .normal_samples import samples

BEST = QuantizeConfig(recipe="best")
ALL = Steps(**dict.fromkeys(STEPS, True))


def small_net(build):
    net = build()
    a = net.conv("input", 3, 8, name="a", activation_type=1)
    b = net.add("ReLU6", net.conv(a, 8, 8, groups=8, name="dw"))
    c = net.conv(b, 8, 8, kernel=1, name="c")
    s = net.add("Add", [c, a], name="sum")
    d = net.conv(s, 8, 16, kernel=1, name="d", activation_type=1)
    p = net.pool(net.add("Concat", [d, net.conv(s, 8, 16, name="e", activation_type=1)], 1, name="cat"), name="pool")
    return net.graph(net.conv(p, 32, 6, kernel=1, name="last", bias=False))


def error(graph, result, data):
    fp32, int8 = Executor(graph), Executor(result.graph)
    pairs = [(next(iter(fp32.run(s.arrays).values())), next(iter(int8.run(s.arrays).values()))) for s in data]
    return sum(np.square(a - b).sum() for a, b in pairs) / sum(np.square(a).sum() for a, _ in pairs)


def test_best_is_closer_than_tnns_tool_and_loads_again(build, rng, tmp_path):
    graph, data, others = small_net(build), samples(rng, 24), samples(rng)
    best, tnn = (recipes.quantize(graph, Split(data), replace(BEST, recipe=name)) for name in ("best", "tnn"))
    assert error(graph, best, others) < 0.7 * error(graph, tnn, others)
    write_model(best.graph, tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")
    again = replace(best, graph=read_model(tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel"))
    assert error(graph, again, others) == error(graph, best, others)
    assert set(best.notes) >= {f"recipe: {step}" for step in STEPS}


def test_the_model_without_those_held_out_knows_nothing_of_them(build, rng):
    graph, data = small_net(build), samples(rng, 12)
    split = Split(data, choose=samples(rng, 4))
    result = recipes.quantize(graph, split, BEST)
    steps = Steps(**{step: "kept" in result.notes[f"recipe: {step}"] for step in STEPS})
    assert model_bytes(result.unseen) == model_bytes(quantize_with(graph, split, BEST, steps).graph)
    assert model_bytes(result.unseen) != model_bytes(result.graph)
    kept = recipes.quantize(graph, replace(split, joins=False), BEST)
    assert kept.unseen is None
    assert model_bytes(kept.graph) == model_bytes(result.unseen)


def test_best_gives_symmetric_scales(build, rng):
    result = quantize_with(small_net(build), Split(samples(rng)), BEST, ALL)
    for params in result.graph.scales.values():
        assert not params.zero_point.any()
        assert (params.scale > 0).all()
    for node in result.graph.nodes:
        if node.quantized and "filter" in node.tensors:
            assert node.tensors["filter"].data.dtype == np.int8
            assert np.abs(node.tensors["filter"].data.astype(int)).max() <= 127
            assert node.tensors["bias"].data.dtype == np.int32


def test_the_same_bytes_on_any_number_of_threads(build, rng):
    import numba

    graph, data = small_net(build), samples(rng)
    before = numba.get_num_threads()
    found = []
    try:
        for count in (1, before):
            numba.set_num_threads(count)
            found.append(model_bytes(recipes.quantize(graph, Split(data), BEST).graph))
    finally:
        numba.set_num_threads(before)
    assert found[0] == found[1]


def test_full_range_uses_codes_below_0_and_keeps_the_meaning(build, rng):
    net = build()
    pooled = net.pool(net.conv("input", 3, 8, name="a", activation_type=1), name="pool")
    graph, data = net.graph(net.conv(pooled, 8, 4, kernel=1, name="b")), samples(rng, 16)
    steps = Steps(rounding=True, bias=True)
    half, full = (quantize_with(graph, Split(data), BEST, replace(steps, full_range=on)) for on in (False, True))
    assert set(full.zero_codes) == {"a_out", "pool_out"}
    assert not half.zero_codes
    assert full.graph.node("a").layer.activation_type == 0
    np.testing.assert_allclose(full.graph.scales["a_out"].scale * 2, half.graph.scales["a_out"].scale, rtol=1e-6)
    seen = {}
    Executor(full.graph).run(data[0].arrays, lambda name, x: seen.update({name: x.copy()}))
    Executor(full.fp32).run(data[0].arrays, lambda name, x: seen.update({f"fp32 {name}": x.copy()}))
    for blob in ("a_out", "pool_out"):
        scale = full.graph.scales[blob].scale.reshape(-1, 1, 1)
        meant = (seen[blob].astype(np.float32) - full.zero_codes[blob].reshape(-1, 1, 1)) * scale
        assert seen[blob].min() < -100
        true = seen[f"fp32 {blob}"]
        assert np.square(meant - true).sum() < 5e-4 * np.square(true).sum()
    assert error(graph, full, data) < 5e-4


def test_a_channel_no_sample_awakes_keeps_a_scale(build, rng):
    net = build()
    out = net.conv(net.conv("input", 3, 8, name="a", activation_type=1), 8, 4, name="b")
    graph = net.graph(out)
    bias = graph.node("a").tensors["bias"].data.copy()
    bias[2] = -50
    tensors = {**graph.node("a").tensors, "bias": replace(graph.node("a").tensors["bias"], data=bias)}
    sleepy = graph.with_nodes(
        n.replace(resource=replace(n.resource, tensors=tensors)) if n.name == "a" else n for n in graph.nodes
    )
    result = quantize_with(sleepy, Split(samples(rng)), BEST, Steps(balance=True))
    assert (result.graph.scales["a_out"].scale > 0).all()


def test_excluded_layers_stay_fp32(build, rng):
    result = recipes.quantize(small_net(build), Split(samples(rng)), replace(BEST, exclude=("dw",)))
    assert not result.graph.node("dw").quantized
    assert result.graph.node("d").quantized


def test_the_share_of_fp32_is_kept_to(build, rng):
    graph, data = small_net(build), samples(rng)
    counts = []
    for share in (0.0, 0.3, 0.5):
        result = quantize_with(graph, Split(data), replace(BEST, fp32_share=share), ALL)
        counts.append(sum(node.quantized for node in result.graph.nodes if node.layer.role == QuantRole.WEIGHTED))
    assert counts[0] == 6
    assert counts[0] > counts[1] >= counts[2] > 0


def gated_net(build):
    """Squeeze and excitation: a tiny group of layers between fp32 ones, and a join of what fp32 layers make."""
    net = build()
    a = net.add("Swish", [net.conv("input", 3, 8, name="a")], name="swish")
    mean = net.add("Pooling", [a], 1, 0, 0, 1, 1, 0, 0, -1, -1, -1, name="mean")
    low = net.conv(mean, 8, 2, kernel=1, pad=0, name="low", activation_type=1)
    gate = net.add("Sigmoid", [net.conv(low, 2, 8, kernel=1, pad=0, name="high")], name="gate")
    b = net.add("Mul", [a, gate], name="gated")
    c = net.add("Swish", [net.conv(b, 8, 8, name="c")], name="swish_c")
    joined = net.add("Concat", [net.add("Add", [c, b], name="sum"), c], 1, name="cat")
    last = net.conv(joined, 16, 8, name="last", activation_type=1)
    return net.graph(net.inner_product(net.pool(last, 1, name="end"), 8 * 6 * 5, 4, name="fc"))


@pytest.mark.parametrize("make", [small_net, gated_net])
@pytest.mark.parametrize("name", ["best", "fast"])
def test_no_share_of_fp32_is_none_that_int8_can_hold(build, rng, make, name):
    graph, data = make(build), samples(rng, 20)
    plain = recipes.quantize(graph, Split(data), QuantizeConfig())
    result = recipes.quantize(graph, Split(data), QuantizeConfig(recipe=name, fp32_share=0.0))
    wanted = {node.name for node in plain.graph.nodes if node.quantized}
    assert {"low", "high"} <= wanted or make is small_net
    assert wanted <= {node.name for node in result.graph.nodes if node.quantized}
    if name == "best":
        assert result.notes["recipe: islands"] == "dropped: no layer is to be kept in fp32"


def test_fast_takes_no_other_share_of_fp32(build, rng):
    with pytest.raises(ConfigError, match="expected 0 or none"):
        recipes.quantize(small_net(build), Split(samples(rng, 20)), QuantizeConfig(recipe="fast", fp32_share=0.3))


def test_few_samples_serve_twice_and_none_is_an_error(build, rng):
    graph = small_net(build)
    assert recipes.quantize(graph, Split(samples(rng, 1)), BEST).graph.is_quantized
    with pytest.raises(CalibrationError, match="no sample"):
        recipes.quantize(graph, Split([]), BEST)


def test_dynamic_rounds_weights_alone(build, rng, tmp_path):
    net = build()
    pooled = net.pool(net.conv("input", 3, 8, name="a", activation_type=1))
    graph = net.graph(net.inner_product(pooled, 8 * 6 * 5, 7, name="fc"))
    result = recipes.quantize(graph, None, QuantizeConfig(recipe="dynamic"))
    write_model(result.graph, tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")
    assert "DynamicRangeQuantizedInnerProduct fc" in (tmp_path / "m.tnnproto").read_text()
    again = read_model(tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")
    assert [node.dynamic_range for node in again.nodes] == [True, False, True]
    weight = graph.node("a").tensors["filter"].data.reshape(8, -1)
    stored = again.node("a").tensors
    wide = stored["filter"].data.reshape(8, -1) * stored["scale"].data[:, None]
    assert np.abs(wide - weight).max() <= np.abs(weight).max() / 127 / 2 * 1.001
    assert stored["scale"].data.shape == (8,)
    assert again.node("fc").tensors["scale"].data.shape == (1,)
    assert error(graph, replace(result, graph=again), samples(rng)) < 1e-4


def test_dynamic_needs_weights_and_two_layers(build):
    net = build()
    with pytest.raises(ConfigError, match="one layer"):
        recipes.quantize(net.graph(net.conv("input", 3, 4)), None, QuantizeConfig(recipe="dynamic"))
    net = build()
    with pytest.raises(ConfigError, match="no layer"):
        recipes.quantize(
            net.graph(net.add("ReLU", net.add("Sigmoid", "input"))), None, QuantizeConfig(recipe="dynamic")
        )


def test_a_few_output_values_deny_no_step(build, rng):
    net = build()
    pooled = net.pool(net.conv("input", 3, 8, name="a", activation_type=1), kind=1, kernel=0, stride=1, name="global")
    scores = net.conv(net.conv(pooled, 8, 64, kernel=1, name="b"), 64, 2, kernel=1, name="c")
    result = recipes.quantize(net.graph(scores), Split(samples(rng, 16)), BEST)
    for step in STEPS:
        assert result.notes[f"recipe: {step}"].startswith("kept")
        assert result.notes[f"recipe: {step}"].endswith("from too few output values to judge")


def test_best_within_no_time_still_gives_a_model(build, rng):
    """What is skipped says why, and layers are rounded to the nearest."""
    graph, data = small_net(build), Split(samples(rng))
    plain = recipes.quantize(graph, data, BEST)
    result = recipes.quantize(graph, data, BEST, budget=0.0)
    assert result.plan.int8 >= plain.plan.int8
    assert result.unseen is None
    assert "is used up" in result.notes["recipe: time"]
    assert "recipe: time" not in plain.notes
    assert error(graph, plain, samples(rng)) < error(graph, result, samples(rng)) < 0.1


def test_fast_is_better_than_the_default(build, rng):
    graph, data = small_net(build), Split(samples(rng))
    fast, default = (recipes.quantize(graph, data, QuantizeConfig(recipe=name)) for name in ("fast", "tnn"))
    assert error(graph, fast, samples(rng)) < error(graph, default, samples(rng))
    assert fast.plan.int8 == default.plan.int8
