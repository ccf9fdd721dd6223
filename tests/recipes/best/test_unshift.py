"""Shifted codes after which an fp32 average pooling lies."""

from dataclasses import replace

import numpy as np

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.graph.meaning import meaning_of
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.inputs.split import Split
from tnnquant.recipes.best.unshift import REASON
from tnnquant.recipes.best.workbench import Steps, quantize_with
from tnnquant.verdict.layers import layer_noise

from ..normal_samples import samples, squared_error

BEST = QuantizeConfig(recipe="best")
STRAIGHT = Steps(full_range=True, rounding=True, bias=True)


def classifier(build, pad=0):
    net = build()
    a = net.conv("input", 3, 8, name="a", activation_type=1)
    mean = net.pool(a, 1, pad=pad, name="mean")
    return net.graph(net.conv(mean, 8, 4, kernel=1, pad=0, name="last"))


def test_what_is_pooled_means_what_it_says(build, rng):
    data = samples(rng)
    for pad in (0, 1):  # padding is never counted
        graph = classifier(build, pad)
        half, full = (quantize_with(graph, Split(data), BEST, replace(STRAIGHT, full_range=on)) for on in (False, True))
        assert not half.zero_codes
        assert set(full.zero_codes) == {"a_out", "mean_out_copy"}
        assert [node.name for node in full.graph.nodes] == ["a", "mean", "mean_unshift", "mean_out_copy", "last"]
        assert full.graph.node("mean_unshift").outputs == ("mean_out",)
        assert full.graph.node("mean").outputs == full.graph.node("mean_unshift").inputs == ("mean_out_shifted",)
        seen = {}
        Executor(full.fp32).run(data[0].arrays, lambda name, x, seen=seen: seen.update({name: x.copy()}))
        true = seen["mean_out"]
        Executor(full.graph).run(data[0].arrays, lambda name, x, seen=seen: seen.update({name: x.copy()}))
        assert np.abs(seen["mean_out"] - true).max() < full.graph.scales["a_out"].scale.max()
        assert squared_error(full, data) < squared_error(half, data)


def test_the_plan_speaks_of_the_layers_of_the_int8_model(build, rng):
    result = quantize_with(classifier(build), Split(samples(rng)), BEST, STRAIGHT)
    names = [node.name for node in result.graph.nodes]
    assert sorted(names[position] for position in result.plan.int8) == ["a", "last"]
    assert result.plan.reasons[names.index("mean_unshift")] == REASON


def test_noise_is_that_of_what_the_codes_mean(build, rng):
    graph, data = classifier(build), samples(rng)
    result = quantize_with(graph, Split(data), BEST, STRAIGHT)
    meaning = meaning_of(result.graph, prepare_for_quantization(graph), result.zero_codes)
    rows = layer_noise(Executor(result.fp32), Executor(result.graph), data[:2], meaning)
    assert min(row.sqnr_db for row in rows) > 25
