"""The command line: flags of TNN's tool, errors in one line, exit codes, nothing half-written."""

import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tnnquant.cli import main
from tnnquant.format import read_model, write_model


@pytest.fixture
def model(build, tmp_path):
    """A small model on disk with a folder of 50 pictures: (proto, model, pictures)."""
    net = build((1, 3, 16, 12))
    a = net.add("ReLU", net.conv("input", 3, 8))
    out = net.inner_product(net.pool(net.conv(a, 8, 8, groups=8)), 8 * 8 * 6, 5)
    paths = tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel"
    write_model(net.graph(out), *paths)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(3)
    for i in range(50):
        Image.fromarray(rng.integers(0, 256, (16, 12, 3), np.uint8)).save(pictures / f"{i:02}.png")
    return *map(str, paths), str(pictures)


def run(*args):
    """Exit code of the command."""
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    return stop.value.code


def flags(model, *more):
    proto, weights, pictures = model
    return ["quantize", "-p", proto, "-m", weights, "-i", pictures, "-n", "127.5", "-s", "1/127.5", *more]


def test_the_flags_of_tnns_tool(model, tmp_path, capsys):
    target = tmp_path / "out"
    code = run(*flags(model, "-b", 2, "-w", 1, "-r", 1, "-t", 1, "-o", target))
    assert code == 0
    graph = read_model(f"{target}_quantized.tnnproto", f"{target}_quantized.tnnmodel")
    assert sum(node.quantized for node in graph.nodes) == 4
    printed = capsys.readouterr().out
    assert "4 int8, 0 fp32" in printed
    assert "blobs kl, weights admm, scales per mix" in printed
    assert "out_quantized.tnnmodel" in printed


def test_names_and_long_flags_give_the_same_bytes_as_numbers(model, tmp_path):
    proto, weights, pictures = model
    a, b = tmp_path / "a", tmp_path / "b"
    assert run(*flags(model, "-b", 3, "-w", 3, "-t", 2, "-o", a)) == 0
    long = ["--proto", proto, "--model", weights, "--input_path", pictures, "--bias", "127.5", "127.5", "127.5"]
    long += ["--scale", "7.843137254901961e-3", "--blob_method", "asymmetric", "--weight_method", "asymmetric"]
    assert run("quantize", *long, "--merge_type", "tensor", "--reverse_channel", 0, "--output", b) == 0
    for suffix in ("tnnproto", "tnnmodel"):
        assert (tmp_path / f"a_quantized.{suffix}").read_bytes() == (tmp_path / f"b_quantized.{suffix}").read_bytes()


