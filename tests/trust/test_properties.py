"""Properties that hypothesis tries to break: readers answer with a TnnQuantError or with what can be written again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tools"))
from fuzzing.targets import TARGETS  # noqa: E402 - tools/ is no package


@st.composite
def inputs(draw, target):
    """A seed, mutated in ways that hypothesis chooses and can shrink."""
    data = draw(st.sampled_from(target.seeds))
    for _ in range(draw(st.integers(0, 3))):
        data = target.mutate(data, draw(st.randoms(use_true_random=False)))
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.binary(max_size=6)) + data[at + draw(st.integers(0, 6)) :]


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "graph"])
def test_readers(name):
    target = TARGETS[name]

    @EXAMPLES
    @given(inputs(target))
    def check(data):
        target.run(data[: target.most])

    check()


def test_the_graph_builder():
    target = TARGETS["graph"]

    @settings(EXAMPLES, max_examples=40)
    @given(inputs(target))
    def check(data):
        target.run(data[: target.most])

    check()


@pytest.mark.parametrize("rank", range(1, 7))
def test_layers_of_any_number_of_blobs_and_rank(rank):
    """Every type, in fp32 and int8, on none to four blobs of a rank, making one to three; most are refused."""
    from fuzzing.mutate import join_pair
    from fuzzing.seeds import made_models, made_protos

    run = TARGETS["run"].run
    head = '"1 2 1 4206624772 ,"\n"x {rank} {dims} 0 ,"\n" x {made} ,"\n"{made} ,"\n" 1 ,"\n"{line} ,"\n'
    models = made_models()
    for proto, model in zip(made_protos(), models, strict=True):
        kind, name, reads, makes, *rest = proto.decode().splitlines()[5].strip('", ').split()
        rest = rest[int(reads) + int(makes) :]
        for inputs in range(5):
            for outputs in range(1, 4):
                made = " ".join(f"m{i}" for i in range(outputs))
                words = [kind, name, inputs, outputs, *["x"] * inputs, made, *rest]
                dims = " ".join("1 2 3 4 2 3".split()[:rank])
                line = head.format(rank=rank, dims=dims, made=made, line=" ".join(map(str, words)))
                for weights in (model, b""):
                    run(join_pair(line.encode(), weights))
