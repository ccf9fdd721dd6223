"""``tnnquant inspect`` on the command line: what needs no run."""

import json
import os
import re
from pathlib import Path

import pytest

from tnnquant.cli import main


def run(*args):
    """Exit code of the command."""
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    return stop.value.code


def test_the_table_of_an_fp32_model(inspected_files, capsys):
    assert run("inspect", inspected_files) == 0
    printed = capsys.readouterr().out
    assert re.search(r"0 +stem +Convolution +1x8x16x12 +224 +896 B +41.5 k +int8", printed)
    assert re.search(r"1 +stem_relu +ReLU .*becomes part of stem", printed)
    assert "8 layers, 7 can be int8 (100.0 % of the arithmetic)" in printed
    assert "fp32 1 Sigmoid: TNN has no int8 form" in printed


def test_the_table_of_an_int8_model(quantized_files, capsys):
    assert run("inspect", "-p", quantized_files + ".tnnproto", "-m", quantized_files + ".tnnmodel") == 0
    printed = capsys.readouterr().out
    assert re.search(r"stem +Convolution +1x8x16x12 .* int8 .*-127..127", printed)
    assert "7 layers, 6 are int8" in printed


def test_one_layer_and_one_blob(quantized_files, capsys):
    assert run("inspect", quantized_files, "--layer", "left") == 0
    printed = capsys.readouterr().out
    assert "weights: 32 values, INT8" in printed
    assert "left_out  blob 1x4x16x12, made by left" in printed
    assert run("inspect", quantized_files, "--layer", "gate_out") == 0
    capsys.readouterr()
    assert run("inspect", quantized_files, "--layer", "left", "--json") == 0
    assert json.loads(capsys.readouterr().out)["layer"]["weights"]["count"] == 32
    assert run("inspect", quantized_files, "--layer", "lefd") == 4
    assert "did you mean left" in capsys.readouterr().err


