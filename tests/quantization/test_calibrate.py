"""Calibration: samples side by side give what one after the other gives, and fail as they would there."""

from dataclasses import dataclass

import numpy as np
import pytest

from tnnquant.engine.executor import Executor
from tnnquant.errors import CalibrationError
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.observers import create_observer, finish
from tnnquant.quantization import calibrate as module
from tnnquant.quantization.calibrate import Unseen, calibrate

METHODS = ("minmax", "kl", "asymmetric", "aciq-gauss", "aciq-laplace")


@dataclass
class Sample:
    name: str
    arrays: dict
    numbers: tuple = ()


def make_samples(rng, count=9):
    return [
        Sample(f"s{i}", {"input": (rng.standard_normal((1, 3, 12, 10)) * (i + 1)).astype(np.float32)}, (i,))
        for i in range(count)
    ]


def net(build):
    """Programs, a concat in place, and a layer that runs through ``forward`` in between."""
    made = build()
    stem = made.add("ReLU", made.conv("input", 3, 8))
    joined = made.add("Concat", [made.conv(stem, 8, 4, kernel=1), made.conv(stem, 8, 4)], 1)
    swish = made.conv(joined, 8, 8, activation_type=256)
    return Executor(prepare_for_quantization(made.graph(made.conv(swish, 8, 5))))


def observe(executor, samples, method, slots_of_one, threads):
    observers = {
        name: create_observer(method, 1 if slots_of_one else spec.dims[1]) for name, spec in executor.specs.items()
    }
    calibrate(executor, samples, observers, threads=threads)
    finish(observers.values())
    return {
        name: [array.tobytes() for array in (*observer.state().values(), *observer.params())]
        for name, observer in observers.items()
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("slots_of_one", [False, True])
def test_the_number_of_threads_and_the_order_change_nothing(build, rng, method, slots_of_one):
    executor, samples = net(build), make_samples(rng)
    want = observe(executor, samples, method, slots_of_one, 1)
    assert len(want) == len(executor.graph.nodes) + 1
    for threads in (2, 5):
        rng.shuffle(samples)
        assert observe(executor, samples, method, slots_of_one, threads) == want


@pytest.mark.parametrize("method", [*METHODS, "mse", "percentile", "average"])
def test_samples_that_are_kept_apart_leave_no_trace_in_the_others(build, rng, method):
    executor, samples = net(build), make_samples(rng)

    def new():
        return {name: create_observer(method, spec.dims[1]) for name, spec in executor.specs.items()}

    whole, observers, apart = new(), new(), Unseen(frozenset({2, 8}), new())
    calibrate(executor, samples, whole)
    calibrate(executor, samples, observers, unseen=apart)
    alone = new()
    calibrate(executor, [samples[i] for i in range(9) if i not in (2, 8)], alone, only=0)
    for name, observer in observers.items():
        assert state_of(observer) == state_of(whole[name]), name
        assert state_of(apart.without[name]) == state_of(alone[name]), name


def state_of(observer):
    return {name: np.asarray(array, np.float64).tolist() for name, array in observer.state().items()}


def test_a_model_beyond_the_memory_runs_one_sample_at_a_time(build, rng, monkeypatch):
    executor, samples = net(build), make_samples(rng)
    want = observe(executor, samples, "kl", False, 4)
    monkeypatch.setattr(module, "_MEMORY", 0)
    monkeypatch.setattr(Executor, "twin", None)
    assert observe(executor, samples, "kl", False, 4) == want


def test_one_sample_has_all_threads(build, rng, monkeypatch):
    executor, samples = net(build), make_samples(rng, 1)
    want = observe(executor, samples, "kl", False, 1)
    monkeypatch.setattr(Executor, "twin", None)
    assert observe(executor, samples, "kl", False, 4) == want


def test_the_first_bad_sample_is_named(build, rng):
    executor, samples = net(build), make_samples(rng, 40)
    for number in (7, 8, 30):
        samples[number].arrays["input"][0, 1, 2, 3] = np.nan
    seen = []
    observers = {"input": create_observer("minmax", 3)}
    with pytest.raises(CalibrationError, match=r"^s7: the model input 'input': 1 of 360 values"):
        calibrate(executor, samples, observers, lambda *what: seen.append(what), threads=3)
    assert seen == [("ranges", done, 40) for done in range(1, 8)]


def test_progress_is_told_in_order_on_the_calling_thread(build, rng):
    import threading

    executor, samples, told = net(build), make_samples(rng), []
    observers = {"input": create_observer("kl", 3)}
    calibrate(executor, samples, observers, lambda *what: told.append((threading.get_ident(), *what)), threads=2)
    me = threading.get_ident()
    assert told == [(me, stage, done, 9) for stage in ("ranges", "histograms") for done in range(1, 10)]


def test_threads_end_with_the_calibration(build, rng):
    import threading

    def interrupted(stage, done, total):
        raise KeyboardInterrupt

    for progress in (None, interrupted):
        try:
            calibrate(net(build), make_samples(rng), {"input": create_observer("minmax", 1)}, progress, threads=2)
        except KeyboardInterrupt:
            assert progress
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("tnnquant")]


def test_no_sample(build):
    with pytest.raises(CalibrationError, match="no sample to calibrate with"):
        calibrate(net(build), [], {"input": create_observer("minmax", 1)}, threads=2)
