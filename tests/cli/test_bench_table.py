"""``tnnquant bench table``: what is printed, and bad input."""

import json

import numpy as np
import pytest
from PIL import Image

from tnnquant.cli import main
from tnnquant.format import write_model


def run(*args):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "table", *map(str, args)])
    return stop.value.code


@pytest.fixture
def flags(build, tmp_path):
    net = build((1, 3, 8, 8))
    write_model(
        net.graph(net.inner_product(net.conv("input", 3, 4), 256, 6)), tmp_path / "n.tnnproto", tmp_path / "n.tnnmodel"
    )
    rng = np.random.default_rng(3)
    for folder, count in (("calibration", 5), ("evaluation", 7)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / folder / f"{i % 6}_{i}.png")
    return ["-p", tmp_path / "n.tnnproto", "-m", tmp_path / "n.tnnmodel", "-i", tmp_path / "calibration"]


def test_table_and_json(flags, tmp_path, capsys):
    assert run(*flags, "--eval", tmp_path / "evaluation") == 0
    printed = capsys.readouterr().out
    for text in ("KL + ADMM, mix", "-b minmax -w minmax -t channel", "5 calibration samples; measured on 7 pictures",
                 "* statistics shared: KL + ADMM, mix with KL + ADMM, per tensor"):  # fmt: skip
        assert text in printed
    assert run(*flags, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["accuracy"]["pictures"] == 5
    assert len(values["rows"]) == 5


def test_the_calibration_pictures_serve_if_there_are_no_others(flags, capsys):
    assert run(*flags) == 0
    assert "Measured on the calibration pictures" in capsys.readouterr().out


def test_bad_input(flags, tmp_path, capsys):
    labels = tmp_path / "labels.txt"
    labels.write_text("1\n2\n")
    assert run(*flags, "--labels", labels) == 5
    assert "holds 2 labels, but there are 5 pictures" in capsys.readouterr().err
    assert run(*flags, "--threads", 0) == 2
    assert "--threads is 0" in capsys.readouterr().err
