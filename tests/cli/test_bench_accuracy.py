"""``tnnquant bench accuracy``: the table, JSON, and bad input."""

import json

import numpy as np
import pytest
from PIL import Image

from tnnquant.bench.models import RandomSamples, quantize_here
from tnnquant.cli import main
from tnnquant.config import QuantizeConfig
from tnnquant.format import write_model


def run(*args):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "accuracy", *map(str, args)])
    return stop.value.code


@pytest.fixture
def models(build, tmp_path):
    """The stems of an fp32 and an int8 model with batch 2 in the proto, and a folder of pictures."""
    net = build((2, 3, 8, 8))
    fp32 = net.graph(net.inner_product(net.conv("input", 3, 8), 8 * 8 * 8, 6))
    int8 = quantize_here(fp32, RandomSamples(fp32.inputs), QuantizeConfig())
    for name, graph in (("fp32", fp32), ("int8", int8)):
        write_model(graph, tmp_path / f"{name}.tnnproto", tmp_path / f"{name}.tnnmodel")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(3)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(pictures / f"{i % 6}_{i}.png")
    return tmp_path / "fp32", tmp_path / "int8.tnnproto", pictures


def test_labels_of_the_file_names(models, capsys):
    fp32, int8, pictures = models
    flags = ["-i", pictures, "-n", "127.5", "-s", "1/127.5"]
    assert run(*flags, fp32, int8) == 0
    printed = capsys.readouterr().out
    assert "12 pictures, 6 classes; agreement, cosine and change: with fp32" in printed
    assert run(*flags, fp32, int8, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert [m["precision"] for m in values["models"]] == ["fp32", "int8"]
    assert values["models"][1]["cosine"]["value"] > 0.99
    assert values["models"][0]["top1"]["low"] <= values["models"][0]["top1"]["value"]


def test_a_file_of_labels_and_threads_do_not_matter(models, tmp_path, capsys):
    fp32, int8, pictures = models
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{i % 6}_{i}.png {i % 6}\n" for i in range(12)))
    results = []
    for more in ([], ["--labels", labels], ["--threads", 1]):
        assert run("-i", pictures, int8, fp32, "--json", *more) == 0
        values = json.loads(capsys.readouterr().out)
        for model in values["models"]:
            del model["ms_a_picture"]
        del values["labels"]
        results.append(values)
    assert results[0] == results[1] == results[2]


def test_pictures_without_labels(models, capsys):
    fp32, int8, pictures = models
    for path in list(pictures.iterdir()):
        path.rename(pictures / f"x{path.name}")
    assert run("-i", pictures, fp32, int8) == 0
    printed = capsys.readouterr().out
    assert "labels: none: the file names do not begin with class indices" in printed
    assert "top-1" not in printed
    assert "agreement" in printed


def test_no_labels(models, capsys):
    fp32, int8, pictures = models
    assert run("-i", pictures, fp32, int8) == 0
    printed = capsys.readouterr().out
    assert "labels: the class index that begins the file name, for all 12 pictures" in printed
    assert "top-1" in printed
    assert run("-i", pictures, fp32, int8, "--no-labels") == 0
    printed = capsys.readouterr().out
    assert "labels: none" in printed
    assert "top-1" not in printed
    assert run("-i", pictures, fp32, "--no-labels", "--labels", "x") == 2


def test_numbers_that_are_no_classes(models, capsys):
    """Dates, and numbers that only count, are not taken for labels: no error, and no meaningless top-1."""
    fp32, int8, pictures = models
    for name in ("20210823_{:06}.png", "{:03}.png"):
        for i, path in enumerate(sorted(pictures.iterdir())):
            path.rename(pictures / name.format(i))
        assert run("-i", pictures, fp32, int8) == 0
        assert "labels: none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--labels", "none.txt"], 5, "none.txt: the labels cannot be read: no such file"),
        (["--output", "x"], 2, "fp32 has no output 'x'"),
        (["nothing"], 3, "there is no 'nothing.tnnproto' and no 'nothing.tnnmodel'"),
        (["--threads", "4096"], 2, "--threads is 4096"),
    ],
)
def test_bad_input(models, args, code, message, capsys):
    fp32, _, pictures = models
    assert run("-i", pictures, fp32, *args) == code
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_labels_that_do_not_match(models, tmp_path, capsys):
    fp32, _, pictures = models
    labels = tmp_path / "labels.txt"
    labels.write_text("1\n2\n")
    assert run("-i", pictures, fp32, "--labels", labels) == 5
    assert "holds 2 labels, but there are 12 pictures" in capsys.readouterr().err
    (pictures / "7_7.png").write_bytes((pictures / "0_0.png").read_bytes())
    assert run("-i", pictures, fp32) == 0
    assert "for 12 of 13 pictures" in capsys.readouterr().out
    labels.write_text("".join(f"{path.name} 7\n" for path in pictures.iterdir()))
    assert run("-i", pictures, fp32, "--labels", labels) == 5
    assert "has the label 7, but fp32 gives 6 scores" in capsys.readouterr().err
