"""No command replaces one of its own inputs, whatever the name it is given by."""

import os
import shutil

import pytest

from tnnquant.cli import main


def run(*args):
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    return stop.value.code


@pytest.fixture
def place(inspected_files, pictures, tmp_path):
    """A model called m_quantized, as another run of the tool may have left it, and pictures."""
    for suffix in (".tnnproto", ".tnnmodel"):
        shutil.copy(inspected_files + suffix, tmp_path / f"m_quantized{suffix}")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


M = ("-p", "m_quantized.tnnproto", "-m", "m_quantized.tnnmodel")
PICTURES = ("-i", "pictures", "-n", "127.5", "-s", "1/127.5")
COMMANDS = {
    "quantize": ("quantize", *M, *PICTURES, "-o", "m"),
    "dry run": ("quantize", *M, *PICTURES, "-o", "m", "--dry-run"),
    "dynamic": ("quantize", *M, "--recipe", "dynamic", "-o", "m"),
    "auto": ("quantize", *M, *PICTURES, "-o", "m", "--auto"),
    "symbolic link": ("quantize", "-p", "net.tnnproto", "-m", "link.tnnmodel", *PICTURES, "-o", "m"),
    "target is a link": ("quantize", *M, *PICTURES, "-o", "linked"),
    "hard link": ("quantize", "-p", "net.tnnproto", "-m", "hard.tnnmodel", *PICTURES, "-o", "m"),
    "dots": ("quantize", "-p", "pictures/../m_quantized.tnnproto", "-m", "m_quantized.tnnmodel", *PICTURES, "-o", "m"),
    "statistics": ("quantize", *M, "-i", "tensors", "-o", "tensors/a.npz", "--stats-only"),
    "page over a model": ("inspect", "m_quantized", "--html", "m_quantized.tnnmodel"),
    "page over a picture": ("inspect", "m_quantized", *PICTURES, "--html", "pictures/00.png"),
    "sheet over a picture": ("inspect", "m_quantized", *PICTURES, "--sheet", "pictures/00.png"),
    "page over fp32": ("inspect", "net", "--against", "m_quantized", *PICTURES, "--html", "m_quantized.tnnproto"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_inputs_are_not_replaced(name, place, monkeypatch, capsys):
    import numpy as np

    monkeypatch.chdir(place)
    os.symlink("m_quantized.tnnmodel", "link.tnnmodel")
    os.symlink("m_quantized.tnnproto", "linked_quantized.tnnproto")
    os.link("m_quantized.tnnmodel", "hard.tnnmodel")
    (place / "tensors").mkdir()
    np.savez("tensors/a.npz", input=np.zeros((1, 3, 16, 12), np.float32))
    before = contents(place)
    assert run(*COMMANDS[name]) == 7
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: would overwrite its own input")
    assert "choose another output" in error
    assert contents(place) == before


def test_a_result_may_be_replaced(place, monkeypatch):
    monkeypatch.chdir(place)
    for _ in range(2):
        assert run("quantize", "-p", "net.tnnproto", "-m", "net.tnnmodel", *PICTURES, "-o", "m", "--no-verify") == 0
