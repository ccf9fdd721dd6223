"""Latency figures of a small model: layers matched, borders seen, memory counted."""

import numpy as np
import pytest

from tnnquant.bench.latency import _rows, measure_latency
from tnnquant.bench.models import RandomSamples, quantize_here
from tnnquant.bench.profile import LayerTime
from tnnquant.bench.timing import Times
from tnnquant.config import QuantizeConfig
from tnnquant.errors import ConfigError


@pytest.fixture
def pair(build):
    """An fp32 graph with an add and a softmax, and its int8 form."""
    net = build((1, 3, 16, 12))
    a = net.add("ReLU", net.conv("input", 3, 8, name="first"), name="relu")
    b = net.conv(a, 8, 8, 1, name="point")
    out = net.add("Softmax", net.add("Add", [b, a], name="join"), name="soft", axis=1)
    fp32 = net.graph(out)
    return fp32, quantize_here(fp32, RandomSamples(fp32.inputs), QuantizeConfig())


def _measure(fp32, int8, **options):
    x = next(iter(RandomSamples((fp32 or int8).inputs))).arrays
    return measure_latency(fp32, int8, x, repeats=3, **options)


def test_both_models_side_by_side(pair):
    report = _measure(*pair)
    # TNN fuses the add into the 1x1 convolution in front of it, in int8 only.
    names = ["input", "first", "point", "point_int8_reformat", "join", "soft"]
    assert [row.name for row in report.rows] == names
    first = next(row for row in report.rows if row.name == "first")
    assert first.macs == 16 * 12 * 8 * 3 * 9
    assert first.int8.quantized
    assert not first.fp32.quantized
    assert first.rate("int8") == first.macs / first.int8.seconds
    assert 0 < first.share("fp32") < 3
    borders = [row.name for row in report.rows if row.int8 is not None and row.int8.is_border]
    assert borders[0] == "input"
    assert any(name.endswith("_int8_reformat") for name in borders)
    for model in report.models.values():
        assert model.times.minimum <= model.times.median <= model.times.p95
        assert model.border_seconds <= model.layer_seconds
        assert model.macs == report.models["fp32"].macs
    # 4 bytes a weight against 1, and the panels' padding.
    assert report.models["int8"].packed_bytes > 0
    assert report.models["int8"].blob_bytes < report.models["fp32"].blob_bytes
    assert report.as_dict()["layers"][0]["fp32"]["us"] > 0


def test_one_model_alone(pair):
    report = _measure(None, pair[1])
    assert list(report.models) == ["int8"]
    assert report.speedup is None
    assert all(row.fp32 is None and not row.is_slower for row in report.rows)


def test_models_that_do_not_belong_together(pair, build):
    net = build((1, 3, 8, 8))
    other = net.graph(net.conv("input", 3, 4))
    with pytest.raises(ConfigError, match="input 'input' is 1x3x8x8, the int8 model has 1x3x16x12: not the same model"):
        _measure(other, pair[1])
    with pytest.raises(ConfigError, match="repeats is 0"):
        measure_latency(*pair, {}, repeats=0)


def test_times():
    times = Times(np.arange(1, 101) / 1000)
    assert (times.minimum, times.median, times.p95) == (0.001, 0.0505, 0.096)
    assert times.as_dict() == {"min_ms": 1.0, "median_ms": 50.5, "p95_ms": 96.0, "runs": 100}


def _layer(name, seconds=1.0, quantized=False, border=False):
    return LayerTime(name, "Convolution", quantized, border, True, 10, seconds)


def test_rows_keep_the_order_of_both():
    fp32 = [_layer(n) for n in ("in", "a", "b", "add", "c")]
    int8 = [_layer(n, 2.0, True, n == "a_reformat") for n in ("in", "a", "a_reformat", "b", "c")]
    rows = _rows(fp32, int8)
    assert [row.name for row in rows] == ["in", "a", "a_reformat", "b", "add", "c"]
    assert [row.is_slower for row in rows] == [True, True, False, True, False, True]
    assert [row.name for row in _rows(fp32, [])] == ["in", "a", "b", "add", "c"]
    assert [row.name for row in _rows([], int8)] == ["in", "a", "a_reformat", "b", "c"]


def test_stepwise_runs_give_the_values_of_a_run(pair):
    """Running rows again and again while a step is visited changes nothing."""
    from tnnquant.engine.executor import Executor
    from tnnquant.kernels.program import Program

    for graph in pair:
        executor = Executor(graph)
        x = next(iter(RandomSamples(graph.inputs))).arrays
        seen, want = {}, {}
        executor.run(x, lambda name, array, want=want: want.update({name: np.array(array)}))

        def visit(step, run, executor=executor, seen=seen):
            run()
            if step.rows is not None:
                Program([step.rows] * 3).run()
            seen[step.node.name] = [np.array(executor._places[b]) for b in step.node.outputs if b in executor._places]

        executor.run_steps(x, visit)
        for step in executor.steps:
            for blob, array in zip(step.node.outputs, seen[step.node.name], strict=False):
                np.testing.assert_array_equal(array, want[blob])
