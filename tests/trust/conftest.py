"""A small model on disk with pictures, and runs of the command line in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tnnquant.format import write_model

OPTIONS = ["-n", "127.5", "-s", "1/127.5"]


@dataclass(frozen=True)
class Case:
    """A model and pictures on disk."""

    proto: Path
    model: Path
    pictures: Path

    def flags(self, *more, inputs: object = "") -> list[str]:
        """Arguments of ``tnnquant quantize``; ``inputs`` None: no -i."""
        chosen = [] if inputs is None else ["-i", str(inputs or self.pictures)]
        return ["quantize", "-p", str(self.proto), "-m", str(self.model), *chosen, *OPTIONS, *map(str, more)]


def small_graph(build, dims=(1, 3, 16, 12)):
    """Convolutions, ReLU, depthwise, pooling, inner product."""
    net = build(dims)
    a = net.add("ReLU", net.conv("input", 3, 8))
    return net.graph(net.inner_product(net.pool(net.conv(a, 8, 8, groups=8)), 8 * 8 * 6, 5))


def save_pictures(folder: Path, count: int, seed: int = 3, size=(16, 12)) -> None:
    """Pictures of noise of different contrast, named 000.png, ..."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 40 + 5 * (number % 40), (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")


@pytest.fixture
def case(build, tmp_path) -> Case:
    """The model and 24 pictures."""
    found = Case(tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel", tmp_path / "pictures")
    write_model(small_graph(build), found.proto, found.model)
    save_pictures(found.pictures, 24)
    return found


@pytest.fixture
def tmpfs(tmp_path):
    """A file system of 64 KB of its own."""
    yield from _mounted(tmp_path / "tmpfs", "64k")


@pytest.fixture
def large_tmpfs(tmp_path):
    """One of 64 MB."""
    yield from _mounted(tmp_path / "tmpfs", "64m")


def _mounted(folder: Path, size: str):
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or not mount or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capfd):
    """``run(*arguments)``: the command line in this process."""
    from tnnquant.cli import main

    def call(*args) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        return Outcome(stop.value.code, *capfd.readouterr())

    return call


def run_process(*args, env: dict | None = None, cwd: Path | None = None, **options) -> Outcome:
    """The command line in a process of its own; ``env`` is added to the environment, None removes a variable."""
    values = {**os.environ, **(env or {})}
    values = {name: str(value) for name, value in values.items() if value is not None}
    command = [sys.executable, "-c", _MAIN]
    result = subprocess.run(
        [*command, *map(str, args)], env=values, cwd=cwd, capture_output=True, text=True, check=False, **options
    )
    return Outcome(result.returncode, result.stdout, result.stderr)


_MAIN = "from tnnquant.cli import main; main()"


def written(folder: Path, name: str = "out") -> tuple[bytes, bytes]:
    """The two files of a result."""
    return tuple((folder / f"{name}_quantized.{suffix}").read_bytes() for suffix in ("tnnproto", "tnnmodel"))
