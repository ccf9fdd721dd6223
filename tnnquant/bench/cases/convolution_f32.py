"""fp32 convolutions and matrix products."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tnnquant.bench.operators import FP32_MACS, Operator, Prepared, operator
from tnnquant.kernels.conv_f32 import conv2d_f32_naive, conv2d_f32_op
from tnnquant.kernels.deconv_f32 import deconv2d_f32_naive, deconv2d_f32_rows, plan_deconv_f32
from tnnquant.kernels.depthwise_f32 import depthwise_f32_op
from tnnquant.kernels.gemm_f32 import gemm_f32_naive, gemm_f32_op
from tnnquant.kernels.geometry import NO_ACTIVATION, RELU, RELU6, ConvGeometry
from tnnquant.kernels.matmul_f32 import matmul_f32_naive, matmul_f32_op
from tnnquant.kernels.pack_f32 import pack_conv_f32, pack_depthwise_f32, pack_inner_product_f32

#: Activation codes by name.
ACTIVATIONS = {"NO_ACTIVATION": NO_ACTIVATION, "RELU": RELU, "RELU6": RELU6}
FUSED = "a fused multiply-add rounds once"


def random(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """float32 normal values."""
    return rng.standard_normal(shape, np.float32)


def out_shape(image: tuple[int, ...], geometry: ConvGeometry, out_channels: int) -> tuple[int, ...]:
    """The output's shape for an image (N, H, W, C), and equal pads on both sides."""
    images, height, width, _ = image
    sizes = [
        (size + 2 * pad - (kernel - 1) * dilation - 1) // stride + 1
        for size, pad, kernel, dilation, stride in (
            (height, geometry.pad_top, geometry.kernel_h, geometry.dilation_h, geometry.stride_h),
            (width, geometry.pad_left, geometry.kernel_w, geometry.dilation_w, geometry.stride_w),
        )
    ]
    return images, *sizes, out_channels


#: Image (N, H, W, C), output channels, geometry, activation.
CONVOLUTIONS = {
    "1x1 odd sizes": ((2, 5, 7, 17), 33, ConvGeometry(1, 1), RELU),
    "3x3/2x1 odd sizes": ((2, 9, 8, 3), 31, ConvGeometry(3, 3, 2, 1, 1, 1), RELU6),
    "3x2 dilation 2": ((1, 9, 8, 5), 65, ConvGeometry(3, 2, 1, 2, 1, 1, 2, 2), 0),
    "3x3 two groups": ((1, 7, 7, 34), 30, ConvGeometry(3, 3, 1, 1, 1, 1, groups=2), RELU),
    "first layer 3x3/2 3-64 at 113": ((1, 113, 113, 3), 64, ConvGeometry(3, 3, 2, 2), RELU),
    "1x1 512-64 at 14": ((1, 14, 14, 512), 64, ConvGeometry(1, 1), RELU),
    "1x1 16-64 at 56": ((1, 56, 56, 16), 64, ConvGeometry(1, 1), RELU),
    "3x3 64-64 at 28": ((1, 28, 28, 64), 64, ConvGeometry(3, 3, 1, 1, 1, 1), RELU),
    "3x3 128-128 at 28": ((1, 28, 28, 128), 128, ConvGeometry(3, 3, 1, 1, 1, 1), RELU),
    "3x3 256-256 at 14": ((1, 14, 14, 256), 256, ConvGeometry(3, 3, 1, 1, 1, 1), RELU),
}

#: Image, geometry, output channels per channel, activation.
DEPTHWISE = {
    "3x3/2 odd sizes": ((2, 9, 11, 17), ConvGeometry(3, 3, 2, 2, 1, 1), 1, RELU6),
    "3x3 two outputs each": ((1, 7, 6, 33), ConvGeometry(3, 3, 1, 1, 1, 1), 2, 0),
    "3x3 96 at 56": ((1, 56, 56, 96), ConvGeometry(3, 3, 1, 1, 1, 1), 1, RELU6),
    "3x3/2 144 at 56": ((1, 56, 56, 144), ConvGeometry(3, 3, 2, 2, 1, 1), 1, RELU6),
    "5x5 240 at 28": ((1, 28, 28, 240), ConvGeometry(5, 5, 1, 1, 2, 2), 1, RELU6),
    "5x5 672 at 14": ((1, 14, 14, 672), ConvGeometry(5, 5, 1, 1, 2, 2), 1, RELU6),
}


class _Convolution(Operator):
    codes: ClassVar = {"activation": ACTIVATIONS}
    naive = staticmethod(conv2d_f32_naive)
    tolerance, why = 1e-5, FUSED
    unit = FP32_MACS

    def arguments(
        self, rng: np.random.Generator, image: tuple[int, ...], out_channels: int, geometry: ConvGeometry,
        activation: int,
    ) -> tuple:  # fmt: skip
        channels = image[3] // geometry.groups
        weight = random(rng, out_channels, channels, geometry.kernel_h, geometry.kernel_w)
        out = np.empty(out_shape(image, geometry, out_channels), np.float32)
        return random(rng, *image), weight, random(rng, out_channels), geometry, activation, out

    def work(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, geometry: ConvGeometry, activation: int,
        out: np.ndarray,
    ) -> int:  # fmt: skip
        return int(out.size * weight[0].size)


