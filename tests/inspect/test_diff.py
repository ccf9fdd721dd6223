"""Two models compared."""

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.inspect.diff import diff_graphs
from tnnquant.inspect.run import Model, diff_models
from tnnquant.inspect.summary import summarize
from tnnquant.inspect.weights import real_weights


def compare(a, b):
    return diff_graphs(a, b, summarize(a), summarize(b))


def changed(graph, which, /, **changes):
    return graph.replace(nodes=tuple(n.replace(**changes) if n.name == which else n for n in graph.nodes))


def row_of(diff, name):
    return next(row for row in diff.rows if row.name == name)


def test_a_model_equals_itself(inspected, quantized):
    assert compare(inspected, inspected).is_same
    diff = compare(quantized, quantized)
    assert diff.is_same
    assert diff.count("same", "blob") == len(quantized.scales)


def test_weights_parameters_and_structure(inspected):
    node = inspected.node("left")
    weights = node.resource.tensors["filter"].data.copy()
    weights[3] += 1
    tensors = {**node.resource.tensors, "filter": Tensor(weights)}
    resource = node.resource.__class__(tensors, node.resource.extras, node.resource.type_string)
    diff = compare(inspected, changed(inspected, "left", resource=resource))
    row = row_of(diff, "left")
    assert row.status == "changed"
    assert row.changes[0].startswith("weights: 1 of 32 values differ")
    assert row.weight_sqnr_db == round(10 * np.log10(float((node.tensors["filter"].data.astype(float) ** 2).sum())), 2)
    assert diff.count("changed") == 1
    layer = inspected.node("right").layer
    other = layer.__class__(**{**vars(layer), "activation_type": 1})
    assert row_of(compare(inspected, changed(inspected, "right", layer=other)), "right").changes == [
        "parameters activation_type 0 -> 1"
    ]
    renamed = changed(inspected, "pool", name="pooling")
    diff = compare(inspected, renamed)
    assert row_of(diff, "pool").status == "only in A"
    assert row_of(diff, "pooling").status == "only in B"


def test_scales(quantized):
    params = quantized.scales["left_out"]
    doubled = params.__class__(params.scale * 2, params.zero_point)
    single = params.__class__(params.scale[:1], params.zero_point[:1])
    row = row_of(compare(quantized, quantized.replace(scales={**quantized.scales, "left_out": doubled})), "left_out")
    assert row.kind == "blob"
    assert row.scale_ratio == (2.0, 2.0)
    row = row_of(compare(quantized, quantized.replace(scales={**quantized.scales, "left_out": single})), "left_out")
    assert row.changes == ["4 scales -> 1"]


def test_fp32_beside_int8_is_compared_in_the_form_that_is_quantized(inspected, quantized):
    diff = diff_models(Model(inspected, summarize(inspected)), Model(quantized, summarize(quantized)))
    assert not diff.count("only in A")
    assert any("activations fused" in line for line in diff.header)
    row = row_of(diff, "stem")
    assert row.changes[0] == "fp32 -> int8"
    assert 30 < row.weight_sqnr_db < 60


def test_int8_weights_become_those_they_were_made_of(inspected, quantized):
    for name, channels in (("stem", 8), ("right", 4), ("fc", 5)):
        node = quantized.node(name)
        original = inspected.node(name).tensors
        original = (original["filter"] if "filter" in original else original["weight"]).data.reshape(channels, -1)
        real = real_weights(node, channels, quantized.scales[node.inputs[0]])
        step = np.abs(original).max(axis=1, keepdims=True) / 127
        # One scale per channel of the products: within a step of the widest input channel.
        spread = quantized.scales[node.inputs[0]].scale
        assert np.abs(real - original).max() <= 0.51 * (step * spread.max() / spread.min()).max()
