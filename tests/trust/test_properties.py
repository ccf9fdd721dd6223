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
