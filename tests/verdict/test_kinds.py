"""What an output is taken for."""

import numpy as np
import pytest

from tnnquant.graph.infer import infer
from tnnquant.verdict.kinds import CLASSES, INTEGERS, VALUES, judged_blobs, magnitude_parts, output_kind


def kind_of(graph, task="auto"):
    inference = infer(graph)
    return output_kind(inference, inference.graph.outputs[0], task)


def test_one_score_a_class(build):
    net = build()
    kind = kind_of(net.graph(net.inner_product(net.conv("input", 3, 4), 4 * 12 * 10, 7)))
    assert (kind.kind, kind.rows) == (CLASSES, 7)
    wanted = np.arange(14).reshape(2, 7)
    np.testing.assert_array_equal(kind.items(wanted, 2)[1].ravel(), wanted[1])
    assert kind_of(net.graph("innerproduct1_out"), "regress").kind == VALUES


def test_a_map_is_rows_of_channels_or_a_choice_for_every_place(build):
    net = build()
    graph = net.graph(net.conv("input", 3, 4))
    kind = kind_of(graph)
    assert (kind.kind, kind.rows, kind.axis, kind.parts) == (VALUES, 4, 0, ())
    assert kind.items(np.zeros((1, 4, 12, 10)), 1)[0].shape == (4, 120)
    assert kind_of(graph, "classify").kind == CLASSES


def test_the_inputs_of_a_concat_are_parts_with_a_unit_of_their_own(build):
    net = build()
    boxes, scores = net.conv("input", 3, 4), net.add("Sigmoid", net.conv("input", 3, 6))
    kind = kind_of(net.graph(net.add("Concat", [boxes, scores], 1)))
    assert [part.rows.tolist() for part in kind.parts] == [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]
    assert kind.parts[1].name == f"rows 4..9 ({scores})"
    assert kind.scores == (4, 5, 6, 7, 8, 9)
    # A concat along another axis makes places, not rows.
    assert kind_of(net.graph(net.add("Concat", [boxes, boxes], 2))).parts == ()


def test_at_rank_three_the_shorter_axis_holds_the_rows(build):
    net = build()
    flat = net.add("Reshape", net.conv("input", 3, 5), 0, 3, (0, 5, -1), 0)
    kind = kind_of(net.graph(flat))
    assert (kind.rows, kind.axis) == (5, 0)
    turned = net.add("Permute", flat, (0, 2, 1))
    kind = kind_of(net.graph(turned))
    assert (kind.rows, kind.axis) == (5, 1)
    item = np.arange(120 * 5).reshape(1, 120, 5)
    np.testing.assert_array_equal(kind.items(item, 1)[0], item[0].T)


def test_scores_are_what_a_sigmoid_makes_also_if_it_is_moved(build):
    net = build()
    scores = net.add("Sigmoid", net.conv("input", 3, 5))
    assert kind_of(net.graph(scores)).scores == (0, 1, 2, 3, 4)
    flat = net.add("Permute", net.add("Reshape", scores, 0, 3, (0, 5, -1), 0), (0, 2, 1))
    assert kind_of(net.graph(flat)).scores == (0, 1, 2, 3, 4)
    assert kind_of(net.graph(net.add("Reshape", net.conv("input", 3, 5), 0, 3, (0, 5, -1), 0))).scores == ()


def test_whole_numbers(build):
    net = build()
    kind = kind_of(net.graph(net.add("ArgMaxOrMin", net.conv("input", 3, 4), 1, 1, 1, 0)))
    assert kind.kind == INTEGERS


@pytest.mark.parametrize(
    ("peaks", "parts"),
    [
        ([300, 320, 0.9, 0.5], [[0, 1], [2, 3]]),
        ([0.9, 300, 0.001, 320], [[1, 3], [0, 2]]),
        ([0.9, 0.5, 0.001], []),  # a class that does not occur
        ([3, 2, 1], []),
        ([0.01, 0.0], []),
        ([5], []),
    ],
)
def test_rows_of_two_units_are_told_by_a_gap(peaks, parts):
    assert [part.rows.tolist() for part in magnitude_parts(np.array(peaks, float))] == parts


def test_what_a_selection_reads_is_compared_instead_of_what_it_selects(build):
    net = build()
    scores = net.add("Reshape", net.conv("input", 3, 4), 0, 2, (1, -1), 0)
    best, _ = net.add("TopK", scores, 1, 1, 1, 5, outputs=2)
    other = net.conv("input", 3, 2)
    inference = infer(net.graph(net.add("Sigmoid", best), other))
    assert judged_blobs(inference) == (sorted([other, scores]), {scores})
    assert judged_blobs(infer(net.graph(other))) == ([other], frozenset())
