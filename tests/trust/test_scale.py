"""Memory does not grow with the number of pictures, and work only with it."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.format import read_model
from tnnquant.inputs.loading import Loader
from tnnquant.inputs.samples import Sample
from tnnquant.pipeline import job
from tnnquant.pipeline.api import quantize_model
from tnnquant.recipes.best.kept import keep_samples

from .conftest import save_pictures

_PEAK = """
import resource, sys
from tnnquant.pipeline.api import quantize_model
from tnnquant.config import QuantizeConfig, VerifyConfig
proto, model, pictures, output = sys.argv[1:]
quantize_model(proto, model, pictures, output, QuantizeConfig(blob_method="kl"), verify=VerifyConfig(no_verify=True))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kilobytes, from Linux")
def test_5000_pictures_take_the_memory_of_64(case, tmp_path):
    folders = {}
    for count in (64, 5000):
        folders[count] = tmp_path / str(count)
        save_pictures(folders[count], min(count, 64))
    firsts = sorted(folders[5000].iterdir())
    for number in range(5000 - len(firsts)):
        os.link(firsts[number % len(firsts)], folders[5000] / f"link{number}.png")
    peaks = {}
    for count, folder in folders.items():
        command = [sys.executable, "-c", _PEAK, *map(str, (case.proto, case.model, folder, tmp_path / "out"))]
        peaks[count] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert peaks[5000] < 1.1 * peaks[64]


@pytest.mark.parametrize(("method", "passes"), [("minmax", 1), ("kl", 2)])
@pytest.mark.parametrize("is_cached", [True, False])
def test_work_is_linear(case, tmp_path, monkeypatch, method, passes, is_cached):
    """A picture more is one read (or one per pass, when those decoded before do not fit) and one run per pass more."""
    calls = []

    def counted(of, name):
        function = getattr(of, name)

        def call(*args, **options):
            calls.append(name)  # on any thread
            return function(*args, **options)

        monkeypatch.setattr(of, name, call)

    counted(Loader, "load")
    counted(Executor, "run")
    if not is_cached:
        config_of = job.input_config
        monkeypatch.setattr(job, "input_config", lambda config: replace(config_of(config), cache_bytes=0))
    counts = {}
    for number in (70, 80, 120):  # from 64 on the verdict is on as many for any number
        save_pictures(tmp_path / str(number), number)
        calls.clear()
        quantize_model(
            case.proto, case.model, tmp_path / str(number), tmp_path / "out", QuantizeConfig(blob_method=method)
        )
        counts[number] = calls.count("load"), calls.count("run")
    for few, many in ((70, 80), (80, 120)):
        loads, runs = (b - a for a, b in zip(counts[few], counts[many], strict=True))
        assert loads == (many - few) * (1 if is_cached else passes)
        assert runs == (many - few) * passes


def test_recipe_best_makes_layers_from_what_fits_into_memory(case, tmp_path, monkeypatch):
    """Each sample goes through all layers beside the others: their blobs are bounded, not only the samples."""
    from tnnquant.recipes.best import workbench

    together = []

    def recorded(graph, inputs, *args):
        inputs = list(inputs)
        together.append(len(inputs))
        return quantize_layers(graph, inputs, *args)

    quantize_layers = workbench.quantize_layers
    monkeypatch.setattr(workbench, "quantize_layers", recorded)
    monkeypatch.setattr(workbench, "_MEMORY", 40 * 16 * 12 * 3 * 4)  # 40 samples; fewer with all their blobs
    bytes_a_sample = Executor(read_model(case.proto, case.model)).blob_bytes
    monkeypatch.setattr(workbench, "_BLOB_MEMORY", 10 * bytes_a_sample)
    save_pictures(tmp_path / "many", 60)
    config = QuantizeConfig(recipe="best")
    report = quantize_model(case.proto, case.model, tmp_path / "many", tmp_path / "out", config)
    # Of the outputs: this network of random weights sees one class in all pictures, which is no good verdict.
    checks = [check for found in report.verdict.sets for output in found.outputs for check in output.checks]
    assert {check.status for check in checks} == {"good"}
    assert max(together) == 10


def test_recipe_best_keeps_no_more_samples_than_fit():
    """However many there are: those that fall out are let go while the others come."""
    arrays = (np.full(4096, number, np.float32) for number in range(2000))
    samples = (Sample(str(number), {"input": array}, 1, (number,)) for number, array in enumerate(arrays))
    tracemalloc.start()
    try:
        kept = keep_samples(samples, 50 * 16384)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(kept) == 50
    assert peak < 60 * 16384
