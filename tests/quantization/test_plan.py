"""Which layers become int8, and why the others do not."""

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.graph.infer import infer
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.quantization.plan import make_plan


def plan(graph, **config):
    inference = infer(prepare_for_quantization(graph))
    made = make_plan(inference, QuantizeConfig(**{"device": "naive", **config}))
    nodes = inference.graph.nodes
    return made, [nodes[p].name for p in sorted(made.int8)], {nodes[p].name: why for p, why in made.reasons.items()}


def test_convolutions_adds_concats_and_inner_products_become_int8(build):
    net = build()
    a = net.conv("input", 3, 4, name="a")
    b = net.conv("input", 3, 4, name="b")
    s = net.add("Add", [a, b], name="sum")
    c = net.add("Concat", [s, a], 1, name="cat")
    out = net.inner_product(net.pool(c, kind=1, kernel=0, stride=1, name="mean"), 8, 5, name="fc")
    made, int8, reasons = plan(net.graph(out))
    assert int8 == ["a", "b", "sum", "cat", "fc"]
    assert set(reasons) == {"mean"}
    # Blobs that an inner product touches have one scale, all others one per channel.
    slots = {name: blob.slots for name, blob in made.blobs.items()}
    assert slots == {"input": 3, a: 4, b: 4, s: 4, c: 8, "mean_out": 1, out: 1}


@pytest.mark.parametrize(("merge_type", "slots"), [("channel", 4), ("mix", 1), ("tensor", 1)])
def test_merge_types(build, merge_type, slots):
    net = build()
    out = net.conv("input", 3, 4)
    made, _, _ = plan(net.graph(out), merge_type=merge_type)
    assert made.blobs[out].slots == slots


def test_max_pooling_and_relu_are_int8_only_behind_int8_and_hand_their_scales_up(build):
    net = build()
    a = net.conv("input", 3, 4, name="a")
    b = net.conv("input", 3, 4, name="b")
    s = net.add("Add", [a, b], name="sum")
    r = net.add("ReLU", s, name="r")
    p = net.pool(r, name="p")
    first = net.pool("input", name="first")
    tail = net.add("Sigmoid", p, name="s")
    last = net.pool(tail, name="last")
    made, int8, reasons = plan(net.graph(first, last))
    assert int8 == ["a", "b", "sum", "r", "p"]
    assert reasons["first"] == reasons["last"] == "not after an int8 layer"
    assert made.takes_scale_of == {r: p, s: p}


def test_a_concat_of_channels_is_not_observed(build):
    net = build()
    a, b = net.conv("input", 3, 4), net.conv("input", 3, 6)
    c = net.add("Concat", [a, b], 1)
    out = net.conv(c, 10, 4)
    assert plan(net.graph(out))[0].blobs[c].parts == (a, b)
    assert plan(net.graph(out), merge_type="mix")[0].blobs[c].parts == ()
    # Under KL the network input stays min-max; its bytes are copied all the same.
    d = net.add("Concat", ["input", a], 1)
    assert plan(net.graph(out, d), blob_method="kl")[0].blobs[d].parts == ("input", a)


def test_kl_falls_back_to_min_max_for_the_input_and_for_small_maps(build):
    net = build((1, 3, 24, 24))
    big = net.conv("input", 3, 4)
    small = net.conv(big, 4, 4, stride=3)
    methods = {name: blob.method for name, blob in plan(net.graph(small), blob_method="kl")[0].blobs.items()}
    assert methods == {"input": "minmax", big: "kl", small: "minmax"}


def test_asymmetric_spares_relu6_and_what_ignores_zero_points(build):
    net = build()
    a = net.add("ReLU6", net.conv("input", 3, 4, name="a"))
    b = net.conv(a, 4, 4, name="b")
    r = net.add("ReLU", b, name="r")
    out = net.add("Add", [r, b], name="sum")
    made, int8, reasons = plan(net.graph(out), blob_method="asymmetric")
    assert made.blobs[a].method == "minmax"
    assert made.blobs[b].method == "asymmetric"
    assert int8 == ["a", "b", "sum"]
    assert "zero point" in reasons["r"]


def test_adds_that_tnn_computes_wrongly_stay_fp32(build):
    net = build((1, 4, 6, 6))
    a, b = net.conv("input", 4, 4), net.conv("input", 4, 4)
    net.add("Add", [a, net.pool(b, kind=1, kernel=0, stride=1)], name="broadcast")
    net.constants["k"] = np.ones((1, 4, 1, 1), np.float32)
    net.add("Add", [a, "k"], name="constant")
    net.add("Add", [b], tensors={"element": np.ones(4, np.float32)}, name="stored")
    point = net.add("ReLU6", net.conv(b, 4, 4, kernel=1))
    last = net.add("Add", [a, point], name="behind_relu6")
    reasons = plan(net.graph(last, "broadcast_out", "constant_out", "stored_out"))[2]
    assert {"broadcast", "constant", "stored", "behind_relu6"} <= set(reasons)


