"""A metric of the user's own with every command and recipe that takes one."""

import json

import numpy as np
import pytest

from tnnquant import QuantizeConfig, SearchConfig, VerifyConfig, compare, quantize_model
from tnnquant.cli import main
from tnnquant.errors import ConfigError, MetricError
from tnnquant.format import write_model

METRICS = """
import numpy as np
def top1(outputs, references, labels):
    (scores,) = outputs.values()
    return np.mean(scores.reshape(len(scores), -1).argmax(1) == labels)
def error(outputs, references, labels, names):
    assert len(names) == len(next(iter(outputs.values()))) and all(name.endswith(".npy") for name in names)
    return max(np.abs(outputs[name] - references[name]).max() for name in outputs)
error.lower_is_better = True
def failing(outputs, references, labels):
    raise RuntimeError("no ground truth")
"""


@pytest.fixture
def net(build, tmp_path, rng):
    """(name of a small classifier, folder of tensors, file of metrics); file names begin with fp32's best class."""
    from tnnquant.engine.executor import Executor

    net = build((1, 3, 12, 12))
    a = net.add("ReLU", net.conv("input", 3, 8, name="first"))
    out = net.inner_product(net.pool(net.conv(a, 8, 8, name="second")), 8 * 6 * 6, 6, name="fc")
    graph = net.graph(net.add("Softmax", out, 1))
    write_model(graph, tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel")
    folder = tmp_path / "inputs"
    folder.mkdir()
    fp32 = Executor(graph)
    for number in range(20):
        x = (rng.standard_normal((1, 3, 12, 12)) + 2 * rng.standard_normal((1, 3, 1, 1))).astype(np.float32)
        best = int(np.argmax(next(iter(fp32.run({"input": x.copy()}).values()))))
        np.save(folder / f"{best:03}_{number}.npy", x)
    metrics = tmp_path / "mine.py"
    metrics.write_text(METRICS)
    return tmp_path / "net", folder, metrics


def run(*args):
    """Exit code of the command."""
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    return stop.value.code


def run_json(capsys, *args):
    """What a command prints, which must not have failed."""
    assert run(*args, "--json") in (0, 8)
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("recipe", ["tnn", "fast", "best", "dynamic"])
@pytest.mark.parametrize("name", ["top1", "error"])
def test_quantize(net, tmp_path, capsys, recipe, name):
    model, folder, metrics = net
    report = run_json(
        capsys, "quantize", model, "-i", folder, "--recipe", recipe, "--metric", f"{metrics}:{name}",
        "--eval", folder, "-o", tmp_path / "out",
    )  # fmt: skip
    for found in report["verdict"]["sets"]:
        metric = found["metric"]
        assert metric["name"] == f"mine.py:{name}"
        assert metric["pictures"] == found["pictures"]
        assert metric["lower_is_better"] == (name == "error")
        assert metric["fp32"] == (1 if name == "top1" else 0)  # labels are fp32's classes
        assert metric["drop"] == pytest.approx(abs(metric["fp32"] - metric["int8"]))
    assert (name == "top1" and metric["drop"] < 0.3) or 0 < metric["drop"] < 1


def test_the_summary_shows_it(net, tmp_path, capsys):
    model, folder, metrics = net
    args = ["quantize", model, "-i", folder, "--metric", f"{metrics}:error", "-o", tmp_path / "out"]
    assert run(*args) == 0
    assert "metric - mine.py:error" in capsys.readouterr().out
    # In a file of options, and with the other direction.
    config = tmp_path / "options.toml"
    config.write_text(f'metric = "{metrics}:top1"\nlower-is-better = true\n')
    report = run_json(capsys, "quantize", model, "-i", folder, "--config", config, "-o", tmp_path / "out")
    assert report["verdict"]["sets"][0]["metric"]["lower_is_better"]


def test_statistics_and_recipes_without_inputs(net, tmp_path, capsys):
    model, folder, metrics = net
    metric = ("--metric", f"{metrics}:error")
    assert run("quantize", model, "-i", folder, "--stats-only", "-o", tmp_path / "part.npz") == 0
    capsys.readouterr()
    for more in (("--from-stats", tmp_path / "part.npz"), ("--recipe", "dynamic")):
        report = run_json(capsys, "quantize", model, *more, *metric, "--eval", folder, "-o", tmp_path / "out")
        assert report["verdict"]["sets"][0]["metric"]["int8"] > 0
        assert run("quantize", model, *more, *metric, "-o", tmp_path / "out") == 2
        assert "--metric needs pictures" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["tnn", "best"])
