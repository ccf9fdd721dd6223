"""int8 weights and int32 bias of one layer, given the scales of its input (docs/tnn-format.md, 7.7).

TNN's runtime does not use the scale of the input; the weights absorb it: ``ws`` is the scale of the products, and the
bias is stored in units of ``ws``. What is done differently from TNN's tool:

- biases are rounded, half away from zero, instead of cut off toward zero;
- with one scale per layer (``-t 2``) every bias is divided by it; TNN reads beyond it and zeroes most biases;
- a bias beyond 2**30 steps (tiny weights, large bias) raises the scale of its channel until it fits, and does not wrap;
- a channel whose products are all zero (dead weights or dead inputs) gets a scale that holds its bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tnnquant.errors import GraphError
from tnnquant.weights.base import REGISTRY

__all__ = ["LayerWeights", "quantize_layer"]

#: Largest magnitude of a stored bias: half of int32, so that sums of products have as much room again.
BIAS_LIMIT = 2**30
#: Steps that the bias of a channel without products is stored in: more than float32 resolves.
DEAD_BIAS_STEPS = 2**24
TOO_LARGE = "the weights times the scales of the input are beyond the range of float32; check the model"


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """The stored tensors of an int8 layer.

    Attributes
    ----------
    weight : int8, shape of the fp32 weights
    scale : float32 (OC,) or (1,)
        Real units per step of the products: weight scale times input scale.
    zero_point : int8 (OC,) or (1,)
    bias : int32 (OC,) or None
        In units of ``scale``.
    note : str
        What was special, for the report; often empty.
    """

    weight: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    bias: np.ndarray | None
    note: str = ""


def quantize_layer(
    weight: np.ndarray,
    bias: np.ndarray | None,
    input_scale: np.ndarray,
    *,
    method: str,
    merge_type: str,
    groups: int = 1,
) -> LayerWeights:
    """Quantize the weights and bias of a convolution or inner product.

    Parameters
    ----------
    weight : float32 (OC, C/G, KH, KW) or (OC, K)
    bias : float32 (OC,) or None
    input_scale : float32 (1,) or (C,)
        Of the input blob. An inner product's input has one.
    method : str
        Name of a weight method.
    merge_type : {"channel", "mix", "tensor"}
        ``tensor``: one scale for all output channels.
    groups : int

    Raises
    ------
    GraphError
        Weights or biases that are NaN or infinite, a number of input scales that does not fit, or
        products of weights and input scales beyond float32.
    """
    if not np.isfinite(weight).all():
        raise GraphError(f"{int((~np.isfinite(weight)).sum())} weights are NaN or infinite")
    if bias is not None and not np.isfinite(bias).all():
        raise GraphError(f"{int((~np.isfinite(bias)).sum())} biases are NaN or infinite")
    count = weight.shape[0]
    input_scale = input_scale.reshape(-1)
    depthwise = weight.ndim == 4 and weight.shape[1] == 1 and groups == count
    if input_scale.size not in (1, groups * weight.shape[1] if weight.ndim == 4 else 1):
        channels = f" or C = {groups * weight.shape[1]}" if weight.ndim == 4 else ""
        raise GraphError(f"the input has {input_scale.size} scales, expected 1{channels}")
    products = weight if depthwise else fold_input_scale(weight, input_scale, groups)
    rows = products.reshape(1 if merge_type == "tensor" else count, -1)
    # The methods sum up to n products of a weight and a code.
    if not float(np.abs(rows).max(initial=0)) * 127 * rows.shape[1] < float(np.finfo(np.float32).max):
        raise GraphError(TOO_LARGE)
    codes, scale, zero_point = REGISTRY.find(method)(np.ascontiguousarray(rows, np.float32))
    codes = codes.reshape(count, -1)
    if depthwise:
        with np.errstate(over="ignore"):
            scale = (scale * input_scale).astype(np.float32)
            products = weight.reshape(count, -1) * input_scale.reshape(-1, 1)
    if not np.isfinite(scale).all():
        raise GraphError(TOO_LARGE)
    if bias is None:
        return LayerWeights(codes.reshape(weight.shape), scale, zero_point, None)
    fitted, note = fit_scale_to_bias(scale, bias)
    raised = np.broadcast_to((fitted != scale) & (scale != 0), count)
    if raised.any():
        steps = products.reshape(count, -1) / np.broadcast_to(fitted, count)[:, None]
        again = np.trunc(steps + np.copysign(0.5, steps)) + np.broadcast_to(zero_point, count)[:, None]
        codes = np.where(raised[:, None], np.clip(again, -127, 127), codes).astype(np.int8)
    return LayerWeights(codes.reshape(weight.shape), fitted, zero_point, quantize_bias(bias, fitted), note)


def fold_input_scale(weight: np.ndarray, input_scale: np.ndarray, groups: int) -> np.ndarray:
    """``w * scale of the input channel it reads``, float32, of the shape of ``weight``; inf where that is too large.

    Parameters
    ----------
    weight : float32 (OC, C/G, KH, KW) or (OC, K)
    input_scale : float32 (1,) or (C,)
    groups : int
    """
    with np.errstate(over="ignore"):
        if input_scale.size == 1:
            products: np.ndarray = weight * input_scale.reshape(-1)[0]
            return products
        of_group = input_scale.reshape(groups, 1, weight.shape[1], 1, 1)
        grouped: np.ndarray = (weight.reshape(groups, -1, *weight.shape[1:]) * of_group).reshape(weight.shape)
        return grouped


def fit_scale_to_bias(scale: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, str]:
    """Scales in whose units every bias fits an int32, and a note on those that had to change.

    Parameters
    ----------
    scale : float32 (OC,) or (1,)
        0 where all products are 0.
    bias : float32 (OC,)
    """
    peak = np.abs(bias.astype(np.float64))
    peak = peak.max(keepdims=True) if scale.size == 1 else peak
    dead = (scale == 0) & (peak > 0)
    short = ~dead & (peak > scale.astype(np.float64) * BIAS_LIMIT)
    fitted = np.where(dead, peak / DEAD_BIAS_STEPS, np.where(short, peak / BIAS_LIMIT, scale)).astype(np.float32)
    # Powers of two divide without rounding, except among the subnormal numbers.
    fitted = np.where(dead | short, np.maximum(fitted, np.finfo(np.float32).tiny), fitted)
    notes = []
    if dead.any():
        notes.append(f"{int(dead.sum())} dead channels keep their bias")
    if short.any():
        notes.append(f"scale of {int(short.sum())} channels raised so that their bias fits int32")
    return fitted, "; ".join(notes)


def quantize_bias(bias: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """``round(bias / scale)``, halves away from zero, as int32 (OC,); 0 where the scale is 0."""
    safe = np.where(scale == 0, np.float32(1), scale).astype(np.float64)
    steps = np.where(scale == 0, 0.0, bias.astype(np.float64) / safe)
    rounded: np.ndarray = np.trunc(steps + np.copysign(0.5, steps)).astype(np.int32)
    return rounded
