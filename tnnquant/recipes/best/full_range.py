"""All 256 codes for the output of a ReLU, in a format whose zero points are 0.

A blob after a ReLU uses the codes 0..127 only. But int8 codes saturate: a convolution whose bias is lowered by 128
steps of its output gives ``max(y, 0) / scale - 128`` without any activation, since what is below -128 becomes -128; a
ReLU6 is cut off at 127 in the same way. The layers that read the blob add the 128 steps of each channel, through
their weights, to their own bias. Padding has the code 0, which would no longer mean 0: where a reader pads, the blob
gets guard channels (:mod:`tnnquant.recipes.best.guards`). After an fp32 average pooling one more layer shifts values
back (:mod:`tnnquant.recipes.best.unshift`).

The code that means 0 is -127 where max pooling is on the way: TNN's starts from -127.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np

from tnnquant.graph import Graph, Node, QuantParams
from tnnquant.graph.infer import Inference
from tnnquant.kernels.geometry import RELU, RELU6
from tnnquant.layers.base import BlobSpec, QuantRole
from tnnquant.layers.concat import Concat
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.pooling import Pooling
from tnnquant.layers.weighted import Weighted, fused_activation
from tnnquant.quantization.plan import QuantPlan
from tnnquant.recipes.best.guards import count_guards, guardable, is_plain, open_taps
from tnnquant.recipes.best.slots import ScaleSlots
from tnnquant.recipes.best.unshift import averages

__all__ = ["guarded_blobs", "guards_of", "highest_codes", "limits", "zero_codes"]

CEILING = 6.0
_LOWEST, _POOLED = -128, -127
_HIGHEST = 127


def zero_codes(
    inference: Inference, plan: QuantPlan, slots: ScaleSlots, copies: Collection[str] = ()
) -> np.ndarray:
    """The code that means 0 in each slot, int64 (slots.count,): 0 where codes cannot be shifted.

    A slot can be shifted if all its blobs are made by convolutions with a ReLU or ReLU6, or pass such codes on by max
    pooling or concat, and are read by int8 convolutions alone, that do not pad or can have guards, and by fp32 average
    pooling. A convolution in fp32 may make them too if int8 layers alone read them: conversion to int8 saturates.
    ``copies`` are blobs made for this (:mod:`tnnquant.recipes.best.shifted_copies`): the code is that of 0 if no value
    were below it.
    """
    graph, specs = inference.graph, inference.specs
    makers, read_in_fp32 = graph.producers(), _read_in_fp32(slots)
    int8 = {graph.nodes[position].name for position in plan.int8}
    zero = np.full(slots.count, _LOWEST, np.int64)
    for blob, of in slots.of.items():
        maker = makers.get(blob)
        if blob in copies:
            continue
        if (
            maker is None
            or blob in graph.outputs
            or (maker.name not in int8 and (blob in read_in_fp32 or not is_plain(maker)))
        ):
            zero[of] = 0
        elif maker.layer.role == QuantRole.PASS:
            zero[of] = np.maximum(zero[of], _POOLED) if isinstance(maker.layer, Pooling) else 0
        elif maker.layer.role == QuantRole.WEIGHTED:
            if fused_activation(maker.layer) not in (RELU, RELU6) or of.size == 1:
                zero[of] = 0
        elif not isinstance(maker.layer, Concat):
            zero[of] = 0
    guarded = guarded_blobs(inference, plan, slots)
    for reader in slots.readers:
        node = reader.node
        if node is not None and not reader.quantized and averages(node):
            continue
        is_weighted = node is not None and reader.quantized and isinstance(node.layer, Weighted)
        if node is None or not is_weighted or (_pads(node, specs) and reader.blob not in guarded):
            zero[slots.of[reader.blob]] = 0
    return zero


def _read_in_fp32(slots: ScaleSlots) -> set[str]:
    return {reader.blob for reader in slots.readers if not reader.quantized}


def guarded_blobs(inference: Inference, plan: QuantPlan, slots: ScaleSlots) -> set[str]:
    """The blobs that a layer with padding reads and that can have guards, should their codes be shifted."""
    makers, specs = inference.graph.producers(), inference.specs
    alone = Counter(slot for of in slots.of.values() for slot in of.tolist())
    readers: dict[str, list] = {}
    for reader in slots.readers:
        readers.setdefault(reader.blob, []).append((reader.node, reader.quantized))
    return {
        blob
        for blob, of in slots.of.items()
        if blob in makers
        and all(alone[slot] == 1 for slot in of.tolist())
        and any(node is not None and quantized and _pads(node, specs) for node, quantized in readers.get(blob, ()))
        and guardable(makers[blob], readers[blob], specs)
    }


def guards_of(
    inference: Inference, plan: QuantPlan, slots: ScaleSlots, zero: np.ndarray, scales: Mapping[str, QuantParams]
) -> dict[str, int]:
    """How many guards each blob needs whose codes are shifted and that a layer with padding reads."""
    readers = inference.graph.consumers()
    return {
        blob: count_guards(readers[blob], scales[blob].scale, inference.specs)
        for blob in sorted(guarded_blobs(inference, plan, slots))
        if zero[slots.of[blob]].any()
    }


def _pads(node: Node, specs: Mapping[str, BlobSpec]) -> bool:
    """Whether a window of the layer, resolved, reaches beyond the input."""
    if not isinstance(node.layer, Convolution):
        return True  # an inner product: its input has one scale, nothing to gain
    return bool(open_taps(node, specs).any())


def highest_codes(zero: np.ndarray) -> np.ndarray:
    """Steps from 0 to the largest code of each slot: 127, 254 or 255."""
    return _HIGHEST - zero


def limits(graph: Graph, slots: ScaleSlots) -> np.ndarray:
    """The largest magnitude that can be met in each slot, float64 (slots.count,): 6 after a ReLU6, else infinite.

    Where saturation replaces the ReLU6, the largest code must not mean more.
    """
    most = np.full(slots.count, np.inf)
    for node in graph.nodes:
        if fused_activation(node.layer) == RELU6 and node.outputs[0] in slots.of:
            most[slots.of[node.outputs[0]]] = CEILING
    return most
