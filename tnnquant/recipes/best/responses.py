"""Errors as they arrive after an element-wise fp32 layer: what a swish makes 0 need not be told apart.

A convolution in int8 with a swish after it in fp32 has a symmetric scale for its output, but large negative values
all give about 0. The scale is then better made for the positive side: the error is measured after the function, on
histograms of both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from tnnquant.graph import Graph, Node
from tnnquant.layers.activation import Sigmoid, Swish
from tnnquant.layers.base import Layer, QuantRole
from tnnquant.layers.binary import Mul
from tnnquant.layers.elementwise import Unary
from tnnquant.layers.gated import HardSwish

__all__ = ["best_scale", "output_power", "response_errors", "responses"]

#: Values that stand for a bin.
_SAMPLES = 8
#: Scales of the tables, octaves of their logarithm: finer or coarser ones are taken as these.
_FINEST, _COARSEST = 2.0**-16, 2.0**6
_LEVELS = 127
#: Scales from the peak's downwards, in steps of 2**(1/4), among which the best of a channel is looked for.
_SEARCHED = 21


def responses(graph: Graph) -> dict[str, Layer]:
    """The element-wise layer that alone reads a blob, or several of the same function, by blob name."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for blob in dict.fromkeys(node.inputs):
            readers.setdefault(blob, []).append(node)
    found: dict[str, Layer] = {}
    for blob, nodes in readers.items():
        if _is_swish(nodes, readers) and blob not in graph.outputs:
            found[blob] = Swish()
            continue
        layers = {node.layer for node in nodes if _is_function(node)}
        if len(layers) == 1 and all(_is_function(node) for node in nodes) and blob not in graph.outputs:
            found[blob] = layers.pop()
    return found


def _is_swish(nodes: Sequence[Node], readers: Mapping[str, Sequence[Node]]) -> bool:
    """Whether the readers of a blob are a sigmoid and the product of both, as files have a swish that is not fused."""
    if len(nodes) != 2 or not any(isinstance(node.layer, Sigmoid) for node in nodes):
        return False
    gate, product = sorted(nodes, key=lambda node: not isinstance(node.layer, Sigmoid))
    return isinstance(product.layer, Mul) and gate.outputs[0] in product.inputs and len(readers[gate.outputs[0]]) == 1


def _is_function(node: Node) -> bool:
    layer = node.layer
    if layer.role == QuantRole.PASS or len(set(node.inputs)) != 1:
        return False
    return isinstance(layer, Unary | HardSwish)


def _values(layer: Layer, x: np.ndarray) -> np.ndarray:
    from tnnquant.kernels.program import one_thread

    flat = np.ascontiguousarray(x, np.float32).reshape(1, -1)
    with one_thread():  # many small arrays
        return np.asarray(layer.forward([flat], None)[0], np.float64).reshape(x.shape)


@cache
def _tables(layer: Layer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared rounding and clipping error, float64 (2 sides, scales, bins), and mean squares (2, bins)."""
    from tnnquant.kernels.octaves import octave_edges

    edges = octave_edges()
    inside = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    values = edges[:-1, None] + np.diff(edges)[:, None] * inside
    scales = _scales()
    rounding, clipping = np.zeros((2, 2, len(scales), len(edges) - 1))
    power = np.zeros((2, len(edges) - 1))
    for side, sign in enumerate((1.0, -1.0)):
        wanted = _values(layer, sign * values)
        power[side] = np.square(wanted).mean(axis=1)
        for row, scale in enumerate(scales):
            steps = np.floor(values / scale + 0.5)
            error = np.square(_values(layer, sign * scale * np.minimum(steps, _LEVELS)) - wanted)
            over = steps > _LEVELS
            rounding[side, row] = np.where(over, 0, error).mean(axis=1)
            clipping[side, row] = np.where(over, error, 0).mean(axis=1)
    return rounding, clipping, power


@cache
def _scales() -> np.ndarray:
    from tnnquant.observers.octaves import scale_grid

    grid = scale_grid()[::2]
    return grid[(grid >= _FINEST) & (grid <= _COARSEST)]


@cache
def _middles() -> np.ndarray:
    """Between one of the scales and the next."""
    grid = _scales()
    return np.asarray(np.sqrt(grid[1:] * grid[:-1]))


@cache
def _weighed(layer: Layer, clipped: float) -> np.ndarray:
    """Rounding and ``clipped`` times clipping errors of :func:`_tables`."""
    rounding, clipping, _ = _tables(layer)
    return rounding + clipped * clipping


def response_errors(
    layer: Layer, positive: np.ndarray, negative: np.ndarray, scales: np.ndarray, clipped: float = 1.0
) -> np.ndarray:
    """What quantization of a blob does to the output of the layer that reads it.

    Parameters
    ----------
    layer : Layer
        One of :func:`responses`.
    positive, negative : int64 (slots, OCTAVE_BINS)
        Magnitudes on each side of 0.
    scales : float64 (slots, trials)
    clipped : float
        How often a squared error beyond the last code counts.

    Returns
    -------
    float64 (slots, trials)
        Sums of squared errors of the values within the last code, and of those beyond it so many times.
    """
    from tnnquant.kernels.mse_range import histogram_errors

    rows = np.searchsorted(_middles(), scales).astype(np.int32)
    table = _weighed(layer, clipped)
    sides = (np.ascontiguousarray(counts, np.int64) for counts in (positive, negative))
    found: np.ndarray = np.add(*(histogram_errors(counts, rows, table[side]) for side, counts in enumerate(sides)))
    return found


def output_power(layer: Layer, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Sum of squares of the layer's output, float64 (slots,)."""
    power = _tables(layer)[2]
    total: np.ndarray = positive @ power[0] + negative @ power[1]
    return total


def best_scale(layer: Layer, positive: np.ndarray, negative: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """The scale of each channel with the least error after the layer, float64 (slots,), at most that of the peak."""
    trials = peak[:, None] / _LEVELS * 2.0 ** (-np.arange(_SEARCHED) / 4)
    errors = response_errors(layer, positive, negative, trials)
    chosen: np.ndarray = trials[np.arange(len(peak)), np.argmin(errors, axis=1)]
    return chosen
