"""``--device`` of ``inspect`` and of ``bench accuracy``: what goes wrong on a device."""

import json

import numpy as np
import pytest
from PIL import Image

from tnnquant.bench.models import RandomSamples, quantize_here
from tnnquant.cli import main
from tnnquant.config import QuantizeConfig
from tnnquant.format import write_model
from tnnquant.inspect.api import compare


def run(*args):
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    return stop.value.code


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """The stems of an fp32 model, a symmetric int8 one and one with zero points; a folder of pictures."""
    from tests.conftest import NetBuilder

    folder = tmp_path_factory.mktemp("device")
    net = NetBuilder(np.random.default_rng(5), (1, 3, 8, 8))
    fp32 = net.graph(net.inner_product(net.conv("input", 3, 8, name="stem"), 8 * 8 * 8, 6))
    graphs = {"fp32": fp32}
    for name, settings in (("int8", {}), ("points", {"blob_method": "asymmetric", "device": "naive"})):
        graphs[name] = quantize_here(fp32, RandomSamples(fp32.inputs), QuantizeConfig(**settings))
    for name, graph in graphs.items():
        write_model(graph, folder / f"{name}.tnnproto", folder / f"{name}.tnnmodel")
    pictures = folder / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(3)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(pictures / f"{i}.png")
    return {name: folder / name for name in graphs} | {"pictures": pictures}


def test_inspect_lists_what_goes_wrong(pairs, capsys):
    assert run("inspect", pairs["points"], "--device", "arm") == 0
    printed = capsys.readouterr().out
    assert "broken on the device arm" in printed
    assert "has zero points other than 0" in printed
    assert run("inspect", pairs["points"], "--device", "arm", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["device"] == "arm"
    assert {finding["rule"] for finding in report["findings"]} == {"zero point"}
    assert {finding["outcome"] for finding in report["findings"]} == {"wrong"}


@pytest.mark.parametrize(("name", "device"), [("points", "naive"), ("int8", "any"), ("fp32", "x86")])
def test_inspect_finds_nothing_where_all_is_right(pairs, name, device, capsys):
    assert run("inspect", pairs[name], "--device", device) == 0
    assert "runs right on" in capsys.readouterr().out


@pytest.mark.parametrize(("device", "status"), [("arm", "broken"), ("naive", None)])
def test_the_verdict_of_a_device(pairs, device, status, capsys):
    flags = ["--against", pairs["fp32"], "-i", pairs["pictures"], "--json"]
    assert run("inspect", pairs["points"], *flags) == 0
    plain = json.loads(capsys.readouterr().out)["errors"]
    assert run("inspect", pairs["points"], *flags, "--device", device) == 0
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert errors["status"] == (status or plain["status"])
    first = errors["checks"][0]
    if status:
        assert first["where"] == "device arm"
        assert "zero points other than 0" in first["text"]
        assert "'stem'" in first["text"]
    else:
        assert errors["checks"] == plain["checks"]
        assert errors["layers"] == plain["layers"]


def test_errors_of_a_model_with_garbage_are_json(tmp_path, pairs, capsys):
    from tests.conftest import NetBuilder

    net = NetBuilder(np.random.default_rng(5), (1, 3, 8, 8))
    x = net.conv(net.conv("input", 3, 10, name="ragged"), 10, 8, name="reads")
    fp32 = net.graph(net.inner_product(net.conv(x, 8, 8, name="last"), 8 * 8 * 8, 6))
    config = QuantizeConfig(exclude=("reads",), device="naive")
    int8 = quantize_here(fp32, RandomSamples(fp32.inputs), config)
    for name, graph in (("a", fp32), ("b", int8)):
        write_model(graph, tmp_path / f"{name}.tnnproto", tmp_path / f"{name}.tnnmodel")
    flags = ["--against", tmp_path / "a", "-i", pairs["pictures"], "--device", "arm"]
    assert run("inspect", tmp_path / "b", *flags) == 0
    capsys.readouterr()
    assert run("inspect", tmp_path / "b", *flags, "--json") == 0
    told = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert told["errors"]["status"] == "broken"
    assert "'ragged'" in told["errors"]["checks"][0]["text"]


def test_the_verdict_of_a_device_in_python(pairs):
    errors = compare(pairs["points"], pairs["fp32"], pairs["pictures"], device="arm")
    assert errors.verdict.status == "broken"
    assert "zero points other than 0" in errors.verdict.limits[0].text


def test_accuracy_of_a_pair_that_is_broken_on_the_device(pairs, capsys):
    models = [pairs[name] for name in ("fp32", "int8", "points")]
    assert run("bench", "accuracy", *models, "-i", pairs["pictures"], "--device", "arm", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    fp32, int8, points = report["models"]
    assert report["device"] == "arm"
    assert fp32["broken"] == int8["broken"] == []
    assert int8["cosine"]["value"] > 0.9
    assert points["cosine"] is points["agreement"] is None
    assert "zero points other than 0" in points["broken"][0]
    assert run("bench", "accuracy", *models, "-i", pairs["pictures"], "--device", "arm") == 0
    told = capsys.readouterr()
    assert "int8, broken" in told.out
    assert "zero points other than 0" in told.err


def test_without_a_device_nothing_is_said_of_devices(pairs, capsys):
    assert run("bench", "accuracy", pairs["fp32"], pairs["points"], "-i", pairs["pictures"], "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert "device" not in report
    assert "broken" not in report["models"][0]


def test_the_snippet_is_printed(pairs, capsys):
    assert run("inspect", pairs["points"], "--snippet", "cpp", "-n", "127.5", "-s", "0.5", "--device", "x86") == 0
    told = capsys.readouterr()
    assert "param.bias = {-63.75f, -63.75f, -63.75f};" in told.out
    assert "// WARNING: layer 'stem'" in told.out
    assert "warning" not in told.err
    assert run("inspect", pairs["int8"], "--snippet", "cpp") == 0
    told = capsys.readouterr()
    assert "WARNING" not in told.out
    assert "neither -n nor -s is given" in told.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["inspect", "int8", "--device", "armm"], "did you mean arm?"),
        (["inspect", "int8", "--device", "arm", "--csv"], "--device lists what goes wrong on a device: not with --csv"),
        (["inspect", "int8", "--snippet", "cpp", "--json"], "--snippet prints calls of TNN for MODEL: not with --json"),
        (["inspect", "int8", "--device", "arm", "--layer", "stem"], "not with --layer"),
        (["inspect", "int8", "--device", "arm", "-i", "pictures", "--samples"], "not with --samples"),
        (["inspect", "fp32", "--device", "arm", "-i", "pictures", "--json"], "give its fp32 model with --against"),
        (["bench", "accuracy", "int8", "-i", "pictures", "--device", "x68"], "did you mean x86?"),
    ],
)
def test_bad_input(pairs, args, message, capsys):
    assert run(*(pairs.get(arg, arg) for arg in args)) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) <= 3
