"""Means over samples: exact, in any order, and from parts."""

import itertools

import numpy as np
import pytest

from tnnquant.observers.sample_mean import SampleMean


class FirstOfEach(SampleMean):
    """Averages the first value of every slot."""

    def of_sample(self, x):
        return np.abs(x.reshape(x.shape[0], self.slots, -1)[0, :, 0])


def _fed(samples):
    observer = FirstOfEach(2)
    for x in samples:
        observer.update(x, 0)
    return observer


@pytest.fixture
def samples():
    """Figures whose float32 running sums depend on the order."""
    values = [(3e7, 1), (1, 3e7), (1, 1e-3), (1, 7)]
    return [np.array(pair, np.float32).reshape(1, 2, 1, 1) for pair in values]


def test_the_mean_is_rounded_once(samples):
    observer = _fed(samples)
    assert observer.samples == 4
    want = np.array([30000003 / 4, (3e7 + 8 + float(np.float32(1e-3))) / 4]).astype(np.float32)
    np.testing.assert_array_equal(observer.mean(), want)
    assert observer.mean().dtype == np.float32


def test_any_order_and_any_parts_give_the_same(samples):
    want = _fed(samples)
    for order in itertools.permutations(samples):
        other, rest = _fed(order[:1]), _fed(order[1:])
        restored = FirstOfEach(2)
        restored.restore(other.state())
        restored.merge(rest)
        assert restored.samples == 4
        np.testing.assert_array_equal(restored.total.limbs, want.total.limbs)
        np.testing.assert_array_equal(restored.mean(), want.mean())
        np.testing.assert_array_equal(restored.peak, want.peak)


def test_a_state_is_not_shared(samples):
    first = _fed(samples[:1])
    second = FirstOfEach(2)
    second.restore(first.state())
    second.update(samples[1], 0)
    np.testing.assert_array_equal(first.mean(), samples[0].ravel())


def test_the_figure_is_up_to_the_subclass(samples):
    with pytest.raises(NotImplementedError):
        SampleMean(2).update(samples[0], 0)
