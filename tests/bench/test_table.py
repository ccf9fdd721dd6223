"""The table of configurations: rows are what ``quantize`` makes, statistics are shared where that is right."""

import numpy as np
import pytest

from tnnquant import recipes
from tnnquant.bench.models import RandomSamples
from tnnquant.bench.table import CONFIGURATIONS, measure_table
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError
from tnnquant.inputs.split import Split
from tnnquant.quantization.quantize import quantize_graph


@pytest.fixture
def graph(build):
    # TNN's rule: inputs and blobs of few values take min-max even under KL, so one in the middle has many.
    net = build((1, 3, 64, 64))
    a = net.pool(net.conv(net.add("ReLU", net.conv("input", 3, 8)), 8, 8), kernel=8, stride=8)
    return net.graph(net.inner_product(a, 8 * 8 * 8, 12))


def test_rows_are_what_quantize_makes(graph):
    samples, evaluation = RandomSamples(graph.inputs, 6), RandomSamples(graph.inputs, 9)
    labels = {s.name: i for i, s in enumerate(evaluation)}
    told = []
    report = measure_table(graph, samples, evaluation, labels, QuantizeConfig(), progress=lambda *a: told.append(a))
    assert [model.name for model in report.accuracy.models] == ["fp32", *(c.name for c in CONFIGURATIONS)]
    assert report.accuracy.reference == "fp32"
    for configuration, model in zip(CONFIGURATIONS, report.accuracy.models[1:], strict=True):
        config = QuantizeConfig(
            blob_method=configuration.blob_method, weight_method=configuration.weight_method,
            merge_type=configuration.merge_type, recipe=configuration.recipe,
        )  # fmt: skip
        executor = Executor(recipes.quantize(graph, Split(samples), config).graph)
        best = [next(iter(executor.run(s.arrays).values())).argmax() for s in evaluation]
        np.testing.assert_array_equal(model.best, best)
        assert model.precision == "int8"
    assert [row.statistics_from for row in report.rows] == ["", "", "KL + ADMM, per tensor", "", ""]
    assert all(0 < row.bytes < report.fp32_bytes for row in report.rows)
    assert "KL + ADMM, per channel: ranges" in {stage for stage, _, _ in told}
    values = report.as_dict()
    assert values["rows"][0]["flags"] == "-b kl -w admm -t channel"
    assert values["rows"][-1]["flags"] == "--recipe best"
    assert len(values["accuracy"]["models"]) == 6


def test_an_int8_model_is_refused(graph):
    samples = RandomSamples(graph.inputs, 2)
    int8 = quantize_graph(graph, samples, QuantizeConfig()).graph
    with pytest.raises(ConfigError, match="the model is int8 already"):
        measure_table(int8, samples, samples, None, QuantizeConfig())
