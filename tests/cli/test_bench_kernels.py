"""``tnnquant bench kernels``: exit codes and what is printed."""

import json

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


def test_a_kernel_of_ones_own(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(KERNEL)
    assert run("--file", path) == 0
    printed = capsys.readouterr().out
    assert "built-in" in printed
    assert "innermost loops compute on vectors" in printed
    assert run("--file", path, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["code"]["dequantize_i8"][0]["loops"]


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
    assert "512x512x512" in listed[1]["cases"]
    assert run("--list", "--file", "mine.py") == 2
