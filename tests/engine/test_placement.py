"""Which blobs share memory, which layers are part of a program, and that nothing is lost by either."""

import numpy as np
import pytest

from tnnquant.base.tensor import DataType
from tnnquant.engine.executor import Executor
from tnnquant.graph import QuantParams


def _shown(executor, inputs):
    shown = {}
    out = executor.run(inputs, lambda name, array: shown.setdefault(name, array.copy()))
    return out, shown


def _address(executor, blob):
    return executor._places[blob].__array_interface__["data"][0]


def test_what_only_changes_dims_is_not_copied(rng, build):
    net = build((1, 3, 8, 8))
    a = net.conv("input", 3, 8)
    rows = net.add("Reshape", a, axis=0, num_axes=3, shape=(1, 8, 64))
    flat = net.add("Flatten", net.add("Squeeze", net.add("Unsqueeze", rows, axes=(1,)), axes=(1,)), axis=1)
    kept = net.add("Reshape", flat, axis=0, num_axes=2, shape=(16, 32))
    twice = net.add("Add", [flat, flat])
    executor = Executor(net.graph(kept, twice))
    assert _address(executor, rows) != _address(executor, a), "channels last is another order"
    assert len({_address(executor, blob) for blob in (rows, flat, kept)}) == 1
    x = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    for _ in range(2):
        seen, shown = _shown(executor, {"input": x})
        unseen = executor.run({"input": x})
        for out in (kept, twice):
            assert seen[out].tobytes() == unseen[out].tobytes()
        np.testing.assert_array_equal(unseen[kept].ravel(), shown[a].ravel())
        np.testing.assert_array_equal(unseen[twice].ravel(), shown[a].ravel() * 2)


@pytest.mark.parametrize("dims", [(2, 5, 7), (1, 3, 2, 4, 3), (6,)])
def test_int8_layers_of_any_rank_are_part_of_a_program(rng, build, dims):
    net = build(dims)
    a = net.add("Add", ["input", "input"])
    b = net.add("Sigmoid", a)
    graph = net.graph(b)
    channels = (*dims, 1)[1]
    scales = {
        blob: QuantParams(rng.uniform(0.01, 0.05, channels).astype(np.float32), np.zeros(channels, np.int8))
        for blob in ("input", a)
    }
    nodes = [node.replace(quantized=node.outputs == (a,)) for node in graph.nodes]
    executor = Executor(graph.with_nodes(nodes).replace(scales=scales))
    assert all(step.rows is not None for step in executor.steps)
    x = rng.standard_normal(dims).astype(np.float32)
    _, shown = _shown(executor, {"input": x})
    for step in executor.steps:
        (wanted,) = step.forward(shown).values()
        np.testing.assert_array_equal(shown[step.node.outputs[0]], wanted, err_msg=step.node.name)
    assert DataType.of(shown[a]) == DataType.INT8
