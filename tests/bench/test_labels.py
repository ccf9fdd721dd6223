"""Labels from files of both forms; one error for each way not to match."""

import pytest

from tnnquant.bench.labels import labels_from_file
from tnnquant.errors import InputError

NAMES = ["a.png", "b c.jpg", "ILSVRC_1.png"]


def _file(tmp_path, text):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a.png 3\nb c.jpg 0\nILSVRC_1.png 12\n",
        "# classes\n\na.png,3\nb c.jpg,0\nILSVRC_1.png, 12\nother.png,4\n",
        "val/a.png\t3\r\nval/b c.jpg\t0\r\nval/ILSVRC_1.JPEG\t12\r\n",
        "a 3\nb c 0\nILSVRC_1 12",
        "\ufeffa 3\nb c 0\nILSVRC_1 12",
        "3\n0\n12\n",
    ],
)
def test_forms_of_files(tmp_path, text):
    assert labels_from_file(_file(tmp_path, text), NAMES) == {"a.png": 3, "b c.jpg": 0, "ILSVRC_1.png": 12}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no label"),
        ("3\n0\n", "holds 2 labels, but there are 3 pictures"),
        ("a.png 3\n", "has no label for 2 of 3 pictures: 'b c.jpg', ..."),
        ("a.png 3\nb c.jpg 0\n", "has no label for 1 of 3 pictures: 'ILSVRC_1.png'$"),
        ("z.png 3\n", "names none of the 3 pictures"),
        ("a.png cat\n", "line 1 is 'a.png cat', expected 'name label'"),
        ("a.png -1\n", "line 1: the label is -1, expected 0 or more"),
        ("a.png 3\n7\n", "line 2 holds a label without a name"),
    ],
)
def test_files_that_do_not_match(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as error:
        labels_from_file(_file(tmp_path, text), NAMES)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read: no such file"):
        labels_from_file(tmp_path / "none.txt", NAMES)
