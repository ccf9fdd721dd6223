"""Plug-ins: from files and from installed packages, through the command line and Python."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tnnquant.base import plugins
from tnnquant.errors import ConfigError, InputError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"
#: The plug-in that the page shows.
EXAMPLE = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL).group(1)


def python(code, *args, cwd=None, path=None):
    env = None
    if path:
        import os

        env = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env)


CLI = "from tnnquant.cli import main; main()"


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(EXAMPLE)
    return path


def quantize(files, pictures, *more):
    flags = ["-p", f"{files}.tnnproto", "-m", f"{files}.tnnmodel", "-i", pictures, "-n", "127.5", "-s", "1/127.5"]
    return ["quantize", *flags, "--no-verify", *more]


def test_an_observer_of_a_file(mine, inspected_files, pictures, tmp_path):
    base = quantize(inspected_files, pictures)
    assert python(CLI, *base, "-o", tmp_path / "plain").returncode == 0
    done = python(CLI, *base, "--plugin", mine, "-b", "near-peak", "-o", tmp_path / "half")
    assert (done.returncode, "blobs near-peak" in done.stdout) == (0, True), done.stderr
    from tnnquant.format import read_model

    plain, half = (
        read_model(tmp_path / f"{name}_quantized.tnnproto", tmp_path / f"{name}_quantized.tnnmodel")
        for name in ("plain", "half")
    )
    ratio = half.scales["stem_relu_out"].scale / plain.scales["stem_relu_out"].scale
    # 0.9 / 127 of the peak to 2047.5/2048/127 of it.
    assert ratio == pytest.approx(0.9 * 2048 / 2047.5, rel=1e-5)
    without = python(CLI, *base, "-b", "near-peak", "-o", tmp_path / "x")
    assert (without.returncode, without.stderr.count("\n")) == (2, 1)


def test_an_installed_package(inspected_files, pictures, tmp_path):
    """By its entry point, looked for when the name is not known."""
    place = tmp_path / "site"
    (place / "extra_plugins").mkdir(parents=True)
    (place / "extra_plugins" / "__init__.py").write_text(EXAMPLE)
    info = place / "extra_plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra-plugins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tnnquant.plugins]\nextra = extra_plugins\n")
    args = quantize(inspected_files, pictures, "-b", "near-peak", "-o", tmp_path / "out")
    done = python(CLI, *args, path=place)
    assert (done.returncode, "blobs near-peak" in done.stdout) == (0, True), done.stderr
    (place / "extra_plugins" / "__init__.py").write_text("1 / 0")
    done = python(CLI, *args, path=place)
    assert done.returncode == 2
    assert "the plug-in 'extra' (extra_plugins) cannot be loaded: ZeroDivisionError" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"^plugin '.*bad.py' does not exist$"),
        ("def f(:", r"bad.py:1: SyntaxError"),
        ("\nimport nothing_here", r"bad.py:2: ModuleNotFoundError: No module named 'nothing_here'"),
        ("\n\nraise ValueError('x')", r"bad.py:3: ValueError: x"),
    ],
)
def test_files_that_fail(tmp_path, text, message):
    if text is not None:
        (tmp_path / "bad.py").write_text(text)
    with pytest.raises(InputError, match=message):
        plugins.load_plugin(tmp_path / "bad.py")


def test_a_layer_type_of_a_plugin(tmp_path, monkeypatch):
    (tmp_path / "twice.py").write_text(
        "from tnnquant.layers.base import Layer, layer\n"
        "@layer(9001, 'TwiceForTests')\n"
        "class Twice(Layer):\n"
        "    def forward(self, inputs, state):\n"
        "        return [inputs[0] * 2]\n"
    )
    code = (
        "import sys, numpy as np, tnnquant\n"
        "tnnquant.load_plugin(sys.argv[1])\n"
        "from tnnquant.format import read_proto\n"
        "lines = ['1 2 1 4206624772 ,', 'x 2 1 3 0 ,', ' x y ,', 'y ,', ' 1 ,', 'TwiceForTests t 1 1 x y ,']\n"
        "proto = ''.join(f'\"{line}\"\\n' for line in lines).encode()\n"
        "graph = read_proto(proto)\n"
        "print(tnnquant.Executor(graph).run({'x': np.array([[1, 2, 3]], np.float32)})['y'].tolist())\n"
    )
    done = python(code, tmp_path / "twice.py")
    assert done.stdout == "[[2.0, 4.0, 6.0]]\n", done.stderr


def test_unknown_names_stay_errors():
    from tnnquant.config import parse_choice

    with pytest.raises(ConfigError, match="expected one of"):
        parse_choice("observer", "nonsense", "-b")
