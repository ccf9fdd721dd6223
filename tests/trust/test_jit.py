"""Where machine code is cached, and what happens when it cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tnnquant.kernels import cache, jit
from tnnquant.pipeline.api import quantize_model

from .conftest import written

NOWHERE = "/dev/null/nowhere"  # a folder that nobody can make, root included


@pytest.fixture
def variables(monkeypatch, tmp_path):
    """A function that sets the variables that decide; the rest of them is absent."""

    def set_variables(**values):
        for name in ("TNNQUANT_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))

    return set_variables


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="other folders there")
def test_the_first_writable_folder_is_used(variables, tmp_path):
    own, numba, home = tmp_path / "own", tmp_path / "numba", tmp_path / "home"
    variables(TNNQUANT_CACHE_DIR=own, NUMBA_CACHE_DIR=numba, HOME=home)
    assert cache.choose_folder().parent == own
    variables(TNNQUANT_CACHE_DIR=NOWHERE, NUMBA_CACHE_DIR=numba, HOME=home)
    assert cache.choose_folder().parent == numba
    variables(TNNQUANT_CACHE_DIR=NOWHERE, NUMBA_CACHE_DIR=NOWHERE, HOME=home)
    assert cache.choose_folder().parent == home / ".cache" / "tnnquant"
    variables(XDG_CACHE_HOME=tmp_path / "xdg", HOME=home)
    assert cache.choose_folder().parent == tmp_path / "xdg" / "tnnquant"
    variables(NUMBA_CACHE_DIR=NOWHERE, HOME=NOWHERE)
    assert cache.choose_folder().parent.parent == tmp_path / "temporary"
    (tmp_path / "file").write_text("")
    cache.tempfile.gettempdir = lambda: str(tmp_path / "file")  # undone by monkeypatch
    assert cache.choose_folder() is None


def test_the_folder_of_the_package_is_never_written(variables, tmp_path):
    """Read-only site-packages are no obstacle."""
    variables(HOME=tmp_path)
    package = Path(jit.__file__).resolve().parent
    assert all(package not in (root, *root.parents) for root in cache.candidate_roots())


def test_a_cache_of_another_user_is_not_used(variables, tmp_path, monkeypatch):
    variables(TNNQUANT_CACHE_DIR=tmp_path / "theirs", HOME=tmp_path)
    monkeypatch.setattr(cache, "is_private", lambda folder: tmp_path / "theirs" not in folder.parents)
    assert cache.choose_folder().parent == tmp_path / ".cache" / "tnnquant"


def test_the_key_follows_versions_settings_and_path(monkeypatch):
    keys = [cache.version_key()]
    for name in ("numba", "llvmlite", "np"):
        monkeypatch.setattr(getattr(cache, name), "__version__", "0.0")
        keys.append(cache.version_key())
    monkeypatch.setattr(cache.config, "BOUNDSCHECK", 1)
    keys.append(cache.version_key())
    monkeypatch.setattr(cache, "path_name", lambda: "portable")
    keys.append(cache.version_key())
    assert len(set(keys)) == len(keys)


SMALL = """
from tnnquant.kernels.jit import kernel, CACHE_DIR
@kernel
def add(a, b):
    return a + NUMBER * b
