"""int8 weights by second-order rounding, for the codes the layer really reads; biases that undo the mean error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tnnquant.recipes.best.layer_input import Moments
from tnnquant.weights.layer import LayerWeights, fit_scale_to_bias, fold_input_scale, quantize_bias

__all__ = ["CLIPS", "corrected_bias", "moved_bias", "offset_bias", "round_layer", "shifted_bias"]

#: Steps that are tried, as shares of max|w| / 127: a smaller step clips the largest weights.
CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7)
#: Of layers with this many weights or more to an output, every other of these steps is tried: each costs as many
#: products as the square of that, and among so many weights the best step differs little.
_MANY = 2048
#: Added to the diagonal of the second moments: share of its mean, for plenty of windows; more for fewer than needed.
_DAMPING = 0.01
_ENOUGH = 4
#: Rounds in which biases are moved.
_ROUNDS = 4


def round_layer(
    weight: np.ndarray,
    bias: np.ndarray | None,
    input_scale: np.ndarray,
    moments: Moments,
    least: np.ndarray | float = 0.0,
    clips: tuple[float, ...] = CLIPS,
    repeated: np.ndarray | None = None,
) -> LayerWeights:
    """Quantize the weights of a convolution or inner product.

    Parameters
    ----------
    weight : float32 (OC, C/G, KH, KW) or (OC, K)
    bias : float32 (OC,) or None
    input_scale : float32 (1,) or (C,)
    moments : Moments
        Of the int8 codes of the input; overwritten.
    least : float32 (OC,) or float
        Steps below this are not tried.
    clips : tuple of float
        Steps that are tried, as shares of max|w| / 127.
    repeated : int64 (n,) or None
        Which output each of the last n makes once more (:mod:`tnnquant.recipes.best.repeats`). Their mean is what
        counts, so that each makes up for what rounding did to those before it.

    Notes
    -----
    What the layer stores is ``weight * input scale``, whose products with the codes it adds up.
    """
    count, groups = weight.shape[0], len(moments.values)
    products = fold_input_scale(weight, input_scale.reshape(-1), groups).reshape(groups, count // groups, -1)
    clips = clips[::2] if products.shape[2] >= _MANY else clips
    limits = np.broadcast_to(least, count).reshape(groups, -1)
    codes, scale = _best_codes(products, limits, clips, moments, repeated)
    codes, scale = codes.reshape(count, -1), scale.reshape(-1)
    if bias is None:
        return LayerWeights(codes.reshape(weight.shape), scale, np.zeros(count, np.int8), None)
    fitted, note = fit_scale_to_bias(scale, bias)
    raised = (fitted != scale) & (scale != 0)
    if raised.any():
        again = np.rint(products.reshape(count, -1) / np.where(fitted > 0, fitted, 1)[:, None])
        codes = np.where(raised[:, None], np.clip(again, -127, 127), codes).astype(np.int8)
    zero = np.zeros(count, np.int8)
    return LayerWeights(codes.reshape(weight.shape), fitted, zero, quantize_bias(bias, fitted), note)


def _best_codes(
    products: np.ndarray, least: np.ndarray, clips: tuple[float, ...], moments: Moments, repeated: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Codes, int8 (G, rows, K), and scales, float32 (G, rows), of products float32 (G, rows, K)."""
    from tnnquant.kernels.nearest_plane import cholesky

    groups, rows, n = products.shape
    factor, order = np.ascontiguousarray(moments.values), moments.order
    diagonal = np.einsum("gkk->gk", factor)
    damping = _DAMPING * max(1.0, _ENOUGH * n / max(moments.windows, 1)) * diagonal.mean(axis=1)
    factor[:, np.arange(n), np.arange(n)] += np.where(damping > 0, damping, 1.0)[:, None]
    cholesky(factor)
    if repeated is None or not len(repeated):
        return _nearest(products, least, clips, factor, order)
    first = groups * rows - len(repeated)
    made = np.append(np.arange(first), repeated)
    # How many copies of what an output makes come before it.
    number = np.array([np.count_nonzero(made[:i] == output) for i, output in enumerate(made)])
    codes, chosen = np.zeros(products.shape, np.int8), np.zeros((groups, rows), np.float32)
    owed = np.zeros((first, n), np.float32)
    for copy in range(int(number.max()) + 1):
        outputs = np.flatnonzero(number == copy)
        group, row = outputs // rows, outputs % rows
        target = products[group, row] + owed[made[outputs]]
        if groups == 1:
            found = _nearest(target[None], least[:, row], clips, factor, order)
        else:
            found = _nearest(target[:, None], least[group, row][:, None], clips, factor[group], order[group])
        codes[group, row], chosen[group, row] = found[0].reshape(-1, n), found[1].reshape(-1)
        owed[made[outputs]] = target - codes[group, row] * chosen[group, row][:, None]
    return codes, chosen


