"""Binary arithmetic against TNN's loop over clamped indices."""

import itertools

import numpy as np
import pytest

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, QuantRole, find_layer

f32 = np.float32
FUNCTIONS = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Maximum": lambda a, b: np.where(a < b, b, a),
    "Minimum": lambda a, b: np.where(b < a, b, a),
    "SquaredDifference": lambda a, b: (a - b) * (a - b),
}
SHAPES = [
    ((1, 3, 5, 7), (1, 3, 5, 7)),
    ((2, 17, 3, 2), (1, 17, 1, 1)),
    ((2, 17, 3, 2), (2, 1, 3, 2)),
    ((1, 1, 1, 1), (1, 5, 3, 4)),
    ((2, 1, 4, 5), (1, 3, 4, 1)),
    ((2, 3, 4), (4,)),
    ((3, 1, 2), (2, 1, 4, 2)),
    ((7,), (7,)),
    ((1,), (2, 3)),
    ((2, 2, 3, 2, 2), (2, 1, 1, 2)),
    ((3, 2, 1, 3), (2, 1, 2, 1, 1)),
    ((2, 1, 3, 1, 2, 1), (1, 4, 1, 2, 1, 3)),
]


def clamped(function, a, b):
    """TNN's broadcasting (docs/tnn-format.md, 5.3), one element at a time."""
    dims = [max(pair) for pair in itertools.zip_longest(a.shape[::-1], b.shape[::-1], fillvalue=1)][::-1]
    out = np.empty(dims, a.dtype)
    for index in np.ndindex(*dims):
        u, v = (
            x[tuple(min(i, d - 1) for i, d in zip(index[len(dims) - x.ndim :], x.shape, strict=True))] for x in (a, b)
        )
        with np.errstate(all="ignore"):
            out[index] = function(u, v)
    return out


def _random(rng, shape):
    return (rng.standard_normal(shape) + 0.1).astype(f32)


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_two_blobs(rng, run_layer, kind, shapes):
    a, b = (_random(rng, shape) for shape in shapes)
    for x, y in ((a, b), (b, a)):
        np.testing.assert_array_equal(run_layer(kind, "-1", x, y)[0], clamped(FUNCTIONS[kind], x, y))


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_more_blobs_fold_from_the_left(rng, run_layer, kind):
    blobs = [_random(rng, shape) for shape in ((2, 3), (2, 3), (3,), (1,), (2, 1))]
    want = blobs[0]
    for blob in blobs[1:]:
        want = clamped(FUNCTIONS[kind], want, blob)
    np.testing.assert_array_equal(run_layer(kind, "-1", *blobs)[0], want)


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("shape", "operand", "stored"),
    [
        ((2, 5, 3, 4), (5, 1, 1), (1, 5, 1, 1)),
        ((2, 5, 3, 4), (5, 3, 4), (1, 5, 3, 4)),
        ((1, 3, 4, 5), (3,), (3,)),
        ((2, 3, 4), (3, 4), (3, 4)),
        ((2, 6), (6,), (6,)),
        ((2, 5, 1, 4), (2, 5, 6, 4), (2, 5, 6, 4)),
        ((2, 5, 3, 4), (1,), None),
        ((2, 5, 3, 4), (5, 1, 1), None),
        ((2, 5, 3, 4), (5, 3, 4), None),
        ((2, 5, 3, 4), (4,), None),
        ((2, 5, 3, 4), (3, 4), None),
        ((1, 4, 3, 4), (4, 1, 1), None),
        ((2, 3, 4), (3, 1), None),
        ((2, 6), (6,), None),
        ((4,), (1,), None),
        ((1, 2, 3, 4, 5), (4,), None),
    ],
    ids=str,
)
def test_operand_in_the_resource(rng, run_layer, kind, first, shape, operand, stored):
    x, element = _random(rng, shape), _random(rng, operand)
    if len(shape) == 5 and stored is None:
        element = element.reshape(4, 1)  # a size equal to dims[3] runs along axis 3
    pair = (element, x) if first == 0 else (x, element)
    tensor = Tensor(element.reshape(-1), stored or ())
    got = run_layer(kind, str(first), x, tensors={"element": tensor})[0]
    np.testing.assert_array_equal(got, clamped(FUNCTIONS[kind], *pair))


def test_half_precision_operand(run_layer):
    tensor = Tensor.from_array(np.array([0.5, 2], np.float16))
    assert run_layer("Add", "1", np.array([[1, 1]], f32), tensors={"element": tensor})[0].tolist() == [[1.5, 3]]