def test_a_target_in_its_unit(net, tmp_path, capsys, recipe):
    model, folder, metrics = net
    args = [
        "quantize", model, "-i", folder, "-t", 2, "--recipe", recipe, "--metric", f"{metrics}:error",
        "-o", tmp_path / "out",
    ]  # fmt: skip
    error = run_json(capsys, *args, "--holdout", "0.25")["verdict"]["sets"][0]["metric"]["drop"]
    report = run_json(capsys, *args, "--target", 2 * error)
    assert report["target"] == {"metric": "mine.py:error", "drop": 2 * error, "reached": True}
    assert run(*args, "--target", error * 1e-9, "--json") == 9
    report = json.loads(capsys.readouterr().out)
    assert not report["target"]["reached"]
    assert all(trial["drop"] > 0 for trial in report["trials"])
    # What was tried is the closest of all.
    (best,) = [trial for trial in report["trials"] if trial["best"]]
    assert best["drop"] == min(trial["drop"] for trial in report["trials"])


def test_auto_compares_by_it_and_a_state_by_its_text(net, tmp_path, capsys):
    model, folder, metrics = net
    args = ["quantize", model, "-i", folder, "-t", 2, "--auto", "--state", tmp_path / "state", "-o", tmp_path / "out"]
    report = run_json(capsys, *args, "--metric", f"{metrics}:error")
    (best,) = [trial for trial in report["trials"] if trial["best"]]
    alike = [trial for trial in report["trials"] if trial["status"] == best["status"] and not trial["fp32_layers"]]
    assert best["drop"] == min(trial["drop"] for trial in alike)
    assert len(list((tmp_path / "state").iterdir())) == 1
    metrics.write_text(METRICS + "\n# another one\n")
    run_json(capsys, *args, "--metric", f"{metrics}:error")
    assert len(list((tmp_path / "state").iterdir())) == 2
    assert run(*args, "--metric", f"{metrics}:error") in (0, 8)
    assert "  metric" in capsys.readouterr().out


def test_best_keeps_nothing_in_fp32_that_the_metric_does_not_need(net, tmp_path):
    model, folder, _ = net
    files = model.with_suffix(".tnnproto"), model.with_suffix(".tnnmodel"), folder, tmp_path / "out"
    config = QuantizeConfig(recipe="best")

    def steps(metric):
        return quantize_model(*files, config, verify=VerifyConfig(metric=metric)).steps

    assert "by the metric none in fp32 will do" in steps(lambda outputs, references, labels: 1.0)["islands"]

    def strict(outputs, references, labels):
        return 1 - 1e9 * max(np.abs(outputs[name] - references[name]).max() for name in outputs)

    assert "not reached with fewer layers in fp32" in steps(strict)["islands"]


def test_an_error_without_a_target_takes_no_layers_from_fp32(net, tmp_path):
    """fp32 against itself is 0: nothing says how much more will do, and best is what it is without a metric."""
    model, folder, metrics = net
    files = model.with_suffix(".tnnproto"), model.with_suffix(".tnnmodel"), folder

    def made(name, **verify):
        report = quantize_model(*files, tmp_path / name, QuantizeConfig(recipe="best"), verify=VerifyConfig(**verify))
        return report.steps["islands"], [open(path, "rb").read() for path in (report.proto, report.model)]

    (plain, expected), (told, got) = made("plain"), made("own", metric=f"{metrics}:error")
    assert got == expected
    assert told.startswith(f"{plain}; mine.py:error ")
    assert told.endswith("give target for a judgement)")