@operator("conv2d_f32")
class Conv2dF32(_Convolution):
    computes = "2-D convolution of float32 with stride, padding, dilation, groups, bias, and ReLU or ReLU6 after it."
    cases = CONVOLUTIONS

    def make(
        self, rng: np.random.Generator, image: tuple[int, ...], out_channels: int, geometry: ConvGeometry,
        activation: int,
    ) -> tuple:  # fmt: skip
        return self.arguments(rng, image, out_channels, geometry, activation)

    def builtin(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, geometry: ConvGeometry, activation: int,
        out: np.ndarray,
    ) -> Prepared:  # fmt: skip
        packed = pack_conv_f32(weight, bias, geometry.groups)
        return Prepared(conv2d_f32_op(x, packed, geometry, activation, out), keep=(packed,))


@operator("depthwise_f32")
class DepthwiseF32(_Convolution):
    computes = "Depthwise convolution of float32: groups = input channels; bias added, ReLU or ReLU6 after it."
    cases = DEPTHWISE

    def make(
        self, rng: np.random.Generator, image: tuple[int, ...], geometry: ConvGeometry, multiplier: int, activation: int
    ) -> tuple:
        return self.arguments(rng, image, image[3] * multiplier, geometry._replace(groups=image[3]), activation)

    def builtin(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, geometry: ConvGeometry, activation: int,
        out: np.ndarray,
    ) -> Prepared:  # fmt: skip
        packed = pack_depthwise_f32(weight, bias)
        return Prepared(depthwise_f32_op(x, packed, geometry, activation, out), keep=(packed,))


@operator("deconv2d_f32")
class Deconv2dF32(Operator):
    computes = "2-D deconvolution (transposed convolution) of float32 with groups, bias added, ReLU or ReLU6 after it."
    codes: ClassVar = {"activation": ACTIVATIONS}
    naive = staticmethod(deconv2d_f32_naive)
    cases = {
        "3x5 stride 3x2 odd sizes": ((2, 3, 4, 6), 7, ConvGeometry(3, 5, 3, 2, 0, 2), (9, 7), 0),
        "depthwise 4x4/2": ((1, 4, 5, 19), 19, ConvGeometry(4, 4, 2, 2, 1, 1, groups=19), (8, 10), RELU),
        "2x2/2 64-32 at 28": ((1, 28, 28, 64), 32, ConvGeometry(2, 2, 2, 2), (56, 56), RELU),
        "4x4/2 32-16 at 28": ((1, 28, 28, 32), 16, ConvGeometry(4, 4, 2, 2, 1, 1), (56, 56), RELU),
    }
    tolerance, why = 1e-5, FUSED
    unit = FP32_MACS

    def make(
        self, rng: np.random.Generator, image: tuple[int, ...], out_channels: int, geometry: ConvGeometry,
        out_size: tuple[int, int], activation: int,
    ) -> tuple:  # fmt: skip
        weight = random(rng, image[3], out_channels // geometry.groups, geometry.kernel_h, geometry.kernel_w)
        out = np.empty((image[0], *out_size, out_channels), np.float32)
        return random(rng, *image), weight, random(rng, out_channels), geometry, activation, out

    def builtin(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, geometry: ConvGeometry, activation: int,
        out: np.ndarray,
    ) -> Prepared:  # fmt: skip
        grouped = weight.reshape(geometry.groups, -1, *weight.shape[1:])
        plan = plan_deconv_f32(grouped, bias, geometry, out.shape[1:3])
        rows, memory = deconv2d_f32_rows(x, plan, activation, out)
        return Prepared(rows, keep=(plan, memory))

    def work(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, geometry: ConvGeometry, activation: int,
        out: np.ndarray,
    ) -> int:  # fmt: skip
        return int(x.size * weight[0].size)


@operator("gemm_f32")
class GemmF32(Operator):
    computes = "Matrix product of float32 with transposed weights, out = x @ weight.T + bias, ReLU or ReLU6 after it."
    codes: ClassVar = {"activation": ACTIVATIONS}
    naive = staticmethod(gemm_f32_naive)
    cases = {
        "5x301x65": (5, 301, 65, RELU6),
        "1x1000x1000": (1, 1000, 1000, 0),
        "8x512x512": (8, 512, 512, RELU),
        "512x512x512": (512, 512, 512, 0),
    }
    tolerance, why = 1e-5, FUSED
    unit = FP32_MACS

    def make(self, rng: np.random.Generator, rows: int, depth: int, columns: int, activation: int) -> tuple:
        out = np.empty((rows, columns), np.float32)
        return random(rng, rows, depth), random(rng, columns, depth), random(rng, columns), activation, out

    def builtin(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, activation: int, out: np.ndarray
    ) -> Prepared:
        packed = pack_inner_product_f32(weight, bias)
        return Prepared(gemm_f32_op(x, packed, activation, out), keep=(packed,))

    def work(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, activation: int, out: np.ndarray) -> int:
        return int(out.size * x.shape[1])


@operator("matmul_f32")
class MatmulF32(Operator):
    computes = "Products of pairs of float32 matrices, out[i] = a[i] @ b[i]; the shorter list repeats."
    naive = staticmethod(matmul_f32_naive)
    cases = {
        "3 of 13x50x21": (3, 1, 3, 13, 50, 21),
        "1x512x512": (1, 1, 1, 1, 512, 512),
        "12 of 64x64x64": (12, 12, 12, 64, 64, 64),
        "256x256x256": (1, 1, 1, 256, 256, 256),
    }
    tolerance, why = 1e-5, FUSED
    unit = FP32_MACS

    def make(
        self, rng: np.random.Generator, left: int, right: int, products: int, rows: int, depth: int, columns: int
    ) -> tuple:
        out = np.empty((products, rows, columns), np.float32)
        return random(rng, left, rows, depth), random(rng, right, depth, columns), out

    def builtin(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Prepared:
        return Prepared(matmul_f32_op(a, b, out))

    def work(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> int:
        return int(out.size * a.shape[2])
