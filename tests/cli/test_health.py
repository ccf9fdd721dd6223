"""``tnnquant doctor`` and ``tnnquant warmup`` on the command line."""

import json
import sys

import pytest

from tnnquant.cli import main
from tnnquant.cli.progress import progress_display


def run(*args):
    """Exit code of the command."""
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    return stop.value.code


def test_doctor(capsys):
    assert run("doctor", "--quick") == 0
    printed = capsys.readouterr().out
    assert "threading layer" in printed
    assert printed.endswith("all is well\n")
    assert run("doctor", "--quick", "--json") == 0
    assert json.loads(capsys.readouterr().out)["well"] is True


def test_doctor_fails_where_something_is_bad(monkeypatch, capsys):
    monkeypatch.setattr("tnnquant.kernels.jit.CACHE_DIR", None)
    assert run("doctor", "--quick") == 1
    assert "no folder can be written" in capsys.readouterr().out


def test_warmup_reports(monkeypatch, tmp_path, capsys, inspected_files, quantized_files):
    import tnnquant.health.warmup as module

    seen = []
    warmth = module.Warmth(tmp_path, 3, 5_000_000, 2.0)
    monkeypatch.setattr(module, "warm_up", lambda graph, progress: seen.append(graph) or warmth)
    assert run("warmup") == 0
    assert "3 kernels compiled in 2.0 s" in capsys.readouterr().out
    assert seen == [None]
    assert run("warmup", inspected_files) == 0
    assert len(seen[1].nodes) == 8
    assert run("warmup", quantized_files) == 2
    assert "give the fp32 model" in capsys.readouterr().err
    monkeypatch.setattr(module, "warm_up", lambda graph, progress: module.Warmth(None, 0, 0, 1.0))
    assert run("warmup") == 1


def test_one_bar_keeps_its_place_while_kernels_are_compiled(monkeypatch):
    from tnnquant.kernels import jit

    with progress_display(True) as progress:
        bar = progress
        progress("quantizing: kl, admm", 3, 11)
        jit._announce_compiling()
        task = bar.bars.tasks[0]
        assert (task.description, task.completed, task.total) == ("compiling kernels", 3, 11)
        progress("quantizing: mse, minmax", 4, 11)
        assert (task.description, task.completed, task.total) == ("quantizing: mse, minmax", 4, 11)


@pytest.mark.parametrize("command", ["doctor", "warmup"])
def test_both_show_a_bar_on_a_terminal(command, monkeypatch, tmp_path):
    from tnnquant.health import doctor, warmup

    shown = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    def examine(self_test, progress):
        progress("amx: convolution 3x3", 0, 15)
        shown.append(progress)
        return doctor.Health([doctor.Finding("path", "amx")])

    def warm_up(graph, progress):
        progress("pictures", 0, 11)
        shown.append(progress)
        return warmup.Warmth(tmp_path, 0, 0, 0.0)

    monkeypatch.setattr(doctor, "examine", examine)
    monkeypatch.setattr(warmup, "warm_up", warm_up)
    assert run(command) == 0
    assert shown[0].bars is None, "it is gone at the end"
