"""Killed, full, read-only, vanished, twice at once: old output stays intact or new output is complete; a message."""

from __future__ import annotations

import ast
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tnnquant.errors import InputError, ModelFormatError, OutputError
from tnnquant.format import read_model
from tnnquant.format.files import read_file, refuse_mixed, write_files
from tnnquant.pipeline.api import quantize_model

from .conftest import OPTIONS, run_process, save_pictures, written

OLD, NEW = (b"old proto", b"old model"), (b"new proto" * 400, b"new model" * 4000)
NAMES = ("a.tnnproto", "a.tnnmodel")


@pytest.fixture
def old(tmp_path):
    """A folder with an old pair."""
    for name, content in zip(NAMES, OLD, strict=True):
        (tmp_path / name).write_bytes(content)
    return tmp_path


def write_pair(folder: Path, pair=NEW) -> None:
    write_files([(folder / name, [content]) for name, content in zip(NAMES, pair, strict=True)])


def killed_at(event: int, action) -> bool:
    """Whether a process that does ``action`` was killed at its ``event``-th operation on files."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    count = 0

    def hook(name, _):
        nonlocal count
        if name in ("open", "os.rename", "os.link", "os.remove", "os.chmod", "os.truncate", "fcntl.flock"):
            count += 1
            if count == event:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(hook)
        action()
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("existing", [OLD, None], ids=["over an old pair", "fresh"])
def test_sigkill_at_every_operation_on_files(tmp_path, existing):
    seen, event = set(), 0
    while True:
        event += 1
        folder = tmp_path / str(event)
        folder.mkdir()
        if existing:
            write_pair(folder, existing)
        alive = not killed_at(event, lambda folder=folder: write_pair(folder))
        pair = tuple((folder / name).read_bytes() if (folder / name).exists() else None for name in NAMES)
        state = "new" if pair == NEW else "old" if pair == (existing or (None, None)) else "mixed"
        seen.add(state)
        if state == "mixed":
            # Only ever the first new and the second old, and never unnoticed; the advice given works.
            assert pair == (NEW[0], existing[1] if existing else None)
            with pytest.raises(ModelFormatError, match=r"a run was killed .* run it again, or rename '.*' to") as error:
                refuse_mixed([folder / name for name in NAMES])
            os.rename(*map(ast.literal_eval, str(error.value).split("or rename ")[1].split(" to ")))
            assert tuple((folder / name).read_bytes() for name in NAMES) == NEW
        refuse_mixed([folder / name for name in NAMES])
        write_pair(folder)  # the next run
        refuse_mixed([folder / name for name in NAMES])
        left = sorted(path.name for path in folder.iterdir())
        assert tuple((folder / name).read_bytes() for name in NAMES) == NEW
        assert not [name for name in left if name.endswith(".journal")]
        if alive:
            break
    assert seen == {"old", "mixed", "new"}
    assert event > 8


def test_a_mixed_pair_is_not_read(case, tmp_path):
    quantize_model(case.proto, case.model, case.pictures, tmp_path / "out")
    proto, model = (tmp_path / f"out_quantized.{suffix}" for suffix in ("tnnproto", "tnnmodel"))
    from tnnquant.format.files import _journal

    (tmp_path / ".tnnquant-0.tmp").write_bytes(b"")
    _journal([proto, model]).write_text('{"new": [".tnnquant-gone.tmp", ".tnnquant-0.tmp"], "old": []}')
    with pytest.raises(ModelFormatError, match="do not belong together: a run was killed"):
        read_model(proto, model)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"new": 1}', '{"new": ["../../etc/passwd", null]}', "\udcff"])
def test_a_damaged_journal_does_no_harm(old, content):
    from tnnquant.format.files import _journal

    _journal([old / name for name in NAMES]).write_bytes(content.encode("utf-8", "surrogateescape"))
    refuse_mixed([old / name for name in NAMES])
    write_pair(old)
    assert sorted(path.name for path in old.iterdir()) == sorted(NAMES)


_KILLED = """
import os, signal, sys
from tnnquant.pipeline.api import quantize_model
from tnnquant.config import QuantizeConfig
stage, proto, model, pictures, output = sys.argv[1:]
def progress(name, done, total):
    if name == stage and done == max(1, total // 2):
        os.kill(os.getpid(), signal.SIGKILL)
quantize_model(proto, model, pictures, output, QuantizeConfig(blob_method="kl"), progress=progress)
"""


@pytest.mark.parametrize("stage", ["ranges", "weights", "verdict"])
def test_sigkill_during_a_run(case, tmp_path, stage):
    """Before anything is written, and when all is (the verdict): tools/kill_sweep.py kills at any moment."""
    quantize_model(case.proto, case.model, case.pictures, tmp_path / "out")
    before = written(tmp_path)
    arguments = [stage, case.proto, case.model, case.pictures, tmp_path / "out"]
    result = subprocess.run([sys.executable, "-c", _KILLED, *map(str, arguments)], check=False)
    assert result.returncode == -signal.SIGKILL
    assert (written(tmp_path) == before) == (stage != "verdict")
    read_model(*(tmp_path / f"out_quantized.{suffix}" for suffix in ("tnnproto", "tnnmodel")))
    assert not list(tmp_path.glob(".tnnquant-*"))


def test_files_of_limited_size(old):
    """What a full disk does, without one: the second file does not fit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"^cannot write '.*a.tnnmodel': file too large$"):
            write_pair(old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {path.name: path.read_bytes() for path in old.iterdir()} == dict(zip(NAMES, OLD, strict=True))


def test_disk_full(tmpfs):
    write_pair(tmpfs, OLD)
    (tmpfs / "big").write_bytes(bytes(20_000))
    with pytest.raises(OutputError, match=r"^cannot write '.*a.tnnmodel': no space left on device$"):
        write_pair(tmpfs)
    (tmpfs / "big").unlink()
    assert {path.name: path.read_bytes() for path in tmpfs.iterdir()} == dict(zip(NAMES, OLD, strict=True))


@pytest.mark.parametrize("option", ["--html", "--sheet"])
def test_page_and_sheet_on_a_full_disk(case, tmpfs, option):
    """Whole or absent, as models are."""
    (tmpfs / "big").write_bytes(bytes(64_000))
    name = str(case.proto.with_suffix(""))
    found = run_process("inspect", name, "-i", str(case.pictures), *OPTIONS, option, str(tmpfs / "out.file"))
    assert (found.code, found.err.splitlines()[-1]) == (
        7, f"error: cannot write '{tmpfs}/out.file': no space left on device",
    )  # fmt: skip
    assert [path.name for path in tmpfs.iterdir()] == ["big"]


def during(stage: str, action):
    """A progress callback that does something once, at the first sign of a stage."""
    waiting = [action]

    def progress(name, done, total):
        if name == stage and waiting:
            waiting.pop()()

    return progress


def test_the_output_file_system_becomes_read_only(case, tmpfs):
    def remount():
        subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)

    with pytest.raises(OutputError, match="read-only file system"):
        quantize_model(case.proto, case.model, case.pictures, tmpfs / "out", progress=during("weights", remount))
    assert not list(tmpfs.iterdir())


