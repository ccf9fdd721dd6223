"""The notebooks of docs/notebooks run from the first cell to the last, in a folder with the example."""

import json
import os
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, example, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    (tmp_path / "example").symlink_to(example.folder, target_is_directory=True)
    # The kernel that is installed beside this Python, none of the user's.
    monkeypatch.setenv("JUPYTER_PATH", str(Path(sys.prefix) / "share" / "jupyter"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3",
                                     resources={"metadata": {"path": os.fspath(tmp_path)}})  # fmt: skip
    client.execute()
    said = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert said
    text = "".join(output.get("text", "") for output in said)
    # A command of a cell that fails stops nothing.
    assert "error:" not in text
    if path.stem == "write-a-kernel":
        assert "all outputs are equal" in text


def test_there_are_three_and_they_are_stored_without_outputs():
    assert [path.stem for path in NOTEBOOKS] == ["guilty-layer", "quantize", "write-a-kernel"]
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        assert all(cell.get("outputs", []) == [] and cell.get("execution_count") is None for cell in cells)
    pages = ("index.md",)
    for page in pages:
        text = (FOLDER.parent / page).read_text("utf-8")
        assert all(path.stem in text for path in NOTEBOOKS)
