"""What the recipe ``best`` computes: histograms of octaves, errors read off them, rounding by second moments."""

from __future__ import annotations

from typing import Any

import numpy as np

from tnnquant.bench.cases.convolution_f32 import random
from tnnquant.bench.operators import OTHER, Operator, Prepared, operator
from tnnquant.kernels.clipped_shift import clipped_shift, clipped_shift_naive
from tnnquant.kernels.code_moments import centred_moments, centred_moments_naive, code_moments, code_moments_naive
from tnnquant.kernels.mse_range import histogram_errors, histogram_errors_naive
from tnnquant.kernels.nearest_plane import cholesky, cholesky_naive, nearest_plane, nearest_plane_naive
from tnnquant.kernels.octaves import OCTAVE_BINS, octave_histogram_naive, octave_histogram_op
from tnnquant.kernels.program import data_address
from tnnquant.kernels.walk import histogram_walk
from tnnquant.kernels.windows import gathered_windows, gathered_windows_naive, window_sums, window_sums_naive


@operator("octave_histogram")
class OctaveHistogram(Operator):
    computes = "Histogram of magnitudes with 16 bins to a factor of two, per channel."
    naive = staticmethod(octave_histogram_naive)
    cases = {"2x17x35": (2, 17, 35), "1x64x3136": (1, 64, 3136), "1x512x196": (1, 512, 196)}

    def make(self, rng: np.random.Generator, *shape: int) -> tuple:
        return random(rng, *shape), np.zeros((shape[1], OCTAVE_BINS), np.int64)

    def builtin(self, x: np.ndarray, counts: np.ndarray) -> Prepared:
        walk, histogram, copies = histogram_walk(x, x.shape[1])
        base = (histogram * OCTAVE_BINS).astype(np.int32)
        made = np.zeros((walk.chunks, x.shape[1] * copies, OCTAVE_BINS), np.int32)

        def finish() -> None:
            np.copyto(counts, made.reshape(walk.chunks, x.shape[1], copies, -1).sum(axis=(0, 2)))

        op = octave_histogram_op(walk, data_address(x), base, made)
        return Prepared(op, keep=(x, base, made), finish=finish)

    def work(self, x: np.ndarray, counts: np.ndarray) -> int:
        return x.nbytes


@operator("histogram_errors")
class HistogramErrors(Operator):
    computes = "Squared error of many candidate scales: each histogram times rows of a table of errors."
    naive = staticmethod(histogram_errors_naive)
    cases = {"21 slots, 3 scales": (21, 3), "512 slots, 16 scales": (512, 16)}
    tolerance, why = 1e-12, "empty bins at the ends are not added"
    unit = OTHER

    def make(self, rng: np.random.Generator, slots: int, trials: int) -> tuple:
        counts, rows = rng.integers(0, 9, (slots, OCTAVE_BINS)), rng.integers(0, 32, (slots, trials)).astype(np.int32)
        return counts, rows, rng.random((32, OCTAVE_BINS)), np.empty((slots, trials))

    def builtin(self, counts: np.ndarray, rows: np.ndarray, table: np.ndarray, errors: np.ndarray) -> Prepared:
        return Prepared(call=lambda: np.copyto(errors, histogram_errors(counts, rows, table)))

    def work(self, counts: np.ndarray, rows: np.ndarray, table: np.ndarray, errors: np.ndarray) -> int:
        return errors.size * OCTAVE_BINS


@operator("clipped_shift")
class ClippedShift(Operator):
    computes = "A constant per row that brings its sums, once they are clipped, closer to those wanted."
    naive = staticmethod(clipped_shift_naive)
    cases = {"17 x 35": (17, 35, 3), "256 x 1024": (256, 1024, 3)}
    tolerance, why = 1e-12, "sums of double precision may be fused otherwise"
    unit = OTHER

    def make(self, rng: np.random.Generator, rows: int, places: int, rounds: int) -> tuple:
        sums = rng.standard_normal((rows, places))
        wanted = (np.clip(sums, 0, 6) + 0.1 * rng.standard_normal((rows, places))).astype(np.float32)
        return sums, wanted, np.zeros(rows), np.full(rows, 6.0), rounds, np.zeros(rows)

    def builtin(
        self, sums: np.ndarray, wanted: np.ndarray, low: np.ndarray, high: np.ndarray, rounds: int, shift: np.ndarray
    ) -> Prepared:
        return Prepared(call=lambda: np.copyto(shift, clipped_shift(sums, wanted, low, high, rounds)))

    def work(
        self, sums: np.ndarray, wanted: np.ndarray, low: np.ndarray, high: np.ndarray, rounds: int, shift: np.ndarray
    ) -> int:
        return sums.size * rounds


def _moments(rng: np.random.Generator, groups: int, n: int) -> np.ndarray:
    x = rng.standard_normal((groups, 3 * n + 5, n))
    moments: np.ndarray = (np.einsum("gpk,gpl->gkl", x, x) + np.eye(n)).astype(np.float32)
    return moments


@operator("code_moments")
class CodeMoments(Operator):
    computes = "Sums of products of every two columns of int8 codes, on and above the diagonal; exact."
    naive = staticmethod(code_moments_naive)
    # windows, columns
    cases = {"70 of 33": (70, 33), "500 of 144": (500, 144)}

    def make(self, rng: np.random.Generator, windows: int, n: int) -> tuple:
        codes = rng.integers(-128, 128, (windows, n), dtype=np.int8)
        return codes, rng.permutation(n), np.zeros((n, n), np.int32)

    def builtin(self, codes: np.ndarray, columns: np.ndarray, moments: np.ndarray) -> Prepared:
        return Prepared(call=lambda: np.copyto(moments, np.triu(code_moments(codes, columns))))

    def work(self, codes: np.ndarray, columns: np.ndarray, moments: np.ndarray) -> int:
        return len(codes) * columns.size * (columns.size + 1) // 2


