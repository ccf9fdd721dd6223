"""The examination of a machine."""

import subprocess
import sys

import pytest

from tnnquant.health import doctor, selftest
from tnnquant.health.doctor import BAD, NOTE, OK, Finding, Health, examine


def finding(health, name):
    return next(entry for entry in health.findings if entry.name == name)


def test_a_quick_look():
    health = examine(self_test=False)
    assert health.is_well
    names = [entry.name for entry in health.findings]
    assert set("tnnquant Python NumPy Numba llvmlite processor features path threads cache".split()) <= set(names)
    assert finding(health, "threading layer").value in ("omp", "tbb", "workqueue")
    assert "LLVM" in finding(health, "llvmlite").value
    report = health.as_dict()
    assert report["well"]
    assert report["schema"] == "tnnquant.doctor/1"


def test_paths_are_compared(monkeypatch):
    reports = {
        "a": '{"path": "a", "digests": {"conv": "1", "add": "2"}, "wrong": [], "seconds": 1}',
        "b": '{"path": "b", "digests": {"conv": "1", "add": "3"}, "wrong": [], "seconds": 1}',
    }
    monkeypatch.setattr("tnnquant.kernels.target.available_paths", lambda: ["a", "b", "emulated-a"])

    def self_test(name, tell):
        tell("conv")
        tell("add")
        return 0, reports[name], ""

    monkeypatch.setattr(doctor, "_self_test", self_test)
    health, told = Health(), []
    doctor._test_paths(health, lambda *stage: told.append(stage))
    assert finding(health, "agreement").status == BAD
    assert "these differ: add" in finding(health, "agreement").value
    cases = selftest.count_cases()
    assert told == [
        ("a: conv", 0, 2 * cases), ("a: add", 1, 2 * cases),
        ("b: conv", cases, 2 * cases), ("b: add", cases + 1, 2 * cases),
    ]  # fmt: skip
    reports["b"] = reports["b"].replace('"3"', '"2"')
    health = Health()
    doctor._test_paths(health, lambda *stage: None)
    assert finding(health, "agreement").status == OK
    assert "equal, bit for bit" in finding(health, "agreement").value


@pytest.mark.parametrize(
    ("run", "value"),
    [
        ((-6, "", "LLVM ERROR: Cannot select"), "died with signal 6: LLVM ERROR: Cannot select"),
        ((1, "", ""), "died with exit code 1: without a word"),
        ((0, '{"digests": {"a": "1"}, "wrong": ["a"], "seconds": 1}', ""), "wrong: a"),
    ],
)
def test_a_path_that_fails_is_bad(monkeypatch, run, value):
    monkeypatch.setattr(doctor, "_self_test", lambda *args: run)
    found = doctor._test_path("avx2", {}, print)
    assert found.status == BAD
    assert found.value == value
    assert "portable" in found.advice


@pytest.mark.parametrize(
    ("program", "wanted"),
    [
        ("print('conv'); print('add'); print('{}')", (0, "{}", "")),
        ("import sys; print('conv'); print('add', flush=True); sys.exit('no')", (1, "add", "no\n")),
    ],
)
def test_the_process_of_a_path_tells_of_each_case(monkeypatch, program, wanted):
    monkeypatch.setattr(doctor, "_SELF_TEST", [sys.executable, "-c", program])
    told = []
    assert doctor._self_test("portable", told.append) == wanted
    assert told == ["conv", "add"]


def test_a_path_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr(doctor, "_SELF_TEST", [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(doctor, "PATIENCE", 0.5)
    assert "not done within 0.5 s" in doctor._test_path("portable", {}, print).value


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    for name in ("TNNQUANT_CACHE_DIR", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tnnquant.kernels.jit.CACHE_DIR", None)
    assert doctor._cache()[0].status == BAD
    monkeypatch.setattr("tnnquant.kernels.jit.CACHE_DIR", tmp_path)
    assert doctor._cache()[0].status == NOTE
    assert "warmup" in doctor._cache()[0].advice
    monkeypatch.setenv("TNNQUANT_CACHE_DIR", "/elsewhere")
    assert "cannot be written" in doctor._cache()[0].advice


def test_an_old_numba_and_a_forced_path(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda package: "0.61.2")
    assert next(entry for entry in doctor._software() if entry.name == "Numba").status == BAD
    code = (
        "from tnnquant.health.doctor import _processor\n"
        "found = {entry.name: entry for entry in _processor()}\n"
        "assert found['path'].value == 'portable', found\n"
        "assert 'TNNQUANT_ISA=portable' in found['forced by'].value\n"
    )
    import os

    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TNNQUANT_ISA": "portable"})


def test_findings_as_lines():
    assert not Health([Finding("x", "y", BAD)]).is_well
    assert Health([Finding("x", "y", NOTE)]).is_well
