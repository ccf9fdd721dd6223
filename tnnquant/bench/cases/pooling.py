"""Pooling, fp32 and int8."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tnnquant.bench.cases.convolution_f32 import random
from tnnquant.bench.cases.convolution_i8 import codes
from tnnquant.bench.operators import Operator, Prepared, operator
from tnnquant.kernels.geometry import PoolGeometry
from tnnquant.kernels.pool_f32 import ADAPTIVE_AVERAGE, AVERAGE, MAX, pool2d_f32_naive, pool2d_f32_op
from tnnquant.kernels.pool_i8 import pool2d_i8_naive, pool2d_i8_op

_CASES = {
    "max 3x3/2 odd sizes": ((2, 9, 11, 17), PoolGeometry(3, 3, 2, 2, 1, 0), (5, 6), MAX),
    "average 2x3 odd sizes": ((2, 7, 7, 33), PoolGeometry(2, 3, 3, 2, 1, 1), (3, 4), AVERAGE),
    "max 3x3/2 64 at 113": ((1, 113, 113, 64), PoolGeometry(3, 3, 2, 2), (56, 56), MAX),
    "max 3x3/2 256 at 28": ((1, 28, 28, 256), PoolGeometry(3, 3, 2, 2), (14, 14), MAX),
    "average of 14x14, 1000": ((1, 14, 14, 1000), PoolGeometry(14, 14), (1, 1), AVERAGE),
}


@operator("pool2d_f32")
class Pool2dF32(Operator):
    computes = "Maximum or average of a sliding window, or of an even partition (adaptive); float32."
    codes: ClassVar = {"kind": {"MAX": MAX, "AVERAGE": AVERAGE, "ADAPTIVE_AVERAGE": ADAPTIVE_AVERAGE}}
    naive = staticmethod(pool2d_f32_naive)
    cases = {**_CASES, "adaptive 7x5 to 3x2": ((1, 7, 5, 19), PoolGeometry(0, 0), (3, 2), ADAPTIVE_AVERAGE)}

    def make(
        self, rng: np.random.Generator, image: tuple[int, ...], geometry: PoolGeometry, out_size: tuple[int, int],
        kind: int,
    ) -> tuple:  # fmt: skip
        return random(rng, *image), geometry, kind, np.empty((image[0], *out_size, image[3]), np.float32)

    def builtin(self, x: np.ndarray, geometry: PoolGeometry, kind: int, out: np.ndarray) -> Prepared:
        return Prepared(pool2d_f32_op(x, geometry, kind, out))


@operator("pool2d_i8")
class Pool2dI8(Operator):
    computes = "Maximum or average of a sliding window; int8 codes."
    codes: ClassVar = {"kind": {"MAX": MAX, "AVERAGE": AVERAGE}}
    naive = staticmethod(pool2d_i8_naive)
    cases = _CASES

    def make(
        self, rng: np.random.Generator, image: tuple[int, ...], geometry: PoolGeometry, out_size: tuple[int, int],
        kind: int,
    ) -> tuple:  # fmt: skip
        return codes(rng, image), geometry, kind, np.empty((image[0], *out_size, image[3]), np.int8)

    def builtin(self, x: np.ndarray, geometry: PoolGeometry, kind: int, out: np.ndarray) -> Prepared:
        return Prepared(pool2d_i8_op(x, geometry, kind, out))
