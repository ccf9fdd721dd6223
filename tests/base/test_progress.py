"""A bar for callers from Python."""

import tnnquant
from tnnquant.base.progress import CountDown, shown


def test_true_is_a_bar_that_goes_away(capsys):
    with shown(True) as told:
        told("ranges", 1, 4)
        told("ranges", 2, 4)
        told("weights", 4, 4)
        told("unknown", 0, 0)
    error = capsys.readouterr().err
    assert "ranges" in error
    assert "[######..................] 1/4" in error
    assert "[########################] 4/4" in error
    assert "2/4" not in error, "at most ten a second"
    assert error.endswith("\r")
    assert error.split("\r")[-2].strip() == ""


def test_a_callable_is_itself_and_nothing_is_nothing(capsys):
    def told(stage, done, total):
        pass

    with shown(told) as given:
        assert given is told
    for nothing in (None, False):
        with shown(nothing) as given:
            assert given is None
    assert capsys.readouterr().err == ""


def test_the_functions_take_it(inspected_files, pictures, tmp_path, capsys):
    pair = f"{inspected_files}.tnnproto", f"{inspected_files}.tnnmodel"
    report = tnnquant.quantize_model(*pair, pictures, tmp_path / "out", progress=True)
    assert "ranges" in capsys.readouterr().err
    tnnquant.compare(tmp_path / "out_quantized", inspected_files, pictures, progress=True)
    assert "\r" in capsys.readouterr().err
    tnnquant.bench_latency(inspected_files, repeats=2, progress=True)
    assert "layers" in capsys.readouterr().err
    tnnquant.collect_statistics(*pair, pictures, tmp_path / "part.npz", progress=True)
    assert "\r" in capsys.readouterr().err
    assert report.verdict is not None


def test_what_is_left_counts_down_by_itself():
    now = [100.0]
    left = CountDown(12.4, lambda: now[0])
    assert str(left) == "about 12 s left"
    now[0] += 7.0
    assert str(left) == "about 5 s left"
    now[0] += 100.0
    assert str(left) == "about 1 s left", "it is not over before it is"


def test_a_bar_tells_what_is_left(capsys):
    with shown(True) as told:
        told("ranges", 1, 4)
        told.left(9.0)
        told("weights", 1, 4)
    lines = capsys.readouterr().err.split("\r")
    assert not lines[1].rstrip().endswith("left")
    assert lines[2].rstrip().endswith("1/4, about 9 s left")
