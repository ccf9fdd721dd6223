"""``-v`` and ``-q``, and the one progress bar."""

import logging

import pytest

from tnnquant.cli import main
from tnnquant.cli.progress import progress_display


def run(*args):
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    return stop.value.code


@pytest.fixture
def base(inspected_files, pictures, tmp_path):
    pair = ["-p", inspected_files + ".tnnproto", "-m", inspected_files + ".tnnmodel"]
    yield ["quantize", *pair, "-i", pictures, "-n", "127.5", "-s", "1/127.5", "-o", tmp_path / "out"]
    logging.getLogger("tnnquant").handlers.clear()
    logging.getLogger("tnnquant").setLevel(logging.NOTSET)


def test_quiet_prints_errors_alone(base, tmp_path, capsys):
    assert run(*base, "-q") == 0
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "out_quantized.tnnmodel").is_file()
    assert run(*base, "-q", "-b", "nonsense") == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert run(*base) == 0
    assert "written" in capsys.readouterr().out


def test_verbose_logs_what_is_done(base, capsys):
    assert run(*base, "-v") == 0
    err = capsys.readouterr().err
    assert "tnnquant.pipeline.job: read " in err
    assert "tnnquant.quantization.calibrate: pass 1 of 1 over 6 samples" in err
    assert "tnnquant.pipeline.job: wrote " in err


def test_one_bar_with_the_name_of_the_stage(monkeypatch):
    with progress_display(enabled=True) as progress:
        (task,) = progress.bars.tasks
        for stage, done, total in (("ranges", 1, 6), ("histograms", 2, 6), ("trying steps of the recipe", 1, 3)):
            progress(stage, done, total)
            (task,) = progress.bars.tasks
            assert (task.description, task.completed, task.total) == (stage, done, total)
        progress("compiling kernels", 0, 0)
        assert progress.bars.tasks[0].total is None
    progress("after the end", 1, 2)
