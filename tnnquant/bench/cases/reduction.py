"""Along one axis: reductions, softmax, normalizations, LSTM."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tnnquant.bench.cases.convolution_f32 import random
from tnnquant.bench.operators import FP32_MACS, OTHER, Operator, Prepared, operator
from tnnquant.kernels import reduce
from tnnquant.kernels.lstm_f32 import lstm_f32, lstm_f32_naive, pack_lstm_f32
from tnnquant.kernels.moments import (
    affine_f64,
    affine_f64_naive,
    layer_norm_f32,
    layer_norm_f32_naive,
    moments_f32,
    moments_f32_naive,
)
from tnnquant.kernels.reduce import reduce_f32_naive, reduce_f32_op
from tnnquant.kernels.softmax import softmax_f32_naive, softmax_f32_op

_ORDER = "sums are added in parts"


@operator("reduce_f32")
class ReduceF32(Operator):
    computes = "Sum (times a factor), maximum or minimum along the middle axis; float32."
    codes: ClassVar = {"code": {"SUM": reduce.SUM, "MAX": reduce.MAX, "MIN": reduce.MIN}}
    naive = staticmethod(reduce_f32_naive)
    cases = {
        "SUM 5x33x7": (reduce.SUM, (5, 33, 7)),
        "MAX 5x33x1": (reduce.MAX, (5, 33, 1)),
        "MIN 5x33x7": (reduce.MIN, (5, 33, 7)),
        "SUM 64x3136x1": (reduce.SUM, (64, 3136, 1)),
        "MAX 1x3136x64": (reduce.MAX, (1, 3136, 64)),
    }

    def make(self, rng: np.random.Generator, code: int, shape: tuple[int, ...]) -> tuple:
        return code, random(rng, *shape), np.float32(0.3), np.empty((shape[0], shape[2]), np.float32)

    def builtin(self, code: int, x: np.ndarray, factor: np.float32, out: np.ndarray) -> Prepared:
        return Prepared(reduce_f32_op(code, x, float(factor), out))


@operator("softmax_f32")
class SoftmaxF32(Operator):
    computes = "Softmax along the middle axis, the largest value subtracted first; float32."
    naive = staticmethod(softmax_f32_naive)
    cases = {"5x33x7": ((5, 33, 7),), "1x1000x1": ((1, 1000, 1),), "196x196x1": ((196, 196, 1),),
             "1x21x10000": ((1, 21, 10000),)}  # fmt: skip
    tolerance, why = 1e-6, "an exponential may be off by a last bit"
    unit = OTHER

    def make(self, rng: np.random.Generator, shape: tuple[int, ...]) -> tuple:
        return random(rng, *shape), np.empty(shape, np.float32)

    def builtin(self, x: np.ndarray, out: np.ndarray) -> Prepared:
        return Prepared(softmax_f32_op(x, out))

    def work(self, x: np.ndarray, out: np.ndarray) -> int:
        return x.size


@operator("moments_f32")
class MomentsF32(Operator):
    computes = "Sum and sum of squares along the middle axis, in float64."
    naive = staticmethod(moments_f32_naive)
    cases = {"5x33x7": ((5, 33, 7),), "64x3136x1": ((64, 3136, 1),), "1x3136x64": ((1, 3136, 64),)}
    tolerance, why = 1e-12, _ORDER

    def make(self, rng: np.random.Generator, shape: tuple[int, ...]) -> tuple:
        return random(rng, *shape), np.empty((2, shape[0], shape[2]))

    def builtin(self, x: np.ndarray, sums: np.ndarray) -> Prepared:
        made: list[np.ndarray] = []

        def call() -> None:
            made[:] = [moments_f32(x)]

        return Prepared(call=call, finish=lambda: np.copyto(sums, made[0]))


@operator("affine_f64")
class AffineF64(Operator):
    computes = "x * k + b, computed in float64 and rounded to float32."
    naive = staticmethod(affine_f64_naive)
    cases = {"5x33x7": ((5, 33, 7),), "64x3136x1": ((64, 3136, 1),), "1x3136x64": ((1, 3136, 64),)}

    def make(self, rng: np.random.Generator, shape: tuple[int, ...]) -> tuple:
        k, b = rng.standard_normal((2, shape[0], shape[2]))
        return random(rng, *shape), k, b, np.empty(shape, np.float32)

    def builtin(self, x: np.ndarray, k: np.ndarray, b: np.ndarray, out: np.ndarray) -> Prepared:
        return Prepared(call=lambda: affine_f64(x, k, b, out))


@operator("layer_norm_f32")
class LayerNormF32(Operator):
    computes = "Layer normalization of every row: minus its mean, divided by its deviation, times k plus b; float32."
    naive = staticmethod(layer_norm_f32_naive)
    cases = {"5x33": (5, 33), "197x768": (197, 768)}
    tolerance, why = 1e-6, _ORDER

    def make(self, rng: np.random.Generator, rows: int, n: int) -> tuple:
        return random(rng, rows, n), random(rng, n), random(rng, n), np.float32(1e-5), np.empty((rows, n), np.float32)

    def builtin(self, x: np.ndarray, k: np.ndarray, b: np.ndarray, eps: np.float32, out: np.ndarray) -> Prepared:
        return Prepared(call=lambda: layer_norm_f32(x, k, b, float(eps), out))


@operator("lstm_f32")
class LstmF32(Operator):
    computes = "LSTM layer in one or both directions; float32."
    naive = staticmethod(lstm_f32_naive)
    # steps, batch, inputs, hidden, directions, whether the only direction runs backwards
    cases = {"7 steps 5-33": (7, 1, 5, 33, 1, True), "both directions": (4, 9, 8, 31, 2, False),
             "40 steps 64-128": (40, 1, 64, 128, 1, False)}  # fmt: skip
    writes = (-3, -2, -1)
    tolerance, why = 1e-5, "a fused multiply-add rounds once, and exponentials may be off by a last bit"
    unit = FP32_MACS

    def make(
        self, rng: np.random.Generator, steps: int, batch: int, length: int, hidden: int, dirs: int, reverse: bool
    ) -> tuple:
        def small(*shape: int) -> np.ndarray:
            return random(rng, *shape) * np.float32(0.7)

        # Larger recurrent weights would make differences grow from step to step.
        recurrent = small(dirs, 4 * hidden, hidden) / np.float32(np.sqrt(hidden))
        weights = small(dirs, 4 * hidden, length), recurrent, small(dirs, 8 * hidden)
        state, y = (small(dirs, batch, hidden) for _ in range(2)), np.empty((steps, batch, dirs * hidden), np.float32)
        return small(steps, batch, length), *weights, np.array([reverse, True][:dirs]), *state, y

    def builtin(
        self, x: np.ndarray, w: np.ndarray, r: np.ndarray, b: np.ndarray, reverse: np.ndarray, h: np.ndarray,
        c: np.ndarray, y: np.ndarray,
    ) -> Prepared:  # fmt: skip
        packed = pack_lstm_f32(w, r, b)
        return Prepared(call=lambda: lstm_f32(x, packed, bool(reverse[0]), h, c, y))

    def work(
        self, x: np.ndarray, w: np.ndarray, r: np.ndarray, b: np.ndarray, reverse: np.ndarray, h: np.ndarray,
        c: np.ndarray, y: np.ndarray,
    ) -> int:  # fmt: skip
        return int(x.shape[0] * x.shape[1] * (w.size + r.size))
