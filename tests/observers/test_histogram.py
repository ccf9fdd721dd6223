"""Least squared error, percentile and averaged peaks."""

import numpy as np
import pytest

from tnnquant.observers import create_observer


def _fed(method, slots, batches):
    observer = create_observer(method, slots)
    for batch in batches:
        observer.update(batch, 0)
    return observer


def _batches(rng, count=3, channels=4):
    return [rng.standard_normal((2, channels, 20, 15)).astype(np.float32) for _ in range(count)]


def test_mse_is_near_the_best_of_all_scales(rng):
    x = np.concatenate([b.ravel() for b in _batches(rng, 60, 1)] + [np.float32([25.0])])
    scale = _fed("mse", 1, [x.reshape(1, 1, 1, -1)]).params()[0][0]
    tried = np.linspace(x.max() / 127 / 6, x.max() / 127, 400)
    errors = [np.square(x - np.clip(np.rint(x / s), -127, 127) * s, dtype=np.float64).sum() for s in tried]
    ours = np.square(x - np.clip(np.rint(x / scale), -127, 127) * scale, dtype=np.float64).sum()
    assert ours < 1.06 * min(errors)  # values are known to a bin
    assert scale < 0.95 * x.max() / 127  # it does clip


def test_percentile_passes_over_one_outlier(rng):
    x = np.full((1, 1, 200, 200), 0.5, np.float32)
    x[0, 0, :50] = 0
    x[0, 0, -1, -1] = 80
    scale = _fed("percentile", 1, [x]).params()[0][0]
    assert 0.5 <= scale * 127 < 0.5 * 17 / 16 * 1.001
    assert _fed("percentile", 1, [x[:, :, :, :10]]).params()[0][0] * 127 == pytest.approx(0.5)


def test_average_is_the_mean_of_peaks(rng):
    batches = _batches(rng)
    want = np.mean([np.abs(b).max((0, 2, 3)).astype(np.float64) for b in batches], axis=0)
    scale, zero = _fed("average", 4, batches).params()
    np.testing.assert_allclose(scale, want / 127, rtol=1e-6)
    assert not zero.any()
    assert _fed("average", 1, batches).params()[0][0] * 127 == pytest.approx(
        np.mean([np.abs(b).max() for b in batches]), rel=1e-6
    )


@pytest.mark.parametrize("method", ["mse", "percentile", "average"])
@pytest.mark.parametrize("slots", [1, 4])
def test_merged_and_restored_states_give_the_same(rng, method, slots):
    batches = _batches(rng, 4)
    whole = _fed(method, slots, batches)
    left, right = _fed(method, slots, batches[:1]), _fed(method, slots, batches[1:][::-1])
    restored = create_observer(method, slots)
    restored.restore({name: np.array(array) for name, array in right.state().items()})
    left.merge(restored)
    assert left.params()[0].tobytes() == whole.params()[0].tobytes()


@pytest.mark.parametrize("method", ["mse", "percentile", "average"])
def test_a_dead_slot_has_the_scale_0(rng, method):
    batch = _batches(rng, 1)[0]
    batch[:, 2] = 0
    scale = _fed(method, 4, [batch]).params()[0]
    assert scale[2] == 0
    assert (scale[[0, 1, 3]] > 0).all()
