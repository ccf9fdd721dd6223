"""The last inner product before the average pooling: the same network in fp32, finer scores in int8."""

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.format import read_model, write_model
from tnnquant.graph.moved_products import pooled_products, with_moved_product
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.graph.repeats import repeated_like
from tnnquant.inputs.split import Split
from tnnquant.inspect.compare import compare_graphs
from tnnquant.recipes.best.last_product import movable_products
from tnnquant.recipes.best.network import prepare, with_moved_products
from tnnquant.recipes.best.workbench import STEPS, Steps, Workbench, quantize_with

from ..normal_samples import samples, squared_error

BEST = QuantizeConfig(recipe="best", fp32_share=0.0)
ALL = Steps(**dict.fromkeys(STEPS, True))


def classifier(build, classes=7, kernel=(12, 10), softmax=False, bias=True, **pooling):
    """Two convolutions, an average over some places, an inner product; returns the graph."""
    net = build(dims=(1, 3, 12, 10))
    a = net.conv(net.conv("input", 3, 16, name="a", activation_type=1), 16, 24, name="b", activation_type=2)
    mean = net.pool(a, 1, name="mean", **{"kernel_h": kernel[0], "kernel_w": kernel[1], "stride": 1, **pooling})
    places = (12 - kernel[0] + 1) * (10 - kernel[1] + 1) if kernel[0] else 1
    product = net.inner_product(mean, 24 * places, classes, name="scores", has_bias=int(bias))
    return net.graph(net.add("SoftmaxCaffe", product, axis=1, name="prob") if softmax else product)


def test_the_moved_network_gives_the_same_in_fp32(build, rng):
    for options in ({}, {"kernel": (0, 0)}, {"bias": False}, {"softmax": True}):
        graph = classifier(build, **options)
        (pair,) = pooled_products(graph)
        moved = with_moved_product(graph, pair)
        assert [node.name for node in moved.nodes][:5] == ["a", "b", "scores", "mean", "scores_out_pooled"]
        arrays = samples(rng, 1)[0].arrays
        before, after = (Executor(each, exact=True).run(dict(arrays)) for each in (graph, moved))
        assert before.keys() == after.keys()
        for blob, array in before.items():
            assert after[blob].shape == array.shape
            np.testing.assert_allclose(after[blob], array, rtol=1e-4, atol=1e-5)


def test_int8_comes_closer_and_loads_again(build, rng, tmp_path, monkeypatch):
    graph, data, others = classifier(build), Split(samples(rng, 16)), samples(rng)
    result = quantize_with(graph, data, BEST, ALL)
    assert result.graph.node("scores").layer.output_channel == 7
    with monkeypatch.context() as patch:
        patch.setattr("tnnquant.recipes.best.workbench.with_moved_products", lambda network: network)
        after = quantize_with(graph, data, BEST, ALL)
    assert after.graph.node("scores").type_string.endswith("InnerProduct")
    assert squared_error(result, others) < 0.7 * squared_error(after, others)
    pair = tmp_path / "a.tnnproto", tmp_path / "a.tnnmodel"
    write_model(result.graph, *pair)
    arrays = others[0].arrays
    again = Executor(read_model(*pair)).run(arrays)
    for blob, array in Executor(result.graph).run(arrays).items():
        assert again[blob].shape == (1, 7)
        np.testing.assert_array_equal(again[blob], array)


def test_the_file_tells_that_it_was_moved(build, rng):
    graph, data = classifier(build), samples(rng, 16)
    result = quantize_with(graph, Split(data), BEST, ALL)
    alike = repeated_like(result.graph, prepare_for_quantization(graph))
    assert [node.name for node in alike.nodes] == [node.name for node in result.fp32.nodes]
    for sample in data:
        sample.fresh = 1
    errors = compare_graphs(result.graph, graph, data[:4])
    assert {row.name for row in errors.layers} >= {"a", "b", "scores"}
    assert errors.outputs["scores_out"].sqnr_db > 20
    kept = quantize_with(graph, Split(data), QuantizeConfig(recipe="best"), ALL)
    assert len(repeated_like(kept.graph, prepare_for_quantization(graph)).nodes) == len(graph.nodes)


@pytest.mark.parametrize(
    "options", [{"kernel": (3, 3)}, {"classes": 90}], ids=["several places are left", "many multiplications"]
)
def test_what_would_not_be_right_or_cheap_stays(build, options):
    network = prepare(classifier(build, **options), BEST)
    assert not movable_products(network.executor.inference, network.plan)
    assert with_moved_products(network) is network


def test_layers_that_may_stay_in_fp32_leave_it_where_it_is(build, rng):
    bench = Workbench(classifier(build), Split(samples(rng, 16)), QuantizeConfig(recipe="best"))
    assert "scores_out_pooled" not in bench.graph.blob_names()
