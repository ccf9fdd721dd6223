"""The executor: results do not depend on how blobs are placed, joined to programs, or looked at."""

from dataclasses import replace

import numpy as np
import pytest

from tnnquant.base.arithmetic import exact_sums
from tnnquant.base.tensor import DataType, Tensor
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError, GraphError, InputError, UnsupportedLayerError
from tnnquant.graph import InputSpec
from tnnquant.layers.base import channels_last


def run_plainly(graph, inputs, exact=True):
    """Layer by layer through ``forward``: no places, no programs."""
    with exact_sums(exact):
        return run_layers(Executor(graph), inputs)


def run_layers(executor, inputs):
    blobs = {**{name: t.array() for name, t in executor.graph.constants.items()}, **inputs}
    for node in executor.graph.nodes:
        state = node.layer.prepare(node.tensors, [executor.specs[b] for b in node.inputs])
        results = node.layer.forward([blobs[b] for b in node.inputs], state)
        blobs.update(zip(node.outputs, [r.copy() for r in results], strict=True))
    return blobs


def fire_net(build):
    """Branches, a concat whose inputs can live inside it, one that cannot, a shared blob, two outputs."""
    net = build((1, 3, 15, 13))
    stem = net.add("ReLU", net.conv("input", 3, 16, stride=2))
    left, right = net.conv(stem, 16, 8, kernel=1), net.conv(stem, 16, 24)
    joined = net.add("Concat", [left, right], 1)
    again = net.add("Concat", [joined, stem, left], 1)
    pooled = net.pool(again, kernel=3, stride=2)
    added = net.add("Add", [net.conv(pooled, 56, 56, groups=56), pooled])
    flat = net.inner_product(net.pool(added, kind=1, kernel=0, stride=1), 56, 10)
    return net.graph(flat, joined)


@pytest.mark.parametrize("exact", [True, False])
def test_results_equal_those_of_running_layer_by_layer(build, rng, exact):
    graph = fire_net(build)
    x = rng.standard_normal((1, 3, 15, 13)).astype(np.float32)
    expected = run_plainly(graph, {"input": x}, exact)
    executor = Executor(graph, exact=exact)
    for _ in range(2):
        for name, value in executor.run({"input": x}).items():
            np.testing.assert_array_equal(value, expected[name])


def test_the_tap_sees_every_blob_once_with_its_value(build, rng):
    graph = fire_net(build)
    x = rng.standard_normal((1, 3, 15, 13)).astype(np.float32)
    expected = run_plainly(graph, {"input": x})
    seen = {}

    def tap(name, array):
        assert name not in seen
        seen[name] = array.copy()

    Executor(graph).run({"input": x}, tap)
    assert seen.keys() == expected.keys()
    for name, value in seen.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_results_do_not_depend_on_the_memory_layout_of_the_input(build, rng):
    graph = fire_net(build)
    executor = Executor(graph)
    x = rng.standard_normal((1, 3, 15, 13)).astype(np.float32)
    plain = executor.run({"input": x})
    last = executor.run({"input": channels_last(x).transpose(0, 3, 1, 2)})
    for name in plain:
        np.testing.assert_array_equal(plain[name], last[name])


def test_a_result_is_not_overwritten_by_the_next_run(build, rng):
    executor = Executor(fire_net(build))
    first = executor.run({"input": rng.standard_normal((1, 3, 15, 13)).astype(np.float32)})
    kept = {name: value.copy() for name, value in first.items()}
    executor.run({"input": rng.standard_normal((1, 3, 15, 13)).astype(np.float32)})
    for name in kept:
        np.testing.assert_array_equal(first[name], kept[name])


def test_a_view_of_a_blob_keeps_it_alive(build, rng):
    net = build((1, 4, 6, 6))
    a = net.conv("input", 4, 4)
    flat = net.add("Flatten", a, 1)  # may be a view of a's place
    b = net.conv(a, 4, 4)
    for _ in range(3):
        b = net.conv(b, 4, 4)
    out = net.inner_product(flat, 144, 5)
    graph = net.graph(b, out)
    x = rng.standard_normal((1, 4, 6, 6)).astype(np.float32)
    expected = run_plainly(graph, {"input": x})
    for name, value in Executor(graph).run({"input": x}).items():
        np.testing.assert_array_equal(value, expected[name])


def test_batches_and_overridden_dims(build, rng):
    graph = fire_net(build)
    x = rng.standard_normal((3, 3, 15, 13)).astype(np.float32)
    together = Executor(graph, {"input": (3, 3, 15, 13)}).run({"input": x})
    single = Executor(graph)
    for i in range(3):
        for name, value in single.run({"input": x[i : i + 1]}).items():
            np.testing.assert_array_equal(value[0], together[name][i])


