"""Guard channels: sums that are exact inside and in the padding, and networks that use all codes despite padding."""

from dataclasses import replace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.format import read_model, write_model
from tnnquant.graph.infer import infer
from tnnquant.inputs.split import Split
from tnnquant.recipes.best.guards import (
    count_guards,
    guardable,
    least_steps,
    open_taps,
    with_guard_outputs,
    with_guard_weights,
)
from tnnquant.recipes.best.layer_input import LayerInput
from tnnquant.recipes.best.workbench import STEPS, Steps, quantize_with
from tnnquant.weights import LayerWeights

from ..normal_samples import samples, squared_error

BEST = QuantizeConfig(recipe="best")
STRAIGHT = Steps(full_range=True, rounding=True, bias=True)


def convolved(codes, weight, pad=1):
    """Sums of products, int64 (OC, H, W), over a padding of code 0."""
    wide = np.pad(codes.astype(np.int64), ((0, 0), (pad, pad), (pad, pad)))
    height, width = codes.shape[1:]
    out = np.zeros((weight.shape[0], height, width), np.int64)
    for row in range(weight.shape[2]):
        for column in range(weight.shape[3]):
            window = wide[:, row : row + height, column : column + width]
            out += np.einsum("oc,chw->ohw", weight[:, :, row, column].astype(np.int64), window)
    return out


@pytest.mark.parametrize("open_center", [False, True])
def test_sums_are_those_of_shifted_codes_over_true_zeros(rng, open_center):
    codes = rng.integers(-128, 128, (6, 7, 5))
    weight = rng.integers(-60, 61, (4, 6, 3, 3)).astype(np.int8)
    taps = np.ones((3, 3), bool)
    taps[1, 1] = open_center
    made = with_guard_weights(LayerWeights(weight, np.ones(4, np.float32), np.zeros(4, np.int8), None), 4, taps)
    assert made.weight.shape == (4, 10, 3, 3)
    guarded = np.concatenate([codes, np.full((4, 7, 5), -128)])
    wanted = convolved(codes + 128, weight)
    if not open_center:  # that is left to the bias
        wanted -= 128 * weight[:, :, 1, 1].sum(axis=1, dtype=np.int64)[:, None, None]
    np.testing.assert_array_equal(convolved(guarded, made.weight), wanted)


def test_second_moments_without_guards_are_those_of_shifted_codes(build, rng):
    net = build()
    net.conv("input", 3, 4, name="a")
    node = infer(net.graph("a_out")).graph.node("a")
    codes = rng.integers(-128, 128, (1, 3, 12, 10)).astype(np.int8)
    guarded = np.concatenate([codes, np.full((1, 4, 12, 10), -128, np.int8)], axis=1)
    found = LayerInput(node, guarded, (1, 4, 12, 10), 120).moments(4)
    wide = np.pad(codes[0].astype(np.float64) + 128, ((0, 0), (1, 1), (1, 1)))
    taps = [wide[:, row : row + 12, column : column + 10] for row in range(3) for column in range(3)]
    windows = np.stack(taps, axis=1).reshape(27, -1)
    windows -= windows.mean(axis=1, keepdims=True)
    true = windows @ windows.T
    order = found.order[0]
    np.testing.assert_allclose(np.triu(found.values[0]), np.triu(true[np.ix_(order, order)]), rtol=1e-6, atol=0.1)
    assert (np.diff(np.diag(true)[order]) >= -1e-6).all()


@pytest.mark.parametrize(
    ("fields", "closed"),
    [
        ({"kernel": 3, "pad": 1}, {(1, 1)}),
        ({"kernel": 1, "pad": 0}, {(0, 0)}),
        ({"kernel": 3, "pad": 0}, {(r, c) for r in range(3) for c in range(3)}),
        ({"kernel": 3, "pad": 1, "stride_h": 2, "stride_w": 2}, {(1, 1), (1, 2), (2, 1), (2, 2)}),
        ({"kernel": 3, "pad": 2, "dilation_h": 2, "dilation_w": 2}, {(1, 1)}),
    ],
)
def test_open_taps_are_those_that_meet_padding(build, fields, closed):
    net = build()
    inference = infer(net.graph(net.conv("input", 3, 4, name="a", **fields)))
    taps = open_taps(inference.graph.node("a"), inference.specs)
    assert set(zip(*np.nonzero(~taps), strict=True)) == closed


def chain(build, weight=None, **fields):
    """A ReLU before a convolution with padding."""
    net = build()
    a = net.conv("input", 3, 16, kernel=1, pad=0, name="a", activation_type=1)
    graph = net.graph(net.conv(a, 16, 8, name="b", **fields))
    if weight is None:
        return graph
    tensors = {**graph.node("b").tensors}
    tensors["filter"] = replace(tensors["filter"], data=weight.astype(np.float32).reshape(-1))
    nodes = [n.replace(resource=replace(n.resource, tensors=tensors)) if n.name == "b" else n for n in graph.nodes]
    return graph.with_nodes(nodes)


