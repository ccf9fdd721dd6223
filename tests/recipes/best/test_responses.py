"""Errors after an element-wise layer, against a plain computation on the values themselves."""

import numpy as np
import pytest

from tnnquant.layers.activation import Sigmoid, Swish
from tnnquant.observers.octaves import Octaves
from tnnquant.recipes.best.responses import best_scale, output_power, response_errors, responses


def counted(x):
    from tnnquant.kernels.program import run

    octaves = Octaves(1)
    x = np.ascontiguousarray(x, np.float32).reshape(1, 1, -1)  # alive while the op runs
    run(octaves.ops(x))
    return octaves.rows()


def sides(x):
    return counted(x[x > 0]), counted(-x[x < 0])


def swish(x):
    return x / (1 + np.exp(-x))


@pytest.mark.parametrize("scale", [0.02, 0.1])
def test_errors_are_those_behind_the_function(rng, scale):
    x = rng.standard_normal(40000) * 3 - 2
    errors = response_errors(Swish(), *sides(x), np.array([[scale]]))
    got = np.clip(np.rint(x / scale), -128, 127) * scale
    assert errors[0, 0] == pytest.approx(np.square(swish(got) - swish(x)).sum(), rel=0.1)
    assert output_power(Swish(), *sides(x))[0] == pytest.approx(np.square(swish(x)).sum(), rel=0.01)


def test_what_a_swish_makes_nothing_of_needs_no_codes(rng):
    x = np.concatenate([rng.uniform(-30, 0, 20000), rng.uniform(0, 3, 20000)])
    scale = best_scale(Swish(), *sides(x), np.array([30.0]))
    assert 3 / 127 * 0.8 < scale[0] < 8 / 127


@pytest.mark.parametrize("fused", [True, False])
def test_a_swish_is_found_fused_or_not(build, fused):
    net = build()
    a = net.conv("input", 3, 4, name="a")
    b = net.add("Swish", a) if fused else net.add("Mul", [a, net.add("Sigmoid", a)])
    graph = net.graph(net.conv(b, 4, 2, name="b"))
    assert responses(graph)["a_out"] == Swish()


def test_readers_that_differ_have_no_response(build):
    net = build()
    a = net.conv("input", 3, 4, name="a")
    out = net.conv(net.add("Add", [net.add("Sigmoid", a), a]), 4, 2, name="b")
    found = responses(net.graph(out))
    assert "a_out" not in found
    assert Sigmoid() not in found.values()
