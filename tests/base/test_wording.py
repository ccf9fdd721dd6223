"""Messages name parameters: as Python callers write them, and on the command line by their options."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import tnnquant
from tnnquant import QuantizeConfig, SearchConfig, TnnQuantError, VerifyConfig
from tnnquant.base.wording import dims_of, parameter, spoken
from tnnquant.cli import main
from tnnquant.cli.words import OptionWords
from tnnquant.format import write_model
from tnnquant.search.state import State

PACKAGE = Path(tnnquant.__file__).parent
#: ``--holdout`` or ``-n`` in running text.
OPTION = re.compile(r"(?<![\w-])(--[a-z]|-[a-zA-Z](?![\w(]))")
#: A whole command is a command, whoever reads it.
COMMAND = re.compile(r"`(tnnquant|python|pip) [^`]*`|\(pip install[^)]*\)|\(python -m [^)]*\)|pip install -U \w+")
#: Where options are declared, run, or written into files for the command line.
SPELLED = (
    "cli/", "config.py", "example/", "bench/table.py", "bench/template.py", "devices/page.py", "inspect/snippet.py",
    "health/ahead.py", "inspect/page/figures.py",
)  # fmt: skip


def literals(path: Path):
    """The texts of a module that are no documentation and no single argument of a command."""
    tree = ast.parse(path.read_text("utf-8"))
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    arguments = {id(item) for node in ast.walk(tree) if isinstance(node, ast.List) for item in node.elts}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents | arguments:
            yield node.lineno, node.value


def test_no_message_of_the_library_spells_an_option():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(SPELLED):
            found += [f"{name}:{line}: {text}" for line, text in literals(path) if OPTION.search(COMMAND.sub("", text))]
    assert found == []


def test_both_words_of_a_parameter():
    names = ("holdout", "eval_path", "mean", "input_dims", "fp32", "time_budget", "proto", "statistics")
    assert [parameter(name) for name in names] == list(names)
    assert parameter("eval_path", "FOLDER") == "eval_path=FOLDER"
    assert parameter("exclude", "conv*") == "exclude='conv*'"
    assert parameter("no_verify", True) == "no_verify=True"
    assert dims_of("x") == "input_dims={'x': (N, C, H, W)}"
    assert dims_of("x", (1, 3)) == "input_dims={'x': (1, 3)}"
    with spoken(OptionWords()):
        assert [parameter(name) for name in names] == [
            "--holdout", "--eval", "-n", "--input-shape", "--against", "--time-budget", "-p", "--from-stats",
        ]  # fmt: skip
        assert parameter("eval_path", "FOLDER") == "--eval FOLDER"
        assert parameter("exclude", "conv*") == "--exclude 'conv*'"
        assert parameter("no_verify", True) == "--no-verify"
        assert dims_of("x") == "--input-shape x:N,C,H,W"
        assert dims_of("x", (1, 3)) == "--input-shape x:1,3"
    assert parameter("holdout") == "holdout"


def test_every_field_with_a_flag_is_named_by_one():
    words = OptionWords()
    for config in (QuantizeConfig, VerifyConfig, SearchConfig):
        for field in config.__dataclass_fields__.values():
            flags = field.metadata.get("flags")
            assert not flags or words.parameter(field.name) in flags


@pytest.fixture
def place(build, tmp_path):
    """A model, a broken picture folder, and files of other kinds."""
    folder, net = tmp_path, build((1, 3, 8, 8))
    write_model(net.graph(net.conv("input", 3, 4, name="conv1")), folder / "net.tnnproto", folder / "net.tnnmodel")
    rng = np.random.default_rng(1)
    for name in ("pictures", "bad"):
        (folder / name).mkdir()
        for number in range(3):
            np.save(folder / name / f"{number}.npy", rng.standard_normal((1, 3, 8, 8)).astype(np.float32))
    (folder / "bad" / "2.npy").write_bytes(b"nothing")
    (folder / "labels.txt").write_text("0\n1\n2\n")
    (folder / "scales.toml").write_text("a = 1\n")
    return folder


def quantize(place, inputs="pictures", config=None, verify=None, search=None, **more):
    files = place / "net.tnnproto", place / "net.tnnmodel"
    return tnnquant.quantize_model(
        *files, inputs and place / inputs, place / "out", QuantizeConfig(**(config or {})),
        verify=VerifyConfig(**(verify or {})), search=SearchConfig(**(search or {})), **more,
    )  # fmt: skip


PAIR = ("quantize", "-p", "net.tnnproto", "-m", "net.tnnmodel", "-o", "out")
FED = (*PAIR, "-i", "pictures")

#: What is called in Python, the same on the command line, and the parameter that both speak of.
CASES = {
    "method": (lambda p: QuantizeConfig(blob_method="nonsense"), (*FED, "-b", "nonsense"), "blob_method"),
    "weights": (lambda p: QuantizeConfig(weight_method="nonsense"), (*FED, "-w", "nonsense"), "weight_method"),
    "recipe": (lambda p: QuantizeConfig(recipe="nonsense"), (*FED, "--recipe", "nonsense"), "recipe"),
    "mean": (lambda p: QuantizeConfig(mean="nonsense"), (*FED, "-n", "nonsense"), "mean"),
    "scale": (lambda p: QuantizeConfig(scale="1/0"), (*FED, "-s", "1/0"), "scale"),
    "resize": (lambda p: QuantizeConfig(resize="nonsense"), (*FED, "--resize", "nonsense"), "resize"),
    "share": (lambda p: QuantizeConfig(fp32_share=2.0), (*FED, "--recipe", "best", "--fp32-share", "2"), "fp32_share"),
    "share of fast": (
        lambda p: quantize(p, config={"recipe": "fast", "fp32_share": 0.5}),
        (*FED, "--recipe", "fast", "--fp32-share", "0.5"), "fp32_share",
    ),
    "holdout": (lambda p: VerifyConfig(holdout=2.0), (*FED, "--holdout", "2"), "holdout"),
    "pictures": (lambda p: VerifyConfig(verify_pictures=0), (*FED, "--verify-pictures", "0"), "verify_pictures"),
    "labels": (
        lambda p: quantize(p, verify={"labels": str(p / "labels.txt")}), (*FED, "--labels", "labels.txt"), "labels",
    ),
    "metric": (lambda p: VerifyConfig(metric="nonsense"), (*FED, "--metric", "nonsense"), "metric"),
    "metric of a file": (
        lambda p: VerifyConfig(metric="none.py:f"), (*FED, "--metric", "none.py:f"), "metric",
    ),
    "direction": (lambda p: VerifyConfig(lower_is_better=True), (*FED, "--lower-is-better"), "lower_is_better"),
    "target": (lambda p: SearchConfig(target=-1.0), (*FED, "--target", "-1"), "target"),
    "target without metric": (lambda p: quantize(p, search={"target": 0.1}), (*FED, "--target", "0.1"), "metric"),
    "agreement": (
        lambda p: SearchConfig(target_agreement=2.0), (*FED, "--target-agreement", "2"), "target_agreement",
    ),
    "two targets": (
        lambda p: SearchConfig(target=1.0, target_agreement=0.9),
        (*FED, "--target", "1", "--target-agreement", "0.9"), "target_agreement",
    ),
    "budget": (lambda p: SearchConfig(auto=True, time_budget=-1.0), (*FED, "--auto", "--time-budget", "-1"),
               "time_budget"),
    "search without verdict": (
        lambda p: quantize(p, search={"auto": True}, verify={"no_verify": True}), (*FED, "--auto", "--no-verify"),
        "no_verify",
    ),
    "exclude": (lambda p: quantize(p, config={"exclude": ("nonsense",)}), (*FED, "--exclude", "nonsense"), "exclude"),
    "include": (lambda p: quantize(p, config={"include": ("re:(",)}), (*FED, "--include", "re:("), "include"),
    "scales": (
        lambda p: quantize(p, config={"scales": str(p / "scales.toml")}), (*FED, "--scales", "scales.toml"), "scales",
    ),
    "threads": (lambda p: quantize(p, threads=0), (*FED, "--threads", "0"), "threads"),
    "bad file": (lambda p: quantize(p, "bad"), (*PAIR, "-i", "bad"), "skip_bad"),
    "state": (
        lambda p: State(p / "labels.txt", "key"), (*FED, "--auto", "--state", "labels.txt"), "state",
    ),
    "output": (
        lambda p: tnnquant.quantize_model(p / "net.tnnproto", p / "net.tnnmodel", p / "pictures", f"{p}/"),
        ("quantize", *FED[1:5], "-i", "pictures", "-o", "./"), "output",
    ),
    "held out of nothing": (
        lambda p: quantize(p, None, {"recipe": "dynamic"}, {"holdout": 0.5}),
        (*PAIR, "--recipe", "dynamic", "--holdout", "0.5"), "holdout",
    ),
    "dims": (
        lambda p: quantize(p, config={"input_dims": {"input": (1, 0, 8, 8)}}), None, "input_dims",
    ),
    "against": (
        lambda p: tnnquant.compare(p / "net", p / "net", p / "pictures"),
        ("inspect", "net", "--against", "net", "-i", "pictures"), "fp32",
    ),
    "limit": (
        lambda p: tnnquant.compare(p / "net", p / "net", p / "pictures", limit=0),
        ("inspect", "net", "--against", "net", "-i", "pictures", "--limit", "0"), "limit",
    ),
    "repeats": (
        lambda p: tnnquant.bench_latency(p / "net", p / "net", repeats=0), None, "",
    ),
    "missing half": (
        lambda p: tnnquant.inspect_model(p / "labels"), ("inspect", "labels"), "",
    ),
    "plug-in": (lambda p: tnnquant.load_plugin("none.py"), (*FED, "--plugin", "none.py"), "plugin"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_errors_in_python_speak_of_python(name, place, monkeypatch):
    monkeypatch.chdir(place)
    call, _, named = CASES[name]
    with pytest.raises(TnnQuantError) as caught:
        call(place)
    text = str(caught.value)
    assert re.search(rf"\b{named}\b", text)
    assert not OPTION.search(text)
    assert not re.search(r"\d \(\w+\)", text), "numbers of TNN's tool"


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[1]])
def test_errors_of_the_command_line_speak_of_options(name, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    _, words, named = CASES[name]
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    assert stop.value.code not in (0, 1)
    error = capsys.readouterr().err
    flags = {OptionWords().parameter(named)} if named else set()
    if named in QuantizeConfig.__dataclass_fields__:
        flags |= set(QuantizeConfig.__dataclass_fields__[named].metadata["flags"])
    assert not named or any(flag in error for flag in flags)
    assert not named or "_" not in named or not re.search(rf"(?<![-\w]){named}\b", error)
