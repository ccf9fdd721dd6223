"""The package laid out as it is when installed, for tools that find modules by walking folders.

import-linter and mypy would not see tnnquant.kernels, which lies in kernels/ and is put into the package only by
installation (setuptools' package-dir).
"""

import contextlib
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def laid_out() -> Iterator[Path]:
    """A temporary folder that holds a copy of the package as installed."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        setup = tomllib.load(file)["tool"]["setuptools"]
    with tempfile.TemporaryDirectory(prefix="tnnquant-installed-") as folder:
        for package, source in sorted(setup["package-dir"].items()):
            target = Path(folder, *package.split("."))
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        yield Path(folder)
