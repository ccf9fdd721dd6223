"""The README is a test: its commands and its Python run as written, in the example folder."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
SECTIONS = {part.split("\n", 1)[0]: part for part in README.split("\n## ")}
BIN = Path(sys.executable).parent


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTIONS[section], re.DOTALL)


@pytest.fixture(scope="module")
def place(example, tmp_path_factory):
    """A folder where the example is, and the tools are in .venv/bin."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "example").symlink_to(example.folder, target_is_directory=True)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(BIN, target_is_directory=True)
    return folder


def test_the_second_block(place):
    """The commands to play with, one after the other, in a shell."""
    (block,) = [text for text in blocks("Try it", "sh") if "quickstart" not in text]
    done = subprocess.run(["bash", "-euc", block], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (place / "report.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert (place / "best_int8.onnx").stat().st_size > 1_000_000
    assert "verdict" in done.stdout


def test_the_python(place):
    (block,) = blocks("Use", "python")
    done = subprocess.run([sys.executable, "-c", block], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("good", "doubtful")


def test_the_commands_of_use(place):
    """The command of the block, with the example's model and pictures in the place of NET and PICTURES."""
    (block,) = blocks("Use", "sh")
    (line,) = [line for line in block.splitlines() if line.startswith("tnnquant quantize")]
    words = [{"net.onnx": "example/squeezenet_v1.1.onnx", "PICTURES": "example/calibration"}.get(word, word)
             for word in shlex.split(line)]  # fmt: skip
    done = subprocess.run([BIN / words[0], *words[1:]], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (place / "net_quantized.tnnmodel").is_file()


def test_options_that_the_readme_names_exist():
    helps = "".join(
        subprocess.run([BIN / "tnnquant", *words, "--help"], capture_output=True, text=True, check=True).stdout
        for words in (["quantize"], ["inspect"], ["convert"], ["export"], ["bench", "latency"], ["bench", "kernels"])
    )
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", SECTIONS["Use"]))
    assert {option for option in named if option not in helps} == set()
