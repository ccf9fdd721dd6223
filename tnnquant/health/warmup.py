"""Compile the kernels before anybody waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tnnquant.base.progress import Progress
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.graph import Graph
from tnnquant.health.specimen import everyday_network
from tnnquant.inputs import Sample
from tnnquant.observers import method_codes
from tnnquant.quantization.quantize import quantize_graph
from tnnquant.weights import method_codes as weight_method_codes

__all__ = ["Warmth", "warm_up"]


@dataclass(frozen=True)
class Warmth:
    """What a warm-up did.

    Attributes
    ----------
    folder : Path or None
        The cache; None if no folder can be written, and it was all for nothing.
    compiled : int
        Kernels that were not in the cache before.
    size : int
        Bytes of the cache.
    seconds : float
    """

    folder: Path | None
    compiled: int
    size: int
    seconds: float


def warm_up(graph: Graph | None = None, progress: Progress | None = None) -> Warmth:
    """Fill the cache by doing what users do, on noise: quantize with every method, run in int8, compare.

    Parameters
    ----------
    graph : Graph, optional
        An fp32 model whose layers are to be ready too.
    progress : callable (stage, done, total), optional
        Told of each step before it is done, and how many there are in all.

    Raises
    ------
    TnnQuantError
        The model cannot be run.
    """
    from tnnquant.kernels.jit import CACHE_DIR

    started, before = time.perf_counter(), _entries(CACHE_DIR)
    steps = list(_steps(graph))
    for number, (name, step) in enumerate(steps):
        if progress:
            progress(name, number, len(steps))
        step()
    after = _entries(CACHE_DIR)
    size = sum(path.stat().st_size for path in CACHE_DIR.rglob("*") if path.is_file()) if CACHE_DIR else 0
    return Warmth(CACHE_DIR, len(after - before), size, time.perf_counter() - started)


def _steps(graph: Graph | None) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is done, each step with its name."""
    yield "pictures", _warm_inputs
    network = everyday_network()
    samples = [_noise(network, seed) for seed in range(2)]
    for blob, weight in _pairs():
        config = QuantizeConfig(blob_method=blob, weight_method=weight)
        yield f"quantizing: {blob}, {weight}", partial(quantize_graph, network, samples, config)
    config = QuantizeConfig(merge_type="tensor")
    yield "quantizing: per tensor", partial(quantize_graph, network, samples, config)
    yield "int8 beside fp32", lambda: _warm_runs(network, quantize_graph(network, samples, config).graph, samples)
    if graph is not None:
        yield "the model's own layers", lambda: _warm_model(graph)


def _warm_model(graph: Graph) -> None:
    samples = [_noise(graph, seed) for seed in range(2)]
    _warm_runs(graph, quantize_graph(graph, samples, QuantizeConfig()).graph, samples)


def _pairs() -> list[tuple[str, str]]:
    """Blob and weight methods so that every one of either is used."""
    blobs, weights = list(method_codes().values()), list(weight_method_codes().values())
    count = max(len(blobs), len(weights))
    return [(blobs[i % len(blobs)], weights[i % len(weights)]) for i in range(count)]


def _noise(graph: Graph, seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, spec in graph.inputs.items():
        values = rng.standard_normal(spec.dims).astype(np.float32)
        arrays[name] = values if spec.dtype is None else values.astype(spec.dtype.numpy)
    return Sample("noise", arrays)


def _warm_runs(fp32: Graph, quantized: Graph, samples: list[Sample]) -> None:
    from tnnquant.inspect.compare import compare_graphs

    compare_graphs(quantized, fp32, samples)
    for graph in (fp32, quantized):
        for exact in (True, False):
            Executor(graph, exact=exact).run(samples[0].arrays)


def _warm_inputs() -> None:
    """The resizing of pictures of every kind, and the reading of text tensors."""
    import tempfile

    from tnnquant.graph import InputSpec
    from tnnquant.inputs import InputConfig, Samples, scan
    from tnnquant.inputs.preview import blank_picture

    with tempfile.TemporaryDirectory(prefix="tnnquant-") as name:
        folder = Path(name)
        for channels, mode in ((1, "L"), (3, "RGB")):
            place = folder / mode
            place.mkdir()
            blank_picture(place / "a.png", mode, (24, 18))
            for resize in ("stretch", "crop", "letterbox"):
                specs = {"x": InputSpec((1, channels, 16, 16))}
                list(Samples(scan(place), specs, InputConfig(resize=resize)))
        texts = folder / "text"
        texts.mkdir()
        (texts / "a.txt").write_text("0.5 1 2 3\n")
        list(Samples(scan(texts), {"x": InputSpec((1, 1, 2, 2))}))


def _entries(folder: Path | None) -> set[Path]:
    return set(folder.rglob("*.nbc")) if folder else set()
