"""The disturbance of outputs, part by part."""

import numpy as np

from tnnquant.infer import infer
from tnnquant.recipes.sensitivity import Disturbance


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