def test_guards_are_as_many_as_the_sums_need(build, rng):
    even = rng.choice([-1.0, 1.0], (8, 16, 3, 3))
    even[:, 8:] = -even[:, :8]  # sums of 0
    for weight, wanted in ((even, 4), (np.abs(even), 16)):
        inference = infer(chain(build, weight))
        node = inference.graph.node("b")
        assert count_guards([node], np.ones(1, np.float32), inference.specs) == wanted
        assert guardable(inference.graph.node("a"), [(node, True)], inference.specs) == (wanted == 4)
        assert not guardable(inference.graph.node("a"), [(node, False)], inference.specs)


def test_a_few_outputs_are_rounded_to_larger_steps_instead(build, rng):
    weight = rng.choice([-1.0, 1.0], (8, 16, 3, 3))
    weight[:, 8:] = -weight[:, :8]
    weight[0] = 0.1  # small and all of one sign: its steps grow, which costs little
    weight[0, 0] = 0.11
    inference = infer(chain(build, weight))
    taps = open_taps(inference.graph.node("b"), inference.specs)
    assert count_guards([inference.graph.node("b")], np.ones(1, np.float32), inference.specs) == 4
    least = least_steps(weight.astype(np.float32), np.ones(1, np.float32), taps, 4)
    assert least[0] > 0.11 / 127
    assert (least[1:] == 0).all()


def test_guard_outputs_saturate(rng):
    weight = rng.integers(-9, 9, (2, 3, 1, 1)).astype(np.int8)
    layer = LayerWeights(weight, np.ones(2, np.float32), np.zeros(2, np.int8), np.zeros(2, np.int32))
    made = with_guard_outputs(layer, 4, np.array([0.25, 0.01], np.float32))
    assert made.weight.shape == (6, 3, 1, 1)
    assert not made.weight[2:].any()
    assert (made.bias[2:] * made.scale[2:] / 0.25 < -128).all()
    assert with_guard_outputs(layer, 0, np.ones(2, np.float32)) is layer


def meant(result, arrays, blob):
    """The int8 codes of a blob, what they mean without guards, and the fp32 values."""
    seen = {}
    Executor(result.graph).run(arrays, lambda name, x: seen.update({name: x.copy()}))
    codes = seen[blob] if seen[blob].dtype == np.int8 else seen[f"{blob}_int8_reformat"]
    Executor(result.fp32).run(arrays, lambda name, x: seen.update({name: x.copy()}))
    params, true = result.graph.scales[blob].first(seen[blob].shape[1]), seen[blob]
    zero = result.zero_codes.get(blob, np.zeros(true.shape[1]))[: true.shape[1]]
    values = (codes[:, : true.shape[1]].astype(np.float32) - zero.reshape(-1, 1, 1)) * params.scale.reshape(-1, 1, 1)
    return codes, values, true


@pytest.mark.parametrize("activation", [1, 2])
@pytest.mark.parametrize("exclude", [(), ("a",)])
def test_a_padded_reader_gets_all_codes_from_int8_and_fp32_makers(build, rng, activation, exclude):
    graph, data = chain(build), samples(rng)
    graph = graph.with_nodes(
        n.replace(layer=replace(n.layer, activation_type=activation)) if n.name == "a" else n for n in graph.nodes
    )
    half, full = (
        quantize_with(graph, Split(data), replace(BEST, exclude=exclude), replace(STRAIGHT, full_range=on))
        for on in (False, True)
    )
    assert full.graph.node("a").quantized == (not exclude)
    assert full.graph.node("a").layer.output_channel == 20
    assert full.graph.node("b").layer.input_channel == 20
    errors = []
    for result in (half, full):
        codes, values, true = meant(result, data[0].arrays, "a_out")
        errors.append(np.square(values - true).sum() / np.square(true).sum())
    assert (codes[:, 16:] == -128).all()
    assert codes[:, :16].min() == -128
    assert codes[:, :16].max() > 100
    assert errors[1] < 1e-4
    assert errors[1] < (0.3 if exclude else 0.75) * errors[0]  # the rounding of weights comes on top in int8
    assert squared_error(full, data) < squared_error(half, data)


def test_borders_are_as_good_as_the_inside(build, rng):
    graph, data = chain(build), samples(rng)
    result = quantize_with(graph, Split(data), BEST, STRAIGHT)
    fp32, int8 = Executor(result.fp32), Executor(result.graph)
    error = np.mean(
        [np.square(fp32.run(s.arrays)["b_out"] - int8.run(s.arrays)["b_out"])[0] for s in data], axis=(0, 1)
    )
    inside = np.zeros(error.shape, bool)
    inside[1:-1, 1:-1] = True
    assert error[~inside].mean() < 1.5 * error[inside].mean()


def test_models_with_guards_load_again_and_give_the_same(build, rng, tmp_path):
    graph, data = chain(build), samples(rng)
    result = quantize_with(graph, Split(data), BEST, Steps(**dict.fromkeys(STEPS, True)))
    assert result.graph.node("a").layer.output_channel == 20
    write_model(result.graph, tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")
    again = read_model(tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")
    for sample in data[:3]:
        np.testing.assert_array_equal(*(Executor(g).run(sample.arrays)["b_out"] for g in (result.graph, again)))


def test_depthwise_readers_allow_no_guards(build, rng):
    net = build()
    a = net.conv("input", 3, 8, kernel=1, pad=0, name="a", activation_type=1)
    graph = net.graph(net.conv(a, 8, 8, groups=8, name="dw"))
    assert not quantize_with(graph, Split(samples(rng)), BEST, STRAIGHT).zero_codes
