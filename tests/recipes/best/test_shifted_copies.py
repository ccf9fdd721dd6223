"""Shifted copies: all 256 codes for what fp32 layers make and hardly goes below 0."""

from dataclasses import replace

import numpy as np
import pytest

from tnnquant import recipes
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.format import model_bytes, read_model, write_model
from tnnquant.graph.copies import Border
from tnnquant.graph.infer import infer
from tnnquant.graph.meaning import meaning_of
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.inputs.split import Split
from tnnquant.pipeline.report import blob_reports
from tnnquant.quantization.quantize import plan_graph
from tnnquant.recipes.best.network import prepare, with_useful_copies
from tnnquant.recipes.best.shifted_copies import REASON, copyable, final_codes, lopsided
from tnnquant.recipes.best.workbench import STEPS, Steps, quantize_with
from tnnquant.verdict.layers import layer_noise

from ..normal_samples import samples, squared_error

BEST = QuantizeConfig(recipe="best")
STRAIGHT = Steps(full_range=True, rounding=True, bias=True)


def swished(build, pad=1, groups=1, **last):
    """A convolution, a swish in fp32, and a convolution of what it makes."""
    net = build()
    made = net.add("Swish", [net.conv("input", 3, 8, name="a")], name="act")
    return net.graph(net.conv(made, 8, 8, pad=pad, groups=groups, name="b", **last))


def planned(graph):
    executor, plan = plan_graph(graph, BEST)
    return executor, plan, copyable(executor.inference, plan)


# --- which blobs ---


def test_what_fp32_layers_make_and_convolutions_alone_read(build):
    _, _, found = planned(swished(build))
    assert found == {"input": Border.even(1, 1), "act_out": Border.even(1, 1)}
    net = build()
    made = net.add("Swish", [net.conv("input", 3, 8, name="a")], name="act")
    net.conv(made, 8, 8, kernel=1, pad=0, name="b")
    _, _, found = planned(net.graph(net.conv(made, 8, 8, name="c")))  # pads differ
    assert found == {"input": Border.even(1, 1)}


def test_pads_of_same_are_known(build):
    for size, stride, wanted in (
        ((12, 10), 1, Border(1, 1, 1, 1)), ((12, 10), 2, Border(0, 1, 0, 1)), ((11, 9), 2, Border(1, 1, 1, 1)),
        ((12, 9), 2, Border(0, 1, 1, 1)),
    ):  # fmt: skip
        net = build((1, 3, *size))
        graph = net.graph(net.conv("input", 3, 8, pad=0, stride=stride, pad_type=0, name="a"))
        assert planned(graph)[2].get("input") == wanted
    net = build()
    assert planned(net.graph(net.conv("input", 3, 8, pad=0, pad_type=1, name="a")))[2] == {"input": Border.even(0, 0)}


def test_what_saturates_needs_no_copy(build):
    """An fp32 convolution with a ReLU gives all codes itself, unless a depthwise layer pads what it reads."""
    config = replace(BEST, exclude=("a",))
    for groups, wanted in ((1, set()), (8, {"a_out"})):
        net = build()
        a = net.conv("input", 3, 8, name="a", activation_type=1)
        executor, plan = plan_graph(net.graph(net.conv(a, 8, 8, groups=groups, name="b")), config)
        assert copyable(executor.inference, plan).keys() - {"input"} == wanted


def test_mostly_above_zero(build, rng):
    executor, _, found = planned(swished(build))
    data = samples(rng)
    assert lopsided(executor, data, found) == ["act_out"]
    for sample in data:
        sample.arrays["input"] = np.abs(sample.arrays["input"])
    assert lopsided(executor, data, found) == ["input", "act_out"]
    for sample in data:  # mostly below 0: codes could only be shifted down
        sample.arrays["input"] = -sample.arrays["input"]
    assert lopsided(executor, data, found) == ["act_out"]
    for sample in data:
        sample.arrays["input"] = np.zeros_like(sample.arrays["input"])
    assert "input" not in lopsided(executor, data, found)


def test_codes_of_zero_leave_room_below():
    zero, low = np.array([-128, -128, -128, 0, -128]), np.array([0.0, 0.28, 100.0, 0.0, 0.28])
    found = final_codes(zero, low, np.array([0.1, 0.1, 0.1, 0.1, 0.0]))
    assert found.tolist() == [-128, -125, 0, 0, -127]


# --- models ---


@pytest.mark.parametrize(("pad", "groups"), [(0, 1), (1, 1), (2, 1), (1, 8), (1, 2)])
def test_a_copy_halves_the_steps(build, rng, pad, groups):
    graph, data = swished(build, pad, groups), samples(rng)
    half, full = (quantize_with(graph, Split(data), BEST, replace(STRAIGHT, full_range=on)) for on in (False, True))
    assert [node.name for node in half.graph.nodes] == ["a", "act", "b"]
    assert half.graph.node("b").layer.pad_h == pad
    assert not half.zero_codes
    names = [node.name for node in full.graph.nodes]
    assert names == ["a", "act", "act_out_copy", "b"]
    copy, reader = full.graph.node("act_out_copy"), full.graph.node("b")
    assert not copy.quantized
    assert (copy.layer.pad_h, reader.layer.pad_h, reader.inputs) == (pad, 0, ("act_out_copy",))
    assert full.plan.reasons[names.index("act_out_copy")] == REASON
    zero = full.zero_codes["act_out_copy"]
    assert zero.min() >= -128
    assert zero.max() < -64
    before, after = half.graph.scales["act_out"].scale, full.graph.scales["act_out_copy"].scale
    assert (after < 0.65 * before).all()
    np.testing.assert_allclose(
        copy.tensors["bias"].data, zero * after.astype(np.float64), rtol=1e-6
    )
    assert squared_error(full, data) < squared_error(half, data)


