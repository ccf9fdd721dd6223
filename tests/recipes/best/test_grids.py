"""Inputs on a grid of at most 256 levels: int8 holds them exactly."""

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.graph.meaning import meaning_of
from tnnquant.inputs.split import Split
from tnnquant.recipes.best.grids import grids_of
from tnnquant.recipes.best.workbench import Steps, Workbench

from ..normal_samples import Sample, samples, squared_error

BEST = QuantizeConfig(recipe="best")
STEPS = Steps(balance=True, full_range=True, rounding=True, bias=True)


def pixels(rng, count=12):
    """Whole numbers 0..255, both ends among them, int64 (count, 3, 12, 10)."""
    found = rng.integers(0, 256, (count, 3, 12, 10))
    found[0, :, 0, 0], found[0, :, 0, 1] = 0, 255
    return found


def fed(values, mean, scale=1.0):
    """Samples of these pixels, as a network is fed."""
    mean = np.broadcast_to(np.asarray(mean, np.float32), 3).reshape(1, 3, 1, 1)
    arrays = (values.astype(np.float32) - mean) * np.float32(scale)
    return [Sample(f"s{i}", {"input": array[None]}) for i, array in enumerate(arrays)]


def grid(data):
    return grids_of(data, {"input"}).get("input")


@pytest.mark.parametrize(
    ("mean", "scale", "zero", "half"),
    [
        ((104.006, 116.669, 122.679), 1.0, [-24, -11, -5], 0.0),
        ((0.0,), 1 / 255, [-128] * 3, 0.0),
        ((127.5,), 1 / 127.5, [-1] * 3, 0.5),
        ((127.0,), 1 / 128, [0] * 3, 0.0),  # 255 alone saturates
        ((128.0,), 1 / 128, [0] * 3, 0.0),
    ],
)
def test_pictures_lie_on_a_grid(rng, mean, scale, zero, half):
    found = grid(fed(pixels(rng), mean, scale))
    np.testing.assert_allclose(found.step, scale, rtol=1e-5)
    assert found.zero.tolist() == zero
    assert (found.half == half).all()
    assert found.is_shifted == any(zero)


def test_levels_that_were_not_seen_have_room_on_both_sides(rng):
    found = grid(fed(100 + pixels(rng) % 56, 0.0))
    first, last = 100 + found.zero, 155 + found.zero
    assert np.abs((first + 128) - (127 - last)).max() <= 1


def test_what_lies_on_no_grid_has_none(rng):
    assert grid(samples(rng)) is None
    assert grid(fed(pixels(rng) * 2 + rng.integers(0, 2, (12, 1, 1, 1)), 0.0)) is None  # 512 levels
    assert grid(fed(pixels(rng) % 8, 0.0)) is None  # too few levels to tell
    data = fed(pixels(rng), 104.0)
    data[5].arrays["input"] += np.float32(0.3)  # another grid
    assert grid(data) is None
    data[5].arrays["input"][:] = np.nan
    assert grid(data) is None


def quantized(graph, data, exact=True):
    work = Workbench(graph, Split(data), BEST)
    if not exact:
        work._grids = {}
    return work.quantize(STEPS)


@pytest.mark.parametrize(("mean", "zero"), [(104.25, -24), (127.5, -1), (0.0, -128)])
@pytest.mark.parametrize("pad", [0, 1])
def test_codes_are_the_pixels(build, rng, mean, zero, pad):
    values = pixels(rng)
    net = build(dims=(1, 3, 12, 10))
    graph, data = net.graph(net.conv("input", 3, 8, pad=pad, name="a")), fed(values, mean, 1 / 64)
    result = quantized(graph, data)
    assert (result.zero_codes["input_copy"] == zero).all()
    seen = {}
    Executor(result.graph).run(data[0].arrays, lambda name, x: seen.setdefault(x.dtype, {}).update({name: x.copy()}))
    codes = next(x for x in seen[np.dtype(np.int8)].values() if x.shape[1] == 3)
    inside = codes[:, :, pad : pad + 12, pad : pad + 10]
    np.testing.assert_array_equal(inside[0], values[0] - 128)
    if pad:
        assert (codes[:, :, 0] == zero).all()
    plain = quantized(graph, data, exact=False)
    assert squared_error(result, data) < squared_error(plain, data)


def test_the_file_tells_codes_that_are_moved_by_half_a_step(build, rng):
    net = build(dims=(1, 3, 12, 10))
    graph = net.graph(net.conv("input", 3, 8, name="a"))
    result = quantized(graph, fed(pixels(rng), 127.5, 1 / 127.5))
    meant = meaning_of(result.graph)
    assert [taken.name for taken in meant.taken_out] == ["input_copy"]
    np.testing.assert_array_equal(meant.graph.scales["input"].zero_point, np.full(3, -1))


def test_without_a_shift_the_step_alone_is_that_of_the_grid(build, rng):
    net = build(dims=(1, 3, 12, 10))
    graph = net.graph(net.conv("input", 3, 8, name="a"))
    result = quantized(graph, fed(pixels(rng), 127.0, 1 / 128))
    assert [node.name for node in result.graph.nodes] == ["a"]
    np.testing.assert_allclose(result.graph.scales["input"].scale, 1 / 128, rtol=1e-6)