def test_the_output_folder_vanishes(case, tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    with pytest.raises(OutputError, match=r"there is no folder '.*there'; create it first"):
        quantize_model(case.proto, case.model, case.pictures, folder / "out", progress=during("weights", folder.rmdir))
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_the_output_folder_is_read_only(case, tmp_path):
    folder = tmp_path / "there"
    folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        quantize_model(case.proto, case.model, case.pictures, folder / "out")


def test_an_input_is_removed_midway(case, tmp_path, monkeypatch):
    from tnnquant.config import QuantizeConfig
    from tnnquant.inputs import InputConfig

    monkeypatch.setattr("tnnquant.pipeline.job.input_config", lambda config: InputConfig(cache_bytes=0))
    victim = sorted(case.pictures.iterdir())[-1]
    with pytest.raises(InputError, match=r"023\.png: cannot be opened.*it changed or vanished during the run"):
        quantize_model(
            case.proto, case.model, case.pictures, tmp_path / "out", QuantizeConfig(blob_method="kl"),
            progress=during("histograms", victim.unlink),
        )  # fmt: skip
    assert not list(tmp_path.glob("*out*"))


def test_unreadable_and_bomb_among_good_ones(case, run, tmp_path):
    (case.pictures / "005.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    header = (case.pictures / "006.png").read_bytes()
    size = (60_000).to_bytes(4, "big")
    (case.pictures / "006.png").write_bytes(header[:16] + size + size + header[24:])
    outcome = run(*case.flags("-o", tmp_path / "out"))
    assert outcome.code == 5
    assert "005.png: damaged PNG header" in outcome.err
    assert not list(tmp_path.glob("*out*"))
    outcome = run(*case.flags("--skip-bad", "-o", tmp_path / "out"))
    assert outcome.code == 0
    assert "22 (2 skipped)" in outcome.out
    assert "2 of 24 calibration files cannot be used and were skipped" in outcome.err


def test_odd_names_and_loops(case, run, tmp_path):
    folder = tmp_path / "mit Leerzeichen"
    folder.mkdir()
    names = ["a b.png", "Übergröße.png", "写真.png", "line\nbreak.png", os.fsdecode(b"\xff\xfe.png"), "-o.png"]
    for name, path in zip(names, sorted(case.pictures.iterdir()), strict=False):
        shutil.copy(path, folder / name)
    outcome = run(*case.flags("-o", folder / "Größe -x", inputs=folder))
    assert outcome.code == 0
    assert outcome.out.split()[:2] == ["samples", "6"]
    assert (folder / "Größe -x_quantized.tnnmodel").is_file()
    (folder / "loop.png").symlink_to("loop2.png")
    (folder / "loop2.png").symlink_to("loop.png")
    outcome = run(*case.flags("-o", folder / "x", inputs=folder))
    assert outcome.code == 5
    assert "loop.png: cannot be opened: Too many levels of symbolic links" in outcome.err


@pytest.mark.parametrize(
    ("count", "code", "message"), [(0, 5, "no calibration file: it is empty"), (1, 0, "only 1 sample")]
)
def test_a_folder_of_0_or_1_picture(case, run, tmp_path, count, code, message):
    save_pictures(tmp_path / "few", count)
    outcome = run(*case.flags("-o", tmp_path / "out", inputs=tmp_path / "few"))
    assert outcome.code == code
    assert message in outcome.err


def test_ten_thousand_files(build, run, tmp_path, case):
    from tnnquant.format import write_model

    net = build((1, 3, 4, 4))
    write_model(net.graph(net.conv("input", 3, 4)), case.proto, case.model)
    folder = tmp_path / "many"
    save_pictures(folder, 10, size=(4, 4))
    firsts = sorted(folder.iterdir())
    for number in range(10_000 - len(firsts)):
        os.link(firsts[number % len(firsts)], folder / f"link{number:05}.png")
    outcome = run(*case.flags("--no-verify", "-o", tmp_path / "out", inputs=folder))
    assert outcome.code == 0
    assert outcome.out.split()[:2] == ["samples", "10000"]
    # Ten pictures a thousand times have the range of the ten.
    assert run(*case.flags("--no-verify", "-o", tmp_path / "ten", inputs=tmp_path / "ten_pictures")).code == 5
    save_pictures(tmp_path / "ten_pictures", 10, size=(4, 4))
    assert run(*case.flags("--no-verify", "-o", tmp_path / "ten", inputs=tmp_path / "ten_pictures")).code == 0
    assert written(tmp_path) == written(tmp_path, "ten")


def test_two_runs_at_once_in_one_folder(case, tmp_path):
    """Of different options and one output: the result is one of the two, whole."""
    results = {}
    for method in ("minmax", "kl"):
        outcome = run_process(*case.flags("-b", method, "--no-verify", "-o", tmp_path / method))
        assert outcome.code == 0, outcome.err
        results[method] = written(tmp_path, method)
    command = [sys.executable, "-c", "from tnnquant.cli import main; main()"]
    both = [
        subprocess.Popen([*command, *case.flags("-b", method, "--no-verify", "-o", tmp_path / "out")],
                         stdout=subprocess.DEVNULL)
        for method in results
    ]  # fmt: skip
    assert [process.wait() for process in both] == [0, 0]
    assert written(tmp_path) in results.values()
    assert not list(tmp_path.glob(".tnnquant-*"))


def test_replacements_take_turns(old):
    """Hundred replacements by each of two processes: never a mixture, whoever looks."""
    pairs = {1: (b"1" * 50, b"1" * 60), 2: (b"2" * 50, b"2" * 60)}
    children = []
    for pair in pairs.values():
        child = os.fork()
        if not child:
            for _ in range(100):
                write_pair(old, pair)
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert tuple(read_file(old / name) for name in NAMES) in pairs.values()
    assert sorted(path.name for path in old.iterdir()) == sorted(NAMES)