def test_padding_means_zero(build, rng):
    """What the layer makes at the border is as close to fp32 as inside."""
    graph, data = swished(build, pad=2), samples(rng)
    result = quantize_with(graph, Split(data), BEST, STRAIGHT)
    fp32, int8 = Executor(result.fp32), Executor(result.graph)
    pairs = [(*fp32.run(s.arrays).values(), *int8.run(s.arrays).values()) for s in data]
    error = np.mean([np.square(one - other) for one, other in pairs], axis=0)
    inside = error[..., 2:-2, 2:-2].mean()
    assert error[..., :2, :].mean() < 3 * inside
    assert error[..., -2:].mean() < 3 * inside


def test_readers_of_one_blob_share_a_copy(build, rng):
    net = build()
    made = net.add("Swish", [net.conv("input", 3, 8, name="a")], name="act")
    ends = [net.conv(made, 8, 4, name=name) for name in ("b", "c")]
    net.add("Sigmoid", [made], name="other")  # reads what is not shifted
    graph = net.graph(net.add("Add", [*ends], name="sum"))
    result = quantize_with(graph, Split(samples(rng)), BEST, STRAIGHT)
    readers = [node for node in result.graph.nodes if "act_out_copy" in node.inputs]
    assert [node.name for node in readers] == ["b", "c"]
    assert result.graph.node("other").inputs == ("act_out",)


def test_copies_whose_readers_go_back_to_fp32_are_gone(build, rng):
    net = build()
    blob, data = "input", samples(rng)
    for number in range(6):
        blob = net.add("Swish", [net.conv(blob, 3 if number == 0 else 8, 8, name=f"c{number}")], name=f"act{number}")
    graph = net.graph(blob)
    config = replace(BEST, fp32_share=0.5)
    result = quantize_with(graph, Split(data), config, Steps(**dict.fromkeys(STEPS, True)))
    names = {node.name for node in result.graph.nodes}
    for node in result.graph.nodes:
        if node.name.startswith("c"):
            copied = node.inputs[0].endswith("_copy")
            assert copied == (node.quantized and node.name != "c0"), node.name
            assert node.layer.pad_h == 1 - copied
    assert any(not result.graph.node(f"c{n}").quantized for n in range(6))
    assert {name for name in names if name.endswith("_copy")} == {
        blob for node in result.graph.nodes for blob in node.inputs if blob.endswith("_copy")
    }


def test_copies_that_are_not_needed_are_not_reported(build, rng):
    """Without codes that are shifted no copy stays; the report once looked for its scales."""
    graph = swished(build)
    assert planned(graph)[2].keys() > {"input"}
    result = quantize_with(graph, Split(samples(rng)), BEST, Steps(full_range=False, rounding=False, bias=False))
    assert not [node.name for node in result.graph.nodes if node.name.endswith("_copy")]
    assert set(blob_reports(result)) == set(result.plan.blobs) <= set(result.graph.scales)


def test_the_pair_reads_back_and_runs_the_same(build, rng, tmp_path):
    graph, data = swished(build), samples(rng)
    result = quantize_with(graph, Split(data), BEST, STRAIGHT)
    write_model(result.graph, tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")
    again = read_model(tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")
    for one, other in zip(
        Executor(result.graph).run(data[0].arrays).values(), Executor(again).run(data[0].arrays).values(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_the_same_bytes_on_any_number_of_threads_and_in_any_order(build, rng):
    import numba

    graph, data = swished(build), samples(rng)
    before = numba.get_num_threads()
    found = []
    try:
        for count, order in ((1, 1), (before, 1), (before, -1)):
            numba.set_num_threads(count)
            found.append(model_bytes(recipes.quantize(graph, Split(data[::order]), BEST).graph))
    finally:
        numba.set_num_threads(before)
    assert found[0] == found[1] == found[2]
    assert b"act_out_copy" in found[0]


def test_noise_is_that_of_what_the_codes_mean(build, rng):
    data = samples(rng)
    graph = swished(build)
    result = quantize_with(graph, Split(data), BEST, STRAIGHT)
    int8 = Executor(result.graph)
    meaning = meaning_of(result.graph, prepare_for_quantization(graph), result.zero_codes)
    rows = layer_noise(Executor(result.fp32), int8, data[:2], meaning)
    assert {row.layer for row in rows} == {"a", "b"}
    assert min(row.sqnr_db for row in rows) > 25
    # The same, but for a rounding or two, beside the model of the user, which has no copies.
    for row, again in zip(rows, layer_noise(Executor(graph), int8, data[:2], meaning), strict=True):
        assert again.layer == row.layer
        assert again.sqnr_db == pytest.approx(row.sqnr_db, abs=0.01)
        assert again.input_sqnr_db == pytest.approx(row.input_sqnr_db, abs=0.01)


def test_names_that_are_taken(build, rng):
    net = build()
    made = net.add("Swish", [net.conv("input", 3, 8, name="a")], name="act")
    net.add("Sigmoid", [made], name="act_out_copy")
    graph = net.graph(net.conv(made, 8, 8, name="b"))
    network = with_useful_copies(prepare(graph, BEST), samples(rng), {})
    assert network.copies.sources == {"act_out_copy_2": "act_out"}
    assert network.executor.graph.node("act_out_copy_2").outputs == ("act_out_copy_2",)
    assert infer(network.executor.graph).specs["act_out_copy_2"].dims == (1, 8, 14, 12)
