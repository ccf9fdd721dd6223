"""``--config``: a run from a TOML file, and repeated from its report."""

import json

import pytest

from tnnquant.cli import main


def run(*args):
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    return stop.value.code


def contents(tmp_path, name):
    return [(tmp_path / f"{name}_quantized.{suffix}").read_bytes() for suffix in ("tnnproto", "tnnmodel")]


@pytest.fixture
def base(inspected_files, pictures):
    return ["quantize", "-p", inspected_files + ".tnnproto", "-m", inspected_files + ".tnnmodel", "-i", pictures]


SETTINGS = ("-b", "kl", "-w", "admm", "-t", "mix", "-n", "127.5,100,90.25", "-s", "1/127.5", "--exclude", "gate,left")


def test_a_run_is_repeated_from_its_report(base, tmp_path, capsys):
    assert run(*base, *SETTINGS, "--input-shape", "input:1,3,16,12", "-o", tmp_path / "a", "--json") == 0
    (tmp_path / "report.json").write_text(capsys.readouterr().out)
    assert run(*base, "--config", tmp_path / "report.json", "-o", tmp_path / "b") == 0
    assert contents(tmp_path, "a") == contents(tmp_path, "b")


def test_a_toml_file_and_what_the_command_line_says_instead(base, tmp_path, capsys):
    (tmp_path / "run.toml").write_text(
        'blob_method = "kl"\nweight-method = 1\nmerge_type = "mix"\nmean = [127.5, 100, 90.25]\nscale = "1/127.5"\n'
        f'exclude = ["gate", "left"]\nno-verify = true\noutput = "{tmp_path}/c"\n'
    )
    assert run(*base, *SETTINGS, "-o", tmp_path / "a") == 0
    assert run(*base, "--config", tmp_path / "run.toml") == 0
    assert contents(tmp_path, "a") == contents(tmp_path, "c")
    capsys.readouterr()
    assert run(*base, "--config", tmp_path / "run.toml", "-b", "minmax", "-o", tmp_path / "d", "--json") == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert (settings["blob_method"], settings["weight_method"]) == ("minmax", "admm")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blob_methd = 2", "'blob_methd' is no option of tnnquant quantize (did you mean blob_method?)"),
        ("auto = 3", "auto is 3, expected true or false"),
        ("a = [", "is neither TOML nor the JSON report of a run"),
        ("{1}", "is neither TOML nor the JSON report of a run"),
        ('blob_method = "nonsense"', "-b/--blob_method is 'nonsense', expected one of"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_bad_files(base, tmp_path, text, message, capsys):
    if text is not None:
        (tmp_path / "run.toml").write_text(text)
    assert run(*base, "--config", tmp_path / "run.toml") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
