"""Every view of what every recipe wrote speaks of what the model means."""

import csv
import io
import json
import re

import numpy as np
import pytest

from tnnquant import QuantizeConfig, quantize_model, recipes
from tnnquant.cli import main
from tnnquant.engine.executor import Executor
from tnnquant.format import read_model, write_model
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.inspect.run import diff_models, load


@pytest.fixture(params=[entry.name for entry in recipes.every()])
def made(request, build, tmp_path, rng):
    """(recipe, folder, report) of a network whose blobs get guards, a copy, and a shift."""
    net = build((1, 3, 16, 12))
    wide = net.conv("input", 3, 12, name="wide", activation_type=1)
    padded = net.conv(wide, 12, 8, name="padded")
    swished = net.add("Swish", [padded], name="swish")
    last = net.conv(swished, 8, 8, name="last", activation_type=1)
    mean = net.pool(last, 1, name="mean")
    graph = net.graph(net.add("Softmax", net.inner_product(mean, 8 * 8 * 6, 5, name="fc"), 1, name="scores"))
    write_model(graph, tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel")
    (tmp_path / "inputs").mkdir()
    for i in range(24):
        x = rng.standard_normal((1, 3, 16, 12)) + 2 * rng.standard_normal((1, 3, 1, 1))
        np.save(tmp_path / "inputs" / f"{i:02}.npy", x.astype(np.float32))
    report = quantize_model(
        tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel", tmp_path / "inputs", tmp_path / "m",
        QuantizeConfig(recipe=request.param, fp32_share=0.0),
    )  # fmt: skip
    return request.param, tmp_path, report


def test_every_view_of_every_recipe(made, monkeypatch, capsys):
    recipe, folder, report = made
    monkeypatch.chdir(folder)

    def inspect(*args):
        with pytest.raises(SystemExit) as stop:
            main(["inspect", *args])
        captured = capsys.readouterr()
        assert stop.value.code == 0, captured.err
        return captured.out

    names = [node.name for node in prepare_for_quantization(read_model("net.tnnproto", "net.tnnmodel")).nodes]
    peaks = peaks_of(folder)
    beside = "m_quantized", "--against", "net", "-i", "inputs", "--limit", "4"

    # The summary, from the file alone and beside fp32.
    alone, known = json.loads(inspect("m_quantized", "--json")), json.loads(inspect(*beside, "--json"))
    kinds = {entry["kind"] for entry in alone["summary"]["stored_beside"]}
    if recipe == "best":
        assert kinds == {"guards", "copy", "shift"}
    elif recipe in ("tnn", "dynamic"):
        assert not kinds
    for found in (alone["summary"], known["summary"]):
        assert [row["name"] for row in found["layers"]] == names
        assert found["stored_beside"] == known["summary"]["stored_beside"]
        for row in found["blobs"]:
            if "scale" in row:
                # Ranges are those of the values with room for other pictures, not half or twice as large.
                assert 0.6 < max(-row["low"], row["high"]) / peaks[row["name"]] < 1.9, row["name"]
        assert sum(row["bytes"] for row in found["layers"]) <= found["totals"]["bytes"]
        stored = read_model("m_quantized.tnnproto", "m_quantized.tnnmodel")
        size = sum(tensor.data.nbytes for node in stored.nodes for tensor in node.tensors.values())
        assert found["totals"]["bytes"] == size
    # Where a code means 0, it is not at an end.
    for blob, usage in known["errors"]["usage"].items():
        assert np.mean(usage["saturated"]) < 0.35, blob
        repeated = len(usage["zero"]) - len(peaks_by_channel(folder)[blob])
        assert repeated in (0, 4, 8, 12) if recipe in ("best", "fast") else repeated == 0, blob  # guards are none

    # The table, one layer, and CSV.
    table = inspect("m_quantized")
    assert ("stored beside" in table) is bool(kinds)
    assert all(name in table for name in names)
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(inspect("m_quantized", "--csv")))}
    assert list(rows) == names
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(inspect(*beside, "--csv")))}
    assert list(rows) == names
    assert ("stored beside" in inspect(*beside)) is False  # the errors: what to do next
    for name in names:
        one = inspect("m_quantized", "--layer", name)
        also = inspect(*beside, "--layer", name)
        assert name in one
        if "guards" in kinds and name == "wide":
            for text in (one, also):
                shown = len(re.findall(r"(?m)^ *\d+ +\S+ +-128 +0 ", text))  # 0 is at the lowest code
                assert shown == len(known["errors"]["usage"]["wide_out"]["zero"])  # no guard

    # The comparison and the verdict.
    figures = {row["name"]: row for row in known["errors"]["layers"]}
    assert list(figures) == names
    for name, row in figures.items():
        if row["cumulative"]:
            assert row["cumulative"]["sqnr_db"] > 15, name
        if row["isolated"]:
            assert row["isolated"]["sqnr_db"] > 20, name
    assert {entry.layer for entry in report.verdict.worst_layers} <= set(names)

    # The page.
    inspect(*beside, "--html", "page.html")
    page = (folder / "page.html").read_text("utf-8")
    assert page.count("<details") == len(names) + 1
    assert ("guard channels, the last ones" in page) is ("guards" in kinds)
    inspect("m_quantized", "--html", "alone.html")

    # Beside fp32 in the form that is quantized.
    diff = diff_models(load("net"), load("m_quantized"))
    assert {row.status for row in diff.rows if row.kind == "layer"} <= {"same", "changed"}


def peaks_by_channel(folder):
    """The largest magnitude of each channel of each fp32 blob over all inputs."""
    graph = prepare_for_quantization(read_model(folder / "net.tnnproto", folder / "net.tnnmodel"))
    executor, found = Executor(graph), {}

    def tap(name, x):
        peak = np.abs(x).max(axis=tuple(i for i in range(x.ndim) if i != 1))
        found[name] = np.maximum(found.get(name, 0), peak)

    for path in (folder / "inputs").iterdir():
        executor.run({"input": np.load(path)}, tap)
    return found


def peaks_of(folder):
    """Of whole blobs."""
    return {name: peak.max() for name, peak in peaks_by_channel(folder).items()}