def point_net(build, behind, outputs=(), activation=0):
    """A 1x1 convolution and an add, which TNN fuses, and what comes right after."""
    net = build((1, 4, 6, 6))
    a = net.conv("input", 4, 4, name="a")
    point = net.conv(a, 4, 4, kernel=1, activation_type=activation, name="point")
    s = net.add("Add", [point, a], name="sum")
    out = s
    for kind, source in behind:
        out = net.add(kind, {"sum": s, "a": a}[source], name=f"then_{kind.lower()}")
    return net.graph(*outputs, net.conv(out, 4, 4, name="last"))


def test_adds_whose_fusion_goes_wrong_stay_fp32(build):
    assert "sum" in plan(point_net(build, []))[1]
    assert "sum" in plan(point_net(build, [("ReLU", "sum")]))[1]
    assert "sum" in plan(point_net(build, [("ReLU6", "sum")], activation=1))[1]  # TNN leaves this ReLU6 alone
    assert "no int8 form" in plan(point_net(build, [("ReLU6", "sum")]))[2]["sum"]
    assert "loses 'sum_out'" in plan(point_net(build, [("ReLU", "a")], ["sum_out"]))[2]["sum"]
    assert "loses 'sum_out'" in plan(point_net(build, [("ReLU", "sum")], ["sum_out"]))[2]["sum"]
    assert "loses the model output 'point_out'" in plan(point_net(build, [], ["point_out"]))[2]["sum"]
    assert "no int8 form" in plan(point_net(build, [("ReLU", "sum")]), exclude=("then_relu",))[2]["sum"]


def test_an_add_before_a_swish_whose_sigmoid_is_needed_stays_fp32(build):
    net = build((1, 4, 6, 6))
    s = net.add("Add", [net.conv("input", 4, 4, kernel=1), "input"], name="sum")
    gate = net.add("Sigmoid", s, name="gate")
    out = net.conv(net.add("Mul", [s, gate]), 4, 4)
    assert "sum" in plan(net.graph(out))[1]  # Sigmoid and Mul became one Swish
    assert "drops the Sigmoid 'gate'" in plan(net.graph(out, gate))[2]["sum"]


def test_an_asymmetric_relu_is_int8_where_it_is_fused(build):
    int8 = plan(point_net(build, [("ReLU", "sum")]), blob_method="asymmetric")[1]
    assert {"sum", "then_relu"} <= set(int8)
    int8, reasons = plan(point_net(build, [("ReLU", "sum")], activation=1), blob_method="asymmetric")[1:]
    assert "sum" in int8
    assert "zero point" in reasons["then_relu"]


def test_blobs_tied_to_that_of_an_inner_product_have_one_scale_too(build):
    net = build()
    a = net.conv("input", 3, 4, name="a")
    r = net.add("ReLU", a, name="r")
    made = plan(net.graph(net.inner_product(a, 480, 5, name="fc"), net.conv(r, 4, 2, name="c")))[0]
    assert made.blobs[a].slots == made.blobs[r].slots == 1
    assert made.takes_scale_of == {r: a}


def test_relu6_spares_the_zero_point_of_the_pooling_behind_it(build):
    net = build()
    p = net.pool(net.conv("input", 3, 4, activation_type=2, name="a"), name="p")
    made = plan(net.graph(net.conv(p, 4, 4)), blob_method="asymmetric")[0]
    assert made.blobs[p].method == made.blobs["a_out"].method == "minmax"


def test_concats_that_tnn_computes_wrongly_stay_fp32(build):
    net = build((1, 4, 6, 6))
    a, b = net.conv("input", 4, 4), net.conv("input", 4, 4)
    height = net.add("Concat", [a, b], 2, name="height")
    assert "axis 2" in plan(net.graph(height))[2]["height"]
    flat = net.inner_product(a, 144, 8, name="fc")  # now a has one scale, b one per channel
    mixed = net.add("Concat", [a, b], 1, name="mixed")
    assert "cannot mix" in plan(net.graph(mixed, flat))[2]["mixed"]
    assert not {"height", "mixed"} & set(plan(net.graph(height, mixed, flat), merge_type="mix")[2])


