"""What recipes declare, and that nothing else asks for one by its name: a new one is one file."""

import subprocess
import sys

import numpy as np
import pytest

from tnnquant import recipes
from tnnquant.errors import ConfigError
from tnnquant.format import read_model, write_model

#: A second recipe without data: weights in float16.
FILE = '''
"""Weights of half the size."""

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.engine.executor import Executor
from tnnquant.quantization.plan import QuantPlan
from tnnquant.quantization.quantize import Quantization
from tnnquant.recipes import recipe


@recipe(41, "half", needs_inputs=False)
def half(graph, *_):
    """Every weight as float16."""
    def smaller(node):
        tensors = {key: Tensor(t.float32().astype("float16"), t.dims, DataType.HALF) for key, t in node.tensors.items()}
        return node.replace(resource=node.resource and node.resource.__class__(tensors, {}, node.resource.type_string))

    plan = QuantPlan(frozenset(), dict.fromkeys(range(len(graph.nodes)), "has weights of half the size"), {}, {})
    return Quantization(graph.with_nodes(map(smaller, graph.nodes)), graph, plan, {}, executor=Executor(graph))
'''
RUN = """
import sys
import tnnquant.recipes
tnnquant.recipes.__path__.append(sys.argv.pop(1))
from tnnquant.cli import main
sys.exit(main())
"""


@pytest.fixture
def run(tmp_path):
    """Runs the command line of a tnnquant that has one recipe more."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "half.py").write_text(FILE)

    def command(*args):
        return subprocess.run(
            [sys.executable, "-c", RUN, tmp_path / "more", *args], capture_output=True, text=True, cwd=tmp_path
        )

    return command


def test_what_the_recipes_declare():
    declared = {
        entry.name: (entry.needs_inputs, entry.chooses_on_held_out, entry.starts_from_statistics)
        for entry in recipes.every()
    }
    ours = {
        "tnn": (True, False, True),
        "best": (True, True, False),
        "dynamic": (False, False, False),
        "fast": (True, False, False),
    }
    assert {name: declared[name] for name in ours} == ours


def test_an_unknown_recipe():
    with pytest.raises(ConfigError, match=r"no recipe 'besst' .did you mean best"):
        recipes.find("besst")


def test_a_second_recipe_without_data_is_one_file(run, build, tmp_path, rng):
    net = build((1, 3, 16, 12))
    graph = net.graph(net.conv(net.conv("input", 3, 8), 8, 8))
    write_model(graph, tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel")
    (tmp_path / "inputs").mkdir()
    for i in range(5):
        np.save(tmp_path / "inputs" / f"{i}.npy", rng.standard_normal((1, 3, 16, 12)).astype(np.float32))
    model = "-p", "m.tnnproto", "-m", "m.tnnmodel", "--recipe", "half", "-o"
    assert "half" in run("quantize", "--help").stdout
    alone = run("quantize", *model, "alone")
    assert alone.returncode == 0, alone.stderr
    assert "was not judged: add --eval" in " ".join(alone.stderr.split())
    written = read_model(tmp_path / "alone_quantized.tnnproto", tmp_path / "alone_quantized.tnnmodel")
    assert {t.dtype.name for node in written.nodes for t in node.tensors.values()} == {"HALF"}
    judged = run("quantize", *model, "judged", "-i", "inputs")
    assert judged.returncode == 0, judged.stderr
    # No statistics are made of the pictures, so that they are as good as others for the verdict.
    assert "good" in judged.stdout
    assert "5 of the 5 pictures" in " ".join(judged.stdout.split())
    assert "fewer than" not in judged.stderr
    dry = run("quantize", *model, "dry", "--dry-run")
    assert "has weights of half the size" in dry.stdout
    refused = run("quantize", *model, "s.npz", "-i", "inputs", "--stats-only")
    assert refused.returncode == 2
    assert "--recipe half reads the inputs itself" in " ".join(refused.stderr.split())
    missing = run("quantize", "-p", "m.tnnproto", "-m", "m.tnnmodel")
    assert missing.returncode == 2
