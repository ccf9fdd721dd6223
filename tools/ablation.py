"""What each step of the recipe ``best`` is worth, alone, in sum, and missing, on pictures it was not made from.

    python tools/ablation.py ../shared [squeezenet | efficientnet_lite0]

The models are quantized from the 64 calibration pictures (a quarter of which the recipe holds out) and run in int8 on
``data/imagenet-dev``: share of pictures with the same best class as fp32, mean cosine of the softmax, top-1 by the
number that begins the file name less that of fp32, seconds to make the model once the statistics are there. One row is
the recipe as users have it: the steps it chooses, then all pictures. Then come all steps without the scales of inputs
on a grid, and models all in int8 (``--fp32-share 0``): without what is done for these alone, and with each of it.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.format import read_model
from tnnquant.inputs import Samples, scan
from tnnquant.inputs.split import split_samples
from tnnquant.pipeline.settings import input_config
from tnnquant.quantization.quantize import quantize_graph
from tnnquant.recipes.best.workbench import STEPS, Effort, Steps, Workbench

if TYPE_CHECKING:
    from tnnquant.graph import Graph

NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "squeezenet": (
        "squeezenet_v1.1",
        "calibration-227",
        {"mean": (104.006, 116.669, 122.679), "reverse_channel": True},
    ),
    "efficientnet_lite0": ("efficientnet_lite0", "calibration-224", {"mean": (127.0,), "scale": (0.0078125,)}),
}
#: How the pictures of the evaluation are made to fit.
RESIZE = {"squeezenet": "stretch", "efficientnet_lite0": "crop"}

#: Rows that differ by what is looked at: label, share of fp32, effort.
EFFORTS = (
    ("all but grids", None, Effort(grids=False)),
    ("all in int8, nothing for it", 0.0, Effort(repeats=False)),
    ("all in int8, no grids either", 0.0, Effort(repeats=False, grids=False)),
    ("all in int8, last product", 0.0, Effort(repeats=False, moves=True)),
    ("all in int8, repeats", 0.0, Effort(repeats=True, moves=False)),
    ("all in int8, last product and repeats, but of streams", 0.0, Effort(streams=False)),
    ("all in int8, last product and repeats", 0.0, Effort()),
)


def variants() -> list[tuple[str, Steps]]:
    """Names and steps: each alone, in sum, all without each."""
    whole = Steps(**dict.fromkeys(STEPS, True))
    alone = [(f"{step} alone", Steps(**{step: True})) for step in STEPS]
    sums = [(f"... + {STEPS[n]}", Steps(**dict.fromkeys(STEPS[: n + 1], True))) for n in range(1, len(STEPS))]
    without = [(f"all but {step}", replace(whole, **{step: False})) for step in STEPS[:-1]]
    return [("none (min-max, nearest)", Steps()), *alone, *sums, *without]


class Evaluation:
    """The pictures of the evaluation with what fp32 makes of them."""

    def __init__(self, graph: Graph, folder: Path, config: QuantizeConfig):
        executor = Executor(graph, exact=False)
        samples = Samples(scan(folder), graph.inputs, input_config(config))
        self._arrays, self._labels, wanted = [], [], []
        for sample in samples:
            self._arrays.append({name: np.array(array) for name, array in sample.arrays.items()})
            self._labels.append(int(Path(sample.name).name.split("_")[0]))
            wanted.append(next(iter(executor.run(sample.arrays).values())).reshape(-1))
        self._wanted = np.stack(wanted)

    def row(self, graph: Graph) -> str:
        """Agreement, cosine and top-1 as cells of a table."""
        executor = Executor(graph, exact=False)
        got = np.stack([next(iter(executor.run(arrays).values())).reshape(-1) for arrays in self._arrays])
        labels = np.array(self._labels)
        a, b = _softmax(got), _softmax(self._wanted)
        cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        best, reference = got.argmax(axis=1), self._wanted.argmax(axis=1)
        gain = (best == labels).mean() - (reference == labels).mean()
        return f"{100 * (best == reference).mean():.2f} | {cosine.mean():.5f} | {100 * gain:+.2f}"


def _softmax(outputs: np.ndarray) -> np.ndarray:
    """Class scores; outputs that are probabilities already are left as they are."""
    if outputs.min() >= 0 and np.allclose(outputs.sum(axis=1), 1, atol=1e-3):
        return outputs
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    scores: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return scores


def main(shared: str, *wanted: str) -> None:
    """Print the tables."""
    unknown = [name for name in wanted if name not in NETWORKS]
    if unknown:
        sys.exit(f"no network {unknown[0]!r}; known: {', '.join(NETWORKS)}")
    data = Path(shared) / "data"
    for network in wanted or NETWORKS:
        name, folder, settings = NETWORKS[network]
        graph = read_model(*(data / f"{name}.{suffix}" for suffix in ("tnnproto", "tnnmodel")))
        config = QuantizeConfig(recipe="best", **settings)
        samples = Samples(scan(data / folder), graph.inputs, input_config(config))
        evaluation = Evaluation(graph, data / "imagenet-dev", replace(config, resize=RESIZE[network]))
        print(f"| {network} | agree % | cosine | top-1 | seconds |\n|---|---|---|---|---|")
        started = time.perf_counter()
        original = quantize_graph(graph, samples, replace(config, recipe="tnn")).graph
        spent = time.perf_counter() - started
        print(f"| recipe tnn, default flags | {evaluation.row(original)} | {spent:.1f} |", flush=True)
        # The pictures that `tnnquant quantize --recipe best` holds out.
        bench = Workbench(graph, split_samples(samples, compares=True), config)
        for label, steps in variants():
            started = time.perf_counter()
            result = bench.quantize(steps)
            spent = time.perf_counter() - started
            print(f"| {label} | {evaluation.row(result.graph)} | {spent:.1f} |", flush=True)
        started = time.perf_counter()
        steps, tried = bench.choose()
        bench.take_in_held_out()
        result = bench.quantize(steps)
        spent = time.perf_counter() - started
        print(f"| recipe best, from all pictures | {evaluation.row(result.graph)} | {spent:.1f} |", flush=True)
        del bench, result
        for label, share, effort in EFFORTS:
            options = replace(config, fp32_share=share)
            bench = Workbench(graph, split_samples(samples, compares=True), options, effort=effort)
            started = time.perf_counter()
            result = bench.quantize(Steps(**dict.fromkeys(STEPS, True)))
            spent = time.perf_counter() - started
            print(f"| {label} | {evaluation.row(result.graph)} | {spent:.1f} |", flush=True)
            del bench, result
        print("\n" + "\n".join(f"{step}: {note}" for step, note in tried.items()) + "\n", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: ablation.py SHARED [NETWORK ...]")
    main(*sys.argv[1:])