print(add(1, 2), len(list(CACHE_DIR.rglob("*.nbc"))) if CACHE_DIR else "off")
"""


def small_program(folder: Path, number: int = 1) -> Path:
    """A program with one kernel."""
    path = folder / "small.py"
    path.write_text(SMALL.replace("NUMBER", str(number)))
    return path


def run_small(path: Path, cache: object, **env) -> str:
    values = {**os.environ, "TNNQUANT_CACHE_DIR": str(cache), **env}
    result = subprocess.run([sys.executable, str(path)], env=values, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_without_any_folder_it_works(tmp_path):
    env = {"NUMBA_CACHE_DIR": NOWHERE, "XDG_CACHE_HOME": NOWHERE, "HOME": NOWHERE, "TMPDIR": NOWHERE}
    code = "import tempfile; tempfile.gettempdir = lambda: '/dev/null/nowhere'\n"
    path = small_program(tmp_path)
    path.write_text(code + path.read_text())
    assert run_small(path, NOWHERE, **env) == "3 off"


def test_a_damaged_or_stale_cache_is_compiled_anew(tmp_path):
    cache, path = tmp_path / "cache", small_program(tmp_path)
    assert run_small(path, cache) == "3 1"
    (file,) = cache.rglob("*.nbc")
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    pickled = b"\x80\x04K\x01."
    for damage in (b"", b"garbage", whole[:40], flipped, zlib.crc32(pickled).to_bytes(4, "little") + pickled):
        file.write_bytes(damage)
        assert run_small(path, cache) == "3 1"
        assert len(file.read_bytes()) == len(whole)  # compiled anew, and kept
    file.unlink()
    file.mkdir()
    assert run_small(path, cache) == "3 1"
    file.rmdir()
    assert run_small(small_program(tmp_path, 10), cache).startswith("21 ")


def test_a_full_disk_under_the_cache(tmp_path):
    path = small_program(tmp_path)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n@kernel"
    path.write_text(path.read_text().replace("@kernel", limit))
    assert run_small(path, tmp_path / "cache").startswith("3 ")


def test_eight_cold_processes_at_once(tmp_path):
    path, cache = small_program(tmp_path), tmp_path / "cache"
    env = {**os.environ, "TNNQUANT_CACHE_DIR": str(cache)}
    processes = [
        subprocess.Popen([sys.executable, str(path)], env=env, stdout=subprocess.PIPE, text=True) for _ in range(8)
    ]
    results = [process.communicate()[0].split()[0] for process in processes]
    assert results == ["3"] * 8
    assert run_small(path, cache) == "3 1"


SPAWN = """
import multiprocessing, sys

def work(output):
    from tnnquant.pipeline.api import quantize_model
    from tnnquant.config import VerifyConfig
    quantize_model(*sys.argv[1:4], output, verify=VerifyConfig(no_verify=True))

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map_async(work, sys.argv[4:]).get(timeout=500)
"""


def test_spawned_workers_give_the_same_bytes(case, tmp_path):
    quantize_model(case.proto, case.model, case.pictures, tmp_path / "here")
    (tmp_path / "program.py").write_text(SPAWN)
    outputs = [tmp_path / "a", tmp_path / "b"]
    command = [sys.executable, tmp_path / "program.py", case.proto, case.model, case.pictures, *outputs]
    subprocess.run(list(map(str, command)), check=True)
    assert written(tmp_path, "a") == written(tmp_path, "b") == written(tmp_path, "here")


def test_without_a_home_the_temporary_folder_serves(tmp_path):
    path, temporary = small_program(tmp_path), tmp_path / "temporary"
    temporary.mkdir()
    env = {"NUMBA_CACHE_DIR": NOWHERE, "XDG_CACHE_HOME": NOWHERE, "HOME": NOWHERE, "TMPDIR": str(temporary)}
    assert run_small(path, NOWHERE, **env) == "3 1"
    assert list(temporary.rglob("*.nbc"))


def test_a_read_only_package(case, tmp_path, large_tmpfs):
    """A file system that nobody may write holds the package, as containers have it: nothing is missed."""
    package = large_tmpfs / "tnnquant"
    root = Path(jit.__file__).resolve().parent.parent
    shutil.copytree(root / "tnnquant", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "kernels", package / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["mount", "-o", "remount,ro", str(large_tmpfs)], check=True)
    with pytest.raises(OSError, match="Read-only"):
        (package / "x").write_text("")
    path = small_program(tmp_path)
    path.write_text(path.read_text() + "import tnnquant; print(tnnquant.__file__)")
    told = run_small(path, tmp_path / "cache", PYTHONPATH=str(large_tmpfs))
    assert told.split() == ["3", "1", str(package / "__init__.py")]
    # A command that compiles nothing; quantizing would compile all kernels anew, for this folder.
    code = "import sys; from tnnquant.cli import main; main(sys.argv[1:])"
    env = {**os.environ, "PYTHONPATH": str(large_tmpfs)}
    command = [sys.executable, "-c", code, "inspect", str(case.proto)]
    told = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "convolution0" in told
