"""What all observers share: memory forms, ranges, dead slots, errors, merging, and the choice of the method."""

import numpy as np
import pytest

from tnnquant.errors import CalibrationError, ConfigError
from tnnquant.observers import choose_method, create_observer, finish, method_codes
from tnnquant.observers.base import DEAD, FLOOR_SCALE

METHODS = tuple(method_codes().values())
BROKEN = (np.nan, np.inf, -np.inf)


def _samples(rng, count=4, dims=(2, 5, 12, 11)):
    spread = rng.uniform(0.1, 9, (1, dims[1], *[1] * (len(dims) - 2)))
    return [(rng.standard_normal(dims) * spread).astype(np.float32) for _ in range(count)]


def _channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _slice_of_channels(x):
    wide = np.full((x.shape[0], *x.shape[2:], x.shape[1] + 7), np.nan, np.float32)
    wide[..., 3:-4] = np.moveaxis(x, 1, -1)
    return np.moveaxis(wide[..., 3:-4], -1, 1)


def _observe(method, slots, samples):
    observer = create_observer(method, slots)
    for number in range(observer.passes):
        for x in samples:
            observer.update(x, number)
    return observer


def _bits(observer):
    return [array.tobytes() for array in observer.params()]


# --- memory forms ---


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("slots", [1, 5])
def test_the_layout_in_memory_does_not_matter(rng, method, slots):
    samples = _samples(rng)
    want = _bits(_observe(method, slots, samples))
    assert _bits(_observe(method, slots, [_channels_last(x) for x in samples])) == want
    assert _bits(_observe(method, slots, [_slice_of_channels(x) for x in samples])) == want
    turned = [x.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2) for x in samples]
    assert _bits(_observe(method, slots, turned)) == want
    assert _bits(_observe(method, slots, [np.repeat(x, 2, axis=2)[:, :, ::2] for x in samples])) == want


def test_a_blob_is_read_in_place(rng, monkeypatch):
    """Channels-last memory, also a slice of a wider array (an input of a concat), is not copied."""
    x = _samples(rng, 1)[0]
    observer = create_observer("kl", 5)
    for layout in (np.ascontiguousarray, _channels_last, _slice_of_channels):
        blob = layout(x)
        with monkeypatch.context() as patched:
            patched.setattr(np, "ascontiguousarray", None)
            observer.update(blob, 0)


def test_ops_can_be_run_again_and_again(rng):
    """A program holds the ops of one array whose values change."""
    from tnnquant.kernels.program import run

    samples = [_channels_last(x) for x in _samples(rng, 3)]
    for method in METHODS:
        observer, place = create_observer(method, 5), samples[0].copy(order="K")
        for number in range(observer.passes):
            rows = np.concatenate(observer.ops(place, number))
            for x in samples:
                place[:] = x
                run(rows)
                observer.seen(place, number)
        assert _bits(observer) == _bits(_observe(method, 5, samples)), method


def test_a_wrong_number_of_slots(rng):
    with pytest.raises(ValueError, match=r"\(2, 5, 12, 11\) has no 3 slots"):
        create_observer("minmax", 3).update(_samples(rng, 1)[0], 0)


def test_rank_1_and_empty_blobs():
    observer = create_observer("minmax", 1)
    observer.update(np.array([3, -4], np.float32), 0)
    observer.update(np.zeros((0, 7), np.float32), 0)
    assert (observer.low[0], observer.high[0]) == (-4, 3)


def test_the_sign_of_zero_does_not_depend_on_the_order():
    states = []
    for values in ((0.0, -0.0), (-0.0, 0.0)):
        observer = create_observer("minmax", 1)
        for value in values:
            observer.update(np.full((1, 1), value, np.float32), 0)
        states.append([array.tobytes() for array in observer.state().values()])
    assert states[0] == states[1]


@pytest.mark.parametrize("dims", [(3, 6), (3, 6, 50), (2, 6, 3, 4, 5)])
def test_blobs_of_other_ranks(rng, dims):
    samples = _samples(rng, dims=dims)
    observer = _observe("minmax", 6, samples)
    axes = tuple(axis for axis in range(len(dims)) if axis != 1)
    np.testing.assert_array_equal(observer.low, np.min([x.min(axis=axes) for x in samples], axis=0))
    np.testing.assert_array_equal(observer.high, np.max([x.max(axis=axes) for x in samples], axis=0))


# --- what every method does alike ---


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("slots", [1, 5])
def test_types_and_the_order_of_samples(rng, method, slots):
    samples = _samples(rng, 6)
    scale, zero_point = _observe(method, slots, samples).params()
    assert (scale.dtype, scale.shape) == (np.float32, (slots,))
    assert (zero_point.dtype, zero_point.shape) == (np.int8, (slots,))
    assert (scale > 0).all()
    want = _bits(_observe(method, slots, samples))
    for _ in range(3):
        rng.shuffle(samples)
        assert _bits(_observe(method, slots, samples)) == want


