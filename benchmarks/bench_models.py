"""Latency and accuracy of SqueezeNet v1.1 and EfficientNet-Lite0, fp32 and int8, with onnxruntime beside them.

    python -m pytest benchmarks/bench_models.py -o python_files="bench_*.py"

Needs ``../shared``; the peers need ``pip install onnxruntime onnx``, and are skipped without. Latency here is that of
each alone, one after the other; ``bench_network.py`` takes turns and gives the ratios. ``extra_info`` holds the top-1
on the evaluation pictures with its interval, and for latency the sum over the layers and the cost of float borders.
"""

from __future__ import annotations

import numpy as np
import pytest
from bench_network import DATA, NETWORKS, PICTURES, peer_session, quantized, write_peers

from tnnquant import Executor, read_model
from tnnquant.base.threads import available_cores, set_threads
from tnnquant.bench.accuracy import Candidate, measure_accuracy
from tnnquant.bench.labels import labels_from_names
from tnnquant.bench.latency import measure_latency
from tnnquant.graph.lower import lower
from tnnquant.inputs import Samples, scan

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs {DATA}")
THREADS = [1] + ([2] if available_cores() > 1 else [])
EVALUATION = 100  # pictures of imagenet-dev


class _Case:
    """A network with its int8 form and a few pictures."""

    def __init__(self, network):
        self.network = network
        self.graph = read_model(*(DATA / f"{network.name}.{suffix}" for suffix in ("tnnproto", "tnnmodel")))
        self.samples = Samples(scan(DATA / network.pictures)[:PICTURES], self.graph.inputs, network.inputs)
        self.int8 = quantized(self.graph, self.samples)
        self.feeds = [{n: np.ascontiguousarray(a) for n, a in sample.arrays.items()} for sample in self.samples]


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda network: network.name)
def case(request):
    return _Case(request.param)


@pytest.fixture(scope="module")
def peers(case, tmp_path_factory):
    """The ONNX twins, fp32 and QDQ."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    pictures = [next(iter(feed.values())) for feed in case.feeds]
    return dict(zip(("fp32", "int8"), write_peers(case.graph, pictures, tmp_path_factory.mktemp("peers")), strict=True))


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_latency(benchmark, case, precision, threads):
    set_threads(threads)
    graph = lower(case.graph) if precision == "fp32" else case.int8
    benchmark(Executor(graph, exact=False).run, case.feeds[0])
    pair = (case.graph, None) if precision == "fp32" else (None, case.int8)
    model = measure_latency(*pair, case.feeds[0], repeats=5).models[precision]
    benchmark.extra_info.update(
        threads=threads, layers_ms=round(1e3 * model.layer_seconds, 3), borders_ms=round(1e3 * model.border_seconds, 3),
        blob_bytes=model.blob_bytes, packed_bytes=model.packed_bytes,
    )  # fmt: skip


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_onnxruntime_latency(benchmark, case, peers, precision, threads):
    session = peer_session(peers[precision], threads)
    benchmark(session.run, None, case.feeds[0])
    benchmark.extra_info["threads"] = threads


def test_accuracy(benchmark, case):
    set_threads(available_cores())
    evaluation = Samples(scan(DATA / "imagenet-dev")[:EVALUATION], case.graph.inputs, case.network.inputs)
    labels = labels_from_names(evaluation.names)
    candidates = [Candidate("fp32", case.graph), Candidate("int8", case.int8)]
    report = benchmark.pedantic(measure_accuracy, args=(candidates, evaluation, labels), rounds=1)
    assert report.models[0].top1.mean() > 0.5
    for model in report.models:
        share, low, high = model.share("top1")
        benchmark.extra_info[f"{model.name} top1"] = [round(share, 4), round(low, 4), round(high, 4)]
    benchmark.extra_info["agreement"] = round(report.models[1].share("agrees")[0], 4)


def test_onnxruntime_accuracy(benchmark, case, peers):
    evaluation = Samples(scan(DATA / "imagenet-dev")[:EVALUATION], case.graph.inputs, case.network.inputs)
    labels = labels_from_names(evaluation.names)
    session = peer_session(peers["int8"], available_cores())

    def run():
        return [session.run(None, s.arrays)[0].argmax() == labels[s.name] for s in evaluation]

    benchmark.extra_info["int8 top1"] = float(np.mean(benchmark.pedantic(run, rounds=1)))
