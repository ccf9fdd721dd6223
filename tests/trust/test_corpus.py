"""What fuzzing found, read from files again; and a short run of the fuzzer itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = ROOT / "tests" / "corpus"
CASES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.fixture(scope="module")
def targets():
    """The fuzzer's targets, by name."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from fuzzing.targets import TARGETS

        yield TARGETS
    finally:
        sys.path.remove(str(ROOT / "tools"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_found_cases(targets, path):
    targets[path.parent.name].run(path.read_bytes())


def test_every_target_and_its_seeds(targets):
    import random

    for target in targets.values():
        assert target.seeds
        rng = random.Random(20261126)
        for _ in range(3 if target.name == "graph" else 60):
            target.run(target.mutate(rng.choice(target.seeds), rng))


def test_memory_of_reading(targets):
    """What the fuzzer checks in every 128th execution, on all its seeds."""
    import tracemalloc

    for name in ("proto", "model", "pair", "text", "npy", "npz", "picture", "part", "labels"):
        target = targets[name]
        for seed in target.seeds:
            target.run(seed)
            tracemalloc.start()
            try:
                target.run(seed)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak <= 3 * len(seed) + target.room, name


def fuzz(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "fuzz.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_fuzzer_finds_what_is_there(tmp_path):
    """A reader that fails on some inputs and dies of others is found out."""
    broken = """
import os, sys
sys.path.insert(0, {tools!r})
from fuzzing import targets, worker
def run(data):
    if data.startswith(b"\\xff\\xd8"):
        raise ValueError("found")
    if data.startswith(b"GIF") and len(data) % 3:
        os.kill(os.getpid(), 9)
target = targets.TARGETS["picture"]
targets.TARGETS["picture"] = targets.Target("picture", 1, run, target.make_seeds, target.make_words, "binary")
import fuzz
from fuzzing import supervise
supervise._TOOL = __file__
sys.exit(fuzz.main())
"""
    script = tmp_path / "broken.py"
    script.write_text(broken.format(tools=str(ROOT / "tools")))
    command = [sys.executable, str(script), "picture", "--seconds", "3", "--engine", "own", "--findings", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    found = {path.stem.split("-")[1] for path in tmp_path.glob("picture-*.bin")}
    assert found == {"ValueError", "exit"}


def test_the_report_of_a_replayed_file(tmp_path, targets):
    path = tmp_path / "proto-x.bin"
    path.write_bytes(targets["proto"].seeds[0])
    assert fuzz("--replay", path).returncode == 0
    assert json.dumps(str(path))[1:-1] in fuzz("--replay", path).stdout


@pytest.mark.parametrize(("limit", "kept"), [(0.0, True), (100.0, False)])
def test_a_hang_is_tried_again_by_its_processor_time(tmp_path, targets, monkeypatch, limit, kept):
    """The replay of an input that hung ends well in the end: its time tells."""
    from fuzzing import supervise

    monkeypatch.setattr(supervise, "HANG_SECONDS", limit)
    path = tmp_path / "vector-x.bin"
    path.write_bytes(targets["vector"].seeds[0])
    assert supervise._dies_again(path) is kept


def test_layers_are_moved_so_that_they_hang_together(targets):
    """What the graph builder is fed with often is a graph: made of the seeds' layers, in new neighbourhoods."""
    import random

    from fuzzing.mutate import relayered, split_pair
    from fuzzing.nets import made_nets

    from tnnquant.errors import TnnQuantError
    from tnnquant.format import read_proto
    from tnnquant.format.check import check_structure

    nets = [split_pair(pair)[0] for pair in made_nets()]
    rng, sound, made = random.Random(5), 0, set()
    for _ in range(300):
        proto = relayered(rng.choice(nets), rng, rng.choice(nets))
        made.add(proto)
        try:
            check_structure(read_proto(proto))
        except TnnQuantError:
            continue
        sound += 1
    assert len(made) > 200
    assert sound > 200
