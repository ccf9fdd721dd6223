"""The public names of the package."""

import re
from pathlib import Path

import pytest

import tnnquant

STUB = Path(tnnquant.__file__).with_name("__init__.pyi").read_text("utf-8")


@pytest.mark.parametrize("name", tnnquant.__all__)
def test_public_names(name):
    """Each public name can be had, is in dir(), and is declared in the stub as coming from where it comes from."""
    assert getattr(tnnquant, name).__name__ == name
    assert name in dir(tnnquant)
    home = re.search(rf"^from (\S+) import {name} as {name}$", STUB, re.MULTILINE)
    assert home, f"{name} is not in tnnquant/__init__.pyi"
    assert home.group(1) == f"tnnquant.{tnnquant._HOMES[name]}"


def test_the_stub_declares_nothing_else():
    assert set(re.findall(r"import (\w+) as", STUB)) == set(tnnquant.__all__)


def test_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", tnnquant.__version__)


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tnnquant.nothing  # noqa: B018 - it is the look-up that is tested
    with pytest.raises(AttributeError, match="did you mean quantize_model"):
        tnnquant.quantise_model  # noqa: B018 - likewise
