"""Scales as text: written, edited, and given to another run."""

import json
import tomllib

import numpy as np
import pytest

from tnnquant.cli import main
from tnnquant.format import read_model


def run(*args):
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    return stop.value.code


@pytest.fixture
def base(inspected_files, pictures):
    pair = ["-p", inspected_files + ".tnnproto", "-m", inspected_files + ".tnnmodel"]
    return ["quantize", *pair, "-i", pictures, "-n", "127.5", "-s", "1/127.5", "--no-verify"]


def pair(tmp_path, name):
    return [tmp_path / f"{name}_quantized.{suffix}" for suffix in ("tnnproto", "tnnmodel")]


@pytest.mark.parametrize("suffix", ["toml", "json"])
@pytest.mark.parametrize("method", [(), ("-t", "mix"), ("-b", "kl", "-w", "admm")])
def test_there_and_back_gives_the_same_bytes(base, tmp_path, suffix, method):
    """Also with the statistics of another method: all scales come from the file."""
    assert run(*base, *method, "-o", tmp_path / "a") == 0
    assert run("export-scales", tmp_path / "a_quantized", "-o", tmp_path / f"s.{suffix}") == 0
    other = [word.replace("kl", "aciq-gauss") for word in method]
    assert run(*base, *other, "--scales", tmp_path / f"s.{suffix}", "-o", tmp_path / "b") == 0
    for a, b in zip(pair(tmp_path, "a"), pair(tmp_path, "b"), strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_one_blob_is_edited(base, tmp_path, capsys):
    assert run(*base, "-t", "mix", "-o", tmp_path / "a") == 0
    capsys.readouterr()
    assert run("export-scales", tmp_path / "a_quantized") == 0
    found = tomllib.loads(capsys.readouterr().out)["blobs"]
    graph = read_model(*pair(tmp_path, "a"))
    assert {name: np.float32(entry["scale"][0]) for name, entry in found.items()} == {
        name: params.scale[0] for name, params in graph.scales.items()
    }
    (tmp_path / "s.toml").write_text("[blobs.input]\nscale = 0.0125\n")
    assert run(*base, "-t", "mix", "--scales", tmp_path / "s.toml", "-o", tmp_path / "b") == 0
    edited = read_model(*pair(tmp_path, "b"))
    assert edited.scales["input"].scale == np.float32(0.0125)
    same = [name for name in graph.scales if name != "input"]
    assert all(np.array_equal(edited.scales[name].scale, graph.scales[name].scale) for name in same)


@pytest.mark.parametrize(
    ("blobs", "message"),
    [
        ({"nothing": {"scale": 1}}, "'nothing' is no int8 blob of this model"),
        ({"input": {"scale": [1, 2]}}, "blob 'input' has 2 scales, expected 3"),
        ({"input": {"scale": [1, -1, 1]}}, "blob 'input': a scale is not a number from 0 on"),
        ({"input": {"scale": [1, 1e60, 1]}}, "blob 'input': a scale is not a number from 0 on"),
        ({"input": {"scale": "x"}}, "blob 'input': scale is 'x', expected numbers"),
        ({"input": {"scale": [1] * 3, "zero_point": [200] * 3}}, "a zero point is outside -128..127"),
        ({"input": {"scale": [1] * 3, "zero_point": [0]}}, "3 scales and 1 zero points, expected as many"),
        ({"input": 3}, "expected 'scale' and 'zero_point', found 3"),
        ({}, "has no table 'blobs'"),
        (None, "cannot be read as TOML or JSON"),
    ],
)
def test_bad_files(base, tmp_path, blobs, message, capsys):
    (tmp_path / "s.json").write_text("{" if blobs is None else json.dumps({"blobs": blobs}))
    assert run(*base, "--scales", tmp_path / "s.json", "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert not list(tmp_path.glob("out*"))


def test_an_fp32_model_has_none(inspected_files, capsys):
    assert run("export-scales", inspected_files) == 2
    assert "has no int8 blob" in capsys.readouterr().err
