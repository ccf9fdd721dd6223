"""The same input gives the same bytes: on any number of threads, in any order, again, and on every instruction path."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.pipeline.api import quantize_model

from .conftest import run_process, written

CONFIG = QuantizeConfig(blob_method="kl", weight_method="admm", mean=(127.5,), scale=(1 / 127.5,))
OPTIONS = ("-b", "kl", "-w", "admm")


@pytest.fixture
def expected(case, tmp_path):
    """The two files of a run in this process."""
    quantize_model(case.proto, case.model, case.pictures, tmp_path / "first", CONFIG)
    return written(tmp_path, "first")


def test_twice_in_a_row(case, tmp_path, expected):
    quantize_model(case.proto, case.model, case.pictures, tmp_path / "out", CONFIG)
    assert written(tmp_path) == expected


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads(case, tmp_path, expected, threads):
    env = {"NUMBA_NUM_THREADS": threads, "OMP_NUM_THREADS": None}
    outcome = run_process(*case.flags(*OPTIONS, "--threads", threads, "-o", tmp_path / "out"), env=env)
    assert outcome.code == 0, outcome.err
    assert written(tmp_path) == expected


@pytest.fixture
def shuffled(case, tmp_path):
    """The pictures under each other's names."""
    folder = tmp_path / "shuffled"
    folder.mkdir()
    for number, path in enumerate(sorted(case.pictures.iterdir())):
        (folder / f"{number * 7 % 24:03}.png").write_bytes(path.read_bytes())
    assert len(list(folder.iterdir())) == 24
    return folder


def test_any_order_of_files(case, tmp_path, expected, shuffled):
    quantize_model(case.proto, case.model, shuffled, tmp_path / "out", CONFIG)
    assert written(tmp_path) == expected


def test_order_and_place_of_folders(case, tmp_path, expected):
    files = sorted(case.pictures.iterdir(), reverse=True)
    quantize_model(case.proto, case.model, files, tmp_path / "out", CONFIG)
    assert written(tmp_path) == expected


BEST = replace(CONFIG, recipe="best")


@pytest.fixture
def best(case, tmp_path):
    """The two files of a run of the recipe best in this process."""
    quantize_model(case.proto, case.model, case.pictures, tmp_path / "best", BEST)
    return written(tmp_path, "best")


def test_recipe_best_again_in_another_order_of_files(case, tmp_path, best):
    files = sorted(case.pictures.iterdir(), reverse=True)
    quantize_model(case.proto, case.model, files, tmp_path / "out", BEST)
    assert written(tmp_path) == best


def test_recipe_best_under_other_names(case, tmp_path, best, shuffled):
    quantize_model(case.proto, case.model, shuffled, tmp_path / "out", BEST)
    assert written(tmp_path) == best


def test_recipe_best_on_one_thread(case, tmp_path, best):
    outcome = run_process(*case.flags("--recipe", "best", "--threads", 1, "-o", tmp_path / "out"))
    assert outcome.code == 0, outcome.err
    assert written(tmp_path) == best


_PATHS = ("amx", "avx512vnni", "avxvnni", "avx512", "avx2", "dotprod", "neon", "portable", "generic CPU")


@pytest.mark.skipif(
    not os.environ.get("TNNQUANT_ALL_PATHS"),
    reason="compiles all kernels anew: set TNNQUANT_ALL_PATHS=1, as tools/matrix.py does",
)
@pytest.mark.parametrize("path", _PATHS)
def test_instruction_paths(case, tmp_path, expected, best, path):
    env = {"TNNQUANT_ISA": path} if path != "generic CPU" else {"NUMBA_CPU_NAME": "generic", "TNNQUANT_ISA": None}
    if path != "generic CPU":
        from tnnquant.kernels.target import available_paths

        if path not in available_paths():
            pytest.skip(f"this machine cannot run {path}")
    outcome = run_process(*case.flags(*OPTIONS, "-o", tmp_path / "out"), env=env)
    assert outcome.code == 0, outcome.err
    assert written(tmp_path) == expected
    if path == "generic CPU":
        return  # without fused multiply-add the recipe best may give other bytes
    outcome = run_process(*case.flags("--recipe", "best", "-o", tmp_path / "best"), env=env)
    assert outcome.code == 0, outcome.err
    assert written(tmp_path, "best") == best
