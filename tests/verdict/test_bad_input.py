"""Calibration pictures that allow little: what is said of them, and with which exit code."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from tnnquant.cli import main
from tnnquant.format import write_model


@pytest.fixture
def net(build, tmp_path):
    """Flags of a small classifier and the folder for its pictures."""
    network = build((1, 3, 16, 12))
    a = network.add("ReLU", network.conv("input", 3, 8, name="first"))
    out = network.inner_product(network.pool(network.conv(a, 8, 8, name="second")), 8 * 8 * 6, 5)
    paths = tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel"
    write_model(network.graph(network.add("Softmax", out, 1)), *paths)
    folder = tmp_path / "pictures"
    folder.mkdir()
    flags = ["quantize", "-p", paths[0], "-m", paths[1], "-i", folder, "-n", "127.5", "-s", "1/127.5"]
    return [str(flag) for flag in [*flags, "-o", tmp_path / "out"]], folder


def run(args, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


def save(folder, pixels, count, size=(16, 12)):
    for i in range(count):
        value = pixels(i) if callable(pixels) else pixels
        Image.fromarray(np.broadcast_to(np.asarray(value, np.uint8), (*size, 3)).copy()).save(folder / f"{i:02}.png")


def noise(i):
    return np.random.default_rng(i).integers(0, 256, (16, 12, 3))


def test_one_picture(net, capsys):
    flags, folder = net
    save(folder, noise, 1)
    code, out, err = run(flags, capsys)
    assert code == 0
    assert "DOUBTFUL on 1 of the 1 calibration pictures, which the model was made from" in out
    assert "only 1 picture: a verdict needs 4 different ones" in out
    assert "only 1 sample:" in err
    code, out, err = run([*flags, "--auto"], capsys)
    assert code == 0
    assert "none can be held out" in err


def test_identical_pictures(net, capsys):
    flags, folder = net
    save(folder, lambda i: noise(0), 60)
    code, out, err = run([*flags, "--target-agreement", "1"], capsys)
    assert code == 0
    assert "59 of 60 calibration pictures are copies of others: the statistics are those of one picture" in err
    assert "DOUBTFUL on 1 of the 60 calibration pictures" in out


def test_black_pictures(net, capsys):
    flags, folder = net
    # Not copies: they differ in size.
    for i in range(12):
        Image.fromarray(np.zeros((16 + i, 12, 3), np.uint8)).save(folder / f"{i:02}.png")
    code, out, err = run(flags, capsys)
    assert code in (0, 8)
    assert "fp32 gives the same output for all of them, so they test nothing" in out
    assert "every pixel of every picture is the same" in err


def test_pictures_of_a_wrong_kind(net, capsys):
    flags, folder = net
    save(folder, noise, 20)
    flags[flags.index("1/127.5")] = "1"
    flags[flags.index("127.5")] = "-1000"
    code, _, err = run(flags, capsys)
    assert code in (0, 8)
    assert "few models are trained on values that large" in err


def test_nan_names_layer_and_picture(build, tmp_path, capsys):
    network = build((1, 3, 16, 12))
    a = network.conv("input", 3, 4, name="first")
    graph = network.graph(network.conv(network.add("Log", a, name="log"), 4, 4, name="second"))
    paths = tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel"
    write_model(graph, *paths)
    folder = tmp_path / "pictures"
    folder.mkdir()
    save(folder, noise, 6)
    flags = ["quantize", "-p", paths[0], "-m", paths[1], "-i", folder, "-o", tmp_path / "out"]
    flags = [str(flag) for flag in flags]
    for more in ([], ["--auto"], ["--state", str(tmp_path / "state")]):
        code, _, err = run([*flags, *more], capsys)
        assert code == 6
        assert re.search(r"0[01].png: the output 'log_out' of layer 'log' \(Log\)", err)  # 00 is held out by --auto
        assert not [name for name in os.listdir(tmp_path) if name.startswith("out")]


def test_a_label_file_shorter_than_the_folder(net, tmp_path, capsys):
    flags, folder = net
    save(folder, noise, 8)
    labels = tmp_path / "labels.txt"
    labels.write_text("1\n2\n3\n")
    code, _, err = run([*flags, "--eval", str(folder), "--labels", str(labels)], capsys)
    assert code == 5
    assert "labels.txt: holds 3 labels, but there are 8 pictures" in err
