"""Which layers of an int8 model add most noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from tnnquant.engine.executor import Executor
from tnnquant.graph import Node
from tnnquant.graph.lower import REFORMATTED
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.int8 import dequantized
from tnnquant.verdict.figures import decibels
from tnnquant.verdict.result import LayerNoise

__all__ = ["layer_noise"]


def layer_noise(
    fp32: Executor, int8: Executor, samples: Iterable, zero_codes: Mapping[str, np.ndarray] | None = None
) -> list[LayerNoise]:
    """The int8 layers by the noise they add, the worst first.

    Noise is energy of the difference to fp32 over energy of fp32, of the layer's output less that of its noisiest
    input. What a layer reads is noisy already: a low SQNR at the end of the model is no fault of the last layer.

    Parameters
    ----------
    fp32 : Executor
        Of the graph that was quantized: its blobs are those of the int8 model.
    int8 : Executor
    samples : iterable of Sample
        One or two are enough.
    zero_codes : mapping of str to ndarray, optional
        Of the blobs whose codes mean 0 elsewhere than at the zero point, see
        :class:`tnnquant.quantization.quantize.Quantization`.
    """
    shifted = zero_codes or {}
    copied = {node.inputs[0]: node for node in int8.graph.nodes if _copies(node, fp32)}
    sums: dict[str, np.ndarray] = {}
    for sample in samples:
        codes: dict[str, tuple[str, np.ndarray]] = {}
        # The int8 blobs are kept, a quarter of the memory, and fp32 is compared as it passes.
        int8.run(sample.arrays, lambda name, array, codes=codes: _keep(codes, int8, name, array))

        def compare(name: str, array: np.ndarray, codes=codes) -> None:
            _compare(codes, int8, sums, name, array, shifted)
            if name in copied:
                copy = copied[name]
                pads = [(0, 0), (0, 0), (copy.layer.pad_h,) * 2, (copy.layer.pad_w,) * 2]
                _compare(codes, int8, sums, copy.outputs[0], np.pad(array, pads), shifted)

        fp32.run(sample.arrays, compare)
    noise = {name: float(error / energy) for name, (energy, error) in sums.items() if energy > 0}
    found = []
    for node in int8.graph.nodes:
        target = noise.get(_base(node.outputs[0]))
        sources = [noise[_base(blob)] for blob in node.inputs if _base(blob) in noise]
        if node.quantized and not node.layer.CONVERTS and target is not None and sources:
            before = max(sources)
            found.append((target - before, LayerNoise(
                node.name, type(node.layer).TYPE_NAMES[0], decibels(1, target), decibels(1, before)
            )))  # fmt: skip
    return [entry for _, entry in sorted(found, key=lambda pair: -pair[0])]


def _copies(node: Node, fp32: Executor) -> bool:
    """Whether a layer, which the fp32 model may not have, copies a blob
    (:mod:`tnnquant.recipes.best.shifted_copies`)."""
    if node.quantized or node.outputs[0] in fp32.specs or node.inputs[0] not in fp32.specs:
        return False
    return isinstance(node.layer, Convolution) and node.layer.depthwise_1x1


def _base(blob: str) -> str:
    return blob.removesuffix(REFORMATTED)


def _keep(codes: dict, int8: Executor, name: str, array: np.ndarray) -> None:
    if array.dtype == np.int8 and name in int8.graph.scales:
        codes[_base(name)] = name, array.copy()


def _compare(codes: dict, int8: Executor, sums: dict, name: str, array: np.ndarray, shifted: Mapping) -> None:
    if name not in codes:
        return
    stored, values = codes.pop(name)
    params = int8.graph.scales[stored]
    if name in shifted:
        params = replace(params, zero_point=shifted[name])
    # Guard channels (tnnquant.recipes.best.guards) hold no values.
    if array.ndim > 1 and values.shape[1] > array.shape[1]:
        values, params = values[:, : array.shape[1]], params.first(array.shape[1])
    got = dequantized(values, params).reshape(array.shape)
    # Pairwise float32 sums: the figure is shown with one decimal of a decibel.
    error = got - array
    pair = np.array([np.square(array).sum(dtype=np.float64), np.square(error).sum(dtype=np.float64)])
    sums[name] = sums.get(name, 0) + pair
