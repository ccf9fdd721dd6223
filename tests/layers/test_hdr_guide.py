"""The guide map of HDRnet."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, find_layer

SIZES = {"ccm_weight": 9, "ccm_bias": 3, "shifts": 12, "slopes": 12, "projection_weight": 3, "projection_bias": 1}


def test_values(rng, run_layer):
    tensors = {name: rng.uniform(-0.5, 0.8, size).astype(np.float32) for name, size in SIZES.items()}
    x = rng.uniform(0, 1, (2, 3, 4, 5)).astype(np.float32)
    (got,) = run_layer("HDRGuide", "", x, tensors=tensors)
    wide = {name: value.astype(np.float64) for name, value in tensors.items()}
    mixed = np.einsum("oc,nchw->nohw", wide["ccm_weight"].reshape(3, 3), x) + wide["ccm_bias"][:, None, None]
    bends = np.maximum(mixed[:, :, None] - wide["shifts"].reshape(3, 4, 1, 1), 0)
    curves = (wide["slopes"].reshape(3, 4, 1, 1) * bends).sum(2)
    wanted = np.einsum("c,nchw->nhw", wide["projection_weight"], curves) + wide["projection_bias"]
    np.testing.assert_allclose(got[:, 0], np.clip(wanted, 0, 1), rtol=0, atol=1e-5)


def test_errors():
    layer = find_layer("HDRGuide")()
    with pytest.raises(GraphError, match="expected \\(N, 3, H, W\\)"):
        layer.output_specs([BlobSpec((1, 4, 2, 2))], {})
    with pytest.raises(GraphError, match="shifts has 0 values, expected 12"):
        layer.prepare({name: Tensor(np.zeros(SIZES[name], np.float32)) for name in ("ccm_weight", "ccm_bias")}, [])
