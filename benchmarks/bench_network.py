"""Whole networks beside onnxruntime and OpenVINO, fp32 and int8, one picture at a time.

``python benchmarks/bench_network.py [names or threads ...]``: all networks and 1 and 2 threads if none is given, e.g.
``resnet50 1``. ``--table`` prints the last figures of every network on this CPU as Markdown, and measures nothing.

SqueezeNet v1.1, EfficientNet-Lite0 and YOLOv8n are those of ``../shared``; ResNet-50, MobileNetV2, ViT-S, VGG-16 and a
segmentation network for 1080x1920 have random weights. OpenVINO is measured if it is installed (``pip install
openvino``; it is no dependency). The int8 model of the peers is onnxruntime's own: QDQ from ``quantize_static``, per
channel, s8 weights and u8 activations, calibrated on the
same pictures. All run in turns within one process, a few runs each. Before each turn there is a pause, in which the
threads of the one before stop spinning, and a tenth of a second of runs that do not count, in which the system spreads
the threads over the cores. What is printed are medians over all turns, smallest times in brackets, and the ratios of
both to the better peer; then the memory of our blobs, and how much more that is than those that are alive at a time.
The outputs must agree. All networks with 1 and 2 threads take ten minutes.

A line a network and number of threads is appended to ``benchmarks/results/networks.jsonl``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import networks
import numba
import numpy as np
import vit
from kernel_common import RESULTS, cpu_name, header, record

from tnnquant import Executor, Graph, QuantizeConfig, export_onnx, quantize_graph, read_model
from tnnquant.graph.lower import lower
from tnnquant.inputs import InputConfig, Samples, scan

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
FILE = RESULTS.with_name("networks.jsonl")
TURNS, RUNS = 10, 10
PAUSE, WARMUP, LONGEST = 0.02, 0.1, 0.3  # seconds; of the last, a turn takes but the run that is under way
PICTURES = 16  # calibrated on
PEERS = ("onnxruntime", *(("OpenVINO",) if importlib.util.find_spec("openvino") else ()))


@dataclass(frozen=True)
class Network:
    """A model and how it is fed; without ``make`` it is a file of ``../shared/data``."""

    name: str
    title: str
    pictures: str
    inputs: InputConfig
    make: Callable[[], Graph] | None = None
    count: int = PICTURES

    def graph(self) -> Graph:
        """The fp32 model."""
        if self.make:
            return self.make()
        return read_model(*(DATA / f"{self.name}.{suffix}" for suffix in ("tnnproto", "tnnmodel")))


_PLAIN = InputConfig(mean=(127.0,) * 3, scale=(1 / 64,) * 3)
NETWORKS = (
    Network(
        "squeezenet_v1.1",
        "SqueezeNet v1.1",
        "calibration-227",
        InputConfig(mean=(104.006, 116.669, 122.679), reverse_channel=True),
    ),
    Network(
        "efficientnet_lite0",
        "EfficientNet-Lite0",
        "calibration-224",
        InputConfig(mean=(127.0,) * 3, scale=(1 / 128,) * 3),
    ),
    Network("mobilenet_v2", "MobileNetV2", "calibration-224", _PLAIN, networks.mobilenet_v2),
    Network("resnet50", "ResNet-50", "calibration-224", _PLAIN, networks.resnet50),
    Network("vit_small", "ViT-S/16", "calibration-224", _PLAIN, vit.vit_small),
    Network("vgg16", "VGG-16", "calibration-224", _PLAIN, networks.vgg16, 2),
    Network("segmentation", "segmentation, 1080x1920", "calibration-224", _PLAIN, networks.segmentation, 2),
    Network("real/yolov8n", "YOLOv8n", "real/yolov8n-pictures", InputConfig(scale=(1 / 255,) * 3)),
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


def openvino_run(path: Path, threads: int, name: str, picture: np.ndarray) -> Callable[[], np.ndarray]:
    """OpenVINO on the same file, for the shortest time of one run; fp32 is fp32 there too."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32",
    }  # fmt: skip
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda: next(iter(request.infer({name: picture}).values())).ravel()


def contenders(
    ours: dict[str, Executor], peers: list[Path], picture: np.ndarray, threads: int
) -> dict[str, Callable[[], np.ndarray]]:
    """What is timed, by name: each gives the outputs for the picture, as a flat array."""
    graph = ours["fp32"].graph
    name = next(iter(graph.inputs))
    feed = {name: picture}
    first = graph.outputs[0]
    runs = {}
    for case, executor in ours.items():
        runs[case] = lambda executor=executor: executor.run(feed)[first].ravel()
    for kind, path in zip(("fp32", "int8"), peers, strict=True):
        session = peer_session(path, threads)
        runs[f"onnxruntime {kind}"] = lambda session=session: session.run([first], feed)[0].ravel()
        if "OpenVINO" in PEERS:
            runs[f"OpenVINO {kind}"] = openvino_run(path, threads, name, picture)
    return runs