def test_json_and_csv(quantized_files, capsys):
    assert run("inspect", quantized_files, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["summary"]["totals"]["layers"] == len(report["summary"]["layers"]) == 7
    assert run("inspect", quantized_files, "--csv") == 0
    assert len(capsys.readouterr().out.splitlines()) == 8


def test_diff(inspected_files, quantized_files, capsys):
    assert run("inspect", "--diff", inspected_files, quantized_files) == 0
    assert re.search(r"stem +changed +[34]\d\.\d +fp32 -> int8", capsys.readouterr().out)
    assert run("inspect", inspected_files, inspected_files, "--diff") == 0
    assert "the same layers, weights and scales" in capsys.readouterr().out
    assert run("inspect", inspected_files, inspected_files, "--diff", "--json") == 0
    assert json.loads(capsys.readouterr().out)["diff"]["same"] is True


@pytest.fixture
def bad(tmp_path, inspected_files):
    """A folder of files that are no models, or broken ones."""
    folder = tmp_path / "bad"
    folder.mkdir()
    proto, model = (Path(inspected_files + suffix).read_bytes() for suffix in (".tnnproto", ".tnnmodel"))
    for name, content in (
        ("cut", model[: len(model) // 2]), ("onnx", b"\x08\x07\x12\x04test"), ("zip", b"PK\x03\x04"),
        ("text", b"hello world, this is text"), ("empty", b""),
    ):  # fmt: skip
        (folder / f"{name}.tnnproto").write_bytes(proto)
        (folder / f"{name}.tnnmodel").write_bytes(content)
    (folder / "torn.tnnproto").write_bytes(proto[: len(proto) * 2 // 3])
    (folder / "torn.tnnmodel").write_bytes(model)
    (folder / "net.onnx").write_bytes(b"\x08\x07\x12\x04test")
    return folder


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["cut"], 3, "cut.tnnmodel"),
        (["onnx"], 3, "ONNX"),
        (["zip"], 3, "ZIP"),
        (["text"], 3, "text.tnnmodel"),
        (["empty"], 3, "empty"),
        (["torn"], 3, "torn.tnnproto"),
        (["net.onnx"], 3, "an ONNX model"),
        (["none"], 3, "no 'none.tnnproto'"),
        ([], 2, "no model is given"),
        (["cut", "zip"], 2, "one model too many"),
        (["--diff", "cut"], 2, "give both"),
        (["-p", "cut.tnnproto", "-m", "onnx.tnnmodel"], 3, "ONNX"),
    ],
)
def test_bad_input_is_one_clear_line(bad, monkeypatch, capsys, args, code, message):
    monkeypatch.chdir(bad)
    got = run("inspect", *args)
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert re.search(message, lines[0])
    assert got == code
    assert not captured.out
    assert not [name for name in os.listdir(bad) if name.startswith(".")]


def test_errors_against_fp32(inspected_files, quantized_files, pictures, capsys):
    args = [quantized_files, "--against", inspected_files, "-i", pictures, "-n", 127.5, "-s", "1/127.5", "--limit", 3]
    assert run("inspect", *args) == 0
    captured = capsys.readouterr()
    assert re.search(r"^(good|doubtful|broken)  The outputs keep \d+\.\d dB over 3 inputs", captured.out)
    assert re.search(r"(?m)^1 +\w+ +\w+ +\d+\.\d", captured.out)
    assert re.search(r"--exclude \w+", captured.out)
    assert run("inspect", *args, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["errors"]["samples"]) == 3
    assert len(report["errors"]["layers"]) == 7
    assert run("inspect", *args, "--layer", "left") == 0
    printed = capsys.readouterr().out
    assert re.search(r"channel +scale +zero point +low +high +low code +high code +unused levels", printed)
    assert re.search(r"(?m)^isolated +\d+\.\d +0\.\d+ +0\.\d+$", printed)
    assert run("inspect", *args, "--csv") == 0
    assert "isolated_sqnr_db" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["small", "--against", "net"], 2, "--against needs inputs"),
        (["net", "--against", "net", "-i", "pictures"], 2, "net.tnnproto is fp32"),
        (["small", "--against", "small", "-i", "pictures"], 2, "it is int8; give the fp32 model"),
        (["small", "--against", "none", "-i", "pictures"], 3, "no 'none.tnnproto'"),
        (["small", "--against", "net", "-i", "none"], 5, "none"),
        (["small", "--against", "net", "-i", "pictures", "--limit", "0"], 2, "--limit is 0"),
        (["small", "--limit", "3"], 2, "--limit needs inputs"),
        (["small", "-b", "kl"], 2, "--blob_method is for --samples"),
        (["net", "--html", "x.html", "-t", "2"], 2, "--merge_type is for --samples"),
        (["small", "--with", "small", "--html", "x.html"], 2, "--with shows a second model on the page"),
        (["small", "--against", "net", "-i", "pictures", "--with", "net", "--html", "x"], 2, "net.tnnproto is fp32"),
        (["small", "--classes", "x.txt"], 2, "--classes names what pictures are taken for"),
        (["small", "--against", "net", "-i", "pictures", "--classes", "none.txt"], 5, "cannot read none.txt"),
        (["net", "--json", "--csv"], 2, "--json and --csv are two forms"),
        (["net", "--csv", "--layer", "left"], 2, "--csv is the table of layers: not with --layer"),
        (["net", "small", "--csv", "--diff"], 2, "--csv is the table of layers: not with --diff"),
    ],
)
@pytest.mark.usefixtures("inspected_files", "quantized_files", "pictures")
def test_bad_comparisons(tmp_path, monkeypatch, capsys, args, code, message):
    monkeypatch.chdir(tmp_path)
    assert run("inspect", *args) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("compiling")]
    assert len(lines) == 1
    assert re.search(message, lines[0])


