"""The statistics of a Dask cluster are those of one run, whatever its workers do."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.errors import ConfigError, InputError
from tnnquant.graph import InputSpec
from tnnquant.pipeline.distribute import _gather_part, _Job, gather_distributed, split_files
from tnnquant.pipeline.models import open_model
from tnnquant.quantization.parts import model_digest, relevant_settings
from tnnquant.quantization.parts_file import load_part

from .conftest import written

distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'tnnquant[dask]'")


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread each, on this machine."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


def test_a_cluster_gives_the_bytes_of_one_run(case, run, tmp_path, cluster):
    for options in (["-b", "kl", "-t", "mix", "-w", "admm"], ["-b", "aciq-laplace"]):
        assert run(*case.flags(*options, "-o", tmp_path / "one")).code == 0
        address = cluster.scheduler_address
        outcome = run(*case.flags(*options, "--scheduler", address, "-o", tmp_path / "out"))
        assert outcome.code == 0, outcome.err
        assert written(tmp_path) == written(tmp_path, "one")


def test_a_cluster_gives_the_verdict_of_one_run(case, run, tmp_path, cluster):
    address = cluster.scheduler_address
    # The sets judged: beside the model itself one made without some pictures, or --eval.
    for sets, options in (
        (2, []), (2, ["-b", "kl"]), (1, ["--holdout", "0.25"]), (1, ["--holdout", "0"]),
        (2, ["--eval", case.pictures]), (0, ["--no-verify"]),
    ):  # fmt: skip
        one = run(*case.flags("--json", *options, "-o", tmp_path / "one"))
        out = run(*case.flags("--json", *options, "--scheduler", address, "-o", tmp_path / "out"))
        assert (one.code, out.code) == (0, 0), out.err
        one, out = json.loads(one.out), json.loads(out.out)
        assert out["verdict"] == one["verdict"]
        assert len(out["verdict"]["sets"] if out["verdict"] else []) == sets
        assert out["samples"] == one["samples"] == (18 if "0.25" in options else 24)
        assert out["warnings"] == one["warnings"]
        assert written(tmp_path) == written(tmp_path, "one")


@pytest.mark.parametrize("method", ["minmax", "kl"])
def test_bad_pictures_are_counted_on_a_cluster(case, run, tmp_path, cluster, method):
    """Also where all pictures of a part are bad: they come last, five parts of four before them."""
    for number in range(4):
        (case.pictures / f"bad{number}.png").write_bytes(b"no picture")
    options = ("-b", method, "--skip-bad", "--json")
    assert run(*case.flags(*options, "-o", tmp_path / "one")).code == 0
    outcome = run(*case.flags(*options, "--scheduler", cluster.scheduler_address, "-o", tmp_path / "out"))
    report = json.loads(outcome.out)
    assert report["samples"] == 24
    assert len(report["skipped"]) == 4
    assert any("4 of 28 calibration files cannot be used and were skipped" in line for line in report["warnings"])
    assert written(tmp_path) == written(tmp_path, "one")


def test_no_picture_of_a_cluster_can_be_used(case, run, tmp_path, cluster):
    for path in case.pictures.iterdir():
        path.write_bytes(b"no picture")
    options = ("--skip-bad", "--no-verify", "--scheduler", cluster.scheduler_address, "-o", tmp_path / "out")
    outcome = run(*case.flags(*options))
    assert outcome.code == 5
    assert "none of the 24 calibration files can be used: " in outcome.err


def test_a_worker_that_is_killed_midway_changes_nothing(case, run, tmp_path, cluster):
    from tnnquant.config import QuantizeConfig

    config = QuantizeConfig(blob_method="kl", mean=(127.5,), scale=(1 / 127.5,))
    assert run(*case.flags("-b", "kl", "-o", tmp_path / "one")).code == 0
    killed = []

    def progress(stage, done, total):
        if stage == "histograms" and not killed:
            killed.append(next(iter(cluster.workers.values())).process.pid)
            os.kill(killed[0], signal.SIGKILL)

    part = gather_distributed(
        cluster.scheduler_address, case.proto, case.model, case.pictures, config, progress=progress
    )
    assert killed
    from tnnquant.pipeline.api import quantize_model

    quantize_model(case.proto, case.model, None, tmp_path / "out", config, part=part)
    assert written(tmp_path) == written(tmp_path, "one")


def test_what_a_worker_meets_is_told(case, tmp_path, cluster):
    (case.pictures / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"bad\.png: is no picture"):
        gather_distributed(cluster.scheduler_address, case.proto, case.model, case.pictures)


def test_no_scheduler(case, monkeypatch):
    monkeypatch.setattr("tnnquant.pipeline.distribute._PATIENCE", 1)
    with pytest.raises(ConfigError, match="no Dask scheduler answers at"):
        gather_distributed("tcp://127.0.0.1:1", case.proto, case.model, case.pictures)


@pytest.mark.parametrize(("count", "batch", "sizes"), [(10, 1, [3, 3, 3, 1]), (3, 1, [1, 1, 1]), (10, 4, [4, 4, 2])])
def test_files_are_split_into_whole_batches(count, batch, sizes):
    files = [Path(f"/x/{number:02}.png") for number in range(count)]
    chunks = split_files(files, {"input": InputSpec((batch, 3, 8, 8))}, 4)
    assert [len(chunk) for chunk in chunks] == sizes
    assert [path for chunk in chunks for path in chunk] == list(map(str, files))


def test_a_worker_calls_the_inputs_of_an_onnx_model_as_the_pair_does(tmp_path, pictures):
    """Else its statistics would be those of other options, where a .tnnproto cannot hold a name."""
    from onnx import TensorProto, helper, numpy_helper, save

    weight = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["in put", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("in put", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [weight],
    )  # fmt: skip
    source = tmp_path / "net.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    config = QuantizeConfig(input_dims={"in put": (1, 3, 8, 8)})
    files = tuple(map(str, sorted(pictures.iterdir())[:2]))
    job = _Job(str(source), None, model_digest([source.read_bytes()]), config, files, b"")
    part = load_part(_gather_part(job), "a part")
    _, renamed = open_model([source], config)
    assert list(renamed.input_dims) != ["in put"]
    assert part.settings == relevant_settings(renamed)
