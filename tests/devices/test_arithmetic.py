"""The Executor as on ARM, beside what TNN's ARM device gave (numbers of tests/devices/data)."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError
from tnnquant.format import read_model
from tnnquant.quantization.quantize import quantize_graph

DATA = Path(__file__).parent / "data"


def differing(name, run, **kwargs):
    """Codes of int8 blobs that differ from the device's, and the largest difference of an output to its peak."""
    stored = np.load(DATA / f"{name}.npz")
    executor = Executor(read_model(DATA / f"{name}.tnnproto", DATA / f"{name}.tnnmodel"), **kwargs)
    feed = {key[3:]: stored[key].reshape(executor.specs[key[3:]].dims) for key in stored if key.startswith("in:")}
    blobs = {}
    outputs = executor.run(feed, lambda blob, array: blobs.__setitem__(blob, array.copy()))
    codes = sum(
        int((blobs[key.split(":")[1]].ravel() != stored[key].ravel()).sum())
        for key in stored if key.startswith(f"{run}/blob:")
    )  # fmt: skip
    pairs = [
        (outputs[key.split(":")[1]].ravel(), stored[key].ravel()) for key in stored if key.startswith(f"{run}/out:")
    ]
    return codes, max(float(np.abs(got - wanted).max() / np.abs(wanted).max()) for got, wanted in pairs)


@pytest.mark.parametrize("name", ["sigmoid_out", "squeeze_excite", "swish_parts", "add_saturation", "add_ties"])
def test_equal_to_the_device(name):
    assert differing(name, "arm_dot", device="arm") == (0, 0.0)


@pytest.mark.parametrize("name", ["sigmoid_out", "squeeze_excite", "swish_parts"])
def test_equal_with_high_precision(name):
    codes, error = differing(name, "arm_dot_high", device="arm", high_precision=True)
    assert codes == 0
    assert error < 2e-7


def test_the_naive_arithmetic_differs_there():
    assert differing("sigmoid_out", "arm_dot")[1] > 1e-4
    assert differing("squeeze_excite", "arm_dot")[0] > 0
    assert differing("add_saturation", "arm_dot")[0] == 1
    assert differing("add_ties", "arm_dot")[0] > 100


def test_a_device_whose_arithmetic_is_not_known():
    with pytest.raises(ConfigError, match="'gpu' is not known, expected naive, arm or x86"):
        differing("sigmoid_out", "arm_dot", device="gpu")


def blobs_of(graph, arrays, **kwargs):
    blobs = {}
    outputs = Executor(graph, **kwargs).run(arrays, lambda name, array: blobs.__setitem__(name, array.copy()))
    return {**outputs, **blobs}


def quantized(net, rng, *outputs, **options):
    arrays = [{"input": rng.standard_normal(net.inputs["input"].dims).astype(np.float32)} for _ in range(3)]
    samples = [SimpleNamespace(name=f"s{i}", arrays=each) for i, each in enumerate(arrays)]
    return quantize_graph(net.graph(*outputs), samples, QuantizeConfig(device="naive", **options)).graph, arrays[0]


def test_only_the_first_picture_of_an_int8_add_is_no_garbage(build, rng):
    net = build((2, 4, 6, 6))
    x = net.conv("input", 4, 8, name="first")
    graph, arrays = quantized(net, rng, net.add("Add", [net.conv(x, 8, 8, name="second"), x], -1, name="sum"))
    plain = blobs_of(graph, arrays)
    for device in ("arm", "x86"):
        there = blobs_of(graph, arrays, device=device)
        assert np.array_equal(there["second_out"], plain["second_out"])
        assert np.abs(there["sum_out"][0].astype(int) - plain["sum_out"][0]).max() <= 1
        assert (there["sum_out"][1] == -128).all()


@pytest.mark.parametrize(("channels", "is_garbage"), [(10, True), (12, False)])
def test_an_fp32_convolution_reads_what_lies_beyond_ragged_channels(build, rng, channels, is_garbage):
    net = build((1, 4, 6, 6))
    x = net.conv("input", 4, channels, name="first")
    graph, arrays = quantized(net, rng, net.conv(x, channels, 4, name="second"), exclude=("second",))
    there = blobs_of(graph, arrays, device="arm")
    assert np.isnan(there["second_out"]).all() == is_garbage
    assert np.isfinite(blobs_of(graph, arrays, device="x86")["second_out"]).all()


