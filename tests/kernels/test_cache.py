"""What is recompiled after which edit, and what is thrown away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tnnquant
from tnnquant.kernels import cache

COMPILED = os.environ.get("NUMBA_DISABLE_JIT") != "1"
needs_compiler = pytest.mark.skipif(not COMPILED, reason="nothing is compiled, so nothing is cached")

LOW = """
from tnnquant.kernels.jit import inline
@inline
def factor():
    return 2
"""
MIDDLE = """
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.t_low import factor
@kernel
def doubled(x):
    return factor() * x
"""
TOP = """
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.t_middle import doubled
@kernel
def result(x):
    return doubled(x) + 1
"""
APART = """
from tnnquant.kernels.jit import kernel
@kernel
def negative(x):
    return -x
"""
PROGRAM = """
from tnnquant.kernels import jit
from tnnquant.kernels.t_top import result
from tnnquant.kernels.t_apart import negative
from numba.core import event
told = []
jit.before_compiling(lambda: told.append(1))
with event.install_recorder("numba:compile") as compiled:
    print(result(5), negative(3), end=" ")
print(*sorted({e.data["dispatcher"].py_func.__name__ for _, e in compiled.buffer}) or ["nothing"])
"""


def checkout(folder: Path) -> Path:
    """A copy of the package with three kernel files that stand on each other, and one apart."""
    root = Path(tnnquant.__file__).resolve().parent.parent
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "tnnquant", folder / "tnnquant", ignore=ignore)
    kernels = folder / "tnnquant" / "kernels"
    shutil.copytree(Path(cache.__file__).parent, kernels, ignore=ignore, dirs_exist_ok=True)
    for name, text in {"low": LOW, "middle": MIDDLE, "top": TOP, "apart": APART}.items():
        (kernels / f"t_{name}.py").write_text(text)
    return folder


def run(folder: Path, **env) -> str:
    values = {**os.environ, "PYTHONPATH": str(folder), "TNNQUANT_CACHE_DIR": str(folder.parent / "cache"), **env}
    values["PYTHONDONTWRITEBYTECODE"] = "1"
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=values, cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@needs_compiler
def test_an_edit_compiles_what_stands_on_it_in_every_checkout(tmp_path):
    here = checkout(tmp_path / "here")
    kernels = here / "tnnquant" / "kernels"
    assert run(here) == "11 -3 doubled factor negative result"
    assert run(here) == "11 -3 nothing"
    there = checkout(tmp_path / "a place with another name")
    assert run(there) == "11 -3 nothing"
    # Two files further down, inlined: never stale.
    (kernels / "t_low.py").write_text(LOW.replace("2", "3"))
    assert run(here) == "16 -3 doubled factor result"
    assert run(there) == "11 -3 nothing"
    (kernels / "t_apart.py").write_text(APART.replace("-x", "-x - 1"))
    assert run(here) == "16 -4 negative"
    # A new file, and one that nothing stands on, compile nothing.
    (kernels / "t_new.py").write_text("from tnnquant.kernels.t_top import result\n")
    (kernels / "kl.py").write_text("")
    # So do a comment, and a function beside the one that is called.
    (kernels / "t_apart.py").write_text("# why\n" + APART.replace("-x", "-x - 1") + "\ndef beside(x):\n    return x\n")
    assert run(here) == "16 -4 nothing"
    # Back: the entries of before are still there.
    (kernels / "t_low.py").write_text(LOW)
    assert run(here) == "11 -4 nothing"
    assert run(here, TNNQUANT_ISA="portable") == "11 -4 doubled factor negative result"
    assert run(here, NUMBA_BOUNDSCHECK="1") == "11 -4 doubled factor negative result"
    assert run(here, NUMBA_CPU_NAME="generic", TNNQUANT_ISA="portable") == "11 -4 doubled factor negative result"


@needs_compiler
def test_functions_with_free_variables(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()

    def add_to(what):
        def add(x):
            return what + x

        return add

    values = (1, 2, 1.0, True, "a", b"a", None)
    assert len({cache.Entries(add_to(value), folder, lambda: None).code for value in values}) == len(values)
    with pytest.raises(ValueError, match="make no key"):
        cache.Entries(add_to(np.arange(3)), folder, lambda: None)


@pytest.fixture
def entries(tmp_path):
    """Ten entries of 100 bytes, of two versions; the higher their number the later they were used."""
    for number in range(10):
        folder = tmp_path / f"kernels-{number % 2}" / f"file-{number // 4}"
        folder.mkdir(parents=True, exist_ok=True)
        entry = folder / f"f{number}.nbc"
        entry.write_bytes(bytes(100))
        os.utime(entry, (number, number))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_bytes(bytes(1000))
    return tmp_path


def left(root: Path) -> list[int]:
    return sorted(int(path.stem[1:]) for path in root.glob("kernels-*/*/*"))


def test_what_was_not_used_for_longest_goes_first(entries):
    cache.prune(entries, 1000)
    assert left(entries) == list(range(10))
    cache.prune(entries, 999)
    assert left(entries) == list(range(1, 10))
    cache.prune(entries, 250)
    assert left(entries) == [8, 9]
    assert not (entries / "kernels-0" / "file-0").exists()
    cache.prune(entries, 100)
    assert left(entries) == [9]
    assert not (entries / "kernels-0").exists()
    assert (entries / "mine" / "x").exists()
    cache.prune(entries / "nowhere", 0)


def test_a_used_entry_is_marked(entries):
    old, recent = entries / "kernels-0" / "file-0" / "f0.nbc", entries / "kernels-1" / "file-2" / "f9.nbc"
    now = cache.time.time()
    os.utime(recent, (now - 60, now - 60))
    for entry in (old, recent, entries / "vanished"):
        cache._mark_used(entry)
    assert old.stat().st_mtime >= now - 1
    assert recent.stat().st_mtime < now - 30


@needs_compiler
def test_a_process_that_compiles_prunes(tmp_path):
    here = checkout(tmp_path / "here")
    old = tmp_path / "cache" / "kernels-old" / "file-x"
    old.mkdir(parents=True)
    with open(old / "f.nbc", "wb") as file:
        file.truncate(cache.LIMIT)
    os.utime(old / "f.nbc", (1, 1))
    assert run(here).startswith("11 -3")
    assert not old.exists()
    assert run(here) == "11 -3 nothing"


PASSED = """
from tnnquant.kernels.jit import kernel
@kernel
def given(x):
    return x * 3
@kernel
def applied(f, x):
    return f(x) + 1
print(applied(given, 4))
"""


def test_a_kernel_that_is_an_argument_is_never_stale(tmp_path):
    values = {**os.environ, "TNNQUANT_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    for text, want in ((PASSED, "13"), (PASSED, "13"), (PASSED.replace("* 3", "* 5"), "21"), (PASSED, "13")):
        (tmp_path / "passed.py").write_text(text)
        command = [sys.executable, str(tmp_path / "passed.py")]
        assert subprocess.run(command, env=values, capture_output=True, text=True, check=True).stdout.strip() == want
