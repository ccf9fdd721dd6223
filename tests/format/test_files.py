"""Both files are replaced, or none; the errors are one line for people."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from tnnquant.errors import ModelFormatError, OutputError
from tnnquant.format import files, read_model, write_model
from tnnquant.format.files import read_file, write_files

OLD = {"a": b"old a", "b": b"old b"}


@pytest.fixture
def folder(tmp_path):
    for name, content in OLD.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def write(folder, a=b"new a", b=b"new b"):
    write_files([(folder / "a", [a]), (folder / "b", [memoryview(b)[:4], b[4:]])])


def test_new_files_and_replaced_ones(folder):
    write(folder)
    assert contents(folder) == {"a": b"new a", "b": b"new b"}
    fresh = folder / "fresh"
    fresh.mkdir()
    write(fresh)
    assert contents(fresh) == {"a": b"new a", "b": b"new b"}


def test_modes(folder):
    (folder / "a").chmod(0o640)
    (folder / "b").unlink()
    umask = os.umask(0o027)
    try:
        write(folder)
    finally:
        os.umask(umask)
    assert [stat.S_IMODE((folder / name).stat().st_mode) for name in "ab"] == [0o640, 0o640]


def test_links_are_followed(folder):
    (folder / "sub").mkdir()
    (folder / "b").rename(folder / "sub" / "b")
    (folder / "b").symlink_to("sub/b")
    write(folder)
    assert (folder / "b").is_symlink()
    assert contents(folder / "sub") == {"b": b"new b"}


def failing_pieces():
    yield b"some"
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_changes_nothing(folder):
    with pytest.raises(OutputError, match=r"^cannot write '.*/b': no space left on device$"):
        write_files([(folder / "a", [b"new"]), (folder / "b", failing_pieces())])
    assert contents(folder) == OLD


def test_interrupted_while_writing(folder):
    def interrupted():
        yield b"some"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_files([(folder / "a", [b"new"]), (folder / "b", interrupted())])
    assert contents(folder) == OLD


@pytest.mark.parametrize("links", [True, False], ids=["with links", "without links"])
@pytest.mark.parametrize("existing", [OLD, {"a": b"old a"}, {"b": b"old b"}, {}])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_failing_renames_are_undone(tmp_path, monkeypatch, links, existing, error, position):
    for name, content in existing.items():
        (tmp_path / name).write_bytes(content)
    replace, calls = os.replace, []

    def failing(source, target):
        calls.append(target)
        if len(calls) == position + 1:
            if position == 1 and isinstance(error, KeyboardInterrupt):
                replace(source, target)  # interrupted right after the rename
            raise error
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", failing)
    if not links:
        monkeypatch.setattr(files.os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    if position == 2:
        write(tmp_path)
        assert contents(tmp_path) == {"a": b"new a", "b": b"new b"}
        return
    with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt):
        write(tmp_path)
    assert contents(tmp_path) == existing


def test_no_such_folder(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write '.*/no/a': there is no folder '.*/no'; create it first"):
        write_files([(tmp_path / "no" / "a", [b""])])


def test_target_is_a_folder(folder):
    (folder / "b").unlink()
    (folder / "b").mkdir()
    with pytest.raises(OutputError, match=r"cannot write '.*/b': it exists and is not a regular file"):
        write(folder)
    assert (folder / "a").read_bytes() == b"old a"
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]


def test_one_target_twice(folder):
    (folder / "c").symlink_to("a")
    with pytest.raises(OutputError, match="is given for both files; choose two names"):
        write_files([(folder / "a", [b"1"]), (folder / "c", [b"2"])])
    assert (folder / "a").read_bytes() == b"old a"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(folder):
    folder.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission denied"):
            write(folder)
    finally:
        folder.chmod(0o700)
    assert contents(folder) == OLD


def test_read_only_file_system(folder, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(OutputError, match=r"^cannot write '.*/a': read-only file system$"):
        write(folder)
    assert contents(folder) == OLD


@pytest.mark.parametrize("name", ["n" * 300, "a\x00b"])
def test_impossible_names(folder, name):
    with pytest.raises(OutputError, match="cannot write"):
        write_files([(folder / name, [b"1"])])
    assert contents(folder) == OLD


def test_odd_names(tmp_path):
    names = ["with space", "Grüße", "\udcff", "line\nbreak"]
    for name in names:
        write_files([(tmp_path / name, [b"1"])])
        assert read_file(tmp_path / name) == b"1"
    assert len(list(tmp_path.iterdir())) == len(names)


def test_reading_what_is_not_there(tmp_path):
    with pytest.raises(ModelFormatError, match=r"^cannot read '.*/none': no such file or directory$"):
        read_file(tmp_path / "none")
    with pytest.raises(ModelFormatError, match=r"'.*' is not a regular file; expected one half of a TNN model"):
        read_file(tmp_path)
    with pytest.raises(ModelFormatError, match=r"cannot read 'a.*b': "):
        read_file("a\x00b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_reading_a_pipe_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFormatError, match="is not a regular file"):
        read_file(tmp_path / "pipe")


def test_a_loop_of_links(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ModelFormatError, match="cannot read"):
        read_file(tmp_path / "a")


def test_files_of_two_networks_are_told_apart(build, tmp_path):
    for name in ("a", "b"):
        net = build((1, 3, 8, 8))
        write_model(net.graph(net.conv("input", 3, 4, name=f"conv_{name}")), *pair(tmp_path, name))
    proto, model = pair(tmp_path, "a")[0], pair(tmp_path, "b")[1]
    with pytest.raises(ModelFormatError) as caught:
        read_model(proto, model)
    assert str(caught.value) == (
        f"{proto} and {model} are of different networks: the .tnnmodel holds tensors of 'conv_b' and others, none of "
        "which is a layer of the .tnnproto ('conv_a', ...); give the two files of one model"
    )


def test_tensors_that_no_layer_asks_for_are_left_out(build, tmp_path):
    net = build((1, 3, 8, 8))
    write_model(net.graph(net.add("ReLU", "input")), *pair(tmp_path, "plain"))
    net = build((1, 3, 8, 8))
    write_model(net.graph(net.conv("input", 3, 4)), *pair(tmp_path, "conv"))
    graph = read_model(pair(tmp_path, "plain")[0], pair(tmp_path, "conv")[1])
    assert [node.resource for node in graph.nodes] == [None]


def pair(folder, name):
    return folder / f"{name}.tnnproto", folder / f"{name}.tnnmodel"
