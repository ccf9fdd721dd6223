"""Inspections and measurements from Python."""

import pytest

import tnnquant
from tnnquant import QuantizeConfig, TnnQuantError

CONFIG = QuantizeConfig(mean=(127.5,), scale=(1 / 127.5,))


@pytest.fixture
def made(inspected_files, pictures, tmp_path):
    """The name of an fp32 model and of its int8 one."""
    pair = inspected_files + ".tnnproto", inspected_files + ".tnnmodel"
    tnnquant.quantize_model(*pair, str(pictures), tmp_path / "out", CONFIG)
    return inspected_files, str(tmp_path / "out_quantized")


def test_inspect_model(made):
    fp32, int8 = map(tnnquant.inspect_model, made)
    assert (fp32.precision, int8.precision) == ("fp32", "int8")
    assert fp32.inputs == {"input": (1, 3, 16, 12)}
    assert int8.layers[0].name == "stem"


def test_compare(made, pictures):
    fp32, int8 = made
    errors = tnnquant.compare(int8, fp32, pictures, CONFIG, limit=4)
    assert len(errors.samples) == 4
    assert errors.outputs["fc_out"].sqnr_db > 15
    with pytest.raises(TnnQuantError, match="is fp32"):
        tnnquant.compare(fp32, fp32, pictures, CONFIG)


def test_bench_latency(made):
    fp32, int8 = made
    report = tnnquant.bench_latency(fp32, int8, repeats=3, threads=1)
    assert set(report.models) == {"fp32", "int8"}
    assert report.speedup > 0
    assert set(tnnquant.bench_latency(int8, repeats=2).models) == {"int8"}
