"""Statistics shared by trials are those of runs of their own."""

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.inputs.split import Split
from tnnquant.quantization.plan import make_plan
from tnnquant.quantization.quantize import plan_graph, quantize_graph, spread_scales
from tnnquant.search.statistics import StatisticsPool, as_arrays, from_arrays

CONFIGS = [
    QuantizeConfig(blob, "minmax", merge)
    for blob in ("minmax", "kl", "asymmetric", "aciq-laplace")
    for merge in ("channel", "mix")
]


@pytest.fixture
def network(build, rng):
    net = build((1, 3, 14, 12))
    a = net.add("ReLU", net.conv("input", 3, 6))
    b = net.conv(net.pool(a, kernel=2, stride=1), 6, 6)
    graph = net.graph(net.add("Concat", [b, net.conv(a, 6, 4, pad=0, kernel=2)], 1))
    samples = [
        type("Sample", (), {"name": "s", "arrays": {"input": rng.standard_normal((1, 3, 14, 12), np.float32)}})
        for _ in range(5)
    ]
    return graph, samples


def test_one_run_serves_all_methods(network):
    graph, samples = network
    executor, _ = plan_graph(graph, CONFIGS[0])
    pool = StatisticsPool(executor, Split(samples))
    plans = [make_plan(executor.inference, config) for config in CONFIGS]
    assert pool.gather(plans)
    assert not pool.gather(plans)
    again = StatisticsPool(executor, Split([]))  # from a file: nothing is run
    again.states = from_arrays(as_arrays(pool.states))
    for config, plan in zip(CONFIGS, plans, strict=True):
        wanted = quantize_graph(graph, samples, config).graph.scales
        for source in (pool, again):
            got = spread_scales(plan, source.params(plan))
            assert got.keys() == wanted.keys()
            for name in wanted:
                np.testing.assert_array_equal(got[name].scale, wanted[name].scale)
                np.testing.assert_array_equal(got[name].zero_point, wanted[name].zero_point)