@pytest.mark.parametrize("method", METHODS)
def test_a_dead_channel_has_scale_0_and_a_dead_blob_the_floor(rng, method):
    samples = _samples(rng)
    for x in samples:
        x[:, 2] = 0
        x[:, 3] = np.float32(1e-5) * np.sign(x[:, 3])  # float32(1e-5) is below 1e-5
    scale, zero_point = _observe(method, 5, samples).params()
    assert (scale[[2, 3]] == 0).all()
    assert (zero_point[[2, 3]] == 0).all()
    assert (scale[[0, 1, 4]] > 0).all()
    scale, zero_point = _observe(method, 1, [np.zeros_like(x) for x in samples]).params()
    assert scale.tolist() == [FLOOR_SCALE]
    assert zero_point.tolist() == [0]


def test_the_edge_of_being_dead():
    observer = create_observer("minmax", 2)
    alive = np.nextafter(np.float32(1e-5), np.float32(1))
    assert float(np.float32(1e-5)) <= DEAD < float(alive)
    observer.update(np.array([[1e-5, -alive]], np.float32), 0)
    assert observer.alive.tolist() == [False, True]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("slots", [1, 5])
def test_what_is_not_finite_is_refused(rng, method, value, slots):
    for layout in (_channels_last, np.ascontiguousarray):
        x = _samples(rng, 1)[0]
        x[1, 4, 3, 2] = value
        with pytest.raises(CalibrationError, match="1 of 1320 values are NaN or infinite"):
            create_observer(method, slots).update(layout(x), 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("slots", [1, 5])
def test_no_sample(method, slots):
    observer = create_observer(method, slots)
    finish([observer])
    with pytest.raises(CalibrationError, match="no sample has been seen"):
        observer.params()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("slots", [1, 5])
def test_halves_merge_to_the_whole(rng, method, slots):
    samples = _samples(rng, 5)
    want = _observe(method, slots, samples)
    halves = [create_observer(method, slots) for _ in range(2)]
    parts = samples[:2], samples[2:]
    for observer, part in zip(halves, parts, strict=True):
        for x in part:
            observer.update(x, 0)
    halves[0].merge(halves[1])
    if want.passes == 2:
        halves[1].restore(halves[0].state())
        for observer, part in zip(halves, parts, strict=True):
            for x in part:
                observer.update(x, 1)
        halves[0].merge(halves[1])
    assert _bits(halves[0]) == _bits(want)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("slots", [1, 5])
def test_state_makes_the_same_observer_again(rng, method, slots):
    samples = _samples(rng, 5)
    first = _observe(method, slots, samples[:3])
    state = {name: np.array(array) for name, array in first.state().items()}
    second = create_observer(method, slots)
    second.restore(state)
    assert _bits(second) == _bits(first)
    for number in range(second.passes):
        second.update(samples[0], number)
    for name, array in state.items():
        np.testing.assert_array_equal(first.state()[name], array, err_msg=name)


def test_an_empty_observer_merges_and_is_restored(rng):
    for method in METHODS:
        full = _observe(method, 5, _samples(rng))
        want, empty = _bits(full), create_observer(method, 5)
        empty.restore(create_observer(method, 5).state())
        if full.passes == 2:
            empty.restore({name: array for name, array in full.state().items() if name != "counts"})
        full.merge(empty)
        assert _bits(full) == want


# --- which method ---


def test_numbers_of_the_methods():
    assert method_codes() == {
        0: "minmax", 2: "kl", 3: "asymmetric", 4: "aciq-gauss", 5: "aciq-laplace",
        10: "mse", 11: "percentile", 12: "average",
    }  # fmt: skip


def test_an_unknown_method():
    with pytest.raises(ConfigError, match=r"no blob method 'minmaxx' \(did you mean minmax\?\)"):
        create_observer("minmaxx", 1)


@pytest.mark.parametrize("method", METHODS)
def test_choice_of_the_method(method):
    small = method if method == "asymmetric" else "minmax"
    assert choose_method(method, (1, 8, 10, 10), is_network_input=False) == method
    assert choose_method(method, (1, 8, 9, 11), is_network_input=False) == small
    assert choose_method(method, (64, 800, 1, 1), is_network_input=False) == small
    assert choose_method(method, (1, 8), is_network_input=False) == small
    assert choose_method(method, (1, 8, 100), is_network_input=False) == method
    # Only dims[2] and dims[3] count.
    assert choose_method(method, (1, 8, 9, 11, 50), is_network_input=False) == small
    assert choose_method(method, (1, 3, 224, 224), is_network_input=True) == "minmax"
