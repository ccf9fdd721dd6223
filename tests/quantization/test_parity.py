"""Against the files TNN's own tool made of the same pictures (tools/parity.py)."""

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "parity.py"


@pytest.fixture(scope="module")
def parity():
    import sys

    spec = importlib.util.spec_from_file_location("parity", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["parity"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "configuration",
    [
        "squeezenet/b0w0t0", "squeezenet/b2w1t0", "squeezenet/b2w1t1", "squeezenet/b2w1t2", "squeezenet/b3w3t0",
        "squeezenet/b4w0t1", "squeezenet/sizes-b0w0t1", "efficientnet_lite0/b0w0t0", "efficientnet_lite0/b2w1t1",
    ],
)  # fmt: skip
def test_the_files_are_tnns(shared, tmp_path, parity, configuration):
    found = parity.measure(shared, configuration, tmp_path)
    assert found.same_proto
    if "b2" in configuration:
        assert found.blob_scales >= 0.98
        assert found.divergence <= 1e-3
    else:
        assert found.blob_scales == 1
    assert found.weight_scales == 1
    assert found.weights >= 0.9995
    assert found.weights_off <= 1
    assert found.bias_off <= 1


def test_jpeg_decoders_differ_by_a_percent_at_most(shared, tmp_path, parity):
    import numpy as np

    from tnnquant.format import read_model

    golden = shared / "golden" / "squeezenet" / "jpeg-b0w0t1"
    parity.measure(shared, "squeezenet/jpeg-b0w0t1", tmp_path)
    ours = read_model(tmp_path / "model.tnnproto", tmp_path / "model.tnnmodel").scales
    theirs = read_model(golden / "model.quantized.tnnproto", golden / "model.quantized.tnnmodel").scales
    for blob, params in theirs.items():
        np.testing.assert_allclose(ours[blob].scale, params.scale, rtol=0.02)
