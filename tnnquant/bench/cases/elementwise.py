"""Element by element: functions, sums and products, parameters per channel; int8 borders and sums."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tnnquant.bench.cases.convolution_f32 import random
from tnnquant.bench.cases.convolution_i8 import codes
from tnnquant.bench.operators import Operator, Prepared, operator
from tnnquant.kernels import channelwise, eltwise
from tnnquant.kernels.channelwise import channel_f32_naive, channel_f32_op, channel_table
from tnnquant.kernels.eltwise import binary_f32_naive, binary_f32_op, map_f32_naive, map_f32_op
from tnnquant.kernels.eltwise_i8 import (
    Scales,
    add_i8_naive,
    add_i8_op,
    bordered_i8_naive,
    bordered_i8_ops,
    dequantize_i8_naive,
    dequantize_i8_op,
    quantize_i8_naive,
    quantize_i8_op,
)

_FUNCTIONS = ("CLIP", "HARD_SWISH", "SIGMOID", "SWISH", "ELU", "EXP", "LOG", "ERF", "GELU")
_NAMES = (
    "BOUND", "CLIP", "GATE", "HARD_SWISH", "HARD_SIGMOID", "SIGMOID", "SWISH", "ELU", "SELU", "EXP", "LOG",
    "LOG_SIGMOID", "SOFTPLUS", "ERF", "GELU", "FAST_ERF", "FAST_GELU",
)  # fmt: skip
_PIXELS = {"odd sizes": (35, 17), "64 at 56": (56 * 56, 64), "1000 values": (1, 1000)}


@operator("map_f32")
class MapF32(Operator):
    computes = "A function of every element, float32: clip, sigmoid, exp, GELU and so on, by its code."
    codes: ClassVar = {"code": {name: getattr(eltwise, name) for name in _NAMES}}
    naive = staticmethod(map_f32_naive)
    cases = {
        **{f"{name} 1001": (getattr(eltwise, name), 1001) for name in _FUNCTIONS},
        **{f"{name} 200000": (getattr(eltwise, name), 200_000) for name in ("CLIP", "HARD_SWISH", "SIGMOID", "GELU")},
    }
    tolerance, why = 1e-6, "an exponential may be off by a last bit"

    def make(self, rng: np.random.Generator, code: int, size: int) -> tuple:
        x = random(rng, size)
        x = np.abs(x) if code == eltwise.LOG else x
        return code, x, np.float32(0.2), np.float32(0.5), np.empty(size, np.float32)

    def builtin(self, code: int, x: np.ndarray, a: np.float32, b: np.float32, out: np.ndarray) -> Prepared:
        return Prepared(map_f32_op(code, x, float(a), float(b), out))


@operator("binary_f32")
class BinaryF32(Operator):
    computes = "Sum, difference, product or quotient of two float32 arrays, element by element."
    codes: ClassVar = {"code": {"ADD": eltwise.ADD, "SUB": eltwise.SUB, "MUL": eltwise.MUL, "DIV": eltwise.DIV}}
    naive = staticmethod(binary_f32_naive)
    cases = {
        "ADD 2x5x33": (eltwise.ADD, (2, 5, 33)),
        "DIV 2x5x33": (eltwise.DIV, (2, 5, 33)),
        "ADD 56x56x64": (eltwise.ADD, (56, 56, 64)),
        "MUL 56x56x64": (eltwise.MUL, (56, 56, 64)),
    }

    def make(self, rng: np.random.Generator, code: int, shape: tuple[int, ...]) -> tuple:
        return code, random(rng, *shape), random(rng, *shape), np.empty(shape, np.float32)

    def builtin(self, code: int, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Prepared:
        return Prepared(binary_f32_op(code, a, b, out))


@operator("channel_f32")
class ChannelF32(Operator):
    computes = "A multiple and an offset per channel (x * k + b), or PReLU with a slope per channel; float32."
    codes: ClassVar = {"code": {"AFFINE": channelwise.AFFINE, "PRELU": channelwise.PRELU}}
    naive = staticmethod(channel_f32_naive)
    cases = {
        "AFFINE 2x17x35": (channelwise.AFFINE, (2, 17, 35)),
        "PRELU 2x17x35": (channelwise.PRELU, (2, 17, 35)),
        "AFFINE 1x64x3136": (channelwise.AFFINE, (1, 64, 3136)),
        "PRELU 1x64x3136": (channelwise.PRELU, (1, 64, 3136)),
    }

    def make(self, rng: np.random.Generator, code: int, shape: tuple[int, ...]) -> tuple:
        k, b = random(rng, shape[1]), random(rng, shape[1])
        return code, random(rng, *shape), k, b, np.empty(shape, np.float32)

    def builtin(self, code: int, x: np.ndarray, k: np.ndarray, b: np.ndarray, out: np.ndarray) -> Prepared:
        table = channel_table(k, b)
        return Prepared(channel_f32_op(code, x, table, out), keep=(table,))


def _scales(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(0.01, 0.05, shape).astype(np.float32), codes(rng, shape) // 2


def _image(array: np.ndarray) -> np.ndarray:
    return array.reshape(1, 1, *array.shape)


@operator("quantize_i8")
class QuantizeI8(Operator):
    computes = "float32 to int8: x / scale + zero, rounded half away from zero and clamped to -128..127, per channel."
    naive = staticmethod(quantize_i8_naive)
    cases = _PIXELS

    def make(self, rng: np.random.Generator, pixels: int, channels: int) -> tuple:
        return random(rng, pixels, channels), *_scales(rng, channels), np.empty((pixels, channels), np.int8)

    def builtin(self, x: np.ndarray, scale: np.ndarray, zero: np.ndarray, out: np.ndarray) -> Prepared:
        op, table = quantize_i8_op(_image(x), Scales(scale, zero), _image(out))
        return Prepared(op, keep=(table,))


@operator("bordered_i8")
class BorderedI8(Operator):
    computes = "float32 and a bias to int8, within a border that is what 0 would be; per channel."
    naive = staticmethod(bordered_i8_naive)
    # height, width, channels, rows above, columns on the left; as many below and on the right, less one
    cases = {"5x7x3": (5, 7, 3, 1, 1), "odd border": (6, 5, 17, 2, 1), "224x224x3": (224, 224, 3, 3, 3)}

    def make(self, rng: np.random.Generator, height: int, width: int, channels: int, top: int, left: int) -> tuple:
        out = np.empty((height + 2 * top - 1, width + 2 * left - 1, channels), np.int8)
        return random(rng, height, width, channels), random(rng, channels), *_scales(rng, channels), top, left, out

    def builtin(
        self, x: np.ndarray, bias: np.ndarray, scale: np.ndarray, zero: np.ndarray, top: int, left: int,
        out: np.ndarray,
    ) -> Prepared:  # fmt: skip
        ops, keep = bordered_i8_ops(x[None], bias, Scales(scale, zero), (top, left), out[None])
        return Prepared(ops, keep=tuple(keep))


@operator("dequantize_i8")
class DequantizeI8(Operator):
    computes = "int8 to float32: scale * (x - zero), per channel."
    naive = staticmethod(dequantize_i8_naive)
    cases = _PIXELS

    def make(self, rng: np.random.Generator, pixels: int, channels: int) -> tuple:
        return codes(rng, (pixels, channels)), *_scales(rng, channels), np.empty((pixels, channels), np.float32)

    def builtin(self, x: np.ndarray, scale: np.ndarray, zero: np.ndarray, out: np.ndarray) -> Prepared:
        op, table = dequantize_i8_op(_image(x), Scales(scale, zero), _image(out))
        return Prepared(op, keep=(table,))


@operator("add_i8")
class AddI8(Operator):
    computes = "Sum of two or more int8 blobs, each with its scale, requantized to int8; of one: a change of scale."
    naive = staticmethod(add_i8_naive)
    cases = {
        "2 of odd sizes": (2, 35, 17),
        "3 of odd sizes": (3, 35, 17),
        "rescale 64 at 56": (1, 56 * 56, 64),
        "2 of 64 at 56": (2, 56 * 56, 64),
    }

    def make(self, rng: np.random.Generator, count: int, pixels: int, channels: int) -> tuple:
        scale, zero = _scales(rng, count, channels)
        out = np.empty((pixels, channels), np.int8)
        return codes(rng, (count, pixels, channels)), scale, zero, *_scales(rng, channels), out

    def builtin(
        self, x: np.ndarray, scale: np.ndarray, zero: np.ndarray, scale_out: np.ndarray, zero_out: np.ndarray,
        out: np.ndarray,
    ) -> Prepared:  # fmt: skip
        scales = [Scales(*pair) for pair in zip(scale, zero, strict=True)]
        op, table = add_i8_op([_image(a) for a in x], scales, Scales(scale_out, zero_out), _image(out))
        return Prepared(op, keep=(table,))
