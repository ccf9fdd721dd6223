"""Every model that TNN or its tools wrote loads; those of its quantizer come back byte for byte."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tnnquant.format import model_bytes, read_model, read_proto, read_resources, write_proto
from tnnquant.format.model import attach
from tnnquant.graph import Graph

SHARED = Path(__file__).resolve().parents[3] / "shared"
QUANTIZED = sorted(path.relative_to(SHARED) for path in SHARED.glob("golden/**/model.quantized.tnnproto"))
REAL = sorted(path.relative_to(SHARED) for path in SHARED.glob("data/**/*.tnnproto"))


def pair(folder: Path, proto: Path) -> tuple[bytes, bytes, Graph]:
    model = (folder / proto).with_suffix(".tnnmodel")
    model = model if model.is_file() else None
    return (folder / proto).read_bytes(), model.read_bytes() if model else b"", read_model(folder / proto, model)


def again(graph: Graph) -> Graph:
    return attach(read_proto(write_proto(graph)), read_resources(model_bytes(graph)))


def assert_same(got: Graph, wanted: Graph) -> None:
    assert (got.inputs, got.outputs, got.extra_blobs) == (wanted.inputs, wanted.outputs, wanted.extra_blobs)
    assert len(got.nodes) == len(wanted.nodes)
    for a, b in zip(got.nodes, wanted.nodes, strict=True):
        for entry in ("name", "type_string", "inputs", "outputs", "quantized", "dynamic_range"):
            assert getattr(a, entry) == getattr(b, entry)
        # As words: the proto keeps six digits of a float (2.3333333 becomes 2.33333).
        assert a.layer.tokens() == b.layer.tokens()
        assert_same_tensors(a.tensors, b.tensors)
    assert_same_tensors(got.constants, wanted.constants)
    assert got.scales.keys() == wanted.scales.keys()
    for name, params in wanted.scales.items():
        assert np.array_equal(got.scales[name].scale, params.scale)
        assert np.array_equal(got.scales[name].zero_point, params.zero_point)


def assert_same_tensors(got, wanted) -> None:
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert (got[name].dtype, got[name].dims) == (tensor.dtype, tensor.dims)
        assert got[name].data.tobytes() == tensor.data.tobytes()


@pytest.mark.parametrize("proto", QUANTIZED, ids=lambda path: "/".join(path.parts[1:-1]))
def test_what_the_quantizer_wrote_comes_back(shared, proto):
    text, data, graph = pair(shared, proto)
    assert graph.is_quantized
    assert write_proto(graph) == text
    assert model_bytes(graph) == data


@pytest.mark.parametrize("proto", REAL, ids=lambda path: path.stem)
def test_real_models_load(shared, proto):
    text, data, graph = pair(shared, proto)
    assert_same(again(graph), graph)
    assert write_proto(again(graph)) == write_proto(graph)
    assert model_bytes(again(graph)) == model_bytes(graph)
    # The tools that wrote them leave the type numbers 0 and the last words out; nothing else differs.
    assert len(model_bytes(graph)) == len(data)
    assert write_proto(graph).count(b"\n") == text.count(b"\n")


def test_single_layer_models_load(shared):
    count = 0
    for proto in sorted((shared / "golden" / "layers").glob("*/model.tnnproto")):
        _, _, graph = pair(shared, proto)
        twice = again(graph)
        assert_same(twice, graph)
        assert model_bytes(twice) == model_bytes(graph)
        assert write_proto(twice) == write_proto(graph)
        count += 1
    assert count == 827


def test_arrays_of_a_real_model(shared):
    graph = read_model(shared / "data/squeezenet_v1.1.tnnproto", shared / "data/squeezenet_v1.1.tnnmodel")
    tensors = graph.node("conv1").tensors
    assert tensors["filter"].dims == (64, 3, 3, 3)
    for tensor in tensors.values():
        assert tensor.data.flags.aligned
        assert tensor.data.flags.c_contiguous
        assert tensor.data.flags.writeable


def test_reading_imports_no_numba():
    code = "import sys, tnnquant.format; from tnnquant.layers.base import load_layers; load_layers(); "
    code += "sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_memory_of_reading(shared):
    """The file, and a copy of its arrays: not three times its size."""
    proto, model = (shared / f"data/efficientnet_lite0.{suffix}" for suffix in ("tnnproto", "tnnmodel"))
    read_model(proto, model)
    tracemalloc.start()
    try:
        graph = read_model(proto, model)
        assert tracemalloc.get_traced_memory()[1] < 2.2 * model.stat().st_size
        assert tracemalloc.get_traced_memory()[0] < 1.1 * model.stat().st_size
        assert graph.nodes
    finally:
        tracemalloc.stop()
