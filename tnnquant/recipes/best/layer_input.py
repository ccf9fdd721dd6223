"""The codes that one weighted layer reads, and what rounding its weights needs to know of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tnnquant.graph import Node
from tnnquant.layers.weighted import Weighted
from tnnquant.recipes.best.patches import mean_codes, windows_of

__all__ = ["LayerInput", "Moments"]

#: Rows of integers whose products float32 sums exactly: 1024 * 128 * 128 = 2**24.
_EXACT_ROWS = 1024


class Moments:
    """Second moments of what a layer reads, less the mean: what the weights do to the mean is left to the bias.

    Attributes
    ----------
    values : float32 (G, K, K)
        Sums of products, of the columns in ``order``; the upper triangle. Whoever rounds with them overwrites them.
    order : int64 (G, K)
        Columns by rising second moment, in the order of the layer's weights.
    windows : int
        How many windows the sums are of.
    """

    def __init__(self, values: np.ndarray, order: np.ndarray, windows: int):
        self.values, self.order, self.windows = values, order, windows

    @classmethod
    def none(cls, length: int, windows: int) -> Moments:
        """Of inputs that have nothing to do with each other, so that weights are rounded to the nearest."""
        return cls(np.eye(length, dtype=np.float32)[None], np.arange(length)[None], windows)


class LayerInput:
    """The codes that one layer reads, over all samples.

    Parameters
    ----------
    node : Node
    array : int8 (samples, C, H, W), or (items, ...) for an inner product
    out_dims : (1, OC, OH, OW)
    windows : int
        Windows per sample, at most.
    outputs : int
        Windows per sample, at most, whose sums are asked for.

    Attributes
    ----------
    mean : float64 (G, K)
        Mean window, in the order of the weights.
    """

    def __init__(
        self, node: Node, array: np.ndarray, out_dims: Sequence[int], windows: int, outputs: int = 128
    ):
        self._source = node, array, out_dims, outputs
        self._codes = windows_of(node, array, out_dims, windows)
        self._groups = node.layer.expect(Weighted).groups
        self.mean = mean_codes(node, self._codes)

    def sums(self, weight: np.ndarray) -> np.ndarray:
        """What the layer adds up with some weights, without its bias, exact, float64 (OC, windows).

        Parameters
        ----------
        weight : int8 (OC, C/G, ...)
        """
        codes = windows_of(*self._source)
        count, taps, channels = codes.shape
        rows = weight.reshape(self._groups, -1, channels // self._groups, taps).astype(np.float32)
        if self._groups == channels:  # few products: float32 sums them exactly
            totals = np.zeros((rows.shape[1], count, channels), np.float32)
            for tap in range(taps):
                totals += codes[:, tap] * rows[:, :, 0, tap].T[:, None]
            return totals.transpose(2, 0, 1).reshape(-1, count).astype(np.float64)
        if self._groups == 1:
            return _products(codes.reshape(count, -1), rows[0].transpose(0, 2, 1).reshape(len(rows[0]), -1))
        total = np.zeros((self._groups, rows.shape[1], count))
        columns = codes.transpose(2, 1, 0).reshape(self._groups, -1, count).astype(np.float32)
        flat = rows.reshape(self._groups, rows.shape[1], -1)
        for first in range(0, flat.shape[2], _EXACT_ROWS):
            part = slice(first, first + _EXACT_ROWS)
            total += np.matmul(flat[:, :, part], columns[:, part])
        return total.reshape(-1, count)

    def moments(self, guards: int) -> Moments:
        """Second moments; with guard channels (:mod:`tnnquant.recipes.best.guards`) those of ``code - guard``.

        Parameters
        ----------
        guards : int
            How many of the channels, the last ones, are guards: they have no columns.
        """
        codes = self._codes
        if guards:
            guard = codes[:, :, -1:].astype(np.int16)
            # What is subtracted from all of a column does not matter.
            codes = np.clip(codes[:, :, :-guards] - guard - 128, -128, 127).astype(np.int8)
        count, taps, channels = codes.shape
        if self._groups == 1:
            return self._dense(codes.reshape(count, taps * channels), taps, channels)
        if self._groups == channels:
            return self._depthwise(codes)
        # (windows, taps, G, C/G) -> (G, windows, C/G * taps)
        codes = codes.reshape(count, taps, self._groups, -1).transpose(2, 0, 3, 1).reshape(self._groups, count, -1)
        sums, total = codes.sum(axis=1, dtype=np.float64), 0.0
        for first in range(0, count, _EXACT_ROWS):
            part = codes[:, first : first + _EXACT_ROWS].astype(np.float32)
            total = total + np.matmul(part.transpose(0, 2, 1), part)
        return _sorted(total - sums[:, :, None] * sums[:, None, :] / count, count)

    @staticmethod
    def _depthwise(codes: np.ndarray) -> Moments:
        from tnnquant.kernels.tap_moments import MOST_WINDOWS, tap_moments

        codes = codes[:MOST_WINDOWS]
        sums = codes.sum(axis=0, dtype=np.int64).T.astype(np.float64)
        return _sorted(tap_moments(codes) - sums[:, :, None] * sums[:, None, :] / len(codes), len(codes))

    @staticmethod
    def _dense(codes: np.ndarray, taps: int, channels: int) -> Moments:
        """For one group: columns are sorted before they are multiplied, so that one matrix is enough."""
        from tnnquant.kernels.code_moments import centred_moments, code_moments, column_sums

        count, length = codes.shape
        sums, squares = (found.astype(np.float64) for found in column_sums(codes))
        # Columns are (tap, channel) here and (channel, tap) in the weights: ties go by the latter.
        weights = np.arange(length).reshape(taps, channels).T.reshape(-1)
        sorted_weights = np.argsort((squares - sums**2 / count)[weights], kind="stable")
        columns = weights[sorted_weights]
        values = centred_moments(code_moments(codes, columns), sums[columns], count)
        return Moments(values[None], sorted_weights[None], count)


def _products(codes: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``weight @ codes.T``, exact, float64 (OC, windows), on as many cores as kernels use: a BLAS takes more."""
    from tnnquant.kernels.gemm_f32 import gemm_f32
    from tnnquant.kernels.pack_f32 import pack_inner_product_f32

    values = codes.astype(np.float32)
    total, out = np.zeros((len(codes), len(weight))), np.empty((len(codes), len(weight)), np.float32)
    for first in range(0, weight.shape[1], _EXACT_ROWS):
        part = slice(first, first + _EXACT_ROWS)
        total += gemm_f32(values[:, part], pack_inner_product_f32(np.ascontiguousarray(weight[:, part])), 0, out)
    return np.ascontiguousarray(total.T)


def _sorted(moments: np.ndarray, windows: int) -> Moments:
    """Of small matrices, float64 (G, K, K)."""
    order = np.argsort(np.einsum("gkk->gk", moments), axis=1, kind="stable")
    moments = np.take_along_axis(np.take_along_axis(moments, order[:, :, None], 1), order[:, None, :], 2)
    return Moments(moments.astype(np.float32), order, windows)
