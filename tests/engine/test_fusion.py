"""Steps that run as one where no blob is shown: the same bits, and only where nothing else reads between them."""

import numpy as np
import pytest

from tnnquant.engine.executor import Executor


def _run_both(graph, x, exact):
    """Outputs of a run that shows no blob and of one that shows all, and how many steps the first has."""
    executor = Executor(graph, exact=exact)
    shown = {}
    seen = executor.run({"input": x}, lambda name, array: shown.setdefault(name, array.copy()))
    unseen = executor.run({"input": x})
    assert set(shown) >= {blob for node in graph.nodes for blob in node.outputs}
    return seen, unseen, len(executor.unwatched().steps)


def _blocks(net):
    """Two residual blocks: with a shortcut convolution that comes last, and without; one Add after an activation."""
    a = net.add("ReLU", net.conv("input", 3, 12))
    b = net.conv(net.add("ReLU6", net.conv(a, 12, 20)), 20, 24)
    c = net.add("ReLU", net.add("Add", [b, net.conv(a, 12, 24, 1)]))
    d = net.add("ReLU6", net.conv(net.conv(c, 24, 24, groups=24), 24, 24))
    return net.add("Add", [c, d])


@pytest.mark.parametrize("exact", [False, True])
def test_the_bits_are_those_of_layers_one_by_one(rng, build, exact):
    net = build((2, 3, 11, 9))
    out = _blocks(net)
    x = rng.standard_normal((2, 3, 11, 9)).astype(np.float32)
    x[0, :, 3, 4] = np.nan
    seen, unseen, steps = _run_both(net.graph(out), x, exact)
    assert seen[out].tobytes() == unseen[out].tobytes()
    assert len(net.nodes) == 12
    assert steps == 6


def test_what_something_else_reads_is_made(rng, build):
    net = build((1, 3, 8, 8))
    a = net.conv("input", 3, 8)
    b = net.add("ReLU", a)
    c = net.conv(b, 8, 8)
    d = net.add("Add", [a, c])
    x = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    seen, unseen, steps = _run_both(net.graph(c, d), x, True)
    assert steps == 4, "a has two readers, c is an output"
    for name in (c, d):
        assert seen[name].tobytes() == unseen[name].tobytes()


def test_an_operand_made_later_is_waited_for(rng, build):
    net = build((1, 3, 8, 8))
    early = net.conv("input", 3, 8)
    late = net.pool(net.add("Sigmoid", net.conv("input", 3, 8)), kernel=3, stride=1, pad=1)
    out = net.add("Add", [early, late])
    x = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    seen, unseen, steps = _run_both(net.graph(out), x, False)
    assert steps == 5
    assert seen[out].tobytes() == unseen[out].tobytes()


@pytest.mark.parametrize("twice", [False, True])
def test_broadcasts_and_doubles_stay(rng, build, twice):
    net = build((1, 3, 8, 8))
    a = net.conv("input", 3, 8)
    out = net.add("Add", [a, a]) if twice else net.add("Add", [a, net.pool(a, kernel=8, stride=8)])
    x = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    seen, unseen, _ = _run_both(net.graph(out), x, True)
    assert seen[out].tobytes() == unseen[out].tobytes()


def test_twins_have_memory_of_their_own(rng, build):
    net = build((1, 3, 11, 9))
    graph = net.graph(_blocks(net))
    executor = Executor(graph)
    x = rng.standard_normal((1, 3, 11, 9)).astype(np.float32)
    want = next(iter(executor.run({"input": x}).values()))
    other = executor.twin()
    assert other.unwatched() is not executor.unwatched()
    got = next(iter(other.run({"input": x}).values()))
    assert got.tobytes() == want.tobytes()
