"""What is in a model."""

import subprocess
import sys

import numpy as np
import pytest

from tnnquant.errors import GraphError
from tnnquant.format import read_model
from tnnquant.inspect.summary import find_row, summarize


def test_an_fp32_model(inspected):
    summary = summarize(inspected)
    assert summary.precision == "fp32"
    rows = {row.name: row for row in summary.layers}
    assert [row.index for row in summary.layers] == list(range(8))
    assert rows["stem"].dims == (1, 8, 16, 12)
    assert rows["stem"].parameters == 8 * 27 + 8
    assert rows["stem"].bytes == 4 * (8 * 27 + 8)
    assert rows["stem"].macs == 8 * 27 * 16 * 12
    planned = {name: (row.precision.planned, row.precision.reason) for name, row in rows.items()}
    assert planned["stem"] == planned["left"] == planned["fc"] == ("int8", "")
    assert planned["stem_relu"] == ("int8", "becomes part of stem")
    assert rows["stem_relu"].is_fused
    assert planned["pool"] == ("int8", "")
    assert planned["gate"][0] == "fp32"
    assert "no int8 form" in planned["gate"][1]
    totals = summary.totals()
    assert totals["layers"] == 8
    assert totals["int8_layers"] == 7
    assert totals["macs"] == totals["int8_macs"] == sum(row.macs for row in summary.layers)


def test_an_int8_model(quantized):
    summary = summarize(quantized)
    assert summary.precision == "int8"
    assert not summary.grouped_problems()
    rows = {row.name: row for row in summary.layers}
    assert rows["gate"].precision.stored == "fp32"
    assert "no int8 form" in rows["gate"].precision.reason
    weights = rows["stem"].weights
    assert (weights.dtype, weights.channels, weights.count) == ("INT8", 8, 216)
    codes = quantized.node("stem").tensors["filter"].data.reshape(8, -1)
    np.testing.assert_array_equal(weights.usage.high, codes.max(axis=1))
    np.testing.assert_array_equal(weights.usage.unused, [255 - len(np.unique(row)) for row in codes])
    blob = next(row for row in summary.blobs if row.name == "left_out")
    assert blob.made_by == "left"
    assert blob.range == (-127 * float(blob.params.scale.max()), 127 * float(blob.params.scale.max()))


def test_a_layer_that_could_be_int8_and_one_that_must_not(quantized):
    nodes = [
        node.replace(quantized=False, type_string="Convolution") if node.name == "left" else
        node.replace(quantized=True, type_string="QuantizedSigmoid") if node.name == "gate" else node
        for node in quantized.nodes
    ]  # fmt: skip
    rows = {row.name: row for row in summarize(quantized.replace(nodes=tuple(nodes))).layers}
    assert "could be int8" in rows["left"].precision.reason
    assert "no int8 form" in rows["gate"].precision.problem


def test_int8_layers_that_share_a_problem_are_one_line(quantized):
    nodes = tuple(
        node.replace(layer=node.layer.__class__(**{**vars(node.layer), "activation_type": 256}))
        if node.name in ("left", "right") else node for node in quantized.nodes
    )  # fmt: skip
    problems = summarize(quantized.replace(nodes=nodes)).grouped_problems()
    assert any(line.startswith("left and 1 more are int8, but TNN's int8 form ignores") for line in problems)


def test_files_that_do_not_belong_together(inspected):
    bare = inspected.replace(nodes=tuple(node.replace(resource=None) for node in inspected.nodes))
    with pytest.raises(GraphError, match=r"layer 'stem' .* has no weights in the .tnnmodel: do the two files belong"):
        summarize(bare)
    wider = tuple(
        node.replace(layer=node.layer.__class__(**{**vars(node.layer), "kernel_h": 5, "pad_h": 2}))
        if node.name == "stem" else node for node in inspected.nodes
    )  # fmt: skip
    with pytest.raises(GraphError, match=r"layer 'stem' .* has 216 weights in the .tnnmodel, .* ask for 360"):
        summarize(inspected.replace(nodes=wider))


def test_a_model_whose_shapes_do_not_fit_is_shown_with_the_reason(build):
    net = build((1, 3, 8, 8))
    out = net.add("Add", [net.conv("input", 3, 4, name="a"), net.conv("input", 3, 5, name="b")], name="sum")
    summary = summarize(net.graph(out))
    assert len(summary.layers) == 3
    assert "'sum'" in summary.problems[0]


def test_find_row_proposes_names(inspected):
    summary = summarize(inspected)
    assert find_row(summary, "left").type == "Convolution"
    assert find_row(summary, "left_out").made_by == "left"
    with pytest.raises(GraphError, match="no layer and no blob 'stemm'; did you mean stem"):
        find_row(summary, "stemm")


def test_nothing_static_imports_numba(inspected_files):
    code = (
        "import sys\n"
        "from tnnquant.inspect.run import load, diff_models\n"
        "from tnnquant.cli.inspect_tables import print_summary\n"
        f"model = load({inspected_files!r})\n"
        "print_summary(model.summary), model.summary.as_dict(), diff_models(model, model)\n"
        "assert 'numba' not in sys.modules and 'rich' not in sys.modules and 'PIL' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_real_model_is_summarized(shared):
    patterns = ("data/*", "data/real/*", "golden/squeezenet/*/*", "golden/efficientnet_lite0/*/*", "golden/real/*/*/*")
    protos = [proto for pattern in patterns for proto in shared.glob(pattern + ".tnnproto")]
    for proto in sorted(protos):
        graph = read_model(proto, proto.with_suffix(".tnnmodel"))
        summary = summarize(graph)
        assert summary.totals()["macs"] > 1e7, proto
        # TNN's int8 YOLO ignores its swishes; every other pair of TNN's tool keeps to the rules.
        assert bool(summary.grouped_problems()) == ("yolov8n" in str(proto) and graph.is_quantized), proto


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_a_problem(inspected, value):
    inspected.node("left").tensors["filter"].data.flat[7] = value
    assert summarize(inspected).grouped_problems() == ["left has weights that are NaN or infinite"]
