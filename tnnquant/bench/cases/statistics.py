"""What calibration computes: ranges, histograms, thresholds, codes of weights; and the text of samples."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tnnquant.bench.cases.convolution_f32 import random
from tnnquant.bench.operators import OTHER, Operator, Prepared, operator
from tnnquant.kernels import weights_range
from tnnquant.kernels.admm import admm, admm_naive
from tnnquant.kernels.kl import kl_thresholds, kl_thresholds_naive
from tnnquant.kernels.program import data_address
from tnnquant.kernels.stats import abs_sum_naive, abs_sum_op, histogram_naive, histogram_op, range_naive, range_op
from tnnquant.kernels.text import POWERS_OF_TEN, parse_f32
from tnnquant.kernels.walk import BIN_STRIDE, BINS, Walk, histogram_walk, range_walk

_BLOBS = {"2x17x35": (2, 17, 35), "1x64x3136": (1, 64, 3136), "1x512x196": (1, 512, 196)}


def _slots(values: np.ndarray, slot: np.ndarray, walk: Walk, function: np.ufunc, start: np.ndarray) -> np.ndarray:
    """Joins what the tasks and columns of a walk have found to one value per channel."""
    found = start.copy()
    function.at(found, np.repeat(slot, walk.chunks, 0), values)
    return found


@operator("range")
class Range(Operator):
    computes = "Smallest and largest value per channel; returns whether a value is NaN or infinite."
    naive = staticmethod(range_naive)
    cases = _BLOBS
    writes = (-2, -1)

    def make(self, rng: np.random.Generator, *shape: int) -> tuple:
        low = np.full(shape[1], np.inf, np.float32)
        return random(rng, *shape), low, -low

    def builtin(self, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> Prepared:
        walk, slot = range_walk(x, x.shape[1])
        lows = np.full((walk.tasks, walk.columns), np.inf, np.float32)
        highs, flags = -lows, np.zeros(walk.tasks, np.int64)

        def finish() -> None:
            low[:] = _slots(lows, slot, walk, np.minimum, low)
            high[:] = _slots(highs, slot, walk, np.maximum, high)

        op = range_op(walk, data_address(x), lows, highs, flags)
        return Prepared(op, keep=(x, lows, highs, flags), finish=finish)

    def work(self, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> int:
        return x.nbytes


@operator("histogram")
class Histogram(Operator):
    computes = "Histogram of magnitudes with 2048 bins of equal width, per channel."
    naive = staticmethod(histogram_naive)
    cases = _BLOBS

    def make(self, rng: np.random.Generator, *shape: int) -> tuple:
        x = random(rng, *shape)
        return x, np.float32(BINS) / np.abs(x).max(axis=(0, 2)), np.zeros((shape[1], BINS), np.int64)

    def builtin(self, x: np.ndarray, interval: np.ndarray, counts: np.ndarray) -> Prepared:
        walk, histogram, copies = histogram_walk(x, len(interval))
        made = np.zeros((walk.chunks, len(interval) * copies, BIN_STRIDE), np.int32)
        factor = np.ascontiguousarray(interval[histogram // copies])
        tables = factor, np.zeros_like(factor), (histogram * BIN_STRIDE).astype(np.int32)

        def finish() -> None:
            np.copyto(counts, made.reshape(walk.chunks, len(interval), copies, -1).sum(axis=(0, 2))[:, :BINS])

        return Prepared(histogram_op(walk, data_address(x), *tables, made), keep=(x, tables, made), finish=finish)

    def work(self, x: np.ndarray, interval: np.ndarray, counts: np.ndarray) -> int:
        return x.nbytes


@operator("abs_sum")
class AbsSum(Operator):
    computes = "Sum of magnitudes per channel, in float64."
    naive = staticmethod(abs_sum_naive)
    cases = _BLOBS
    tolerance, why = 1e-12, "sums are added in parts"

    def make(self, rng: np.random.Generator, *shape: int) -> tuple:
        return random(rng, *shape), np.zeros(shape[1])

    def builtin(self, x: np.ndarray, sums: np.ndarray) -> Prepared:
        walk, slot = range_walk(x, x.shape[1])
        parts = np.empty((walk.tasks, walk.columns))
        finish = lambda: np.copyto(sums, _slots(parts, slot, walk, np.add, np.zeros_like(sums)))  # noqa: E731
        return Prepared(abs_sum_op(walk, data_address(x), parts), keep=(x, parts), finish=finish)

    def work(self, x: np.ndarray, sums: np.ndarray) -> int:
        return x.nbytes


@operator("kl_thresholds")
class KlThresholds(Operator):
    computes = "For every histogram the clipping threshold of the smallest KL divergence, as a bin."
    naive = staticmethod(kl_thresholds_naive)
    cases = {"9 histograms": (9,), "64 histograms": (64,)}
    unit = OTHER

    def make(self, rng: np.random.Generator, count: int) -> tuple:
        counts = np.zeros((count, BINS + 1), np.int32)
        for i, row in enumerate(counts):
            values = np.abs(rng.standard_normal(40000) if i % 2 else rng.laplace(size=20000))
            row[:BINS] = np.histogram(values, BINS, (0, values.max()))[0]
        return counts, np.zeros(count, np.int32)

    def builtin(self, counts: np.ndarray, thresholds: np.ndarray) -> Prepared:
        return Prepared(call=lambda: kl_thresholds(counts, thresholds))

    def work(self, counts: np.ndarray, thresholds: np.ndarray) -> int:
        return len(counts)


class _Weights(Operator):
    writes: ClassVar[tuple[int, ...]] = (-2, -1)

    def make(self, rng: np.random.Generator, groups: int, n: int) -> tuple:
        return random(rng, groups, n), np.empty((groups, n), np.int8), np.empty(groups, np.float32)


@operator("admm")
class Admm(_Weights):
    computes = "Weights to int8 by ADMM: scale and codes are improved alternately, per group."
    naive = staticmethod(admm_naive)
    cases = {"3 of 100": (3, 100), "17 of 27": (17, 27), "64 of 576": (64, 576)}
    unit = OTHER

    def builtin(self, *args: Any) -> Prepared:
        return Prepared(call=lambda: admm(*args))

    def work(self, weights: np.ndarray, *rest: object) -> int:
        return weights.size


@operator("minmax")
class MinMax(_Weights):
    computes = "Weights to int8 by their largest magnitude, per group."
    naive = staticmethod(weights_range.minmax_naive)
    cases = {"17 of 27": (17, 27), "256 of 1152": (256, 1152)}

    def builtin(self, *args: Any) -> Prepared:
        return Prepared(call=lambda: weights_range.minmax(*args))


@operator("asymmetric")
class Asymmetric(_Weights):
    computes = "Weights to int8 by their smallest and largest value, with a zero point, per group."
    naive = staticmethod(weights_range.asymmetric_naive)
    cases = {"17 of 27": (17, 27), "256 of 1152": (256, 1152)}
    writes = (-3, -2, -1)

    def make(self, rng: np.random.Generator, groups: int, n: int) -> tuple:
        return *super().make(rng, groups, n), np.empty(groups, np.int8)

    def builtin(self, *args: Any) -> Prepared:
        return Prepared(call=lambda: weights_range.asymmetric(*args))


def parse_f32_naive(
    text: np.ndarray, powers: np.ndarray, out: np.ndarray, unsure: np.ndarray, info: np.ndarray
) -> None:
    # text: uint8 (L,), read-only; powers: float64 (81,), POWERS_OF_TEN; out: float32 (N,); unsure: int64 (N, 2),
    # numbers left to the caller, none here; info: int64 (3,), how many numbers, first byte of what is none or -1, rows
    # of unsure
    # Python's own arithmetic; for text in which every number is certain.
    values = [float(token) for token in text.tobytes().split()]
    out[:] = np.array(values, np.float64)
    info[:] = len(values), -1, 0


@operator("parse_f32")
class ParseF32(Operator):
    computes = "Text to float32: numbers between white space."
    naive = staticmethod(parse_f32_naive)
    start = staticmethod(parse_f32)
    cases = {"1001 numbers": (1001, "%.6f"), "150000 numbers": (150_000, "%.7g")}
    writes = (2, 4)

    def make(self, rng: np.random.Generator, count: int, form: str) -> tuple:
        text = "\n".join(form % value for value in rng.standard_normal(count) * 100).encode()
        out, unsure = np.zeros(count, np.float32), np.zeros((count, 2), np.int64)
        return np.frombuffer(text, np.uint8), POWERS_OF_TEN, out, unsure, np.zeros(3, np.int64)

    def builtin(self, *args: Any) -> Prepared:
        return Prepared(call=lambda: parse_f32(*args))

    def work(self, text: np.ndarray, *rest: object) -> int:
        return text.nbytes
