"""Names that nothing has yet."""

from tnnquant.base.names import unused_name


def test_the_first_free_one():
    assert unused_name("a", {"b"}) == "a"
    assert unused_name("a", {"a"}) == "a_2"
    assert unused_name("a", ["a", "a_2", "a_4"]) == "a_3"
    assert unused_name("a", {"a": 1, "a2": 2}, joint="") == "a3"
