"""What pip installs is what lies in the repository."""

import fnmatch
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def setup():
    """The settings of setuptools."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]


def _package(file: Path) -> str:
    name = ".".join(file.parent.relative_to(ROOT).parts)
    return f"tnnquant.{name}" if name.startswith("kernels") else name


def _files():
    paths = (path for folder in ("tnnquant", "kernels") for path in (ROOT / folder).rglob("*"))
    return [path for path in paths if path.is_file() and path.parent.name != "__pycache__"]


def test_every_folder_with_modules_is_listed(setup):
    assert sorted({_package(path) for path in _files() if path.suffix == ".py"}) == sorted(setup["packages"])


def test_every_other_file_is_listed(setup):
    for path in _files():
        patterns = setup["package-data"].get(_package(path), ())
        assert path.suffix == ".py" or any(fnmatch.fnmatch(path.name, each) for each in patterns), path
