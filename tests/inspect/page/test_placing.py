"""Places of the layers in the graph."""

from itertools import pairwise

from tnnquant.inspect.page.placing import draw


def place(nodes, edges):
    return draw(nodes.split(), [tuple(edge) for edge in edges.split()], box=100, gap=10, row=50)


def test_a_chain_is_a_straight_line():
    drawing = place("a b c", "ab bc")
    assert [drawing.boxes[name] for name in "abc"] == [(50, 25), (50, 75), (50, 125)]
    assert (drawing.width, drawing.height) == (100, 150)


def test_branches_lie_side_by_side_and_their_join_below():
    drawing = place("a b c d", "ab ac bd cd")
    assert drawing.boxes["b"][1] == drawing.boxes["c"][1]
    assert abs(drawing.boxes["b"][0] - drawing.boxes["c"][0]) >= 110
    middle = (drawing.boxes["b"][0] + drawing.boxes["c"][0]) / 2
    assert drawing.boxes["a"][0] == drawing.boxes["d"][0] == middle


def test_a_long_edge_goes_round_the_boxes_between():
    drawing = place("a b c d", "ab bc cd ad")
    points = next(points for a, d, points in drawing.edges if (a, d) == ("a", "d"))
    assert len(points) == 4
    for name, (x, y) in zip("bc", points[1:3], strict=True):
        assert y == drawing.boxes[name][1]
        assert abs(x - drawing.boxes[name][0]) >= 50


def test_no_two_boxes_overlap_in_a_wide_graph():
    leaves = " ".join(f"n{i}" for i in range(9))
    edges = [("a", f"n{i}") for i in range(9)] + [(f"n{i}", "z") for i in range(0, 9, 2)] + [("a", "z")]
    drawing = draw(["a", *leaves.split(), "z"], edges, box=100, gap=10, row=50)
    places = sorted(drawing.boxes[f"n{i}"][0] for i in range(9))
    assert all(b - a >= 110 - 1e-9 for a, b in pairwise(places))
    assert min(x - 50 for x, _ in drawing.boxes.values()) >= 0
    assert max(x + 50 for x, _ in drawing.boxes.values()) <= drawing.width


def test_nothing():
    assert draw([], [], box=1, gap=1, row=1).boxes == {}