def test_a_missing_or_misshapen_input_is_named(build):
    executor = Executor(fire_net(build))
    with pytest.raises(InputError, match="no array for the model input 'input'"):
        executor.run({})
    with pytest.raises(InputError, match="is 1x3x4x4, expected 1x3x15x13"):
        executor.run({"input": np.zeros((1, 3, 4, 4), np.float32)})
    with pytest.raises(InputError, match="no input 'other'"):
        executor.run({"input": np.zeros((1, 3, 15, 13), np.float32), "other": np.zeros(1)})


def test_layers_that_cannot_be_run_are_named(build):
    net = build()
    out = net.add("Split", net.conv("input", 3, 4), name="fork")
    with pytest.raises(UnsupportedLayerError, match=r"1 of 2 layers cannot be run: layer 'fork' \(Split\)"):
        Executor(net.graph(out))


def test_errors_name_the_layer(build):
    net = build()
    out = net.conv("input", 4, 8, name="c9")
    with pytest.raises(GraphError, match=r"^layer 'c9' \(Convolution\): filter has 288 values"):
        Executor(net.graph(out))


def test_the_blobs_share_memory(build):
    net = build((1, 8, 32, 32))
    blob = net.conv("input", 8, 8)
    for _ in range(20):
        blob = net.conv(blob, 8, 8)
    assert Executor(net.graph(blob)).blob_bytes <= 3 * 4 * 8 * 32 * 32


def test_exact_sums_are_those_of_the_plain_loop(build, rng):
    net = build((1, 5, 9, 7))
    net.add("ReLU", net.conv("input", 5, 19, stride=2))
    graph = net.graph("convolution0_out")
    x = rng.standard_normal((1, 5, 9, 7)).astype(np.float32)
    weight, bias = (net.nodes[0].resource.tensors[name].data for name in ("filter", "bias"))
    padded = np.pad(x[0], ((0, 0), (1, 1), (1, 1)))
    total = np.zeros((19, 5, 4), np.float32)
    for kh in range(3):
        for kw in range(3):
            for c in range(5):
                patch = padded[c, kh : kh + 9 : 2, kw : kw + 7 : 2]
                total += patch * weight.reshape(19, 5, 3, 3)[:, c, kh, kw][:, None, None]
    result = Executor(graph).run({"input": x})["convolution0_out"]
    np.testing.assert_array_equal(result[0], total + bias[:, None, None])


@pytest.mark.parametrize(("activation_type", "low"), [(0, -np.inf), (1, 0)])
def test_exact_sums_of_a_depthwise_convolution(build, rng, activation_type, low):
    net = build((1, 19, 9, 7))
    net.conv("input", 19, 19, groups=19, activation_type=activation_type)
    x = rng.standard_normal((1, 19, 9, 7)).astype(np.float32)
    weight, bias = (net.nodes[0].resource.tensors[name].data for name in ("filter", "bias"))
    padded = np.pad(x[0], ((0, 0), (1, 1), (1, 1)))
    total = np.zeros((19, 9, 7), np.float32)
    for kh in range(3):
        for kw in range(3):
            total += padded[:, kh : kh + 9, kw : kw + 7] * weight.reshape(19, 3, 3)[:, kh, kw][:, None, None]
    expected = np.maximum(total + bias[:, None, None], np.float32(low))
    result = Executor(net.graph("convolution0_out")).run({"input": x})["convolution0_out"]
    np.testing.assert_array_equal(result[0], expected)


def test_a_twin_has_memory_of_its_own(build, rng):
    graph = fire_net(build)
    first = Executor(graph)
    second = first.twin()
    inputs = [{"input": rng.standard_normal((1, 3, 15, 13)).astype(np.float32)} for _ in range(2)]
    expected = [Executor(graph).run(x) for x in inputs]
    seen = {}

    def tap(name, array):
        # Another run in the middle of this one.
        if name == graph.nodes[3].outputs[0]:
            seen.update(second.run(inputs[1]))

    for got, want in zip((first.run(inputs[0], tap), seen), expected, strict=True):
        for name, value in want.items():
            np.testing.assert_array_equal(got[name], value)


def test_layers_with_int8_weights_of_their_own_are_widened(build):
    net = build((1, 1, 1, 2))
    table, scale = np.array([[1, -2], [3, 4]], np.int8), np.array([0.5, 0.25], np.float32)
    out = net.add("Gather", "input", 0, True, False, tensors={"data": table, "scale": scale})
    graph = net.graph(out)
    node = graph.nodes[0]
    tensors = {**node.tensors, "data": Tensor.from_array(table)}
    node = node.replace(dynamic_range=True, resource=replace(node.resource, tensors=tensors))
    graph = graph.with_nodes([node]).replace(inputs={"input": InputSpec((3,), DataType.INT32)})
    (result,) = Executor(graph).run({"input": np.array([1, 0, 1], np.int32)}).values()
    np.testing.assert_array_equal(result, np.array([[0.75, 1], [0.5, -1], [0.75, 1]], np.float32))