def test_inspect_and_bench(net, tmp_path, capsys):
    model, folder, metrics = net
    metric = ("--metric", f"{metrics}:top1")
    assert run("quantize", model, "-i", folder, "-o", tmp_path / "out") == 0
    int8 = tmp_path / "out_quantized"
    capsys.readouterr()
    found = run_json(capsys, "inspect", int8, "--against", model, "-i", folder, *metric)["errors"]["metric"]
    assert (found["name"], found["fp32"], found["pictures"]) == ("mine.py:top1", 1, 16)
    assert run("inspect", int8, "--against", model, "-i", folder, *metric) == 0
    assert "mine.py:top1" in capsys.readouterr().out
    assert run("inspect", int8, *metric) == 2
    assert "--metric compares a model with its fp32 one" in capsys.readouterr().err
    models = run_json(capsys, "bench", "accuracy", model, int8, "-i", folder, *metric)["models"]
    for entry in models:
        assert entry["metric"]["int8"] == pytest.approx(entry["top1"]["value"])
    assert run("bench", "accuracy", int8, "-i", folder, *metric) == 2
    assert "no fp32 model is given" in capsys.readouterr().err
    rows = run_json(capsys, "bench", "table", model, "-i", folder, "--metric", f"{metrics}:error")["accuracy"]["models"]
    assert rows[0]["metric"]["int8"] == 0
    assert all(row["metric"]["int8"] > 0 for row in rows[1:])
    errors = compare(int8, model, folder, metric=lambda outputs, references, labels: 4)
    assert errors.verdict.metric.int8 == 4


def test_maps_can_be_measured(build, tmp_path, rng, capsys):
    net = build((1, 3, 8, 8))
    write_model(net.graph(net.conv("input", 3, 4)), tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel")
    (tmp_path / "mine.py").write_text(METRICS)
    folder = tmp_path / "inputs"
    folder.mkdir()
    for number in range(9):
        np.save(folder / f"{number}.npy", rng.standard_normal((1, 3, 8, 8)).astype(np.float32))
    args = ["bench", "accuracy", tmp_path / "net", "-i", folder]
    assert run(*args) == 2
    assert "or give a --metric" in capsys.readouterr().err
    (model,) = run_json(capsys, *args, "--metric", f"{tmp_path / 'mine.py'}:error")["models"]
    assert model["metric"]["int8"] == 0
    assert model["top1"] is None


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        (["--metric", "{metrics}:failing"], 2, "failed in line 11 of mine.py: RuntimeError: no ground truth"),
        (["--metric", "{metrics}:tpo1"], 2, "did you mean top1?"),
        (["--metric", "{metrics}"], 2, "expected FILE.py:function"),
        (["--metric", "nowhere.py:top1"], 5, "does not exist"),
        (["--lower-is-better"], 2, "--lower-is-better is said of --metric"),
        (["--target", "0.1"], 2, "--target is in the unit of --metric"),
        (["--metric", "{metrics}:top1", "--target", "-1"], 2, "--target is -1, expected 0 or more"),
        (["--metric", "{metrics}:top1", "--target", "0.1", "--target-agreement", "0.9"], 2, "two targets"),
        (["--metric", "{metrics}:top1", "--no-verify"], 2, "which --no-verify skips"),
    ],
)
def test_what_does_not_fit_is_one_line_and_nothing_is_written(net, tmp_path, capsys, more, code, text):
    model, folder, metrics = net
    more = [word.format(metrics=metrics) for word in more]
    assert run("quantize", model, "-i", folder, *more, "-o", tmp_path / "out") == code
    err = capsys.readouterr().err
    assert text in err
    assert len(err.strip().splitlines()) <= 3
    assert not list(tmp_path.glob("out_*"))


def test_a_metric_that_fails_for_int8_alone_says_that_the_model_is_there(net, tmp_path):
    model, folder, _ = net
    files = model.with_suffix(".tnnproto"), model.with_suffix(".tnnmodel"), folder, tmp_path / "out"

    def exact(outputs, references, labels):
        assert all((outputs[name] == references[name]).all() for name in outputs)
        return 1

    with pytest.raises(MetricError, match=r"AssertionError.*; the model is written, but not judged"):
        quantize_model(*files, verify=VerifyConfig(metric=exact))
    assert (tmp_path / "out_quantized.tnnmodel").exists()
    with pytest.raises(ConfigError, match="two targets"):
        SearchConfig(target=0.1, target_agreement=0.9)
