"""Whole runs of ``tnnquant quantize`` beside onnxruntime's quantize_static on the same model and pictures.

    python -m pytest benchmarks/bench_quantize.py -o python_files="bench_*.py"

Needs ``../shared``; the peer needs ``pip install onnxruntime onnx``, and its cases are skipped without. Each round is a
process of its own, imports included, with warm kernels and, as pip installs them, compiled Python modules, whatever
PYTHONDONTWRITEBYTECODE says here (0.2 s); ``extra_info`` holds the peak memory in MB and the processor time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
DATA = SHARED / "data"
SETTINGS = {"min-max": ("minmax", "minmax"), "KL + ADMM per channel": ("kl", "admm")}
MEAN = (104.006, 116.669, 122.679)
ROUNDS = 3

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs {DATA}")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function that runs a process to its end; it gives the peak memory in MB and the seconds of processor time."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("bytecode"))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run_one(command: list[str]) -> dict[str, float]:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, process.stderr.read().decode()
        return {"peak MB": round(usage.ru_maxrss / 1024), "cpu s": round(usage.ru_utime + usage.ru_stime, 2)}

    return run_one


@pytest.fixture(scope="module")
def thousand(tmp_path_factory) -> Path:
    """A folder of 1000 links to the 64 pictures."""
    folder = tmp_path_factory.mktemp("thousand")
    pictures = sorted((DATA / "calibration-227").glob("*.png"))
    for i in range(1000):
        (folder / f"{i:04}.png").symlink_to(pictures[i % len(pictures)])
    return folder


def command(pictures: Path, blob: str, weight: str, output: Path) -> list[str]:
    """The command line of one run."""
    files = [str(DATA / f"squeezenet_v1.1.{suffix}") for suffix in ("tnnproto", "tnnmodel")]
    return [
        sys.executable, "-c", "from tnnquant.cli import main; main()", "quantize", "-p", files[0], "-m", files[1],
        "-i", str(pictures), "-n", ",".join(map(str, MEAN)), "-r", "1", "-b", blob, "-w", weight, "-o", str(output),
    ]  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
def test_tnnquant_64_pictures(benchmark, run, tmp_path, setting):
    line = command(DATA / "calibration-227", *SETTINGS[setting], tmp_path / "out")
    run(line)
    benchmark.extra_info.update(benchmark.pedantic(run, args=(line,), rounds=ROUNDS))


@pytest.mark.parametrize("setting", SETTINGS)
def test_tnnquant_1000_pictures(benchmark, run, tmp_path, thousand, setting):
    line = command(thousand, *SETTINGS[setting], tmp_path / "out")
    benchmark.extra_info.update(benchmark.pedantic(run, args=(line,), rounds=1))


PEER = """
import sys, numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
batch = np.load(sys.argv[2])
class Reader(CalibrationDataReader):
    def __init__(self): self.left = iter(batch)
    def get_next(self):
        x = next(self.left, None)
        return None if x is None else {"data": x[None]}
quantize_static(sys.argv[1], sys.argv[3], Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                weight_type=QuantType.QInt8, calibrate_method=getattr(CalibrationMethod, sys.argv[4]))
"""


@pytest.mark.parametrize("method", ["MinMax", "Entropy"])
def test_onnxruntime_64_pictures(benchmark, run, tmp_path, method):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from tnnquant import export_onnx, read_model
    from tnnquant.inputs import InputConfig, Samples, scan

    graph = read_model(*(DATA / f"squeezenet_v1.1.{suffix}" for suffix in ("tnnproto", "tnnmodel")))
    twin = export_onnx(graph, tmp_path / "twin.onnx").path
    samples = Samples(scan(DATA / "calibration-227"), graph.inputs, InputConfig(mean=MEAN, reverse_channel=True))
    np.save(tmp_path / "batch.npy", np.stack([np.ascontiguousarray(s.arrays["data"][0]) for s in samples]))
    line = [sys.executable, "-c", PEER, str(twin), str(tmp_path / "batch.npy"), str(tmp_path / "q.onnx"), method]
    run(line)
    benchmark.extra_info.update(benchmark.pedantic(run, args=(line,), rounds=ROUNDS))
