"""Type strings without an implementation: they load, save and are refused by name."""

import pytest

from tnnquant.errors import UnsupportedLayerError
from tnnquant.layers.base import find_layer, layer_types
from tnnquant.layers.unsupported import Unimplemented


def test_parameters_are_kept_as_they_stand():
    layer = find_layer("Dropout").parse(["1", "0.50", "x=y"])
    assert layer.tokens() == ["1", "0.50", "x=y"]
    assert layer.resolved([], {}) is layer


def test_refused_with_the_way_out():
    with pytest.raises(UnsupportedLayerError, match=r"LeakyRelu cannot be run: .* use PReLU with one shared slope"):
        find_layer("LeakyRelu")().forward([], None)
    assert "CUDA device only" in find_layer("CbamFusedPooling").WHY_NOT


@pytest.mark.parametrize(
    ("name", "number"), [("BatchNorm", 18), ("SliceCaffe", 102), ("QuantizedMul", 124), ("Gru", 165)]
)
def test_numbers(name, number):
    assert number == find_layer(name).TYPE_ID


def test_none_of_them_runs():
    kinds = {kind for kind in layer_types().values() if issubclass(kind, Unimplemented)}
    assert len(kinds) == 68
    assert not any(kind.runnable() for kind in kinds)
    assert all(kind.WHY_NOT.startswith("TNN ") for kind in kinds)
