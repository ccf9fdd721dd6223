"""The disturbance of outputs, part by part."""

import numpy as np

from tnnquant.engine.executor import Executor
from tnnquant.graph import QuantParams
from tnnquant.graph.infer import infer
from tnnquant.recipes.best.sensitivity import Disturbance, sensitivities


def test_each_part_of_a_mixed_output_counts_alone(build, rng):
    net = build()
    boxes, scores = net.conv("input", 3, 4, name="boxes"), net.conv("input", 3, 6, name="scores")
    graph = net.graph(net.add("Concat", [boxes, scores], 1, name="all"))
    name = graph.outputs[0] if isinstance(graph.outputs, (list, tuple)) else next(iter(graph.outputs))
    inference = infer(graph)
    wanted = rng.uniform(0.1, 1, inference.specs[name].dims).astype(np.float32)
    wanted[:, :4] *= 300
    measure = Disturbance(inference, [{name: wanted}])
    got = wanted.copy()
    got[:, 4:] *= 1.5
    assert measure.parts == 2
    np.testing.assert_allclose(measure.of(0, {name: got}), [0, 0.25], rtol=1e-5)
    np.testing.assert_allclose(measure.of(0, {name: wanted}), [0, 0])


def test_places_count_for_boxes_by_their_score(build, rng):
    net = build()
    boxes, scores = net.conv("input", 3, 4, name="boxes"), net.conv("input", 3, 6, name="scores")
    inference = infer(net.graph(net.add("Concat", [boxes, scores], 1, name="all")))
    wanted = rng.uniform(0.0, 1e-3, inference.specs["all_out"].dims).astype(np.float32)
    wanted[:, :4] = rng.uniform(0, 300, wanted[:, :4].shape)
    wanted[:, 6, 3, 4] = 0.9
    moved, elsewhere = wanted.copy(), wanted.copy()
    moved[:, :4, 3, 4] += 2
    elsewhere[:, :4, 5, 5] += 2
    plain, scored = (Disturbance(inference, [{"all_out": wanted}], by_score) for by_score in (False, True))
    one, other = (plain.of(0, {"all_out": got})[0] for got in (moved, elsewhere))
    np.testing.assert_allclose(one, other, rtol=1e-5)
    one, other = (scored.of(0, {"all_out": got})[0] for got in (moved, elsewhere))
    np.testing.assert_allclose(other / one, wanted[0, 4:, 5, 5].max() / 0.9, rtol=1e-4)
    power = np.square(wanted[:, :4].astype(np.float64)) * wanted[:, 4:].max(axis=1, keepdims=True)
    np.testing.assert_allclose(one, 4 * 4 * 0.9 / power.sum(), rtol=1e-4)


def softmax_net(build):
    net = build()
    pooled = net.pool(net.conv("input", 3, 8, name="a"), name="pool")
    return net.graph(net.add("Softmax", net.inner_product(pooled, 8 * 6 * 5, 5, name="fc"), 1, name="prob"))


def test_scores_of_a_softmax_are_compared_before_it(build):
    inference = infer(softmax_net(build))
    logits = np.array([[20.0, 1, 0, -2, -4]])
    moved = logits + np.array([[0, 3, 0, 0, 0]])
    wanted, got = ({"prob_out": (np.exp(z) / np.exp(z).sum()).astype(np.float32)} for z in (logits, moved))
    measure = Disturbance(inference, [wanted])
    centred = [z - z.mean() for z in (logits, moved)]
    expected = np.square(centred[1] - centred[0]).sum() / np.square(centred[0]).sum()
    np.testing.assert_allclose(measure.of(0, got), [expected], rtol=1e-4)
    assert np.square(got["prob_out"] - wanted["prob_out"]).sum() < 1e-10  # as if nothing had moved
    assert not measure.is_value.any()


def test_values_are_measured_against_what_differs_between_samples(build):
    net = build()
    graph = net.graph(net.conv("input", 3, 4, name="map"))
    inference = infer(graph)
    grid = np.full(inference.specs["map_out"].dims, 100, np.float32)
    wanted = [{"map_out": grid + sign} for sign in (-1, 1)]
    measure = Disturbance(inference, wanted)
    # the variance of -1 and 1 from two samples is 2
    np.testing.assert_allclose(measure.of(1, {"map_out": grid + 2}), [0.5], rtol=1e-4)
    alone = Disturbance(inference, wanted[1:])
    np.testing.assert_allclose(alone.of(0, {"map_out": grid + 2}), [1 / 101**2], rtol=1e-4)


def test_a_mean_error_disturbs_nothing(build, rng):
    """The biases of the int8 model undo it."""
    net = build(dims=(1, 1, 8, 8))
    executor = Executor(net.graph(net.conv("input", 1, 2, kernel=1, name="a")), exact=False)
    scale = QuantParams(np.ones(1, np.float32), np.zeros(1, np.int8))
    zero = {"input": np.zeros(1, np.int64)}
    steady = [{"input": np.full((1, 1, 8, 8), value, np.float32)} for value in (3.3, 7.3)]
    loud = [{"input": rng.uniform(-9, 9, (1, 1, 8, 8)).astype(np.float32)} for _ in range(2)]
    sets, scales = [("input",)], {"input": scale}
    assert sensitivities(executor, sets, scales, zero, steady)[0] < 1e-10
    assert sensitivities(executor, sets, scales, zero, loud)[0] > 1e-4


def test_values_are_counted(build):
    inference = infer(softmax_net(build))
    assert Disturbance(inference, [{"prob_out": np.full((1, 5), 0.2, np.float32)}]).values == 5
