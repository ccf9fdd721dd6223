"""Whole networks beside onnxruntime: SqueezeNet v1.1 and EfficientNet-Lite0, fp32 and int8, one picture at a time.

``python benchmarks/bench_network.py [threads ...]`` (1 and 2 if none is given). Needs ``../shared`` and ``pip install
onnxruntime onnx``. The int8 model of the peer is its own: QDQ from ``quantize_static``, per channel, s8 weights and u8
activations, calibrated on the same pictures. All four run in turns within one process, a few runs each. Before each
turn there is a pause, in which the threads of the one before stop spinning, and a tenth of a second of runs that do
not count, in which the system spreads the threads over the cores. What is printed are medians over all turns, smallest
times in brackets, and the ratios of both. The outputs of all four must agree.

A line a network and number of threads is appended to ``benchmarks/results/networks.jsonl``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
from kernel_common import RESULTS, header, record

from tnnquant import Executor, Graph, QuantizeConfig, export_onnx, quantize_graph, read_model
from tnnquant.graph.lower import lower
from tnnquant.inputs import InputConfig, Samples, scan

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
TURNS, RUNS = 12, 10
PAUSE, WARMUP = 0.02, 0.1  # seconds
PICTURES = 16
CASES = ("fp32", "int8", "onnxruntime fp32", "onnxruntime int8")


@dataclass(frozen=True)
class Network:
    """A model of ``../shared/data`` and how it is fed."""

    name: str
    pictures: str
    inputs: InputConfig


NETWORKS = (
    Network(
        "squeezenet_v1.1", "calibration-227", InputConfig(mean=(104.006, 116.669, 122.679), reverse_channel=True)
    ),
    Network("efficientnet_lite0", "calibration-224", InputConfig(mean=(127.0,) * 3, scale=(1 / 128,) * 3)),
)


def quantized(graph: Graph, samples: Samples) -> Graph:
    """Our int8 model: min-max for speed, which makes no difference to the time of a run."""
    return quantize_graph(graph, samples, QuantizeConfig(blob_method="minmax", weight_method="minmax")).graph


def peer_session(path: Path, threads: int):
    """An onnxruntime session with its default settings."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def write_peers(graph: Graph, pictures: list[np.ndarray], folder: Path) -> list[Path]:
    """The fp32 twin and its QDQ model."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    name = next(iter(graph.inputs))

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter(pictures)

        def get_next(self):
            picture = next(self.left, None)
            return None if picture is None else {name: picture}

    twin = export_onnx(graph, folder / "fp32.onnx").path
    quantize_static(
        str(twin), str(folder / "int8.onnx"), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
    )  # fmt: skip
    return [twin, folder / "int8.onnx"]


def contenders(graph: Graph, int8: Graph, peers: list[Path], picture: np.ndarray, threads: int) -> dict:
    """What is timed, by name: each gives the outputs for the picture, as a flat array."""
    name = next(iter(graph.inputs))
    feed = {name: picture}
    runs = {}
    # fp32 as fast as it goes: activations fused as TNN's runtime does, sums not rounded as TNN's CPU device does.
    for case, executor in (("fp32", Executor(lower(graph), exact=False)), ("int8", Executor(int8))):
        runs[case] = lambda executor=executor: next(iter(executor.run(feed).values())).ravel()
    for case, path in zip(CASES[2:], peers, strict=True):
        session = peer_session(path, threads)
        runs[case] = lambda session=session: session.run(None, feed)[0].ravel()
    return runs


def check(runs: dict) -> None:
    """All four give nearly the same outputs."""
    want = runs["onnxruntime fp32"]().astype(np.float64)
    for case, run in runs.items():
        got = run().astype(np.float64)
        cosine = got @ want / np.linalg.norm(got) / np.linalg.norm(want)
        lowest = 0.99999 if "fp32" in case else 0.9
        assert cosine > lowest, f"{case}: cosine {cosine:.5f} to onnxruntime's fp32"


def measure(runs: dict) -> dict[str, np.ndarray]:
    """Wall times of all runs, in milliseconds."""
    times: dict[str, list[float]] = {case: [] for case in runs}
    for _ in range(TURNS):
        for case, run in runs.items():
            time.sleep(PAUSE)
            ready = time.perf_counter() + WARMUP
            while time.perf_counter() < ready:
                run()
            for _ in range(RUNS):
                start = time.perf_counter()
                run()
                times[case].append((time.perf_counter() - start) * 1e3)
    return {case: np.array(values) for case, values in times.items()}


def report(network: Network, times: dict[str, np.ndarray]) -> None:
    """Print a line a case and the ratios, and record them."""
    figures = {}
    for kind, statistic in (("median", np.median), ("min", np.min)):
        ms = {case: float(statistic(values)) for case, values in times.items()}
        figures |= {f"{case} {kind} ms": value for case, value in ms.items()}
        figures[f"int8 to peer, {kind}"] = ms["int8"] / ms["onnxruntime int8"]
        figures[f"fp32 to peer, {kind}"] = ms["fp32"] / ms["onnxruntime fp32"]
        figures[f"fp32 to int8, {kind}"] = ms["fp32"] / ms["int8"]
    line = ", ".join(f"{case} {figures[f'{case} median ms']:.2f} ({figures[f'{case} min ms']:.2f})" for case in CASES)
    print(f"{network.name}, {numba.get_num_threads()} thread(s), ms: {line}")
    for ratio in ("int8 to peer", "fp32 to peer", "fp32 to int8"):
        print(f"  {ratio}: {figures[f'{ratio}, median']:.2f} ({figures[f'{ratio}, min']:.2f})")
    record("network", network.name, file=RESULTS.with_name("networks.jsonl"), **figures)


def main(arguments: list[str]) -> None:
    for network in NETWORKS:
        graph = read_model(*(DATA / f"{network.name}.{suffix}" for suffix in ("tnnproto", "tnnmodel")))
        samples = Samples(scan(DATA / network.pictures)[:PICTURES], graph.inputs, network.inputs)
        pictures = [np.ascontiguousarray(next(iter(sample.arrays.values()))) for sample in samples]
        int8 = quantized(graph, samples)
        with tempfile.TemporaryDirectory() as folder:
            peers = write_peers(graph, pictures, Path(folder))
            for threads in [int(a) for a in arguments] or [1, 2]:
                header(threads)
                runs = contenders(graph, int8, peers, pictures[0], threads)
                check(runs)
                report(network, measure(runs))


if __name__ == "__main__":
    main(sys.argv[1:])
