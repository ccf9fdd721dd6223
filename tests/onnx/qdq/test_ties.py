"""Scales that make TNN's rounding that of ONNX, against both rules written out."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.onnx.qdq.ties import matched


def by_onnx(sums, step, scale, zero):
    factor = (step / scale).astype(np.float32)
    return np.clip(np.rint(sums.astype(np.float32) * factor[:, None]) + zero, -128, 127)


def by_tnn(sums, step, scale, summand):
    value = (sums + summand[:, None]).astype(np.float32) * (step / scale).astype(np.float32)[:, None]
    return np.clip(np.sign(value) * np.floor(np.abs(value.astype(np.float64)) + 0.5), -128, 127)


def test_halves_go_to_even():
    scale, step = np.full(3, 0.5, np.float32), np.array([0.25, 0.1, 0.0625], np.float32)
    sums = np.arange(-400, 400)[None]
    found, summand = matched(step, scale, 0)
    assert not summand.any()
    np.testing.assert_allclose(found, step, rtol=2e-6)
    before = by_tnn(sums, step, scale, summand) != by_onnx(sums, step, scale, 0)
    after = by_tnn(sums, found, scale, summand) != by_onnx(sums, step, scale, 0)
    assert after.sum() <= before.sum()
    assert not after[1].any()


@pytest.mark.parametrize("zero", [-128, -7, 3, 100])
def test_zero_points(rng, zero):
    step = rng.uniform(1e-4, 5e-4, 64).astype(np.float32)
    scale = np.full(64, 0.05, np.float32)
    found, summand = matched(step, scale, zero)
    sums = rng.integers(-40000, 40000, (64, 5000))
    differ = by_tnn(sums, found, scale, summand) != by_onnx(sums, step, scale, zero)
    assert differ.mean() < 0.006
    np.testing.assert_allclose(found, step, rtol=0.2 / abs(zero))


def test_scales_that_are_no_factor_below_1_stay():
    step, scale = np.array([3.0, 0.0, 1e-30], np.float32), np.array([1.0, 1.0, 1e-30], np.float32)
    found, summand = matched(step, scale, -128)
    np.testing.assert_array_equal(found, step)
    assert summand[0] == -43
