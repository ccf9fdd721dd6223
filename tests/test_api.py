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


@pytest.mark.parametrize("ending", ["plain", "TopK"])
def test_one_verdict_by_one_rule(ending, build, pictures, tmp_path):
    """quantize and compare judge the same blobs, also where a layer that sorts ends the model."""
    net = build((1, 3, 16, 12))
    scores = net.inner_product(net.pool(net.conv("input", 3, 8)), 8 * 8 * 6, 12, name="fc")
    outputs = [scores]
    if ending == "TopK":
        flat = net.add("Reshape", scores, num_axes=2, shape=(1, 12), name="flat")
        outputs = net.add("TopK", flat, axis=1, largest=1, sorted=1, k=3, name="best", outputs=2)
    pair = tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel"
    tnnquant.write_model(net.graph(*outputs), *pair)
    report = tnnquant.quantize_model(*pair, str(pictures), tmp_path / "out", CONFIG)
    errors = tnnquant.compare(str(tmp_path / "out_quantized"), str(tmp_path / "net"), pictures, CONFIG, limit=None)
    found = {output.name for output in report.verdict.sets[-1].outputs}
    assert {output.name for output in errors.verdict.outputs} == found
    assert found == ({"flat_out"} if ending == "TopK" else {"fc_out"})
    # The pictures are too few for a good verdict of quantize, whatever the outputs are.
    both = (errors.verdict, report.verdict.sets[-1])
    one, other = ([check.status for output in found.outputs for check in output.checks] for found in both)
    assert one == other
    assert not any("statistics" in note for note in errors.verdict.notes)