def test_the_default_output_is_in_the_current_folder(model, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run(*flags(model)) == 0
    assert sorted(os.listdir()) == ["model_quantized.tnnmodel", "model_quantized.tnnproto"]


def test_dry_run_writes_nothing_and_prints_the_plan(model, tmp_path, capsys):
    assert run(*flags(model, "-o", tmp_path / "out", "--dry-run")) == 0
    assert not list(tmp_path.glob("out*"))
    printed = capsys.readouterr().out
    assert "nothing was written" in printed
    planned = re.search(r"-> about ([\d.]+) MB \(\d+ %\), (\d+) % of the multiplications in int8", printed)
    assert run(*flags(model, "-o", tmp_path / "out", "--no-verify")) == 0
    made = re.search(r"-> ([\d.]+) MB", capsys.readouterr().out)
    assert float(planned[1]) == pytest.approx(float(made[1]), rel=0.05, abs=0.01)
    assert planned[2] == "100"
    for recipe, layers in (("best", "4 int8, 0 fp32, before the recipe chooses some more to stay fp32"),
                           ("dynamic", "0 int8, 2 fp32, 3 with int8 weights that are widened on loading")):  # fmt: skip
        assert run(*flags(model, "-o", tmp_path / "out", "--dry-run", "--recipe", recipe)) == 0
        assert f" {layers}\n" in capsys.readouterr().out


def test_json(model, tmp_path, capsys):
    assert run(*flags(model, "-o", tmp_path / "out", "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["samples"] == 50
    assert [layer["precision"] for layer in report["layers"]] == ["int8"] * 4
    assert report["settings"]["merge_type"] == "channel"
    assert report["bytes_after"] == sum(path.stat().st_size for path in tmp_path.glob("out_quantized.*"))
    stages = {"reading", "preparing", "calibration", "blob scales", "weights", "model without some samples", "writing"}
    stages |= {"verdict", "total"}
    assert set(report["seconds"]) - {"kernels"} == stages  # those are compiled or loaded once in a process


def test_few_pictures_are_warned_of(model, tmp_path, capsys):
    for i in range(40):
        os.remove(os.path.join(model[2], f"{i:02}.png"))
    assert run(*flags(model, "-o", tmp_path / "out")) == 0
    assert "only 10 samples: fewer than 50" in capsys.readouterr().err


def test_the_verdict_is_printed_and_may_be_left_out(model, tmp_path, capsys):
    assert run(*flags(model, "-o", tmp_path / "out")) == 0
    printed = capsys.readouterr().out
    assert "verdict" in printed
    assert "GOOD on 16 of the 50 calibration pictures, which the model was made from" in printed
    assert "broken below 75 %" in printed
    assert run(*flags(model, "-o", tmp_path / "out", "--no-verify")) == 0
    assert "made from" not in capsys.readouterr().out


def test_a_broken_model_is_written_and_has_an_exit_code_of_its_own(model, tmp_path, capsys):
    # All weights but one tiny: one scale for all of them leaves one channel.
    proto, weights, _ = model
    graph = read_model(proto, weights)
    for node in graph.nodes:
        if "filter" in node.tensors:
            filters = node.tensors["filter"].data
            filters[0] *= 1e5
    write_model(graph, proto, weights)
    assert run(*flags(model, "-t", "tensor", "-o", tmp_path / "out", "--holdout", "0.2")) == 8
    assert "BROKEN on 10 calibration pictures held out from the statistics" in capsys.readouterr().out
    assert len(list(tmp_path.glob("out_quantized.*"))) == 2


def test_excluded_layers_are_float_in_the_file(model, tmp_path, capsys):
    target = tmp_path / "out"
    more = ["--exclude", "convolution0,type:Pooling", "--exclude", "re:inner.*"]
    assert run(*flags(model, "-o", target, *more)) == 0
    graph = read_model(f"{target}_quantized.tnnproto", f"{target}_quantized.tnnmodel")
    assert [node.quantized for node in graph.nodes] == [False, True, False, False]
    assert "fp32: 1 Pooling - excluded by --exclude type:Pooling\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--exclude", "conv"], 2, "--exclude 'conv' matches no layer; the nearest names are convolution"),
        (["--include", "type:Conv"], 2, "TNN has no layer type 'Conv'"),
        (["--target-agreement", "98"], 2, "--target-agreement is 98, expected a share"),
        (["--time-budget", "soon"], 2, "--time-budget is 'soon', expected a number"),
        (["--auto", "--no-verify"], 2, "leave out --no-verify"),
        (["--time-budget", "5"], 2, "--time-budget limits --auto, --target, --target-agreement and --recipe best"),
        (["--fp32-share", "0.1"], 2, "--fp32-share is for --recipe best or fast"),
        (["--recipe", "best", "--fp32-share", "2"], 2, "--fp32-share is 2, expected a share from 0 to 1"),
        (["--eval", "somewhere", "--no-verify"], 2, "--eval is for the verdict, which --no-verify skips"),
        (["--task", "regress", "--no-verify"], 2, "--task is for the verdict"),
        (["--exclude", ""], 2, "a pattern for layers is ''"),
        (["--include", " , "], 2, "a pattern for layers is"),
        (["--holdout", "2"], 2, "--holdout is 2, expected a share"),
        (["--holdout", "some"], 2, "--holdout is 'some', expected a number"),
        (["--verify-pictures", "0"], 2, "--verify-pictures is 0"),
        (["--task", "detect"], 2, r"--task is 'detect', expected one of 0 \(auto\), 1 \(classify\)"),
        (["--labels", "x"], 2, "--labels needs --eval"),
        (["--eval", "missing"], 5, "missing"),
        (["-b", "1"], 2, r"-b/--blob_method is '1', expected one of 0 \(minmax\), 2 \(kl\)"),
        (["-w", "kl"], 2, "-w/--weight_method is 'kl'"),
        (["-t", "3"], 2, "-t/--merge_type is '3'"),
        (["-r", "2"], 2, "-r/--reverse_channel is '2', expected 0 or 1"),
        (["-n", "1,x,3"], 2, "'x'"),
        (["-n", "1,2"], 2, "2 values"),
        (["--threads", "0"], 2, "--threads is 0"),
        (["--frobnicate"], 2, "No such option"),
        (["-o", "nowhere/out"], 7, "'nowhere' does not exist"),
        (["-p", "missing.tnnproto"], 3, "missing.tnnproto"),
        (["-i", "missing"], 5, "missing"),
        (["--input-shape", "input:0,1"], 2, "--input-shape"),
        (["--input-shape", "other:1,3,4,4"], 4, "'other'"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(model, tmp_path, monkeypatch, capsys, more, code, message):
    monkeypatch.chdir(tmp_path)
    assert run(*flags(model, *more)) == code
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line and not line.startswith("compiling")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert __import__("re").search(message, lines[0])
    assert not list(tmp_path.glob("*_quantized*"))


def test_a_failure_leaves_earlier_output_as_it_was(model, tmp_path):
    target = tmp_path / "out"
    assert run(*flags(model, "-o", target)) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("out_*")}
    (tmp_path / "pictures" / "25.png").write_bytes(b"not a picture")
    assert run(*flags(model, "-o", target)) == 5
    assert {path.name: path.read_bytes() for path in tmp_path.glob("out_*")} == before
    assert run(*flags(model, "-o", target, "--skip-bad")) == 0


def test_a_dry_run_warns_as_the_run_would(model, capsys):
    proto, weights, pictures = model
    assert run("quantize", "-p", proto, "-m", weights, "-i", pictures, "--dry-run") == 0
    assert "values of 0..255, raw, since neither mean nor scale is given" in capsys.readouterr().err


def test_an_unknown_command_names_the_nearest_or_lists_all(capsys):
    assert run("quantise") == 2
    assert "No such command 'quantise'. Did you mean quantize?" in capsys.readouterr().err
    assert run("xyz") == 2
    assert "Commands: quantize, convert" in capsys.readouterr().err


def test_help_and_wrong_options_import_nothing_heavy():
    code = (
        "import sys\n"
        "from tnnquant.cli import main\n"
        "try: main({!r})\n"
        "except SystemExit: pass\n"
        "assert not set(sys.modules) & set('numba numpy PIL rich'.split())"
    )
    for args in (["--help"], ["quantize", "--help"], ["quantize", "-b", "9"], ["--version"]):
        subprocess.run([sys.executable, "-c", code.format(args)], check=True, capture_output=True)


def test_the_process_ends_at_once_with_its_code_and_its_output(model, tmp_path):
    command = [sys.executable, "-c", "import tnnquant.cli as c; c.main(); print('never')"]
    done = subprocess.run([*command, *flags(model, "--dry-run")], capture_output=True, text=True)
    assert done.returncode == 0
    assert "int8" in done.stdout
    assert "never" not in done.stdout
    failed = subprocess.run([*command, "quantize", "-b", "9"], capture_output=True, text=True)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("error: -b/--blob_method is '9'")


def test_output_that_nobody_reads(model):
    command = [sys.executable, "-c", "import tnnquant.cli as c; c.main()", *flags(model, "--dry-run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1


def test_auto_prints_its_trials(model, tmp_path, capsys):
    assert run(*flags(model, "-o", tmp_path / "out", "--auto", "--state", tmp_path / "state")) == 0
    printed = capsys.readouterr().out
    assert "->" in printed
    lines = printed.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(" trials"))
    assert lines[start].split() == ["trials", "verdict", "agree", "%", "cosine", "dB", "seconds"]
    assert len(lines[start]) <= 80
    assert {len(line) for line in lines[start + 1 : start + 6]} == {len(lines[start])}
    assert printed.count("kl, admm, per") >= 3
    assert "by a second model made without them; its steps were chosen by them" in printed


def test_a_missed_target_has_an_exit_code_of_its_own(model, tmp_path, capsys, monkeypatch):
    from tnnquant.search import trials

    monkeypatch.setattr(trials, "agreement_of", lambda verdict: 0.5)
    assert run(*flags(model, "-o", tmp_path / "out", "--target-agreement", "0.9", "--time-budget", "0")) == 9
    assert "90 %: NOT reached" in capsys.readouterr().out
    assert len(list(tmp_path.glob("out_quantized.*"))) == 2


def test_a_line_a_reason_and_no_blanks_at_the_ends(model, tmp_path, capsys):
    proto, weights, _ = model
    graph = read_model(proto, weights)
    for node in graph.nodes:
        if node.name.startswith("convolution"):
            # Channels of tiny weights with a bias that their steps cannot hold.
            node.tensors["filter"].data.reshape(8, -1)[:2] = 1e-12
            node.tensors["bias"].data[:2] = 1
    write_model(graph, proto, weights)
    more = ["--exclude", "type:Pooling,type:InnerProduct", "--holdout", "0.2"]
    assert run(*flags(model, "-o", tmp_path / "out", *more)) in (0, 8)
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0] == " samples   40 (10 more held out)"
    assert [line for line in lines if line != line.rstrip()] == []
    assert sum("excluded by --exclude type:" in line for line in lines) == 2
    assert sum("note:" in line for line in lines) == 1
    assert "note: scale of 4 channels raised so that their bias fits int32, in 2 layers from convolution0 on" in printed


def test_without_data_the_pictures_of_eval_judge(model, tmp_path, capsys):
    proto, weights, pictures = model
    args = ["quantize", "-p", proto, "-m", weights, "-n", "127.5", "-s", "1/127.5", "--recipe", "dynamic"]
    args += ["-o", tmp_path / "out"]
    assert run(*args, "--eval", pictures) == 0
    captured = capsys.readouterr()
    assert "verdict   GOOD on all 50 evaluation pictures\n" in captured.out
    assert "samples" not in captured.out
    assert captured.err == ""
    assert run(*args, "-i", pictures, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [found["source"] for found in report["verdict"]["sets"]] == ["16 of the 50 pictures"]
    assert report["verdict"]["sets"][0]["held_out"] is True  # no statistics are made of them
    assert (report["samples"], report["warnings"]) == (0, [])
    assert run(*args, "--auto") == 2


def test_alone_it_shows_its_help(capsys):
    for group in ([], ["bench"]):
        assert run(*group) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("Usage: tnnquant")
        assert "\nCommands:\n" in captured.err
    assert run("bench", "latency") == 2
    assert "(see 'tnnquant bench latency --help')" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_output_that_cannot_be_written_or_is_closed(model):
    command = f'{sys.executable} -c "import tnnquant.cli as c; c.main()" ' + " ".join(flags(model, "--dry-run"))
    full = subprocess.run(f"{command} > /dev/full", shell=True, capture_output=True, text=True)
    assert (full.returncode, full.stderr) == (7, "error: cannot write the output: No space left on device\n")
    for closed in (">&-", "2>&-", "<&-"):
        done = subprocess.run(f"{command} {closed}", shell=True, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert ("int8" in done.stdout) == (closed != ">&-")


def test_the_steps_of_a_recipe_are_shown(model, tmp_path, capsys):
    assert run(*flags(model, "-o", tmp_path / "out", "--recipe", "best")) == 0
    printed = capsys.readouterr().out
    figures = r"(kept|dropped): held-out error [0-9.e-]+ -> [0-9.e-]+.*"
    steps = "balance, full range, rounding, bias, islands"
    assert re.search(rf"methods   recipe best\n +{steps} {figures}\n", printed)


def test_hyphens_do_for_the_underscores_of_tnns_tool(model, tmp_path):
    proto, weights, pictures = model
    args = ["--proto", proto, "--model", weights, f"--input-path={pictures}", "--mean", "127.5", "--scale", "1/127.5"]
    args += ["--blob-method", "kl", "--weight-method=1", "--merge-type", "mix", "--reverse-channel", "0", "--no-verify"]
    assert run("quantize", *args, "-o", tmp_path / "a") == 0
    assert run(*flags(model, "-b", 2, "-w", 1, "-t", 1, "-o", tmp_path / "b")) == 0
    a, b = ((tmp_path / f"{name}_quantized.tnnmodel").read_bytes() for name in "ab")
    assert a == b


@pytest.mark.parametrize("name", ["out.tnnproto", "out.tnnmodel", "out"])
def test_the_output_may_be_named_as_a_file(model, tmp_path, name):
    assert run(*flags(model, "-o", tmp_path / name, "--no-verify")) == 0
    written = sorted(path.name for path in tmp_path.glob("out*"))
    assert written == ["out_quantized.tnnmodel", "out_quantized.tnnproto"]


def test_the_verdict_has_a_colour_on_a_terminal(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert run(*flags(model, "-o", tmp_path / "out")) == 0
    assert "\x1b[1;32mGOOD\x1b[0m on 16 of the 50 calibration pictures" in capsys.readouterr().out
    monkeypatch.delenv("FORCE_COLOR")
    assert run(*flags(model, "-o", tmp_path / "out")) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_it_can_be_run_as_a_module():
    done = subprocess.run([sys.executable, "-m", "tnnquant", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "tnnquant")


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ([], []),
        (["--recipe", "tnn"], []),
        (["--recipe=tnn", "--exclude", "type:Pooling"], ["--exclude", "type:Pooling"]),
        (["-b", "2", "--recipe", "0", "--eval", "{pictures}"], ["-b", "2", "--eval", "{pictures}"]),
        (["--recipe", "best", "--time-budget", "0"], []),
    ],
)
def test_the_command_of_a_better_recipe_can_be_copied(model, tmp_path, capsys, monkeypatch, more, kept):
    """In one piece on a narrow screen too, with all options of the run; it runs, and then nothing is advised."""
    monkeypatch.setenv("COLUMNS", "40")
    spaced = tmp_path / "my pictures"
    os.rename(model[2], spaced)
    arguments = flags((*model[:2], str(spaced)), "-o", str(tmp_path / "out"))
    more, kept = ([text.format(pictures=spaced) for text in texts] for texts in (more, kept))
    assert run(*arguments, *more) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("closer to fp32: "))
    program, *command = shlex.split(line.removeprefix("closer to fp32: "))
    assert program == "tnnquant"
    assert command == [*arguments, *kept, "--recipe", "best"]
    assert run(*command) in (0, 8)
    assert "closer to fp32" not in capsys.readouterr().out


def test_no_command_is_printed_where_nobody_wants_it_or_it_would_fail(model, tmp_path, capsys):
    target = tmp_path / "out"
    assert run(*flags(model, "-o", target, "--json")) == 0
    assert "best" in json.loads(capsys.readouterr().out)["others"]  # as JSON, and nothing else
    assert run(*flags(model, "-o", target, "--quiet")) == 0
    assert capsys.readouterr().out == ""
    assert run("export-scales", f"{target}_quantized", "-o", tmp_path / "scales.toml") == 0
    capsys.readouterr()
    assert run(*flags(model, "-o", target, "--scales", tmp_path / "scales.toml")) == 0
    assert "closer to fp32" not in capsys.readouterr().out  # the other recipes take no scales


@pytest.mark.parametrize(
    ("called", "program"),
    [("{bin}/tnnquant", ["tnnquant"]), ("{other}/tnnquant", ["{other}/tnnquant"]),
     ("{other}/tnnquant/__main__.py", [sys.executable, "-m", "tnnquant"]), ("{other}/notebook", ["tnnquant"])],
)  # fmt: skip
def test_a_command_is_named_as_it_was_called(tmp_path, monkeypatch, called, program):
    from tnnquant.cli.summary import _program

    places = {"bin": tmp_path / "bin", "other": tmp_path / "other"}
    for place in places.values():
        place.mkdir()
        (place / "tnnquant").write_text("#!/bin/sh\n")
        (place / "tnnquant").chmod(0o755)
    monkeypatch.setenv("PATH", str(places["bin"]))
    monkeypatch.setattr(sys, "argv", [called.format(**places)])
    assert _program() == [text.format(**places) for text in program]


def test_skipped_files_are_counted_among_all(model, tmp_path, capsys):
    """Also where some are held out."""
    for name in ("a.png", "b.png", "c.png", "d.png", "e.png", "f.png"):
        with open(os.path.join(model[2], name), "wb") as file:
            file.write(name.encode())
    assert run(*flags(model, "-o", tmp_path / "out", "--skip-bad", "--holdout", "0.2")) == 0
    assert re.search(r"warning: \d of 56 calibration files cannot be used", capsys.readouterr().err)


def test_too_few_threads_are_no_internal_error(monkeypatch, capsys):
    def start(*args, **options):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("tnnquant.cli.group.main", start)
    assert run("doctor") == 1
    assert capsys.readouterr().err.startswith("error: no thread can be started")