@operator("centred_moments")
class CentredMoments(Operator):
    computes = "Second moments less what the means make of them, on and above the diagonal."
    naive = staticmethod(centred_moments_naive)
    # windows, columns
    cases = {"70 of 33": (70, 33), "500 of 144": (500, 144)}

    def make(self, rng: np.random.Generator, windows: int, n: int) -> tuple:
        codes = rng.integers(-128, 128, (windows, n))
        return (codes.T @ codes).astype(np.int32), codes.sum(axis=0) * 1.0, windows, np.zeros((n, n), np.float32)

    def builtin(self, moments: np.ndarray, sums: np.ndarray, windows: int, centred: np.ndarray) -> Prepared:
        return Prepared(call=lambda: np.copyto(centred, np.triu(centred_moments(moments.copy(), sums, windows))))

    def work(self, moments: np.ndarray, sums: np.ndarray, windows: int, centred: np.ndarray) -> int:
        return moments.nbytes


def _rows(rng: np.random.Generator, windows: int, taps: int, pixels: int) -> np.ndarray:
    """Pixels that the taps of windows meet, some of them padding."""
    return rng.integers(-1, pixels, (windows, taps))


@operator("gathered_windows")
class GatheredWindows(Operator):
    computes = "Windows of channels-last maps, copied tap by tap."
    naive = staticmethod(gathered_windows_naive)
    # samples, pixels, channels, windows, taps
    cases = {"2 of 5x9x3": (2, 35, 3, 5, 9), "4 of 196x9x64": (4, 784, 64, 196, 9)}

    def make(
        self, rng: np.random.Generator, samples: int, pixels: int, channels: int, windows: int, taps: int
    ) -> tuple:
        maps = rng.integers(-128, 128, (samples, pixels, channels), dtype=np.int8)
        return maps, _rows(rng, windows, taps, pixels), np.empty((samples, windows, taps, channels), np.int8)

    def builtin(self, pixels: np.ndarray, rows: np.ndarray, windows: np.ndarray) -> Prepared:
        return Prepared(call=lambda: np.copyto(windows, gathered_windows(pixels, rows)))

    def work(self, pixels: np.ndarray, rows: np.ndarray, windows: np.ndarray) -> int:
        return windows.nbytes


@operator("window_sums")
class WindowSums(Operator):
    computes = "Sums over windows of what each tap meets, float64, in the order of the windows."
    naive = staticmethod(window_sums_naive)
    # pixels, channels, windows, taps
    cases = {"5x9x3": (35, 3, 5, 9), "784x9x64": (784, 64, 784, 9)}

    def make(self, rng: np.random.Generator, pixels: int, channels: int, windows: int, taps: int) -> tuple:
        return random(rng, pixels, channels), _rows(rng, windows, taps, pixels), np.zeros((taps, channels))

    def builtin(self, pixels: np.ndarray, rows: np.ndarray, sums: np.ndarray) -> Prepared:
        return Prepared(call=lambda: np.copyto(sums, window_sums(pixels, rows)))

    def work(self, pixels: np.ndarray, rows: np.ndarray, sums: np.ndarray) -> int:
        return int(4 * rows.size * pixels.shape[1])


@operator("cholesky")
class Cholesky(Operator):
    computes = "Cholesky factor, upper triangular, of symmetric positive definite matrices; in place."
    naive = staticmethod(cholesky_naive)
    cases = {"5 of 9x9": (5, 9), "1 of 256x256": (1, 256)}
    unit = OTHER

    def make(self, rng: np.random.Generator, groups: int, n: int) -> tuple:
        return (_moments(rng, groups, n),)

    def builtin(self, h: np.ndarray) -> Prepared:
        return Prepared(call=lambda: cholesky(h))

    def work(self, h: np.ndarray) -> int:
        return h.size


@operator("nearest_plane")
class NearestPlane(Operator):
    computes = "Rounds rows of weights to int8; the weights still to be rounded correct the errors made so far."
    naive = staticmethod(nearest_plane_naive)
    # groups, rows, weights of a row, steps to try
    cases = {"2 of 33x8": (2, 33, 8, 3), "1 of 64x144": (1, 64, 144, 3)}
    writes = (-3, -2, -1)
    unit = OTHER

    def make(self, rng: np.random.Generator, groups: int, rows: int, n: int, trials: int) -> tuple:
        factor = _moments(rng, groups, n)
        cholesky(factor)
        weights = random(rng, groups, rows, n)
        shrunk = np.linspace(1, 0.7, trials, dtype=np.float32)
        steps = np.abs(weights).max(axis=2, keepdims=True) / np.float32(127) * shrunk
        codes, chosen = np.empty(weights.shape, np.int8), np.empty((groups, rows), np.float32)
        return weights, factor, steps, codes, chosen, np.empty((groups, rows), np.float32)

    def builtin(self, *args: Any) -> Prepared:
        return Prepared(call=lambda: nearest_plane(*args))

    def work(self, weights: np.ndarray, *rest: object) -> int:
        return weights.size
