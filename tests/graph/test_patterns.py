"""Layers named by patterns."""

import pytest

from tnnquant.errors import ConfigError
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.graph.patterns import fused_names, match_layers, split_patterns


@pytest.fixture
def graph(build):
    net = build()
    a = net.conv("input", 3, 4, name="stem/conv1")
    b = net.add("ReLU", a, name="stem/relu1")
    c = net.conv(b, 4, 4, name="head/conv2")
    d = net.conv(c, 4, 4, name="head[0]")
    return net.graph(net.add("Sigmoid", d, name="gate"))


def names(graph, *patterns, fused=None):
    return [graph.nodes[p].name for p in sorted(match_layers(graph, patterns, "--exclude", fused))]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("gate", ["gate"]),
        ("stem/*", ["stem/conv1", "stem/relu1"]),
        ("*conv?", ["stem/conv1", "head/conv2"]),
        ("head[0]", ["head[0]"]),  # a name that looks like a glob
        ("re:.*conv[12]", ["stem/conv1", "head/conv2"]),
        ("type:Convolution", ["stem/conv1", "head/conv2", "head[0]"]),
        ("type:relu", ["stem/relu1"]),
    ],
)
def test_patterns(graph, pattern, expected):
    assert names(graph, pattern) == expected


def test_several_patterns_and_which_one_hit(graph):
    found = match_layers(graph, ["gate", "*"], "--exclude")
    assert len(found) == 5
    assert found[4] == "gate"
    assert found[0] == "*"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("stem/conv", r"^--exclude 'stem/conv' matches no layer; the nearest names are stem/conv1"),
        ("CONV2", "the nearest names are head/conv2"),
        ("xyz*", "its layers are stem/conv1, stem/relu1"),
        ("type:Pooling", "matches no layer; the model has layers of the types Convolution, ReLU, Sigmoid"),
        ("type:Convolutoin", r"TNN has no layer type 'Convolutoin' \(did you mean Convolution"),
        ("re:conv(", "is no regular expression"),
        ("re:conv", "matches no layer"),  # the whole name must match
    ],
)
def test_what_matches_nothing_is_an_error(graph, pattern, message):
    with pytest.raises(ConfigError, match=message):
        names(graph, pattern)


def test_a_fused_layer_means_the_one_it_became_part_of(graph):
    prepared = prepare_for_quantization(graph)
    fused = fused_names(graph, prepared)
    assert fused == {"stem/relu1": "stem/conv1"}
    assert names(prepared, "stem/relu1", fused=fused) == ["stem/conv1"]


def test_arguments_are_split_at_commas_but_not_regular_expressions():
    assert split_patterns(["a, b*,", "re:c{1,2}", "type:Add"]) == ("a", "b*", "re:c{1,2}", "type:Add")
