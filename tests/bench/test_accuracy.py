"""Accuracy figures against the outputs of the executor, picture by picture."""

from dataclasses import replace

import numpy as np
import pytest

from tnnquant.bench.accuracy import Candidate, measure_accuracy
from tnnquant.bench.models import RandomSamples, quantize_here
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError, GraphError, InputError


@pytest.fixture
def graphs(build):
    net = build((1, 3, 8, 8))
    out = net.inner_product(net.add("ReLU", net.conv("input", 3, 8)), 8 * 8 * 8, 12)
    fp32 = net.graph(out)
    return fp32, quantize_here(fp32, RandomSamples(fp32.inputs), QuantizeConfig())


def _samples(graph, count=23):
    return RandomSamples(graph.inputs, count)


def _outputs(graph, samples):
    runs = [Executor(graph).run(sample.arrays) for sample in samples]
    return np.stack([next(iter(run.values())).reshape(-1) for run in runs]).astype(np.float64)


def _candidates(graphs):
    return [Candidate("int8", graphs[1]), Candidate("fp32", graphs[0])]


def test_figures_are_those_of_the_outputs(graphs):
    samples = _samples(graphs[0])
    labels = {s.name: i % 12 for i, s in enumerate(samples)}
    right = np.arange(23) % 12
    told = []
    report = measure_accuracy(_candidates(graphs), samples, labels, progress=lambda *a: told.append(a))
    assert report.reference == "fp32"
    assert report.names == [s.name for s in samples]
    assert told[-1] == ("pictures", 23, 23)
    fp32, int8 = (_outputs(graph, samples) for graph in graphs)
    for model, scores in zip(report.models, (int8, fp32), strict=True):
        np.testing.assert_array_equal(model.best, scores.argmax(1))
        np.testing.assert_array_equal(model.top1, scores.argmax(1) == right)
        top5 = np.argsort(-scores, axis=1)[:, :5]
        np.testing.assert_array_equal(model.top5, (top5 == right[:, None]).any(1))
    cosine = (fp32 * int8).sum(1) / np.linalg.norm(fp32, axis=1) / np.linalg.norm(int8, axis=1)
    np.testing.assert_allclose(report.models[0].cosine, cosine, rtol=1e-12)
    np.testing.assert_array_equal(report.models[0].agrees, fp32.argmax(1) == int8.argmax(1))
    assert report.models[1].cosine is None
    assert report.change(report.models[1]) is None
    change = report.change(report.models[0])
    assert change[0] == report.models[0].top1.mean() - report.models[1].top1.mean()
    assert change[1] <= change[0] <= change[2]
    share, low, high = report.models[0].share("top1")
    assert low <= share <= high
    values = report.as_dict()
    assert values["models"][0]["agreement"]["value"] == report.models[0].agrees.mean()
    assert values["models"][1]["agreement"] is None


def test_without_labels_and_without_fp32(graphs):
    report = measure_accuracy([Candidate("int8", graphs[1])], _samples(graphs[1], 3), None)
    (model,) = report.models
    assert report.reference is None
    assert (model.top1, model.top5, model.cosine, model.agrees) == (None, None, None, None)
    assert report.as_dict()["models"][0]["top1"] is None


def test_nan_counts_as_wrong_and_is_told(graphs):
    from tnnquant.bench.accuracy import _compare

    scores = np.array([0.1, np.nan, 0.3])
    made = _compare(scores, 2, np.array([0.0, 0.1, 0.9]), 0.0)
    assert made.is_broken
    assert (made.best, made.is_right, made.is_near, made.agrees) == (-1, False, False, False)


def test_cosine_of_zeros():
    from tnnquant.bench.accuracy import _compare

    zero, one = np.zeros(3), np.ones(3)
    assert [_compare(a, None, b, 0.0).cosine for a, b in ((zero, zero), (zero, one), (one, one))] == [
        1.0, 0.0, pytest.approx(1.0)
    ]  # fmt: skip


def test_labels_beyond_the_classes(graphs):
    samples = _samples(graphs[0], 2)
    labels = dict(zip([s.name for s in samples], (3, 12), strict=True))
    with pytest.raises(InputError, match=r"'random sample 1' has the label 12, but fp32 gives 12 scores: .*0..11"):
        measure_accuracy([Candidate("fp32", graphs[0])], samples, labels)


def test_models_that_do_not_go_together(graphs, build):
    net = build((1, 3, 9, 9))
    wide = net.graph(net.conv("input", 3, 4))
    net = build((1, 3, 8, 8))
    few = net.graph(net.inner_product("input", 192, 5))
    net = build((1, 3, 8, 8))
    two = net.graph(net.conv("input", 3, 2), net.conv("input", 3, 3))
    samples, first = _samples(graphs[0], 1), Candidate("a", graphs[0])
    with pytest.raises(ConfigError, match=r"b takes input 1x3x9x9, a takes input 1x3x8x8"):
        measure_accuracy([first, Candidate("b", wide)], samples, None)
    with pytest.raises(ConfigError, match="b gives 5 scores, a gives 12: not the same task"):
        measure_accuracy([first, Candidate("b", few)], samples, None)
    with pytest.raises(ConfigError, match=r"b has the outputs .*output=NAME"):
        measure_accuracy([Candidate("b", two)], samples, None)
    with pytest.raises(ConfigError, match="a has no output 'x'"):
        measure_accuracy([first], samples, None, output="x")
    with pytest.raises(ConfigError, match="a model is given twice"):
        measure_accuracy([first, first], samples, None)
    batch = {"input": replace(graphs[0].inputs["input"], dims=(2, 3, 8, 8))}
    with pytest.raises(GraphError, match="'input' is 2x3x8x8, expected a batch of 1"):
        measure_accuracy([Candidate("b", graphs[0].replace(inputs=batch))], samples, None)


def test_maps_are_no_scores(build):
    net = build((1, 3, 8, 8))
    graph = net.graph(net.conv("input", 3, 4))
    with pytest.raises(ConfigError, match="output 'convolution0_out' of net is 1x4x8x8, not one score per class"):
        measure_accuracy([Candidate("net", graph)], [], None)


def test_inputs_of_other_names(build, graphs):
    net = build((1, 3, 8, 8))
    graph = net.graph(net.inner_product("input", 192, 12))
    renamed = graph.replace(inputs={"image": graph.inputs["input"]}, nodes=tuple(
        node.replace(inputs=("image",)) for node in graph.nodes
    ))  # fmt: skip
    with pytest.raises(ConfigError, match="b has the inputs image, a has input: models measured side by side"):
        measure_accuracy([Candidate("a", graphs[0]), Candidate("b", renamed)], [], None)