def check(runs: dict) -> None:
    """All give nearly the same outputs."""
    want = runs["onnxruntime fp32"]().astype(np.float64)
    for case, run in runs.items():
        got = run().astype(np.float64)
        cosine = got @ want / np.linalg.norm(got) / np.linalg.norm(want)
        lowest = 0.9999 if "fp32" in case else 0.9
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
            begin = time.perf_counter()
            for _ in range(RUNS):
                start = time.perf_counter()
                if start > begin + LONGEST:
                    break
                run()
                times[case].append((time.perf_counter() - start) * 1e3)
    return {case: np.array(values) for case, values in times.items()}


def report(network: Network, ours: dict[str, Executor], times: dict[str, np.ndarray]) -> None:
    """Print a line per case and the ratios, and record them."""
    figures = {}
    for form, executor in ours.items():
        laid_out = executor.unwatched()
        figures[f"{form} blobs MB"] = laid_out.blob_bytes / 1e6
        figures[f"{form} blobs to live set"] = laid_out.blob_bytes / laid_out.live_bytes
    for kind, statistic in (("median", np.median), ("min", np.min)):
        ms = {case: float(statistic(values)) for case, values in times.items()}
        figures |= {f"{case} {kind} ms": value for case, value in ms.items()}
        for form in ("int8", "fp32"):
            figures[f"{form} to peer, {kind}"] = ms[form] / min(ms[f"{peer} {form}"] for peer in PEERS)
        figures[f"fp32 to int8, {kind}"] = ms["fp32"] / ms["int8"]
    line = ", ".join(f"{case} {figures[f'{case} median ms']:.2f} ({figures[f'{case} min ms']:.2f})" for case in times)
    print(f"{network.title}, {numba.get_num_threads()} thread(s), ms: {line}")
    for ratio in ("int8 to peer", "fp32 to peer", "fp32 to int8"):
        print(f"  {ratio}: {figures[f'{ratio}, median']:.2f} ({figures[f'{ratio}, min']:.2f})")
    for form in ours:
        size, ratio = figures[f"{form} blobs MB"], figures[f"{form} blobs to live set"]
        print(f"  {form} blobs: {size:.1f} MB, {ratio:.2f} of the live set")
    record("network", network.name, file=FILE, **figures)


def table() -> None:
    """The last figures of each network on this CPU, as the table of README.md."""
    last = {}
    for line in FILE.read_text().splitlines():
        entry = json.loads(line)
        if entry["cpu"] == cpu_name():
            last[entry["case"], entry["threads"]] = entry
    titles = {network.name: network.title for network in NETWORKS}
    print("| | threads | our int8 | onnxruntime | OpenVINO | ratio | our fp32 | onnxruntime | OpenVINO | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (case, threads), entry in sorted(last.items(), key=lambda item: (list(titles).index(item[0][0]), item[0][1])):
        cells = [titles[case], str(threads)]
        for form in ("int8", "fp32"):
            for who in ("", "onnxruntime ", "OpenVINO "):
                value = entry.get(f"{who}{form} median ms")
                cells.append("" if value is None else f"{value:.3g}")
            cells.append(f"{entry[f'{form} to peer, median']:.2f}")
        print("| " + " | ".join(cells) + " |")


def main(arguments: list[str]) -> None:
    if "--table" in arguments:
        table()
        return
    chosen = [a for a in arguments if not a.isdigit()]
    for network in NETWORKS:
        if chosen and network.name.rsplit("/", 1)[-1] not in chosen:
            continue
        graph = network.graph()
        samples = Samples(scan(DATA / network.pictures)[: network.count], graph.inputs, network.inputs)
        pictures = [np.ascontiguousarray(next(iter(sample.arrays.values()))) for sample in samples]
        int8 = quantized(graph, samples)
        with tempfile.TemporaryDirectory() as folder:
            peers = write_peers(graph, pictures, Path(folder))
            for threads in [int(a) for a in arguments if a.isdigit()] or [1, 2]:
                header(threads)
                # fp32 as fast as it goes, in int8 models too: activations fused as TNN's runtime does, sums not rounded
                # as TNN's CPU device does.
                ours = {"fp32": Executor(lower(graph), exact=False), "int8": Executor(int8, exact=False)}
                runs = contenders(ours, peers, pictures[0], threads)
                check(runs)
                report(network, ours, measure(runs))


if __name__ == "__main__":
    main(sys.argv[1:])
