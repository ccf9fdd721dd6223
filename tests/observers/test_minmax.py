"""Symmetric and asymmetric min-max, by the steps of docs/tnn-format.md (7.6)."""

import math

import numpy as np
import pytest

from tnnquant.observers import create_observer
from tnnquant.observers.minmax import scale_of_threshold


def _observe(method, slots, x):
    observer = create_observer(method, slots)
    observer.update(x, 0)
    return observer.params()


def _rows(rng):
    """Channels of many magnitudes; one never negative, one never positive."""
    x = (rng.standard_normal((500, 9)) * 10.0 ** np.arange(-4, 5)).astype(np.float32)
    x[:, 3] = np.abs(x[:, 3])
    x[:, 5] = -np.abs(x[:, 5])
    return x


def _scale(peak, threshold):
    interval = np.float32(np.float32(2048) / np.float32(peak))
    return np.float32((float(np.float32(threshold)) + 0.5) / float(interval) / 127)


def test_minmax_is_the_last_bin(rng):
    x = _rows(rng)
    scale, zero_point = _observe("minmax", 9, x)
    assert scale.tolist() == [_scale(np.abs(column).max(), 2047) for column in x.T]
    assert not zero_point.any()
    np.testing.assert_allclose(scale, np.abs(x).max(axis=0) * 2047.5 / 2048 / 127, rtol=1e-6)


def test_minmax_per_tensor(rng):
    x = _rows(rng)
    assert _observe("minmax", 1, x)[0].tolist() == [_scale(np.abs(x).max(), 2047)]


@pytest.mark.parametrize("threshold", [128, 1000, 2047])
def test_scale_of_a_threshold(rng, threshold):
    peak = rng.uniform(1e-4, 1e4, 50).astype(np.float32)
    want = [_scale(p, threshold) for p in peak]
    assert scale_of_threshold(peak, threshold).tolist() == want
    assert scale_of_threshold(peak, np.full(50, threshold, np.int32)).tolist() == want


def _asymmetric(column):
    low, high = np.float32(min(0, column.min())), np.float32(max(0, column.max()))
    scale = np.float32(np.float32(high - low) / np.float32(254))
    steps = np.float32(high * np.float32(np.float32(1) / scale))
    return scale, 127 - math.floor(float(steps) + 0.5)


def test_asymmetric_per_channel_and_per_tensor(rng):
    x = _rows(rng)
    scale, zero_point = _observe("asymmetric", 9, x)
    assert list(zip(scale.tolist(), zero_point.tolist(), strict=True)) == [_asymmetric(column) for column in x.T]
    assert (zero_point[3], zero_point[5]) == (-127, 127)
    scale, zero_point = _observe("asymmetric", 1, x)
    assert (scale[0], zero_point[0]) == _asymmetric(x)


def test_the_asymmetric_range_fits_the_codes(rng):
    x = _rows(rng)
    scale, zero_point = _observe("asymmetric", 9, x)
    codes = np.rint(x / scale) + zero_point
    assert (codes.max(axis=0) <= 127).all()
    assert (codes.min(axis=0) >= -128).all()
    assert (codes.max(axis=0) - codes.min(axis=0) >= 126).all()
