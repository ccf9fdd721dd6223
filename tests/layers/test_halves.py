"""The two forms of a layer answer to the same verbs."""

import numpy as np
import pytest

from tnnquant.base.tensor import DataType, QuantParams, Tensor
from tnnquant.errors import UnsupportedLayerError
from tnnquant.graph import Node
from tnnquant.layers.base import BlobScales, BlobSpec, QuantRole, layer_types
from tnnquant.layers.halves import Fp32Half, Int8Half, int8_half


def test_a_node_has_the_half_it_runs():
    kind = layer_types()["ReLU"]
    node = Node("r", "ReLU", kind(), ("a",), ("b",))
    assert isinstance(node.half, Fp32Half)
    assert isinstance(node.replace(quantized=True).half, Int8Half)
    assert node.half.layer is node.layer


def test_both_halves_of_a_relu(rng):
    layer = layer_types()["ReLU"]()
    params = QuantParams(np.float32([0.5]), np.int8([0]))
    values = rng.integers(-100, 100, (1, 4, 3, 3)).astype(np.int8)
    for half, x, spec in (
        (Fp32Half(layer), values.astype(np.float32), DataType.FLOAT), (int8_half(layer), values, DataType.INT8),
    ):  # fmt: skip
        inputs = [BlobSpec(x.shape, spec)]
        outputs = half.output_specs(inputs, {})
        assert outputs[0].dtype == spec
        assert half.runnable
        state = half.prepare({}, inputs, outputs, BlobScales((params,), (params,)))
        (result,) = half.forward([x], outputs, state)
        np.testing.assert_array_equal(result, np.maximum(x, 0))


def test_what_a_type_lacks():
    half = int8_half(layer_types()["Gather"]())
    assert (half.runnable, half.MISSING) == (False, "int8 form")
    with pytest.raises(UnsupportedLayerError, match="Gather has no int8 form"):
        half.prepare({"x": Tensor(np.zeros(1, np.float32))}, [], [], BlobScales((), ()))


def test_every_type_with_a_role_has_both_halves():
    for kind in set(layer_types().values()):
        if kind.QUANT != QuantRole.NONE:
            assert kind.runnable() == kind.runnable_int8(), kind
