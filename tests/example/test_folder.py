"""The example folder: made once, made whole or not at all, the user's files left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tnnquant.errors import OutputError, TnnQuantError
from tnnquant.example import folder as module
from tnnquant.example.folder import make_example

CONTENT = {"squeezenet_v1.1.tnnproto": b"proto", "calibration/a.png": b"picture", "pictures/cat.png": b"cat"}


@pytest.fixture
def builds(monkeypatch) -> list:
    """Replaces the downloads by three small files; the list grows by one with each build."""
    calls = []

    def build(made: Path, scratch: Path, progress) -> None:
        calls.append(made)
        for name, content in CONTENT.items():
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    monkeypatch.setattr(module, "_build", build)
    return calls


def _content(folder: Path) -> dict:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_complete_folder_is_reused(builds, tmp_path):
    target = tmp_path / "deep" / "example"
    first, second = make_example(target), make_example(str(target))
    assert (first.reused, second.reused, len(builds)) == (False, True, 1)
    assert _content(target) == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["example"]


@pytest.mark.parametrize("damage", ["changed", "deleted", "older recipe"])
def test_a_damaged_or_older_folder_is_mended_and_other_files_stay(builds, tmp_path, damage):
    target = tmp_path / "example"
    make_example(target)
    (target / "mine.txt").write_bytes(b"mine")
    if damage == "changed":
        (target / "calibration" / "a.png").write_bytes(b"scratched")
    elif damage == "deleted":
        (target / "pictures" / "cat.png").unlink()
    else:
        manifest = target / "manifest.json"
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "recipe": module.RECIPE - 1}))
    assert not make_example(target).reused
    assert len(builds) == 2
    assert _content(target) == {**CONTENT, "mine.txt": b"mine"}
    assert make_example(target).reused


def test_an_empty_folder_is_filled(builds, tmp_path, monkeypatch):
    make_example(tmp_path)
    assert _content(tmp_path) == CONTENT
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    make_example(".")
    assert _content(empty) == CONTENT


@pytest.mark.usefixtures("builds")
def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(OutputError, match="is not an example folder"):
        make_example(tmp_path)
    with pytest.raises(OutputError, match="is not an example folder"):
        make_example(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(made: Path, scratch: Path, progress) -> None:
        made.mkdir()
        (made / "half").write_bytes(b"written")
        raise TnnQuantError("no network")

    monkeypatch.setattr(module, "_build", fail)
    with pytest.raises(TnnQuantError, match="no network"):
        make_example(tmp_path / "example")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("builds")
def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the example in"):
        make_example(tmp_path / "file" / "example")


def test_the_command_that_is_shown_has_the_paths_and_the_preprocessing(builds, tmp_path):
    command = make_example(tmp_path / "example").quantize_command
    assert command[:3] == ["tnnquant", "quantize", str(tmp_path / "example" / "squeezenet_v1.1.onnx")]
    options = dict(zip(command[3::2], command[4::2], strict=True))
    assert options["-n"] == "104.006,116.669,122.679"
    assert options["-r"] == "1"
    assert options["-i"] == str(tmp_path / "example" / "calibration")
