"""Which files of a folder are inputs, in which order, and what is said about the rest."""

import os
import sys
from pathlib import Path

import pytest

from tnnquant.errors import InputError
from tnnquant.inputs.scan import scan, suffix_of

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes")


def make(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"x")


def names(files):
    return [path.name for path in files]


def test_files_are_sorted_by_bytes_whatever_the_case_of_the_suffix(tmp_path):
    make(tmp_path, "b.PNG", "a.jpg", "B.bmp", "10.JPEG", "9.txt", "ä.npy", "z z.npz", "é.png")
    files = scan(tmp_path)
    assert names(files) == ["10.JPEG", "9.txt", "B.bmp", "a.jpg", "b.PNG", "z z.npz", "ä.npy", "é.png"]
    assert files.notes == []
    assert (len(files), files[1].name, files[0].parent) == (8, "9.txt", tmp_path)


def test_what_is_not_used_is_said(tmp_path):
    make(tmp_path, "a.png", "b.xml", "c.XML", "d.md", "README", ".hidden.png", "e.png.bak")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub.png").mkdir()
    files = scan(str(tmp_path))
    assert names(files) == ["a.png"]
    assert files.notes == [
        "2 sub-folders were not entered",
        "not used: 1 hidden file; 5 other files (2 .xml, 1 .bak, 1 .md, 1 without suffix)",
    ]


def test_a_single_sub_folder(tmp_path):
    make(tmp_path, "a.png")
    (tmp_path / "x").mkdir()
    assert scan(tmp_path).notes == ["1 sub-folder was not entered"]


@posix
def test_links(tmp_path):
    make(tmp_path, "real.bin")
    (tmp_path / "folder").mkdir()
    links = {"a.png": "real.bin", "b.png": "nowhere", "c.png": "c.png", "d": "folder", "e.gone": "nowhere"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(tmp_path / target)
    files = scan(tmp_path)
    # b and c lead nowhere: they are listed, so that reading them names them instead of passing over them.
    assert names(files) == ["a.png", "b.png", "c.png"]
    assert files.notes == ["2 sub-folders were not entered", "not used: 2 other files (1 .bin, 1 .gone)"]


@posix
def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    make(tmp_path, "b.txt")
    files = scan(tmp_path)
    assert names(files) == ["b.txt"]
    assert files.notes == ["not used: 1 device or pipe"]
    with pytest.raises(InputError, match="is not a regular file"):
        scan([tmp_path / "a.txt"])


def test_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match=r"no calibration file: it is empty; expected \.jpg \.jpeg \.png \.bmp"):
        scan(tmp_path)


def test_a_folder_with_nothing_usable_says_what_it_holds(tmp_path):
    make(tmp_path, "a.gif", "b.gif")
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=r"no calibration file: 1 sub-folder; 2 other files \(2 \.gif\); expected"):
        scan(tmp_path)


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such file or directory; give a folder of calibration files"):
        scan(tmp_path / "nowhere")
    with pytest.raises(InputError, match="null"):
        scan("a\0b")


def test_a_list_is_checked_and_sorted(tmp_path):
    make(tmp_path, "b.png", "a.png", "c.doc")
    files = scan([tmp_path / "b.png", str(tmp_path / "a.png")])
    assert names(files) == ["a.png", "b.png"]
    assert names(scan(tmp_path / "b.png")) == ["b.png"]
    for bad, message in (
        ([], "the list of calibration files is empty"),
        ([tmp_path / "c.doc"], r"c\.doc: not a calibration file"),
        ([tmp_path / "gone.png"], r"gone\.png: no such file"),
    ):
        with pytest.raises(InputError, match=message):
            scan(bad)
    (tmp_path / "d.png").mkdir()
    with pytest.raises(InputError, match=r"d\.png: is a folder"):
        scan([tmp_path / "d.png"])


def test_ten_thousand_files(tmp_path):
    for number in range(10_000):
        os.close(os.open(tmp_path / f"{number}.png", os.O_CREAT | os.O_WRONLY))
    files = scan(tmp_path)
    assert len(files) == 10_000
    assert names(files)[:3] == ["0.png", "1.png", "10.png"]


@posix
def test_a_name_that_is_no_text(tmp_path):
    try:
        make(tmp_path, os.fsdecode(b"\xff\x1b[31m.png"))
    except OSError:
        pytest.skip("the file system takes only names that are text")
    (path,) = scan(tmp_path)
    assert suffix_of(path) == ".png"
    assert Path(path).read_bytes() == b"x"