def test_a_layer_that_knows_the_plain_order_only_makes_garbage_in_a_mixed_model(build, rng):
    net = build((1, 4, 6, 6))
    x = net.conv("input", 4, 8, name="first")
    out = net.add("Squeeze", net.pool(x, 1, kernel=6, stride=1, pad=0, kernel_w=1), (2,))
    graph, arrays = quantized(net, rng, out)
    assert not np.isnan(blobs_of(graph, arrays, device="arm")[out]).any(), "8 channels: as in plain order"
    net = build((1, 4, 6, 6))
    x = net.conv("input", 4, 7, name="first")
    out = net.add("Squeeze", net.pool(x, 1, kernel=6, stride=1, pad=0, kernel_w=1), (2,))
    graph, arrays = quantized(net, rng, out)
    assert np.isnan(blobs_of(graph, arrays, device="arm")[out]).all()
    assert np.isfinite(blobs_of(net.graph(out), arrays, device="arm")[out]).all(), "not in an fp32 model"


#: Codes that differ by fp32 sums in another order; blobs that the device left to memory that nobody wrote.
MEASURED = {"edge12": 6, "edge16": 4}
GARBAGE = {"batch2_1x1", "batch2_add", "old_nan11", "old_nan3", "old_nan13", "old_nansig18"}


@pytest.mark.parametrize("run", ["arm_a53", "arm_dot", "x86"])
def test_every_measured_net(shared, run):
    """All codes of all nets that the devices ran, as the device made them."""
    folder = shared / "golden" / "devices"
    compared = 0
    for name, entry in json.loads((folder / "manifest_nets.json").read_text()).items():
        if name in GARBAGE or entry["devices"][run]["status"] != "ran":
            continue
        stored = np.load(folder / "nets" / f"{name}.npz")
        graph = read_model(folder / "nets" / f"{name}.tnnproto", folder / "nets" / f"{name}.tnnmodel")
        executor = Executor(graph, device=run[:3])
        feed = {key[3:]: stored[key].reshape(executor.specs[key[3:]].dims) for key in stored if key.startswith("in:")}
        blobs = {}
        executor.run(feed, lambda blob, array, blobs=blobs: blobs.__setitem__(blob, array.copy()))
        keys = [key for key in stored if key.startswith(f"{run}/blob:")]
        differ = sum(
            int((blobs[blob].ravel() != stored[key].ravel()).sum())
            for key in keys for blob in (key.split(":")[1],) if blob in blobs and blobs[blob].dtype == np.int8
        )  # fmt: skip
        compared += sum(stored[key].size for key in keys)
        assert differ <= (MEASURED.get(name, 0) if run != "x86" else 0), f"{name}: {differ}"
    assert compared > 300_000


@pytest.mark.parametrize("device", ["arm", "x86"])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(0, 1, 0), (2, 2, 0), (3, 2, 1), (4, 3, 1)])
def test_averages_are_sums_by_the_reciprocal_of_the_count(build, rng, device, kernel, stride, pad):
    """In this order, in float32: value by value what TNN's devices gave for 40 poolings."""
    net = build((2, 5, 9, 7))
    graph = net.graph(net.pool("input", 1, kernel=kernel, stride=stride, pad=pad))
    x = rng.standard_normal((2, 5, 9, 7)).astype(np.float32)
    ((name, got),) = Executor(graph, device=device).run({"input": x}).items()
    rows, columns = (kernel, kernel) if kernel else (9, 7)
    for i, j in np.ndindex(got.shape[2:]):
        total, count = np.zeros((2, 5), np.float32), 0
        for row in range(max(0, i * stride - pad), min(9, i * stride - pad + rows)):
            for column in range(max(0, j * stride - pad), min(7, j * stride - pad + columns)):
                total, count = total + x[:, :, row, column], count + 1
        np.testing.assert_array_equal(got[:, :, i, j], total * np.float32(1 / count))
    np.testing.assert_allclose(got, Executor(graph).run({"input": x})[name], rtol=1e-4, atol=1e-6)


def test_a_window_in_the_padding_gives_the_lowest_code_that_maxima_start_from(build, rng):
    net = build((1, 4, 5, 6))
    x = net.conv("input", 4, 8, name="first")
    graph, arrays = quantized(net, rng, net.pool(x, kernel=1, stride=2, pad=1))
    (name,) = graph.outputs
    plain, there = (blobs_of(graph, arrays, device=device) for device in ("naive", "x86"))
    for made, code in ((plain, 0), (there, -127)):
        assert made[name].dtype == np.int8
        assert (made[name][:, :, 0] == code).all()
    assert np.array_equal(plain[name][:, :, 1:-1, 1:-1], there[name][:, :, 1:-1, 1:-1])
