"""How pictures enter a network: planes woven into pixels."""

from __future__ import annotations

import numpy as np

from tnnquant.bench.cases.convolution_f32 import random
from tnnquant.bench.cases.convolution_i8 import codes
from tnnquant.bench.operators import Operator, Prepared, operator
from tnnquant.kernels.interleave import interleave_f32_naive, interleave_i8_naive, interleave_op

_CASES = {"2x3x35": (2, 3, 35), "1x4x35": (1, 4, 35), "1x3x51529": (1, 3, 227 * 227)}


def _flat(x: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The arrays as images of one row."""
    return x[:, :, None], out[:, None]


@operator("interleave_f32")
class InterleaveF32(Operator):
    computes = "float32 planes to pixels: channels-first to channels-last."
    naive = staticmethod(interleave_f32_naive)
    cases = _CASES

    def make(self, rng: np.random.Generator, images: int, channels: int, pixels: int) -> tuple:
        return random(rng, images, channels, pixels), np.empty((images, pixels, channels), np.float32)

    def builtin(self, x: np.ndarray, out: np.ndarray) -> Prepared:
        op, table = interleave_op(*_flat(x, out))
        return Prepared(op, keep=(table,))


@operator("interleave_i8")
class InterleaveI8(Operator):
    computes = "float32 planes to int8 pixels: channels-first to channels-last, quantized per channel."
    naive = staticmethod(interleave_i8_naive)
    cases = _CASES

    def make(self, rng: np.random.Generator, images: int, channels: int, pixels: int) -> tuple:
        scale = rng.uniform(0.01, 0.05, channels).astype(np.float32)
        out = np.empty((images, pixels, channels), np.int8)
        return random(rng, images, channels, pixels), scale, codes(rng, channels) // 2, out

    def builtin(self, x: np.ndarray, scale: np.ndarray, zero: np.ndarray, out: np.ndarray) -> Prepared:
        x, out = _flat(x, out)
        op, table = interleave_op(x, out, scale, zero)
        return Prepared(op, keep=(table,))
