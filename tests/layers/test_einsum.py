"""Einstein sums against numpy.einsum in double."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer

CASES = [
    ("ij;jk->ik", (3, 4), (4, 5)),
    ("ij;kj->ki", (3, 4), (5, 4)),
    ("bhid;bhjd->bhij", (2, 3, 4, 17), (2, 3, 5, 17)),
    ("bhij;bhjd->bihd", (2, 3, 4, 5), (2, 3, 5, 6)),
    ("i;j->ij", (3,), (4,)),
    ("ij;ij->ij", (3, 4), (3, 4)),
    ("ij;j->i", (3, 4), (4,)),
    ("bij;bij->b", (2, 3, 4), (2, 3, 4)),
    ("ijk;k->ji", (2, 3, 4), (4,)),
    ("ij;kl->ik", (2, 3), (4, 5)),
    ("...ij;...jk->...ik", (2, 3, 4), (2, 4, 5)),
    ("...ij;jk->ik...", (2, 3, 4), (4, 5)),
    ("i...;i->...", (2, 3, 4), (2,)),
    ("ij;jk", (3, 4), (4, 5)),
    ("b...;b...", (2, 3), (2, 3)),
    ("ji->ij", (3, 4)),
    ("ijk->k", (3, 4, 5)),
    ("ii->i", (3, 3)),
    ("iji;j->i", (3, 4, 3), (4,)),
    ("ij;jk;kl->il", (2, 3), (3, 4), (4, 5)),
    ("ij;ij;i->j", (2, 3), (2, 3), (2,)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_values(rng, run_layer, case):
    equation, *shapes = case
    inputs = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    (got,) = run_layer("Einsum", equation, *inputs)
    wanted = np.einsum(equation.replace(";", ","), *(x.astype(np.float64) for x in inputs))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_axes_of_size_1_are_broadcast(rng, run_layer):
    a, b = rng.standard_normal((1, 3, 4)).astype(np.float32), rng.standard_normal((2, 1, 5)).astype(np.float32)
    (got,) = run_layer("Einsum", "bij;bjk->bik", a, b)
    np.testing.assert_allclose(got, a.sum(2, keepdims=True) @ b, rtol=0, atol=1e-5)
    (got,) = run_layer("Einsum", "...i;...i->...", a, b[..., :4].copy())
    np.testing.assert_allclose(got, (a * b[..., :4]).sum(2), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "shapes"), [("i;i->", [(5,), (5,)]), ("ij;jk->", [(2, 3), (3, 4)]), ("ij->", [(2, 3)])]
)
def test_a_full_contraction_has_dims_1(rng, run_layer, equation, shapes):
    inputs = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    (got,) = run_layer("Einsum", equation, *inputs)
    assert got.shape == (1,)
    np.testing.assert_allclose(got[0], np.einsum(equation.replace(";", ","), *inputs), rtol=1e-5)


@pytest.mark.parametrize(
    ("equation", "shapes", "message"),
    [
        ("ij;jk->ik", [(2, 3), (4, 5)], "'j' stands for axes of 3 and of 4"),
        ("ij;jk->ik", [(2, 3)], "has 2 operands, the layer 1"),
        ("ij->ij", [(2, 3, 4)], "names 'ij' for an input of rank 3"),
        ("ij->ik", [(2, 3)], "output of the equation"),
        ("ij->ii", [(2, 3)], "output of the equation"),
        ("i1->i", [(2, 3)], "other signs"),
        ("ii->i", [(2, 3)], "different sizes"),
    ],
)
def test_errors(equation, shapes, message):
    with pytest.raises(GraphError, match=message):
        find_layer("Einsum")(equation).output_specs([BlobSpec(shape) for shape in shapes], {})


def test_macs():
    specs = [BlobSpec((2, 3)), BlobSpec((3, 5))]
    assert find_layer("Einsum")("ij;jk->ik").macs(specs, []) == 30
