"""int8 convolutions and matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tnnquant.bench.cases.convolution_f32 import ACTIVATIONS, CONVOLUTIONS, DEPTHWISE, out_shape
from tnnquant.bench.operators import INT8_MACS, Operator, Prepared, operator
from tnnquant.kernels.conv_i8 import conv2d_i8_naive, conv2d_i8_op
from tnnquant.kernels.depthwise_i8 import depthwise_i8_op
from tnnquant.kernels.gemm_i8 import gemm_i8_naive, gemm_i8_op
from tnnquant.kernels.pack_i8 import ConvQuant, pack_conv_i8, pack_depthwise_i8, pack_inner_product_i8

if TYPE_CHECKING:
    from tnnquant.kernels.geometry import ConvGeometry

#: When the other blob of a fused Add is added.
FUSIONS = {"NO_ADD": 0, "ADD_BEFORE_ACTIVATION": 1, "ADD_AFTER_ACTIVATION": 2}


def codes(rng: np.random.Generator, shape: int | tuple[int, ...], low: int = -128) -> np.ndarray:
    """int8 values, evenly spread."""
    return rng.integers(low, 128, shape).astype(np.int8)


def quantization(
    rng: np.random.Generator, channels: int, out_channels: int, depth: int, zero_points: bool
) -> ConvQuant:
    """What a quantized layer needs beside its weights, one value per channel: results spread over the int8 range."""
    def zeros(count: int) -> np.ndarray:
        return codes(rng, count) if zero_points else np.zeros(count, np.int8)

    def scales(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, out_channels).astype(np.float32)

    return ConvQuant(
        scales(0.5, 2) / np.float32(60 * np.sqrt(depth)), zeros(out_channels) // 2, zeros(channels),
        rng.integers(-2000, 2000, out_channels).astype(np.int32), scales(0.5, 1.5), zeros(out_channels) // 2,
        scales(0.5, 1.5), zeros(out_channels) // 2,
    )  # fmt: skip


class _Convolution(Operator):
    codes: ClassVar = {"activation": ACTIVATIONS, "fusion": FUSIONS}
    naive = staticmethod(conv2d_i8_naive)
    unit = INT8_MACS

    def arguments(
        self, rng: np.random.Generator, image: tuple[int, ...], out_channels: int, geometry: ConvGeometry,
        activation: int, zero_points: bool, fusion: int,
    ) -> tuple:  # fmt: skip
        weight = codes(rng, (out_channels, image[3] // geometry.groups, geometry.kernel_h, geometry.kernel_w), -127)
        quant = quantization(rng, image[3], out_channels, weight[0].size, zero_points)
        shape = out_shape(image, geometry, out_channels)
        # After a ReLU there are no negative values.
        x = codes(rng, image, -128 if zero_points else 0)
        added, out = codes(rng, shape), np.empty(shape, np.int8)
        return x, weight, quant, geometry, activation, fusion, added, out

    def work(
        self, x: np.ndarray, weight: np.ndarray, quant: ConvQuant, geometry: ConvGeometry, activation: int, fusion: int,
        added: np.ndarray, out: np.ndarray,
    ) -> int:  # fmt: skip
        return int(out.size * weight[0].size)


@operator("conv2d_i8")
class Conv2dI8(_Convolution):
    computes = "2-D convolution of int8, summed in int32, requantized to int8; ReLU, ReLU6, Add of another blob."
    # The same as in fp32; each with: signed values and zero points; fused Add (0 none, 1 before, 2 after ReLU).
    cases = {
        **{f"{name}, zero points": (*case, True, i % 3) for i, (name, case) in enumerate(CONVOLUTIONS.items())},
        **{name: (*case, False, 0) for name, case in CONVOLUTIONS.items() if "odd" not in name},
    }

    def make(
        self, rng: np.random.Generator, image: tuple[int, ...], out_channels: int, geometry: ConvGeometry,
        activation: int, zero_points: bool, fusion: int,
    ) -> tuple:  # fmt: skip
        return self.arguments(rng, image, out_channels, geometry, activation, zero_points, fusion)

    def builtin(
        self, x: np.ndarray, weight: np.ndarray, quant: ConvQuant, geometry: ConvGeometry, activation: int, fusion: int,
        added: np.ndarray, out: np.ndarray,
    ) -> Prepared:  # fmt: skip
        packed = pack_conv_i8(weight, geometry, quant)
        return Prepared(conv2d_i8_op(x, packed, geometry, activation, out, added, fusion), keep=(packed,))


@operator("depthwise_i8")
class DepthwiseI8(_Convolution):
    computes = "Depthwise convolution of int8: groups = input channels; summed in int32 and requantized to int8."
    cases = {name: (*case, i < 2) for i, (name, case) in enumerate(DEPTHWISE.items())}

    def make(
        self, rng: np.random.Generator, image: tuple[int, ...], geometry: ConvGeometry, multiplier: int,
        activation: int, zero_points: bool,
    ) -> tuple:  # fmt: skip
        geometry = geometry._replace(groups=image[3])
        return self.arguments(rng, image, image[3] * multiplier, geometry, activation, zero_points, 0)

    def builtin(
        self, x: np.ndarray, weight: np.ndarray, quant: ConvQuant, geometry: ConvGeometry, activation: int, fusion: int,
        added: np.ndarray, out: np.ndarray,
    ) -> Prepared:  # fmt: skip
        packed = pack_depthwise_i8(weight, geometry, quant)
        return Prepared(depthwise_i8_op(x, packed, geometry, activation, out), keep=(packed,))


@operator("gemm_i8")
class GemmI8(Operator):
    computes = "Matrix product of int8 with transposed weights, summed in int32 and requantized to int8."
    naive = staticmethod(gemm_i8_naive)
    cases = {
        "5x301x65, zero points": (5, 301, 65, True),
        "1x1000x1000": (1, 1000, 1000, False),
        "8x512x512": (8, 512, 512, False),
        "512x512x512": (512, 512, 512, False),
    }
    unit = INT8_MACS

    def make(self, rng: np.random.Generator, rows: int, depth: int, columns: int, zero_points: bool) -> tuple:
        quant = quantization(rng, depth, columns, depth, zero_points)._replace(added_scale=None, added_zero=None)
        x, weight = codes(rng, (rows, depth), -128 if zero_points else 0), codes(rng, (columns, depth), -127)
        return x, weight, quant, np.empty((rows, columns), np.int8)

    def builtin(self, x: np.ndarray, weight: np.ndarray, quant: ConvQuant, out: np.ndarray) -> Prepared:
        packed = pack_inner_product_i8(weight, quant)
        return Prepared(gemm_i8_op(x, packed, out), keep=(packed,))

    def work(self, x: np.ndarray, weight: np.ndarray, quant: ConvQuant, out: np.ndarray) -> int:
        return int(out.size * x.shape[1])
