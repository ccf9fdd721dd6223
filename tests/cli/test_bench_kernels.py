"""``tnnquant bench kernels``: exit codes and what is printed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tnnquant.cli import main

KERNEL = """
from numba import njit
import numpy as np

@njit
def dequantize_i8(x, scale, zero, out):
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[p, c] = scale[c] * np.float32(np.int32(x[p, c]) - np.int32(zero[c]))
"""


def run(*args):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "kernels", *map(str, args)])
    return stop.value.code


def test_table_and_json_of_the_built_in_kernels(capsys):
    assert run("dequantize_i8") == 0
    printed = capsys.readouterr().out
    assert "instruction path" in printed
    assert "equal" in printed
    assert run("dequantize_i8", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert {row["case"] for row in values["kernels"]} == {"odd sizes", "64 at 56", "1000 values"}
    assert all(row["difference"] == "" and row["seconds"] > 0 for row in values["kernels"])
    assert values["machine"]["int8_peak_gmacs"] > 0
    from_caches = {"int8_nearest_cache_gmacs", "int8_second_cache_gmacs"} & values["machine"].keys()
    assert len(from_caches) == (2 if values["machine"]["path"] == "amx" else 0)


def test_a_kernel_of_ones_own(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(KERNEL)
    assert run("--file", path) == 0
    printed = capsys.readouterr().out
    assert "built-in" in printed
    assert "innermost loops compute on vectors" in printed
    assert printed.index("innermost loops") < printed.index("built-in"), "results come last"
    assert run("--file", path, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["code"]["dequantize_i8"][0]["loops"]


def test_of_the_assembly_as_much_as_is_asked_for(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(KERNEL)
    assert run("--file", path, "--assembly", "none") == 0
    assert "innermost loops" not in capsys.readouterr().out
    assert run("--assembly", "all") == 2
    assert "--assembly is for kernels of your own" in capsys.readouterr().err


def test_a_template_is_written_once_and_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("--template", "range") == 0
    assert "my_range.py written" in capsys.readouterr().err
    assert run("--file", "my_range.py") == 0
    assert "2x17x35" in capsys.readouterr().out
    assert run("--template", "range") == 2
    assert "my_range.py exists already" in capsys.readouterr().err
    assert run("--template", "gemm_f32", "--file", "-") == 0
    assert "def gemm_f32(x, weight, bias, activation, out):" in capsys.readouterr().out
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--template", "gem_i8"], "did you mean gemm_i8?"),
        (["--template", "gemm_i8", "--json"], "--template writes a file and measures nothing"),
        (["--watch"], "--watch is for kernels of your own"),
        (["--watch", "--file", "mine.py", "--json"], "--watch is for a screen"),
        (["--list", "--template", "gemm_i8"], "leave out --file and --template"),
    ],
)
def test_options_that_do_not_go_together(args, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*args) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


HEAD = "import numpy as np\nfrom numba import njit\n\n@njit\ndef dequantize_i8(x, scale, zero, out):\n"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("def f(:\n", 5, "mine.py:1: SyntaxError"),
        ("import no_such_module\n", 5, "mine.py:1: ModuleNotFoundError"),
        (HEAD + "    out[...] = 'a'\n", 1, "dequantize_i8, odd sizes: TypingError"),
        (HEAD + "    return x\n", 1, "returns an array int8 (35, 17) and leaves out as it was"),
        (HEAD + "    raise ValueError('no')\n", 1, "dequantize_i8, odd sizes: ValueError: no"),
        ("import os\nos.abort()\n", 1, "mine.py: it crashed (SIGABRT)"),
    ],
)
def test_hostile_files_give_one_line(text, code, message, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(text)
    assert run("--file", path) == code
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_ends_a_kernel_that_does_not_end(tmp_path):
    path = tmp_path / "mine.py"
    ready = tmp_path / "ready"
    loop = "    while True:\n        out[0, 0] += 1\n"
    path.write_text(f"open({str(ready)!r}, 'w').close()\n" + HEAD + loop)
    process = subprocess.Popen(
        [sys.executable, "-m", "tnnquant", "bench", "kernels", "--file", str(path)], stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(ready.exists)
        time.sleep(2)  # the kernel compiles, and runs on and on
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert len(error.strip().splitlines()) == 1
    assert "interrupted" in error


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_watch_runs_again_on_every_save(tmp_path):
    path, output = tmp_path / "mine.py", tmp_path / "output"
    path.write_text("def f(:\n")
    with output.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "tnnquant", "bench", "kernels", "--file", str(path), "--watch"], stdout=stream,
            stderr=stream, start_new_session=True,
        )  # fmt: skip
        try:
            wait_for(lambda: "waiting for" in output.read_text())
            assert "mine.py:1: SyntaxError" in output.read_text()
            path.write_text(KERNEL)
            wait_for(lambda: output.read_text().count("waiting for") == 2)
            assert "equal" in output.read_text()
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert "Traceback" not in output.read_text()


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_a_wrong_kernel_fails_the_run(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(KERNEL.replace("scale[c] *", "2 * scale[c] *"))
    assert run("--file", path) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "3 of 3 cases differ from the reference; dequantize_i8, odd sizes: output 3" in captured.err
    assert "values differ" in captured.out


def test_list(capsys):
    assert run("--list", "gemm_i8") == 0
    assert "gemm_i8(x, weight, quant, out)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["gem_i8"], 2, "did you mean gemm_i8?"),
        (["--threads", "999"], 2, "--threads is 999, expected 1 to"),
        (["--file", "no.py"], 5, "'no.py' does not exist"),
    ],
)
def test_bad_input(args, code, message, capsys):
    assert run(*args) == code
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_an_operator_the_file_has_no_kernel_for(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(KERNEL)
    assert run("gemm_i8", "--file", path) == 2
    assert "no kernel for gemm_i8; it has dequantize_i8" in capsys.readouterr().err


def test_an_unknown_subcommand_lists_the_known(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "kernel"])
    assert stop.value.code == 2
    assert "kernels" in capsys.readouterr().err


def test_the_list_as_json(capsys):
    assert run("--list", "--json", "add_i8", "gemm_f32") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["operator"] for entry in listed] == ["add_i8", "gemm_f32"]
    assert listed[1]["signature"] == "gemm_f32(x, weight, bias, activation, out)"
    assert listed[1]["arguments"].startswith("x: (M, K); weight: (OC, K);")
    assert listed[1]["computes"].startswith("Matrix product of float32")
    assert listed[1]["codes"] == {"activation": {"NO_ACTIVATION": 0, "RELU": 1, "RELU6": 2}}
    assert "512x512x512" in listed[1]["cases"]
    assert run("--list", "--file", "mine.py") == 2
