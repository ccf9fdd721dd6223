"""Every layer type comes back as it was written: parameters and tensors drawn from its own declaration."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import ModelFormatError
from tnnquant.format import model_bytes, read_model, read_proto, write_model, write_proto
from tnnquant.format.model import attach, read_resources
from tnnquant.graph import Graph, InputSpec, Node, QuantParams, Resource
from tnnquant.layers.base import find_layer, layer_types
from tnnquant.layers.fields import FlagField, ScaleField, TensorField, TextField

TYPES = sorted(layer_types())
DRAWS = 3

# PadV2 counts axes but lists a begin and an end of each: an even number of values.
EVEN_COUNTS = {"PadV2"}


def random_tokens(kind: type, rng: np.random.Generator) -> list[str]:
    """Words for every parameter the type declares; floats have few digits, as the proto keeps only six."""
    words = []
    for entry in dataclasses.fields(kind):
        one = {"float": lambda: f"{rng.integers(-4000, 4000) / 1000:g}", "str": lambda: "ij;jk->ik"}
        how = entry.metadata["kind"]
        number = one.get(how.removesuffix("s") if how != "str" else how, lambda: str(rng.integers(-9, 99)))
        count = int(rng.integers(0, 4))
        if how in ("ints", "floats"):
            even = bool(EVEN_COUNTS.intersection(kind.TYPE_NAMES))
            words += [str(count)] + [number() for _ in range(2 * count if even else count)]
        elif how == "rest":
            words += [number() for _ in range(count)]
        else:
            words.append(str(rng.integers(0, 2)) if how == "bool" else number())
    return words


def random_tensor(rng: np.random.Generator, dtype: DataType) -> Tensor:
    dims = tuple(int(d) for d in rng.integers(1, 4, rng.integers(0, 4)))
    size = int(np.prod(dims)) if dims else int(rng.integers(1, 9))
    data = rng.integers(0, 256, size * dtype.numpy.itemsize, np.uint8).view(dtype.numpy)
    return Tensor(data, dims, dtype)


def random_resource(kind: type, rng: np.random.Generator, node: Node) -> Resource:
    """Tensors for every field; flags switch some of them off; what scales belong to is INT8 half of the time."""
    scaled = {entry.of for entry in kind.RESOURCE if isinstance(entry, ScaleField)}
    tensors: dict[str, Tensor] = {}
    extras: dict[str, str | int] = {}
    for entry in kind.RESOURCE:
        match entry:
            case TextField(name=name, layer_name=False):
                extras[name] = "a string with \udcff"
            case FlagField(name=name):
                extras[name] = int(rng.integers(0, 2))
            case TensorField(name=name, when=when) if when is None or extras[when]:
                codes = [DataType.FLOAT, DataType.HALF, DataType.INT32, DataType.BFP16]
                int8 = name in scaled and (rng.integers(0, 2) or node.quantized or node.dynamic_range)
                tensors[name] = random_tensor(rng, DataType.INT8 if int8 else codes[rng.integers(0, len(codes))])
            case ScaleField(of=of, zero_point=zero_point) if of in tensors and tensors[of].dtype == DataType.INT8:
                tensors["scale"] = random_tensor(rng, DataType.FLOAT)
                if zero_point and not node.dynamic_range:
                    tensors["zero_point"] = Tensor(np.ones(tensors["scale"].size, np.int8), (), DataType.INT8)
    return Resource(tensors, extras, node.type_string)


def has_body(kind: type) -> bool:
    return bool(kind.RESOURCE)


def assert_same_node(got: Node, wanted: Node) -> None:
    for entry in ("name", "type_string", "layer", "inputs", "outputs", "quantized", "dynamic_range"):
        assert getattr(got, entry) == getattr(wanted, entry)
    assert (got.resource is None) == (wanted.resource is None)
    if wanted.resource is None:
        return
    assert got.resource.type_string == wanted.resource.type_string
    assert got.resource.extras == wanted.resource.extras
    assert got.tensors.keys() == wanted.tensors.keys()
    for name, tensor in wanted.tensors.items():
        again = got.tensors[name]
        assert (again.dtype, again.dims, again.data.tobytes()) == (tensor.dtype, tensor.dims, tensor.data.tobytes())


def random_graph(type_string: str, rng: np.random.Generator) -> Graph:
    kind = find_layer(type_string)
    node = Node(
        "the_layer",
        type_string,
        kind.parse(random_tokens(kind, rng)),
        ("a", "b"),
        ("y", "z"),
        quantized=type_string.startswith("Quantized"),
        dynamic_range=type_string.startswith("DynamicRangeQuantized"),
    )
    if has_body(kind):
        node = node.replace(resource=random_resource(kind, rng, node))
    inputs = {"a": InputSpec((1, 3, 8, 8)), "b": InputSpec((2,), DataType.INT32)}
    scales = {name: QuantParams(np.ones(3, np.float32), np.ones(3, np.int8)) for name in "abyz"}
    return Graph(inputs, ("y",), (node,), {"k": random_tensor(rng, DataType.INT64)}, scales if node.quantized else {})


@pytest.mark.parametrize("type_string", TYPES)
def test_every_type_comes_back(type_string, rng):
    for _ in range(DRAWS):
        graph = random_graph(type_string, rng)
        proto, model = write_proto(graph), model_bytes(graph)
        again = attach(read_proto(proto), read_resources(model))
        assert_same_node(again.nodes[0], graph.nodes[0])
        assert again.inputs == graph.inputs
        assert again.scales.keys() == graph.scales.keys()
        assert again.constants["k"].data.tobytes() == graph.constants["k"].data.tobytes()
        assert write_proto(again) == proto
        assert model_bytes(again) == model


@pytest.mark.parametrize("type_string", TYPES)
def test_fewest_words_of_every_type(type_string):
    """A line that stops right after the blob names is read, or refused by the name of what is missing."""
    kind = find_layer(type_string)
    wanted = [entry for entry in dataclasses.fields(kind) if entry.metadata["required"]]
    if [entry for entry in wanted if entry.metadata["kind"] != "rest"]:
        with pytest.raises(ModelFormatError, match=f"parameter '{wanted[0].name}' is missing"):
            kind.parse([])
    else:
        words = kind.parse([]).tokens()
        assert kind.parse(words).tokens() == words


def test_the_table_of_types_is_complete():
    # Counted in docs/tnn-format.md, 3.1.
    assert len(TYPES) == 230
    assert len(set(layer_types().values())) == 193
    assert len({kind.TYPE_ID for kind in layer_types().values()}) == 193


def test_a_pair_of_files_comes_back(tmp_path, rng):
    graph = random_graph("QuantizedConvolution", rng)
    paths = tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel"
    write_model(graph, *paths)
    again = read_model(*paths)
    assert_same_node(again.nodes[0], graph.nodes[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.tnnmodel", "m.tnnproto"]
    write_model(again, tmp_path / "n.tnnproto", tmp_path / "n.tnnmodel")
    assert (tmp_path / "n.tnnproto").read_bytes() == paths[0].read_bytes()
    assert (tmp_path / "n.tnnmodel").read_bytes() == paths[1].read_bytes()
    assert read_model(str(paths[0])).nodes[0].resource is None
