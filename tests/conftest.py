"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

# --- NUMBA_DISABLE_JIT=1: kernels run as Python, a thousand times slower, and some of them not at all ---

_NO_JIT = os.environ.get("NUMBA_DISABLE_JIT") == "1"
#: What errors of code that exists only compiled say: vector code is emitted as LLVM IR, programs are tables of
#: addresses of machine code.
_ONLY_COMPILED = ("not usable in pure-python", "get_compile_result", "exist only compiled")
#: Seconds of processor time after which a test is skipped.
_PATIENCE = 5


@contextmanager
def _limited():
    def stop(*_):
        pytest.skip(f"takes more than {_PATIENCE} s of processor time as Python")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, _PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _skip_without_compiler():
    """A hook around what may need the compiler; tests that do are skipped, with the reason."""
    if not _NO_JIT:
        return (yield)
    try:
        with _limited():
            return (yield)
    except Exception as error:
        if any(text in str(error) for text in _ONLY_COMPILED):
            pytest.skip(f"exists only compiled: {error}")
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    """Fixtures that quantize."""
    return (yield from _skip_without_compiler())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Tests."""
    return (yield from _skip_without_compiler())


REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20261123)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and golden results beside the repository; tests that need it skip without it."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip(f"needs the folder of golden files {folder}, which is not part of the repository")
    return folder


class NetBuilder:
    """Builds small graphs: each method adds a layer and returns the name of its output blob."""

    def __init__(self, rng: np.random.Generator, dims=(1, 3, 12, 10), name: str = "input"):
        from tnnquant.graph import InputSpec

        self.rng = rng
        self.inputs = {name: InputSpec(tuple(dims))}
        self.nodes = []
        self.constants = {}

    def add(self, type_string, inputs, *values, tensors=None, name=None, outputs=1, **params):
        """Any layer: positional or named parameters of its class; ``tensors``: arrays of its resource by field name."""
        from tnnquant.base.tensor import Tensor
        from tnnquant.graph import Node, Resource
        from tnnquant.layers.base import find_layer

        kind = find_layer(type_string)
        name = name or f"{kind.TYPE_NAMES[0].lower()}{len(self.nodes)}"
        inputs = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        made = (f"{name}_out",) if outputs == 1 else tuple(f"{name}_out{i}" for i in range(outputs))
        resource = None
        if tensors is not None:
            extras = {"name": name, "has_bias": "bias" in tensors}
            stored = {key: Tensor.from_array(np.asarray(value), with_dims=False) for key, value in tensors.items()}
            resource = Resource(stored, extras, type_string)
        self.nodes.append(Node(name, type_string, kind(*values, **params), inputs, made, resource))
        return made[0] if outputs == 1 else made

    def conv(
        self, source, channels, out_channels, kernel=3, *, groups=1, stride=1, pad=None, bias=True, name=None, **params
    ):
        """A convolution with random weights that keep the variance, and a random bias."""
        pad = kernel // 2 if pad is None else pad
        fan_in = channels // groups * kernel * kernel
        weight = self.rng.standard_normal((out_channels, channels // groups, kernel, kernel)) * (2 / fan_in) ** 0.5
        tensors = {"filter": weight.astype(np.float32)}
        if bias:
            tensors["bias"] = (self.rng.standard_normal(out_channels) * 0.1).astype(np.float32)
        fields = {
            "group": groups, "input_channel": channels // groups, "output_channel": out_channels,
            "kernel_h": kernel, "kernel_w": kernel, "stride_h": stride, "stride_w": stride, "pad_h": pad, "pad_w": pad,
            "bias": int(bias), "pad_type": -1,
        }  # fmt: skip
        return self.add("Convolution", source, tensors=tensors, name=name, **{**fields, **params})

    def pool(self, source, kind=0, kernel=2, stride=2, pad=0, **params):
        """A maximum (kind 0) or average (1) pooling."""
        fields = {
            "pool_type": kind, "kernel_h": kernel, "kernel_w": kernel, "stride_h": stride, "stride_w": stride,
            "pad_h": pad, "pad_w": pad, "pad_type": -1,
        }  # fmt: skip
        return self.add("Pooling", source, **{**fields, **params})

    def inner_product(self, source, length, count, **params):
        """An inner product with random weights and bias."""
        weight = (self.rng.standard_normal((count, length)) / length**0.5).astype(np.float32)
        bias = (self.rng.standard_normal(count) * 0.1).astype(np.float32)
        fields = {"num_output": count, "has_bias": 1, "transpose": 0, "axis": 1}
        return self.add("InnerProduct", source, tensors={"weight": weight, "bias": bias}, **{**fields, **params})

    def graph(self, *outputs):
        """The graph so far."""
        from tnnquant.base.tensor import Tensor
        from tnnquant.graph import Graph

        constants = {name: Tensor.from_array(np.asarray(value)) for name, value in self.constants.items()}
        return Graph(self.inputs, tuple(sorted(outputs)), tuple(self.nodes), constants)


@pytest.fixture
def build(rng):
    """A function ``build(dims)`` that starts a :class:`NetBuilder`."""
    return lambda dims=(1, 3, 12, 10), name="input": NetBuilder(rng, dims, name)


# --- a model to look into, as a graph, as files, and quantized ---


@pytest.fixture
def inspected(build):
    """A small graph with layers of every role: fused, int8, fp32 for a reason."""
    net = build((1, 3, 16, 12))
    a = net.add("ReLU", net.conv("input", 3, 8, name="stem"), name="stem_relu")
    left = net.conv(a, 8, 4, kernel=1, name="left")
    both = net.add("Concat", [left, net.conv(a, 8, 4, groups=4, name="right")], 1, name="join")
    soft = net.add("Sigmoid", net.pool(both, name="pool"), name="gate")
    out = net.inner_product(soft, 8 * 8 * 6, 5, name="fc")
    return net.graph(out)


@pytest.fixture
def inspected_files(inspected, tmp_path):
    """The same on disk: the name without suffix."""
    from tnnquant.format import write_model

    write_model(inspected, tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel")
    return str(tmp_path / "net")


@pytest.fixture
def pictures(tmp_path):
    """A folder of 6 pictures."""
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (16, 12, 3), np.uint8)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture
def quantized(inspected, pictures):
    """The small graph quantized over the pictures."""
    from tnnquant.config import QuantizeConfig
    from tnnquant.inputs import InputConfig, Samples, scan
    from tnnquant.quantization.quantize import quantize_graph

    samples = Samples(scan(pictures), inspected.inputs, InputConfig(mean=(127.5,), scale=(1 / 127.5,)))
    return quantize_graph(inspected, samples, QuantizeConfig()).graph


@pytest.fixture
def quantized_files(quantized, tmp_path):
    """The quantized graph on disk: the name without suffix."""
    from tnnquant.format import write_model

    write_model(quantized, tmp_path / "small.tnnproto", tmp_path / "small.tnnmodel")
    return str(tmp_path / "small")
