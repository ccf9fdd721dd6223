"""Colours over the model's own range."""

from tnnquant.inspect.page.shades import Shades


def test_layers_that_are_close_are_told_apart():
    values = [30 + 0.5 * number for number in range(39)]
    shades = Shades.of(values)
    found = [shades.level(value) for value in values]
    assert found[0] == "e5"
    assert found[-1] == "e0"
    assert set(found) == {f"e{number}" for number in range(6)}
    assert max(map(found.count, found)) < 12


def test_one_far_layer_leaves_the_colours_to_the_others():
    values = [-20.0, *(30 + 0.5 * number for number in range(38))]
    assert len(set(map(Shades.of(values).level, values[1:]))) >= 5


def test_what_differs_by_little_looks_alike_and_what_has_no_error_is_best():
    shades = Shades.of([40.0, 40.1, 160.0])
    assert shades.level(40.0) == shades.level(40.1)
    assert shades.level(160.0) == "e0"
    assert shades.level(None) == "n"
    assert len(shades.names()) == 6


def test_nothing_to_divide():
    assert Shades.of([160.0]).level(160.0) == "e0"
    assert Shades.of([]).names() == ["no error"]