def test_samples_sheet_and_page(inspected_files, quantized_files, pictures, tmp_path, capsys):
    inputs = ["-i", pictures, "-n", 127.5, "-s", "1/127.5"]
    page, sheet = tmp_path / "page.html", tmp_path / "sheet.png"
    assert run("inspect", inspected_files, *inputs, "--samples", "--html", page, "--sheet", sheet) == 0
    printed = capsys.readouterr().out
    assert "6 inputs, as the model sees them" in printed
    assert re.search(r"coverage \(\w+\): (enough|add more)", printed)
    assert page.read_text().startswith("<!doctype html>")
    assert sheet.stat().st_size > 0
    assert run("inspect", quantized_files, *inputs, "--samples") == 0
    assert "coverage needs the fp32 model" in capsys.readouterr().out
    assert run("inspect", quantized_files, "--html", tmp_path / "static.html") == 0
    assert run("inspect", inspected_files, *inputs, "--json", "--limit", 2) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ranges"]["left_out"]["methods"][0]["method"] == "minmax"
    assert run("inspect", quantized_files, "--html", tmp_path / "nowhere" / "page.html") == 7
    assert run("inspect", inspected_files, *inputs) == 2
    assert run("inspect", inspected_files, "--samples") == 2
    assert run("inspect", quantized_files, *inputs, "--html", page) == 2


def test_the_page_tells_what_made_it_and_can_be_made_the_same(
    inspected_files, quantized_files, pictures, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    args = ["inspect", quantized_files, "--against", inspected_files, "-i", pictures, "-n", 127.5, "-s", "1/127.5",
            "--limit", 2, "--html", "page.html"]  # fmt: skip
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    pages = []
    for _ in range(2):
        assert run(*args, "--with", quantized_files) == 0
        pages.append(Path("page.html").read_bytes())
    assert pages[0] == pages[1]
    text = pages[0].decode()
    assert "1970-01-01 00:00 UTC" in text
    assert "time per run" not in text
    assert "--limit 2 --html page.html --with" in text
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert run(*args) == 0
    text = Path("page.html").read_text("utf-8")
    assert "time per run" in text
    assert "1970" not in re.search(r'<section id="made">.*?</section>', text, re.DOTALL)[0]


@pytest.fixture
def alone(inspected_files, tmp_path, monkeypatch):
    """The name of a .tnnproto without its .tnnmodel."""
    (tmp_path / "net.tnnmodel").unlink()
    monkeypatch.chdir(tmp_path)
    return "net"


def test_the_table_of_a_proto_alone(alone, capsys):
    for words in (["net"], ["net.tnnproto"], ["-p", "net.tnnproto"]):
        assert run("inspect", *words) == 0
        printed = capsys.readouterr().out
        assert re.search(r"0 +stem +Convolution +1x8x16x12 +\? +\? +41.5 k\n", printed)
        assert "becomes" not in printed, "an empty column is not printed"
        assert "8 layers, " in printed
        assert "note this is the .tnnproto alone" in printed
    assert run("inspect", "net", "--layer", "stem") == 0
    assert "? parameters, 41472 MACs" in capsys.readouterr().out
    assert run("inspect", "net", "--json") == 0
    assert json.loads(capsys.readouterr().out)["summary"]["totals"]["parameters"] is None
    assert run("inspect", "net", "--csv") == 0
    assert len(capsys.readouterr().out.splitlines()) == 9


@pytest.mark.parametrize(
    "words",
    [
        ["--diff", "net"], ["--against", "net", "-i", "."], ["-i", ".", "--samples"], ["-i", ".", "--sheet", "s.png"],
        ["--html", "p.html"], ["--snippet", "cpp"], ["--device", "arm"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_what_needs_weights_says_so(words, alone, capsys, tmp_path):
    assert run("inspect", "net", *words) == 3
    error = capsys.readouterr().err
    assert error == f"error: {error.split()[1]} needs the weights of 'net.tnnproto', and there is no 'net.tnnmodel'\n"
    assert not (tmp_path / "p.html").exists()


def test_shares_are_shown_on_the_page(inspected_files, quantized_files, pictures, tmp_path, capsys):
    page = tmp_path / "page.html"
    wanted = quantized_files, "--against", inspected_files, "-i", pictures
    assert run("inspect", *wanted, "--shares") == 2
    assert "--shares is shown on the page: give --html" in capsys.readouterr().err
    assert run("inspect", *wanted, "--shares", "--html", page) == 0
    assert "--fp32-share 0.45" in page.read_text("utf-8")
