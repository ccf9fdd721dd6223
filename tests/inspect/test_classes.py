"""Names of classes from a file."""

import pytest

from tnnquant.errors import InputError
from tnnquant.inspect.classes import class_name, read_classes


def test_a_name_a_line(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes("\ufefftench\r\n Katze \nfish\n\n".encode())
    assert read_classes(path, 3) == ("tench", "Katze", "fish")
    assert class_name(("a", "b"), 1) == "b"
    assert class_name(("a", "b"), 2) == "2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"), (b"a\n\nb", "line 2 is empty"), (b"\xff\xfea", "not text in UTF-8"),
        (b"a\nb", "names 2 classes, the model has 3 scores"), (b"a" * 300 + b"\nb\nc", "has 300 characters"),
        (b"x" * (5 << 20), "larger than 4 MiB"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "classes.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_classes(path, 3)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_classes(tmp_path / "none.txt")