def _nearest(
    products: np.ndarray, least: np.ndarray, clips: tuple[float, ...], factor: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`_best_codes`, of products that have nothing to do with each other."""
    from tnnquant.kernels.nearest_plane import nearest_plane

    steps = np.abs(products).max(axis=2, keepdims=True) / 127 * np.array(clips, np.float32)
    steps = np.ascontiguousarray(np.maximum(steps, least[:, :, None]), np.float32)
    sorted_products = np.ascontiguousarray(np.take_along_axis(products, order[:, None, :], 2), np.float32)
    sorted_codes = np.zeros(products.shape, np.int8)
    chosen, error = np.zeros((2, *products.shape[:2]), np.float32)
    nearest_plane(sorted_products, np.ascontiguousarray(factor), steps, sorted_codes, chosen, error)
    codes = np.zeros(products.shape, np.int8)
    np.put_along_axis(codes, np.broadcast_to(order[:, None, :], codes.shape), sorted_codes, 2)
    return codes, chosen


def corrected_bias(
    weight: np.ndarray, bias: np.ndarray, result: LayerWeights, mean_input: np.ndarray, mean_codes: np.ndarray
) -> LayerWeights:
    """Give the bias that makes the mean output (before the activation) that of the fp32 network.

    Parameters
    ----------
    weight : float32 (OC, C/G, KH, KW) or (OC, K)
    bias : float32 (OC,)
    result : LayerWeights
        Of :func:`round_layer`.
    mean_input, mean_codes : float64 (G, K)
        Mean window of the input, in fp32 and as the codes of the int8 network.
    """
    count, groups = weight.shape[0], mean_input.shape[0]
    wanted = np.einsum("gok,gk->go", weight.reshape(groups, count // groups, -1).astype(np.float64), mean_input)
    have = np.einsum("gok,gk->go", result.weight.reshape(groups, count // groups, -1).astype(np.float64), mean_codes)
    target = bias + wanted.reshape(-1) - have.reshape(-1) * result.scale
    fitted = quantize_bias(np.clip(target, *_bounds(result.scale)), result.scale)
    dead = result.scale == 0
    assert result.bias is not None  # every layer has one (network.py)
    return replace(result, bias=np.where(dead, result.bias, fitted).astype(np.int32))


def moved_bias(
    result: LayerWeights, sums: np.ndarray, wanted: np.ndarray, lower: np.ndarray, low: np.ndarray, high: np.ndarray
) -> LayerWeights:
    """Move the biases so that what the activation leaves of the outputs comes closer to fp32.

    The mean output before the activation is mostly that of places where the activation cuts it off: an error there
    does nothing, and a bias that makes up for it does harm elsewhere.

    Parameters
    ----------
    result : LayerWeights
        With a bias for the codes as they are.
    sums : float64 (OC, windows)
        Of products of codes, without the bias.
    wanted : float32 (OC, windows)
        Outputs of the fp32 layer, after the activation.
    lower : float64 (OC,) or (1,)
        What the outputs are lower by for all 256 codes (:mod:`tnnquant.recipes.best.full_range`), at most 0.
    low, high : float64 (OC,) or (1,)
        Values that the activation, or saturation, cuts off.
    """
    from tnnquant.kernels.clipped_shift import clipped_shift

    assert result.bias is not None  # every layer has one (network.py)
    count, step = len(sums), result.scale.astype(np.float64)
    low, high = (np.ascontiguousarray(np.broadcast_to(limit, count), np.float64) for limit in (low, high))
    values = (sums + result.bias[:, None]) * step[:, None] - np.broadcast_to(lower, count)[:, None]
    shift = clipped_shift(np.ascontiguousarray(values), wanted, low, high, _ROUNDS)
    return offset_bias(result, shift)


def offset_bias(result: LayerWeights, offset: np.ndarray) -> LayerWeights:
    """Add to the biases, float64 (OC,), in units of the output."""
    assert result.bias is not None
    target = result.bias * result.scale.astype(np.float64) + offset
    fitted = quantize_bias(np.clip(target, *_bounds(result.scale)), result.scale)
    return replace(result, bias=np.where(result.scale == 0, result.bias, fitted).astype(np.int32))


def shifted_bias(result: LayerWeights, zero: np.ndarray, groups: int) -> LayerWeights:
    """Give the bias for an input whose codes ``zero``, int64 (1,) or (C,), mean 0: ``bias - sum of codes * zero``."""
    if not zero.any():
        return result
    codes = result.weight.reshape(groups, -1, result.weight.shape[1], int(np.prod(result.weight.shape[2:])))
    of_input = np.broadcast_to(zero, groups * result.weight.shape[1]).reshape(groups, -1)
    shift = np.einsum("goc,gc->go", codes.sum(axis=3, dtype=np.int64), of_input).reshape(-1)
    return replace(result, bias=(result.bias - shift).astype(np.int32))


def _bounds(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The biases that fit an int32 in units of the scale."""
    most = scale.astype(np.float64) * 2**30
    return -most, most