def test_without_a_compiler_an_error_says_so(build, monkeypatch):
    net = build()
    graph = net.graph(net.conv("input", 3, 4))
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    with pytest.raises(ConfigError, match="exist only compiled"):
        Executor(graph)


def test_a_lack_of_memory_is_an_error_that_says_so(build, monkeypatch):
    def nothing_left(*arguments):
        raise MemoryError

    monkeypatch.setattr("tnnquant.engine.executor.Feed", nothing_left)
    net = build((1, 3, 8, 8))
    with pytest.raises(GraphError, match="not enough memory to lay the model out: its blobs alone take"):
        Executor(net.graph(net.conv("input", 3, 4)))


@pytest.mark.parametrize("watch", [None, lambda name, x: None])
def test_a_run_that_begins_in_the_middle(build, rng, watch):
    """What a tap changes shows in the outputs as if all had been run, whatever was rerun before, later steps first."""
    net = build()
    a = net.conv("input", 3, 8, name="a")
    left, right = net.add("SplitV", a, 1, (4, 4), outputs=2)
    b = net.conv(left, 4, 4, name="b")
    c = net.add("Concat", [b, right], 1)
    graph = net.graph(net.conv(c, 8, 5, name="d"))
    plain, keeping = Executor(graph), Executor(graph).keeping()
    inputs = {name: rng.standard_normal(spec.dims).astype(np.float32) for name, spec in graph.inputs.items()}
    wanted, found = plain.run(inputs), keeping.run(inputs, watch)
    steps = [None, *plain.steps]
    for number in reversed(range(len(steps))):
        blob = steps[number].node.outputs[0] if number else "input"

        def tap(name, x, blob=blob):
            if name == blob:
                x *= 2

        changed = plain.run({name: array.copy() for name, array in inputs.items()}, tap)
        again = keeping.rerun({name: array.copy() for name, array in inputs.items()}, number - 1, tap)
        for name, values in wanted.items():
            np.testing.assert_array_equal(found[name], values)
            np.testing.assert_array_equal(again[name], changed[name])
            assert (changed[name] != values).any()


def attention(build):
    """Scaled dot-product attention of 2 heads over 5 tokens, a LayerNorm with constant operands before it."""
    net = build((1, 5, 8), "x")
    net.constants = {"scale": np.linspace(0.5, 1.5, 8, dtype=np.float32), "shift": np.zeros(8, np.float32),
                     "half": np.float32([0.5])}  # fmt: skip
    x = net.add("LayerNorm", ["x", "scale", "shift"], 1, name="norm")
    net.constants["weight"] = net.rng.standard_normal((8, 24)).astype(np.float32)
    x = net.add("MatMul", [x, "weight"], name="qkv")
    heads = net.add("Reshape", x, 0, 4, (1, 5, 6, 4), 0, name="heads")
    rows = net.add("Permute", heads, (0, 2, 1, 3), name="rows")
    columns = net.add("Permute", heads, (0, 2, 3, 1), name="columns")
    scores = net.add("Mul", [net.add("MatMul", [rows, columns], name="product"), "half"], name="scores")
    mixed = net.add("MatMul", [net.add("Softmax", scores, 3, name="shares"), rows], name="mixed")
    back = net.add("Reshape", net.add("Permute", mixed, (0, 2, 1, 3), name="turned"), 0, 3, (1, 5, 24), 0, name="back")
    return net.graph(net.add("GELU", back, name="gelu"))


@pytest.mark.parametrize("exact", [True, False])
def test_attention_is_one_program(build, rng, exact):
    """Blobs of rank 4 that no image is made of lie in C order; constants are read where they are."""
    graph = attention(build)
    executor = Executor(graph, exact=exact)
    assert len(executor._groups) == 1
    assert all(step.rows is not None for step in executor.steps)
    assert executor._places["shares_out"].flags.c_contiguous
    x = {"x": rng.standard_normal((1, 5, 8)).astype(np.float32)}
    (result,) = executor.run(x).values()
    seen = {}
    executor.run(x, lambda name, array: seen.update({name: np.array(array)}))
    np.testing.assert_array_equal(result, seen["gelu_out"])
    shares = seen["scores_out"].astype(np.float64)
    shares = np.exp(shares) / np.exp(shares).sum(-1, keepdims=True)
    wanted = (shares @ seen["rows_out"]).transpose(0, 2, 1, 3).reshape(1, 5, 24)
    np.testing.assert_allclose(seen["back_out"], wanted, rtol=1e-5, atol=1e-6)


def test_images_stay_channels_last(build):
    net = build((1, 8, 6, 4))
    x = net.conv("input", 8, 8, name="a")
    turned = net.add("Permute", net.add("Sigmoid", x, name="gate"), (0, 2, 3, 1), name="turned")
    net.constants = {"weight": np.ones((8, 3), np.float32)}
    executor = Executor(net.graph(net.add("MatMul", [turned, "weight"])))
    assert not executor._places["gate_out"].flags.c_contiguous
    assert executor._places["turned_out"].flags.c_contiguous
