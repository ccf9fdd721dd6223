"""Label files."""

import pytest

from tnnquant.errors import InputError
from tnnquant.verdict.labels import labels_of_names, read_labels

NAMES = ["a.png", "b c.jpg", "d.png"]


def labels(tmp_path, text, names=NAMES, classes=10):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    return read_labels(path, names, classes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1\n2\n3\n", {0: 1, 1: 2, 2: 3}),
        ("# classes\n\n1\n2\n3", {0: 1, 1: 2, 2: 3}),
        ("d.png 4\na.png 5\nb c.jpg 6\n", {0: 5, 1: 6, 2: 4}),
        ("d,4\nval/a.png,5\nother.png,1\n", {0: 5, 2: 4}),
    ],
)
def test_layouts(tmp_path, text, expected):
    assert labels(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2\n", "holds 2 labels, but there are 3 pictures"),
        ("a.png 1\n2\n", "line 2 holds a label without a name"),
        ("a.png cat\n", r"line 1 is 'a.png cat', expected 'name label'"),
        ("1\n2\n10\n", r"line 3: the label is 10, expected 0..9"),
        ("x.png 1\n", "names none of the 3 pictures; its first name is 'x.png', the first picture 'a.png'"),
        ("\n", "holds no label"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        labels(tmp_path, text)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read: no such file"):
        read_labels(tmp_path / "none.txt", NAMES)


def test_numbers_that_begin_the_names():
    assert labels_of_names(["003_a.png", "12.png"], 20) == {0: 3, 1: 12}
    assert labels_of_names(["003_a.png", "12.png"], 10) == {}
    assert labels_of_names(["003_a.png", "x.png"], 20) == {}
    assert labels_of_names(["007_cat.png", "12.jpg", "9.x.bmp"]) == {0: 7, 1: 12, 2: 9}
    assert labels_of_names(["3_a.png", "1_b.png", "x.png", "5_c.png"], 10) == {0: 3, 1: 1, 3: 5}
    # Dates, counters, and one number for all are no classes; one file for each class is.
    assert labels_of_names(["20210823_094916.jpg", "20210823_101010.jpg"], 1000) == {}
    assert labels_of_names([f"{i:03}.png" for i in range(9)], 1000) == {}
    assert labels_of_names([f"{i:03}.png" for i in range(9)], 9) == {i: i for i in range(9)}
    assert labels_of_names(["1 (1).png", "1 (2).png"], 1000) == {}
    assert labels_of_names([], 10) == {}
    assert labels_of_names(["2024-1.png", "2024-2.png"], 3000) == {}