def test_a_fused_swish_is_split_off_and_stays_fp32(build):
    net = build()
    out = net.conv("input", 3, 4, activation_type=256, name="c")
    _, int8, reasons = plan(net.graph(out))
    assert int8 == ["c"]
    assert set(reasons) == {"c_swish"}


def residual_net(build):
    net = build()
    a = net.conv("input", 3, 4, name="a")
    b = net.conv(a, 4, 4, kernel=1, activation_type=2, name="b")
    s = net.add("Add", [b, a], name="sum")
    p = net.pool(s, name="pool")
    c = net.conv(p, 4, 4, name="c")
    d = net.conv(p, 4, 4, name="d")
    return net.graph(net.conv(net.add("Concat", [c, d], 1, name="cat"), 8, 4, name="last"))


def test_excluded_layers_stay_fp32_with_the_pattern_as_the_reason(build):
    _, int8, reasons = plan(residual_net(build), exclude=("c", "type:Pooling"))
    assert int8 == ["a", "b", "d", "cat", "last"]
    assert reasons["c"] == "excluded by exclude='c'"
    assert reasons["pool"] == "excluded by exclude='type:Pooling'"


def test_an_add_may_be_int8_behind_an_excluded_convolution(build):
    # TNN fuses int8 convolutions into an add; ReLU6 would be lost there, but an fp32 one is not fused.
    _, int8, reasons = plan(residual_net(build))
    assert "sum" not in int8
    assert "ReLU6" in reasons["sum"]
    _, int8, _ = plan(residual_net(build), exclude=("b",))
    assert "sum" in int8


def test_included_layers_alone_may_be_int8(build):
    _, int8, reasons = plan(residual_net(build), include=("a", "b"))
    assert int8 == ["a", "b"]
    assert reasons["last"] == "not among include"


def test_a_join_between_fp32_layers_alone_stays_fp32(build):
    _, int8, reasons = plan(residual_net(build), exclude=("c", "d", "last"))
    assert "cat" not in int8
    assert reasons["cat"] == "between fp32 layers"
    _, int8, _ = plan(residual_net(build), exclude=("c", "last"))
    assert "cat" in int8


@pytest.mark.parametrize("merge_type", ["channel", "mix"])
@pytest.mark.parametrize("exclude", [("b",), ("c",), ("cat",), ("a", "last"), ("pool", "sum")])
def test_the_written_model_runs_with_islands_of_fp32(build, rng, tmp_path, exclude, merge_type):
    from tnnquant.engine.executor import Executor
    from tnnquant.format import read_model, write_model
    from tnnquant.quantization.quantize import quantize_graph

    graph = residual_net(build)
    samples = [
        type("Sample", (), {"name": str(i), "arrays": {"input": rng.standard_normal((1, 3, 12, 10), np.float32)}})
        for i in range(4)
    ]
    result = quantize_graph(graph, samples, QuantizeConfig(exclude=exclude, merge_type=merge_type))
    paths = tmp_path / "m.tnnproto", tmp_path / "m.tnnmodel"
    write_model(result.graph, *paths)
    written = read_model(*paths)
    for name in exclude:
        node = written.node(name)
        assert not node.quantized
        assert all(tensor.data.dtype == np.float32 for tensor in node.tensors.values())
    (wanted,), (got,) = (list(Executor(g).run(samples[0].arrays).values()) for g in (graph, written))
    a, b = wanted.ravel(), got.ravel()
    assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.995


@pytest.mark.parametrize("merge_type", ["channel", "tensor", "mix"])
def test_a_join_of_prior_boxes_stays_fp32(build, merge_type):
    """In 127 steps of the whole picture a narrow box would have no width: TNN then aborts, or finds nothing there."""
    net = build((1, 3, 16, 16))
    maps = [net.conv("input", 3, 8, stride=2, name="first")]
    maps.append(net.conv(maps[0], 8, 8, stride=2, name="second"))
    settings = ((), 0, 1, (0.1, 0.1, 0.2, 0.2), (1.0, 2.0), 0, 0, 0, 0, 0.5)
    priors = [net.add("PriorBox", [x, "input"], (size,), *settings) for x, size in zip(maps, (4.0, 8.0), strict=True)]
    joined = net.add("Concat", priors, 2, name="priors")
    graph = net.graph(joined)
    plan = make_plan(infer(graph), QuantizeConfig(merge_type=merge_type))
    position = next(p for p, node in enumerate(graph.nodes) if node.name == "priors")
    assert position not in plan.int8
    assert joined not in plan.blobs
    assert {graph.nodes[p].name for p in plan.int8} == {"first", "second"}
