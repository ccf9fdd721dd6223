"""The table of operations is what runs: compared with the programs themselves."""

import json

import numpy as np

from tnnquant.engine.executor import Executor
from tnnquant.kernels.program import task_of

from .test_executor_i8 import int8_graph
from .test_fusion import _blocks
from .test_lookup import KINDS, swish_net


def programs_of(executor):
    """What a run goes through: programs as tables, and the names of layers that run through Python."""
    running = executor.unwatched()
    for i, group in enumerate(running._groups):
        if group.program is None:
            yield from [step.node.name for step in group.steps]
        else:
            yield (running._head if i == 0 and running._head is not None else group.program).table


def check(executor):
    told, number = list(executor.explain()), 0
    for each in programs_of(executor):
        if isinstance(each, str):
            assert (told[0].layer, told[0].program, told[0].tasks) == (each, 0, 0)
            del told[0]
            continue
        number += 1
        for row in each:
            module, function, tasks = task_of(row)
            op = told.pop(0)
            assert (op.kernel, op.tasks, op.program) == (f"{module.rpartition('.')[2]}.{function}", tasks, number)
            assert op.path or not module
    assert told == []


def test_fp32_with_layers_that_run_as_one(build):
    net = build((1, 3, 11, 9))
    executor = Executor(net.graph(_blocks(net)), exact=False)
    check(executor)
    table = executor.explain()
    assert [op.type for op in table].count("Convolution") == 6
    assert (table.programs, table.in_python) == (1, 0)
    assert table[0].layer == "input"
    # 3 channels in, 12 out, of 11 x 9; 12 x 3 x 9 weights and 12 of the bias.
    assert table[1].bytes == 4 * ((3 + 12) * 99 + 12 * 27 + 12)


def test_int8_with_tables_in_the_place_of_layers(build, rng):
    graph, inputs = int8_graph(swish_net(build), rng, None, KINDS)
    executor = Executor(graph)
    check(executor)
    table = executor.explain()
    joined = [op for op in table if op.kernel.startswith("lookup_i8.")]
    assert [op.layer.count(" + ") for op in joined] == [2, 2, 3, 3]
    assert "swish" in joined[0].layer
    assert joined[0].bytes == 2 * 19 * 7 * 6
    executor.run(inputs)
    assert table == executor.explain()


def test_steps_through_python(build):
    net = build((1, 4, 6, 5))
    out = net.add("Sigmoid", net.add("LRN", net.conv("input", 4, 8), 1e-4, 0.75, 1.0, 5))
    executor = Executor(net.graph(out))
    check(executor)
    (op,) = (op for op in executor.explain() if op.program == 0)
    assert op.kernel.endswith(".forward")
    assert op.bytes == 2 * 4 * 8 * 30


def test_it_prints_and_is_json(build):
    net = build()
    table = Executor(net.graph(net.conv("input", 3, 4, name="only"))).explain()
    lines = str(table).splitlines()
    assert lines[0].split() == ["layer", "kernel", "path", "tasks", "bytes", "program"]
    assert lines[-1].startswith("only ")
    assert json.loads(json.dumps(table.as_dict()))["operations"][-1]["layer"] == "only"
    assert len(table) == len(table[:]) == len(np.array(table.rows()))
