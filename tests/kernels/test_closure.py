"""The files that a kernel's machine code depends on."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest

from tnnquant.kernels import closure

FOLDER = Path(closure.__file__).resolve().parent
FILES = sorted(FOLDER.glob("*.py"))


def parsed_imports(path: Path) -> set[Path]:
    """The kernel files that a file imports, as Python's own parser has it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports, as everywhere here"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    prefix = "tnnquant.kernels."
    found = {FOLDER / f"{name[len(prefix) :].split('.')[0]}.py" for name in names if name.startswith(prefix)}
    return {each for each in found if each.exists()} - {path}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_import_is_missed(path):
    assert parsed_imports(path) <= closure.imported_by(path)


def test_what_a_kernel_file_stands_on():
    names = {path.name for path in closure.files_of(FOLDER / "conv_i8.py")}
    assert {"conv_i8.py", "tile_i8.py", "dot_i8.py", "simd.py", "target.py", "jit.py"} <= names
    assert not names & {"kl.py", "softmax.py", "conv_f32.py"}


@pytest.fixture
def forget():
    """Nothing is remembered of files, before or after."""

    def clear():
        for function in (closure._source, closure._digest, closure.imported_by, closure.files_of, closure.fingerprint):
            function.cache_clear()

    clear()
    yield clear
    clear()


IMPORTS = [
    "from tnnquant.kernels.low import x",
    "from tnnquant.kernels import high, low",
    "from tnnquant.kernels import (\n    high,  # (why\n    low,\n)",
    "import tnnquant.kernels.low as other",
    "import os, tnnquant.kernels.low",
    "from .low import x",
    "from . import \\\n    low",
    "def f():\n    if True: from tnnquant.kernels.low import x",
]


@pytest.mark.parametrize("line", IMPORTS)
def test_every_way_to_import(line, tmp_path, monkeypatch, forget):
    monkeypatch.setattr(closure, "_FOLDER", tmp_path)
    for name, text in {"top": "from tnnquant.kernels import middle", "middle": line, "low": "", "high": ""}.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert tmp_path / "low.py" in closure.files_of(tmp_path / "top.py")
    before = closure.fingerprint(tmp_path / "top.py")
    forget()
    assert closure.fingerprint(tmp_path / "top.py") == before
    forget()
    (tmp_path / "low.py").write_text("# edited")
    assert closure.fingerprint(tmp_path / "top.py") != before


def test_a_file_outside_depends_on_modules_beside_it(tmp_path, monkeypatch, forget):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "beside_it.py").write_text("from tnnquant.kernels.kl import np\n")
    (tmp_path / "outside.py").write_text("import os, numpy, beside_it\n")
    importlib.import_module("beside_it")
    try:
        names = {path.name for path in closure.files_of(tmp_path / "outside.py")}
    finally:
        del sys.modules["beside_it"]
    assert {"outside.py", "beside_it.py", "kl.py"} <= names
    assert "os.py" not in names
