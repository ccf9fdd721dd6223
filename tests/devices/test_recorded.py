"""The rules and the arithmetic of devices beside what TNN's devices made of small nets.

``data/recorded.npz`` holds models with an input each, and what the ARM device (without and with dot product) and the
x86 device gave: outputs and the codes of all int8 blobs. What both ARM runs gave alike is stored once, under ``arm``.
``data/recorded.json`` says what became of each model: right, wrong, refused, fails, crashes. The names of those that
ran with PRECISION_HIGH begin with ``net_``: they come from ``quantize --device any``. TNN f0cb08129, aarch64 emulated.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tnnquant.devices import Outcome, examine
from tnnquant.devices.arithmetic import garbage_on
from tnnquant.engine.executor import Executor
from tnnquant.format import read_model

DATA = Path(__file__).parent / "data"
OUTCOMES = json.loads((DATA / "recorded.json").read_text("utf-8"))
RUNS = ("arm", "arm-dot", "x86")
#: Memory that nobody wrote held numbers that do no harm; a Reshape that keeps the channels; merely inexact.
LUCK = {("border_of_9", "arm"), ("border_of_10", "arm"), ("border_of_11", "arm"), ("int8_reshape", "x86")}
INEXACT = {"swish_after_a_convolution", "gate"}
#: Codes next to a tie that fall to the other side, because the device sums in fp32 in another order.
TIES = {("net_wild205_default", "x86"): 100, ("net_wild215_default", "x86"): 5}


@cache
def recorded():
    with np.load(DATA / "recorded.npz") as stored:
        return dict(stored)


@pytest.fixture
def model(tmp_path):
    """A function that reads a recorded model by its name."""

    def read(name):
        for part in ("proto", "model"):
            (tmp_path / f"m.tnn{part}").write_bytes(recorded()[f"{name}/{part}"].tobytes())
        return read_model(tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")

    return read


def given(name, run):
    """What a device gave: of ``arm-dot`` only what differs is stored apart."""
    found = {key.split("/", 2)[2]: array for key, array in recorded().items() if key.startswith(f"{name}/arm/")}
    if run == "arm":
        return found
    own = {key.split("/", 2)[2]: array for key, array in recorded().items() if key.startswith(f"{name}/{run}/")}
    return own if run == "x86" else {**found, **own}


@pytest.mark.parametrize("name", OUTCOMES)
def test_rules_say_what_became_of_each_model(model, name):
    graph, outcomes = model(name), OUTCOMES[name]
    for device, runs in (("naive", ("naive",)), ("x86", ("x86",)), ("arm", ("arm", "arm-dot"))):
        found = examine(graph, device)
        broken = {str(f.outcome) for f in found if f.outcome.breaks}
        became = {outcomes[run] for run in runs} - {"right"}
        if (name, device) in LUCK:
            assert broken
            assert not became
        elif name in INEXACT and became:
            assert {f.outcome for f in found} == {Outcome.INEXACT}
        else:
            assert bool(broken) == bool(became), f"{name} on {device}: {found}, {outcomes}"


def _has_codes(name, run):
    """Whether a device ran a model, and the Executor is a device like it."""
    if OUTCOMES[name]["arm"] == "wrong" and run == "arm-dot" and name.startswith("lowest_weights"):
        return False  # the Executor is a device without dot product, whose sums of 16 bits are wrong here
    return all(OUTCOMES[name][each] in ("right", "wrong") for each in ("arm", run))


@pytest.mark.parametrize(("name", "run"), [(n, r) for n in OUTCOMES for r in RUNS if _has_codes(n, r)])
def test_codes_as_on_the_device(model, name, run):
    """Codes are equal, and outputs to the last bits, but for blobs that hold garbage and what is made of them."""
    graph = model(name)
    device = run.partition("-")[0]
    executor = Executor(graph, device=device, high_precision=name.startswith("net_"))
    feed = {key.split("in:")[1]: array for key, array in recorded().items() if key.startswith(f"{name}/in:")}
    blobs = {}
    outputs = executor.run(feed, lambda blob, array: blobs.__setitem__(blob, array.copy()))
    spoilt = _after_garbage(executor.graph, garbage_on(graph, device))
    compared = 0
    for key, wanted in given(name, run).items():
        kind, blob = key.split(":", 1)
        got = (outputs if kind == "out" else blobs).get(blob)
        if got is None or blob in spoilt:
            continue
        compared += 1
        if wanted.dtype == np.int8 and got.dtype == np.int8:
            assert (got.ravel() != wanted.ravel()).sum() <= TIES.get((name, device), 0), blob
        elif wanted.dtype == np.float32:
            peak = np.abs(wanted).max()
            bound = 2e-5 if (name, device) not in TIES else 2e-2
            assert np.abs(got.ravel() - wanted.ravel()).max() <= bound * peak, blob
    assert compared or spoilt


def _after_garbage(graph, garbage):
    spoilt = set(garbage)
    for node in graph.nodes:
        if spoilt & set(node.inputs):
            spoilt |= set(node.outputs)
    return spoilt
