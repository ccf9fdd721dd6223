"""The other processes that compile kernels of a model."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from tnnquant.format import write_model
from tnnquant.health import ahead
from tnnquant.health.specimen import Specimen

needs_compiler = pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")


def test_every_task_exists():
    groups = (*ahead._TASKS.values(), ahead._BETWEEN, ahead._STATISTICS, tuple(ahead._LATE.values()))
    names = {name for names in groups for name in names}
    for module, function in (name.split(".") for name in names):
        assert hasattr(importlib.import_module(f"tnnquant.kernels.{module}"), function)


def test_only_what_the_layers_need():
    made = Specimen((1, 8, 8, 8))
    first = made.conv("x", 8, 8, group=8)
    names = ahead.tasks_of(made.graph(made.pool(first)))
    assert "depthwise_i8._depthwise_task" in names
    assert "conv_i8._conv_task" not in names
    assert len(names) == len(set(names))


@pytest.mark.parametrize("tiles", ["", "amx"])
def test_tiles_have_a_task_for_each_activation(monkeypatch, tiles):
    for module in ("amx", "pack_i8"):
        monkeypatch.setattr(f"tnnquant.kernels.{module}.tiles", lambda: tiles)
    made = Specimen((1, 8, 8, 8))
    made.conv(made.conv("x", 8, 8, activation_type=1), 8, 8)
    names = ahead.tasks_of(made.graph())
    wanted = {"conv_amx._conv_task", "tile_amx._run_plain", "tile_amx._run_relu"}
    assert wanted & set(names) == (wanted if tiles else set())
    assert ("conv_i8._conv_task" in names) == (not tiles), "tiles take its place"
    assert "tile_amx._run_relu6" not in names
    for module, function in (name.split(".") for name in names):
        assert hasattr(importlib.import_module(f"tnnquant.kernels.{module}"), function)


@needs_compiler
def test_what_it_compiles_stands_in_the_cache(tmp_path):
    made = Specimen((1, 3, 8, 8))
    pooled = made.pool("x")
    proto, cache = tmp_path / "net.tnnproto", tmp_path / "cache"
    write_model(made.graph(pooled), proto, tmp_path / "net.tnnmodel")
    env = {**os.environ, "TNNQUANT_CACHE_DIR": str(cache)}
    subprocess.run([sys.executable, "-m", "tnnquant.health.ahead", str(proto)], env=env, check=True)
    found = {path.name.rsplit("-", 1)[0] for path in cache.rglob("*.nbc")}
    assert {"_pool_task", "_int8_task", "_float_task", "_rows_task"} <= found


def test_they_end_with_the_command(monkeypatch, tmp_path):
    with ahead.ahead_of(str(tmp_path / "missing")) as others:
        pass
    assert not others._processes
    for cores, count in ((1, 0), (2, 1), (3, 2), (16, 3)):
        monkeypatch.setattr(ahead, "available_cores", lambda cores=cores: cores)
        with ahead.ahead_of(str(tmp_path / "missing")) as others:
            others.start()
            assert len(others._processes) == count
        assert all(process.poll() is not None for process in others._processes)