def test_int32(rng, run_layer):
    a = np.array([[-7, 7, 2**31 - 1, 5]], np.int32)
    b = np.array([[2], [-2], [0]], np.int32)
    np.testing.assert_array_equal(run_layer("Add", "-1", a, b)[0], a + b)
    np.testing.assert_array_equal(run_layer("Sub", "-1", a, b)[0], a - b)
    np.testing.assert_array_equal(run_layer("Mul", "-1", a, b)[0], a * b)
    assert run_layer("Div", "-1", a, b)[0].tolist() == [[-3, 3, 1073741823, 2], [3, -3, -1073741823, -2], [0] * 4]
    tensor = Tensor.from_array(np.array([3], np.int32))
    assert run_layer("Div", "0", np.array([2, -2], np.int32), tensors={"element": tensor})[0].tolist() == [1, -1]


@pytest.mark.parametrize("kind", ["Maximum", "Minimum", "SquaredDifference"])
def test_int32_that_tnn_refuses(run_layer, kind):
    x = np.zeros((2, 2), np.int32)
    with pytest.raises(UnsupportedLayerError, match="input 0 is INT32; TNN's kernel takes FLOAT only"):
        run_layer(kind, "-1", x, x)


def test_int8_and_mixed_types_are_refused(run_layer):
    for kind in ("Add", "Mul", "Div"):
        with pytest.raises(UnsupportedLayerError, match="input 0 is INT8"):
            run_layer(kind, "-1", np.zeros(3, np.int8), np.zeros(3, np.int8))
    with pytest.raises(UnsupportedLayerError, match="input 0 is FLOAT, input 1 is INT32"):
        run_layer("Add", "-1", np.zeros(3, f32), np.zeros(3, np.int32))


def test_and(run_layer):
    a, b = np.array([[2, 0, -1, 0]], np.int8), np.array([[1], [0]], np.int8)
    assert run_layer("And", "-1", a, b)[0].tolist() == [[1, 0, 1, 0], [0] * 4]
    tensor = Tensor.from_array(np.array([0, 1, 1, 5], np.int8))
    assert run_layer("And", "1", a, tensors={"element": tensor})[0].tolist() == [[0, 0, 1, 0]]
    with pytest.raises(UnsupportedLayerError, match="TNN's kernel takes INT8 only"):
        run_layer("And", "-1", np.zeros(2, f32), np.zeros(2, f32))


def test_special_values(run_layer):
    a = np.array([3e38, -3e38, 1e-38, 0, 1, np.nan, 1, np.inf], f32)
    b = np.array([3e38, 3e38, 1e-38, 0, 0, 1, np.nan, np.inf], f32)
    for kind, function in FUNCTIONS.items():
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(run_layer(kind, "-1", a, b)[0], function(a, b))
    assert run_layer("Maximum", "-1", a[5:7], b[5:7])[0].tolist()[1] == 1


@pytest.mark.parametrize(
    ("line", "shape", "element", "message"),
    [
        ("1", (1, 3, 4, 5), None, "no operand in the .tnnmodel"),
        ("2", (1, 3, 4, 5), np.ones(3, f32), "weight_input_index is 2, expected 0 or 1"),
        ("1", (1, 3, 4, 5), np.ones(7, f32), "7 values without dims, which fit no axes of 1x3x4x5"),
        ("1", (1, 3, 4, 5), np.ones(3, np.int32), "operand in the .tnnmodel is INT32, the input is FLOAT"),
    ],
)
def test_resources_that_do_not_fit(run_layer, line, shape, element, message):
    tensors = {} if element is None else {"element": Tensor(element, (), DataType.of(element))}
    with pytest.raises(GraphError, match=message):
        run_layer("Add", line, np.zeros(shape, f32), tensors=tensors)


def test_shapes_that_do_not_fit(run_layer):
    with pytest.raises(GraphError, match="operands of 2x3 and 2x4 cannot be broadcast"):
        run_layer("Mul", "-1", np.zeros((2, 3), f32), np.zeros((2, 4), f32))
    with pytest.raises(GraphError, match="dims 2x2 but 3 values"):
        run_layer("Mul", "1", np.zeros((2, 3), f32), tensors={"element": Tensor(np.ones(3, f32), (2, 2))})


def test_only_add_of_equal_blobs_can_be_int8():
    add = find_layer("QuantizedAdd")()
    specs = [BlobSpec((1, 8, 4, 4)), BlobSpec((1, 8, 4, 4))]
    assert add.role == QuantRole.JOIN
    assert add.why_not_int8(specs, {}) is None
    assert "does not broadcast" in add.why_not_int8([specs[0], BlobSpec((1, 8, 1, 1))], {})
    assert "blobs only" in add.why_not_int8(specs[:1], {})
    assert find_layer("Mul")().role == QuantRole.NONE


def test_a_constant_operand_does_not_set_the_type(rng, run_layer):
    x, constant = _random(rng, (2, 3)), _random(rng, (3,))
    np.testing.assert_array_equal(run_layer("Sub", "-1", constant, x, constant=(0,))[0], constant - x)
