"""The pages of docs/ are a test: their commands and their Python run as written, in a folder with the example's model.

A block that begins with ``# mine.py`` is that file; one that begins with ``@operator(`` is a quote of the tree.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: Of another kind: the rules of TNN's files quote what TNN's tools take.
OTHERS = ("tnn-format.md",)
PAGES = sorted(path.name for path in DOCS.glob("*.md") if path.name not in OTHERS)
#: Commands that take minutes, and what runs instead.
SHORT = {
    "tnnquant doctor\n": "tnnquant doctor --quick\n",
    "tnnquant bench kernels gemm_f32 conv2d_i8 quantize_i8\n": "tnnquant bench kernels quantize_i8\n",
}
#: Options of these are not ours.
FOREIGN = re.compile(r"`[^`]*(python -m|pip install|pip |mypy|git |export with)[^`]*`|dask worker[^`]*")
#: Named in pages: options of tools/ and of tests.
TOOLS = {"--check", "--table", "--only"}


def blocks(page: str) -> list[tuple[str, str]]:
    return BLOCK.findall((DOCS / page).read_text("utf-8"))


def run(words, place, **more):
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, check=False, **more)


@pytest.fixture(scope="module")
def prepared(example, tmp_path_factory):
    """What the pages take for granted: a model in all forms, pictures, other pictures with labels."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "example").symlink_to(example.folder, target_is_directory=True)
    for name in ("net", "M"):
        for suffix in (".tnnproto", ".tnnmodel", ".onnx"):
            shutil.copy(example.folder / f"squeezenet_v1.1{suffix}", folder / f"{name}{suffix}")
    pictures = sorted((example.folder / "calibration").iterdir())
    for name, chosen in (("pictures", pictures[:10]), ("others", pictures[-8:]), ("PART1", pictures[:8])):
        (folder / name).mkdir()
        for path in chosen:
            shutil.copy(path, folder / name)
    lines = [f"{path.name} {number}" for number, path in enumerate(pictures[-8:])]
    (folder / "labels.txt").write_text("\n".join(lines) + "\n")
    done = run(["tnnquant", "quantize", "net", "-i", "pictures", "-o", "net"], folder)
    assert done.returncode in (0, 8), done.stderr
    return folder


@pytest.fixture
def place(prepared, tmp_path):
    """A copy of it for every page."""
    folder = tmp_path / "docs"
    shutil.copytree(prepared, folder, symlinks=True)
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_the_blocks_run_one_after_the_other(page, place):
    for language, text in blocks(page):
        assert language in ("sh", "python", "toml", "text"), f"{page}: a block without a language: {text[:60]}"
        if language == "sh":
            for line, instead in SHORT.items():
                text = text.replace(line, instead)
            done = run(["bash", "-euc", text], place)
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        elif language == "toml":
            assert tomllib.loads(text)
        elif language == "python":
            _run_python(text, place)


def _run_python(text: str, place: Path) -> None:
    if named := re.match(r"# (\w+\.py)\n", text):
        (place / named[1]).write_text(text)
        compile(text, named[1], "exec")
    elif text.startswith("@operator("):
        cases = [path.read_text("utf-8") for path in (ROOT / "tnnquant" / "bench" / "cases").glob("*.py")]
        assert any(text in case for case in cases), "no longer what stands in the tree"
    else:
        done = run([sys.executable, "-c", text], place)
        assert done.returncode == 0, f"{text}\n{done.stderr}"


@pytest.fixture(scope="module")
def helps() -> dict[str, set[str]]:
    """The options of every command, by its words."""
    commands = [
        "quantize", "convert", "inspect", "export", "export-scales", "doctor", "warmup", "example", "bench latency",
        "bench accuracy", "bench table", "bench kernels",
    ]  # fmt: skip
    found = {}
    for command in commands:
        shown = run(["tnnquant", *command.split(), "--help"], ROOT).stdout
        found[command] = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", shown))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_options_that_a_page_names_exist(page, helps):
    """Any option that is named is one of a command; in a command with its name, of that one."""
    text = (DOCS / page).read_text("utf-8")
    spans = re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", FOREIGN.sub("", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    every = set().union(*helps.values())
    for span in spans:
        named = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", span))
        words = " ".join(span.replace("tnnquant ", "", 1).split())
        command = next((name for name in helps if words == name or words.startswith(f"{name} ")), None)
        allowed = helps[command] if command else every | TOOLS
        assert named <= allowed, span
    for language, block in blocks(page):
        for line in block.splitlines() if language == "sh" else ():
            words = line.split("#")[0].split()
            assert not words or words[0] == "tnnquant", f"{page}: {line}"
