"""Mixed precision: the smallest set of layers that, kept in fp32, lets the model reach a target.

Layers are taken out of a finished int8 model: what stays int8 keeps its weights and scales, so that a trial costs a run
of a few pictures, for a model of any recipe. First the noise that every layer makes alone, all others in fp32, is
measured. Such noises add up. The gain of one layer kept in fp32 is not measured: it is too small beside the noise of
all others. The smallest number of layers, the noisiest first, that reaches the target is found by halving. Then layers
that turn out not to be needed go back to int8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tnnquant.graph import Graph
from tnnquant.layers.base import QuantRole

__all__ = ["MOST_FLOAT", "Mixed", "candidates", "float_layers", "smallest_set"]

#: Share of the multiply-adds that may become fp32: what is mostly fp32 is no int8 model.
MOST_FLOAT = 0.5
#: Share of the time for measuring the layers; the rest is for finding the set.
_MEASURING = 0.6


def float_layers(int8: Graph, fp32: Graph, names: Iterable[str]) -> Graph:
    """An int8 model with some layers in fp32.

    Parameters
    ----------
    int8, fp32 : Graph
        The same layers in the same order (:class:`tnnquant.quantization.quantize.Quantization`).
    names : iterable of str
        Layers that become fp32. A ReLU or max pooling that no longer lies after an int8 layer does too; scales that no
        int8 layer touches are dropped.
    """
    chosen = frozenset(names)
    makers: dict[str, bool] = {}
    nodes = []
    for node, plain in zip(int8.nodes, fp32.nodes, strict=True):
        stays = node.quantized and node.name not in chosen
        if stays and node.layer.role == QuantRole.PASS:
            stays = makers.get(node.inputs[0], False)
        nodes.append(node if stays or not node.quantized else plain)
        makers |= dict.fromkeys(node.outputs, stays)
    touched = {blob for node in nodes if node.quantized for blob in (*node.inputs, *node.outputs)}
    scales = {blob: params for blob, params in int8.scales.items() if blob in touched}
    return int8.with_nodes(nodes).replace(scales=scales)


def candidates(int8: Graph, first: Sequence[str] = ()) -> list[str]:
    """The layers worth keeping in fp32: those with weights, and joins; ``first`` in front, in that order."""
    names = [
        node.name
        for node in int8.nodes
        if node.quantized and node.layer.role in (QuantRole.WEIGHTED, QuantRole.JOIN)
    ]
    front = [name for name in first if name in set(names)]
    return front + [name for name in names if name not in set(front)]


@dataclass(frozen=True)
class Mixed:
    """What was found.

    Attributes
    ----------
    layers : tuple of str
        To be kept in fp32, the noisiest first.
    reached : bool
        Whether the target is reached with them.
    noise : dict of str to float
        What each layer makes alone at the outputs; the measure is the caller's.
    complete : bool
        Time sufficed for all that there was to try.
    """

    layers: tuple[str, ...]
    reached: bool
    noise: dict[str, float] = field(default_factory=dict)
    complete: bool = True


def smallest_set(
    names: Sequence[str],
    cost: Mapping[str, float],
    noise_of: Callable[[str], float],
    reaches: Callable[[Sequence[str]], bool],
    in_time: Callable[[float], bool],
    progress: Callable[[str, int, int], None] | None = None,
) -> Mixed:
    """Find the layers to keep in fp32.

    Parameters
    ----------
    names : sequence of str
        Candidates, the most suspicious first: time may not suffice for all.
    cost : mapping of str to float
        Share of the model's multiply-adds by layer; no more than :data:`MOST_FLOAT` of them become fp32.
    noise_of : callable (layer) to float
        Noise at the outputs with this layer alone in int8.
    reaches : callable (layers) to bool
        Whether the target is reached with these layers in fp32.
    in_time : callable (share) to bool
        False once that share of the time is used up; what is best so far is returned then.
    progress : callable (stage, done, total), optional
        The stage is "layers".
    """
    if reaches(()):
        return Mixed((), True)
    noise: dict[str, float] = {}
    for name in names:
        if noise and not in_time(_MEASURING):
            break
        noise[name] = noise_of(name)
        if progress:
            progress("layers", len(noise), len(names))
    complete = len(noise) == len(names)
    order = _affordable(sorted(noise, key=lambda name: -noise[name]), cost)
    if not reaches(order):
        return Mixed(tuple(order), False, noise, complete)
    low, high = 0, len(order)  # `low` layers do not reach it, `high` do
    while high - low > 1 and in_time(1.0):
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(order[:middle]) else (middle, high)
    chosen = order[:high]
    for name in reversed(chosen[:-1]):  # without the last one the target was missed
        if not in_time(1.0):
            complete = False
            break
        fewer = [other for other in chosen if other != name]
        if reaches(fewer):
            chosen = fewer
    return Mixed(tuple(chosen), True, noise, complete)


def _affordable(order: Sequence[str], cost: Mapping[str, float]) -> list[str]:
    """The layers in that order, less those that would make too much fp32."""
    chosen, spent = [], 0.0
    for name in order:
        if spent + cost.get(name, 0.0) <= MOST_FLOAT:
            chosen.append(name)
            spent += cost.get(name, 0.0)
    return chosen
