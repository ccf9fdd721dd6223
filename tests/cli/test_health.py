"""``tnnquant doctor`` and ``tnnquant warmup`` on the command line."""

import json

import pytest

from tnnquant.cli import main


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
    monkeypatch.setattr(module, "warm_up", lambda graph, tell: seen.append(graph) or warmth)
    assert run("warmup") == 0
    assert "3 kernels compiled in 2.0 s" in capsys.readouterr().out
    assert seen == [None]
    assert run("warmup", inspected_files) == 0
    assert len(seen[1].nodes) == 8
    assert run("warmup", quantized_files) == 2
    assert "give the fp32 model" in capsys.readouterr().err
    monkeypatch.setattr(module, "warm_up", lambda graph, tell: module.Warmth(None, 0, 0, 1.0))
    assert run("warmup") == 1
