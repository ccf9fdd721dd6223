"""Which two files a name means."""

import pytest

from tnnquant.errors import ModelFormatError
from tnnquant.format.locate import find_pair


@pytest.fixture
def folder(tmp_path):
    for name in ("net.tnnproto", "net.tnnmodel", "a.b.tnnproto", "a.b.tnnmodel", "lone.tnnproto"):
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.mark.parametrize("name", ["net", "net.tnnproto", "net.tnnmodel"])
def test_a_name_or_either_file(folder, name):
    assert find_pair(folder / name) == (folder / "net.tnnproto", folder / "net.tnnmodel")


def test_names_with_dots(folder):
    assert find_pair(folder / "a.b")[0] == folder / "a.b.tnnproto"


def test_both_files_and_one_file(folder):
    proto, model = str(folder / "lone.tnnproto"), str(folder / "net.tnnmodel")
    assert tuple(map(str, find_pair(None, proto, model))) == (proto, model)
    assert find_pair(None, str(folder / "net.tnnproto"))[1] == folder / "net.tnnmodel"
    assert tuple(map(str, find_pair(folder / "lone", None, model))) == (proto, model)
    assert find_pair(None, None, model)[0] == folder / "net.tnnproto"


def test_a_folder_with_one_model(folder):
    for name in ("a.b.tnnproto", "lone.tnnproto"):
        (folder / name).unlink()
    assert find_pair(folder) == (folder / "net.tnnproto", folder / "net.tnnmodel")


def test_what_cannot_be_found(folder):
    (folder / "zip.zip").write_bytes(b"PK\x03\x04rest")
    (folder / "empty").mkdir()
    for name, message in (
        ("lone", r"there is no '.*lone.tnnmodel' beside '.*lone.tnnproto'; proto and model name two files"),
        ("other", r"no '.*other.tnnproto' and no .*; beside it there is a.b, lone, net"),
        ("zip.zip", "is a ZIP archive"),
        ("", r"holds 3 models \(a.b, lone, net\); name one"),
        ("empty", "holds no .tnnproto"),
    ):
        with pytest.raises(ModelFormatError, match=message):
            find_pair(folder / name)
    with pytest.raises(ModelFormatError, match="no model is given"):
        find_pair()
