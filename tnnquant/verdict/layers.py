"""Which layers of an int8 model add most noise."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from tnnquant.engine.executor import Executor
from tnnquant.graph.lower import lower
from tnnquant.graph.meaning import Meaning, base_name
from tnnquant.layers.int8 import dequantized
from tnnquant.verdict.figures import decibels
from tnnquant.verdict.result import LayerNoise

__all__ = ["layer_noise"]


def layer_noise(
    fp32: Executor, int8: Executor, samples: Iterable, meaning: Meaning | None = None
) -> list[LayerNoise]:
    """The int8 layers by the noise they add, the worst first.

    Noise is energy of the difference to fp32 over energy of fp32, of the layer's output less that of its noisiest
    input. What a layer reads is noisy already: a low SQNR at the end of the model is no fault of the last layer.

    Parameters
    ----------
    fp32 : Executor
        Of the graph that was quantized: its blobs are those that are meant.
    int8 : Executor
    samples : iterable of Sample
        One or two are enough.
    meaning : Meaning, optional
        Of the int8 model; by default it means what it says.
    """
    meaning = meaning or Meaning(int8.graph, int8.graph)
    sums: dict[str, np.ndarray] = {}
    for sample in samples:
        codes: dict[str, np.ndarray] = {}
        # The int8 blobs are kept, a quarter of the memory, and fp32 is compared as it passes.
        int8.run_sample(sample, partial(_keep, codes, meaning))
        fp32.run_sample(sample, partial(_compare, codes, meaning, sums))
    noise = {name: float(error / energy) for name, (energy, error) in sums.items() if energy > 0}
    found = []
    for node in (int8.graph if meaning.is_as_stored else lower(meaning.graph)).nodes:
        target = noise.get(base_name(node.outputs[0]))
        sources = [noise[base_name(blob)] for blob in node.inputs if base_name(blob) in noise]
        if node.quantized and not node.layer.CONVERTS and target is not None and sources:
            before = max(sources)
            found.append((target - before, LayerNoise(
                node.name, type(node.layer).TYPE_NAMES[0], decibels(1, target), decibels(1, before)
            )))  # fmt: skip
    return [entry for _, entry in sorted(found, key=lambda pair: -pair[0])]


def _keep(codes: dict, meaning: Meaning, name: str, array: np.ndarray) -> None:
    viewed = meaning.view(base_name(name), array) if array.dtype == np.int8 else None
    if viewed is not None and viewed[0] in meaning.graph.scales:
        codes[viewed[0]] = viewed[1].copy()


def _compare(codes: dict, meaning: Meaning, sums: dict, name: str, array: np.ndarray) -> None:
    if name not in codes:
        return
    got = dequantized(codes.pop(name), meaning.graph.scales[name]).reshape(array.shape)
    # Pairwise float32 sums: the figure is shown with one decimal of a decibel.
    error = got - array
    pair = np.array([np.square(array).sum(dtype=np.float64), np.square(error).sum(dtype=np.float64)])
    sums[name] = sums.get(name, 0) + pair
