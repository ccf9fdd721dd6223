"""Depthwise convolutions and pooling, fp32 and int8, over the shapes of EfficientNet-Lite0 and SqueezeNet.

``python benchmarks/bench_depthwise.py [threads]``. Depthwise layers are bound by loads. Beside the time of fp32 stands
the share of the first-level cache's bandwidth that it would take to load a value for every tap of every output: a
vector a multiply-add, of which the cache delivers as many as the bare loop of multiply-adds takes. (Values that are
loaded once for several taps count as often as they are used.)
"""

from __future__ import annotations

import sys

import numpy as np
from kernel_common import header, op_time, peak, record

from tnnquant.kernels.conv_f32 import conv2d_f32_naive
from tnnquant.kernels.conv_i8 import conv2d_i8_naive
from tnnquant.kernels.depthwise_f32 import depthwise_f32, depthwise_f32_op
from tnnquant.kernels.depthwise_i8 import depthwise_i8, depthwise_i8_op
from tnnquant.kernels.geometry import RELU6, ConvGeometry, PoolGeometry
from tnnquant.kernels.pack_f32 import pack_depthwise_f32
from tnnquant.kernels.pack_i8 import ConvQuant, pack_depthwise_i8
from tnnquant.kernels.pool_f32 import MAX, pool2d_f32_op
from tnnquant.kernels.pool_i8 import pool2d_i8_op
from tnnquant.kernels.program import aligned_empty

# size, channels, kernel, stride
LAYERS = [
    (112, 32, 3, 1), (112, 96, 3, 2), (56, 144, 3, 1), (56, 144, 5, 2), (28, 240, 5, 1), (28, 240, 3, 2),
    (14, 480, 3, 1), (14, 480, 5, 1), (14, 672, 5, 1), (14, 672, 5, 2), (7, 1152, 5, 1), (7, 1152, 3, 1),
]  # fmt: skip
POOLS = [(113, 64), (56, 128), (28, 256)]


def measure(size: int, channels: int, kernel: int, stride: int) -> tuple[float, float]:
    """Seconds of the fp32 and of the int8 kernel, after the check."""
    rng = np.random.default_rng(0)
    geometry = ConvGeometry(kernel, kernel, stride, stride, kernel // 2, kernel // 2, 1, 1, channels)
    shape = (1, -(-size // stride), -(-size // stride), channels)
    # As the executor lays out its blobs: whole cache lines.
    x, out, want = aligned_empty((1, size, size, channels), np.float32), *(
        aligned_empty(shape, np.float32) for _ in range(2)
    )
    x[...] = rng.standard_normal(x.shape, np.float32)
    weight, bias = rng.standard_normal((channels, 1, kernel, kernel), np.float32), np.zeros(channels, np.float32)
    packed = pack_depthwise_f32(weight, bias)
    depthwise_f32(x, packed, geometry, RELU6, out)
    conv2d_f32_naive(x, weight, bias, tuple(geometry), RELU6, want)
    assert np.abs(out - want).max() < 6e-5, "fp32 results differ"
    fp32 = op_time(depthwise_f32_op(x, packed, geometry, RELU6, out))

    x8, out8, want8 = aligned_empty(x.shape, np.int8), aligned_empty(shape, np.int8), np.empty(shape, np.int8)
    x8[...] = rng.integers(-128, 128, x.shape)
    weight8 = rng.integers(-127, 128, weight.shape).astype(np.int8)
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.int8)
    quant = ConvQuant(ones * np.float32(0.01), zeros, zeros, np.zeros(channels, np.int32), ones, zeros)
    packed8 = pack_depthwise_i8(weight8, geometry, quant)
    depthwise_i8(x8, packed8, geometry, 1, out8)
    conv2d_i8_naive(x8, weight8, (*quant[:6], ones, zeros), tuple(geometry), 1, 0, want8, want8)
    assert np.array_equal(out8, want8), "int8 results differ"
    return fp32, op_time(depthwise_i8_op(x8, packed8, geometry, 1, out8))


def main(arguments: list[str]) -> None:
    threads = int(next((a for a in arguments if a.isdigit()), "1"))
    header(threads)
    loads = peak("fma") * threads  # values per second, in 1e9: a vector is loaded in the time of a multiply-add
    for size, channels, kernel, stride in LAYERS:
        fp32, int8 = measure(size, channels, kernel, stride)
        outputs = (-(-size // stride)) ** 2 * channels
        share = outputs * kernel**2 / fp32 / loads / 1e9
        gigabytes = 4 * (size**2 * channels + outputs) / fp32 / 1e9
        name = f"{kernel}x{kernel}/{stride} {channels} at {size}"
        line = f"{name:20s} fp32 {fp32 * 1e6:6.0f} us {share:4.0%} of the loads, {gigabytes:5.1f} GB/s in and out"
        print(f"{line} | int8 {int8 * 1e6:6.0f} us | x{fp32 / int8:.2f}")
        record("depthwise", name, f32_us=fp32 * 1e6, i8_us=int8 * 1e6, load_share=share)
    for size, channels in POOLS:
        x, x8 = (aligned_empty((1, size, size, channels), dtype) for dtype in (np.float32, np.int8))
        x[...] = 10 * np.random.default_rng(0).standard_normal(x.shape, np.float32)
        x8[...] = x.astype(np.int8)
        shape = (1, -(-(size - 3) // 2) + 1, -(-(size - 3) // 2) + 1, channels)
        out, out8 = aligned_empty(shape, np.float32), aligned_empty(shape, np.int8)
        geometry = PoolGeometry(3, 3, 2, 2)
        fp32, int8 = op_time(pool2d_f32_op(x, geometry, MAX, out)), op_time(pool2d_i8_op(x8, geometry, MAX, out8))
        name = f"max 3x3/2 {channels} at {size}"
        print(f"{name:20s} fp32 {fp32 * 1e6:6.0f} us | int8 {int8 * 1e6:6.0f} us | x{fp32 / int8:.2f}")
        record("pool", name, f32_us=fp32 * 1e6, i8_us=int8 * 1e6)


if __name__ == "__main__":
    main(sys.argv[1:])
