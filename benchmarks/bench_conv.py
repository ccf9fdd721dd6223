"""Convolutions, fp32 and int8: the layers of SqueezeNet v1.1, the 3x3 layers of ResNet-50, a 512 x 512 x 512 product.

``python benchmarks/bench_conv.py [threads] [--peer]``; with ``--peer`` onnxruntime runs the same single layers
(Conv+Relu, and QLinearConv with u8 activations) beside them, if it is installed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from kernel_common import best_time, header, int8_peak, op_time, peak, record

from tnnquant.kernels.conv_f32 import conv2d_f32, conv2d_f32_naive, conv2d_f32_op
from tnnquant.kernels.conv_i8 import conv2d_i8, conv2d_i8_naive, conv2d_i8_op
from tnnquant.kernels.geometry import RELU, ConvGeometry
from tnnquant.kernels.pack_f32 import pack_conv_f32
from tnnquant.kernels.pack_i8 import ConvQuant, pack_conv_i8


@dataclass(frozen=True)
class Case:
    """A convolution: square image of ``size``, C channels, OC output channels, square kernel, stride, pad."""

    group: str
    name: str
    size: int
    channels: int
    out_channels: int
    kernel: int
    stride: int = 1
    pad: int = 0
    signed: bool = False

    @property
    def out_size(self) -> int:
        return (self.size + 2 * self.pad - self.kernel) // self.stride + 1

    @property
    def macs(self) -> int:
        return self.out_size**2 * self.out_channels * self.channels * self.kernel**2

    @property
    def geometry(self) -> ConvGeometry:
        return ConvGeometry(self.kernel, self.kernel, self.stride, self.stride, self.pad, self.pad)


def _squeezenet() -> list[Case]:
    cases = [Case("squeezenet", "conv1", 227, 3, 64, 3, 2, signed=True)]
    fires = [(56, 64, 16, 64), (56, 128, 16, 64), (28, 128, 32, 128), (28, 256, 32, 128)]
    fires += [(14, 256, 48, 192), (14, 384, 48, 192), (14, 384, 64, 256), (14, 512, 64, 256)]
    for index, (size, channels, squeeze, expand) in enumerate(fires, 2):
        cases.append(Case("squeezenet", f"fire{index}_squeeze", size, channels, squeeze, 1))
        cases.append(Case("squeezenet", f"fire{index}_expand1x1", size, squeeze, expand, 1))
        cases.append(Case("squeezenet", f"fire{index}_expand3x3", size, squeeze, expand, 3, 1, 1))
    return [*cases, Case("squeezenet", "conv10", 14, 512, 1000, 1)]


CASES = [
    *_squeezenet(),
    *[Case("resnet50", f"3x3 {c} at {s}", s, c, c, 3, 1, 1) for s, c in ((56, 64), (28, 128), (14, 256), (7, 512))],
    # 512 rows as an image of 512 pixels in a row cannot be square: 16 x 32 would be the same product.
    Case("gemm", "529x512x512, values >= 0", 23, 512, 512, 1),
    Case("gemm", "529x512x512, signed", 23, 512, 512, 1, signed=True),
]


def arrays_f32(case: Case):
    """x, weight, bias, out."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, case.size, case.size, case.channels), np.float32)
    weight = rng.standard_normal((case.out_channels, case.channels, case.kernel, case.kernel), np.float32)
    out = np.empty((1, case.out_size, case.out_size, case.out_channels), np.float32)
    return x, weight, rng.standard_normal(case.out_channels, np.float32), out


def arrays_i8(case: Case):
    """x, weight, quant, out."""
    rng = np.random.default_rng(0)
    x = rng.integers(-128 if case.signed else 0, 128, (1, case.size, case.size, case.channels)).astype(np.int8)
    shape = (case.out_channels, case.channels, case.kernel, case.kernel)
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    ones, zeros = np.ones(case.out_channels, np.float32), np.zeros(case.out_channels, np.int8)
    scale = ones / np.float32(60 * np.sqrt(weight[0].size))
    bias = rng.integers(-2000, 2000, case.out_channels).astype(np.int32)
    quant = ConvQuant(scale, zeros, np.zeros(case.channels, np.int8), bias, ones, zeros)
    return x, weight, quant, np.empty((1, case.out_size, case.out_size, case.out_channels), np.int8)


def _first_rows(case: Case) -> int:
    """Output rows that the naive loops compute for the check: enough for a few million multiply-adds."""
    return max(1, min(case.out_size, 20_000_000 * case.out_size // case.macs))


def check_f32(case: Case, x, weight, bias, out) -> None:
    conv2d_f32(x, pack_conv_f32(weight, bias), case.geometry, RELU, out)
    want = np.empty_like(out[:, : _first_rows(case)])
    conv2d_f32_naive(x, weight, bias, tuple(case.geometry), RELU, want)
    error = np.abs(out[:, : want.shape[1]] - want).max() / np.abs(want).max()
    assert error < 1e-5, f"{case.name}: relative error {error}"


def check_i8(case: Case, x, weight, quant, out) -> None:
    conv2d_i8(x, pack_conv_i8(weight, case.geometry, quant), case.geometry, RELU, out)
    want = np.empty_like(out[:, : _first_rows(case)])
    whole = (*quant[:6], quant.output_scale, quant.output_zero)
    conv2d_i8_naive(x, weight, whole, tuple(case.geometry), RELU, 0, want, want)
    assert np.array_equal(out[:, : want.shape[1]], want), f"{case.name}: int8 results differ"


def measure(case: Case) -> tuple[float, float]:
    """Seconds of the fp32 and of the int8 kernel, after the check."""
    x, weight, bias, out = arrays_f32(case)
    check_f32(case, x, weight, bias, out)
    packed = pack_conv_f32(weight, bias)
    fp32 = op_time(conv2d_f32_op(x, packed, case.geometry, RELU, out))
    x8, weight8, quant, out8 = arrays_i8(case)
    check_i8(case, x8, weight8, quant, out8)
    packed8 = pack_conv_i8(weight8, case.geometry, quant)
    return fp32, op_time(conv2d_i8_op(x8, packed8, case.geometry, RELU, out8))


def peer_times(case: Case, threads: int) -> tuple[float, float]:
    """Seconds of onnxruntime's fp32 and int8 convolution of the same shape."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    attributes = {"kernel_shape": [case.kernel] * 2, "strides": [case.stride] * 2, "pads": [case.pad] * 4}
    sizes = [1, case.channels, case.size, case.size], [1, case.out_channels, case.out_size, case.out_size]
    shape = (case.out_channels, case.channels, case.kernel, case.kernel)

    def run(nodes, kind, constants, x):
        graph = helper.make_graph(
            nodes, "layer", [helper.make_tensor_value_info("x", kind, sizes[0])],
            [helper.make_tensor_value_info("y", kind, sizes[1])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        return best_time(lambda: session.run(None, {"x": x}))

    weight = rng.standard_normal(shape, np.float32)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["z"], **attributes), helper.make_node("Relu", ["z"], ["y"])]
    constants = {"w": weight, "b": np.zeros(case.out_channels, np.float32)}
    fp32 = run(nodes, TensorProto.FLOAT, constants, rng.standard_normal(sizes[0], np.float32))
    constants = {
        "xs": np.float32(0.1), "xz": np.uint8(0), "w": rng.integers(-127, 128, shape).astype(np.int8),
        "ws": np.full(case.out_channels, 0.01, np.float32), "wz": np.zeros(case.out_channels, np.int8),
        "ys": np.float32(1), "yz": np.uint8(0),
    }  # fmt: skip
    nodes = [helper.make_node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"], **attributes)]
    x8 = rng.integers(0, 128, sizes[0]).astype(np.uint8)
    return fp32, run(nodes, TensorProto.UINT8, constants, x8)


def main(arguments: list[str]) -> None:
    threads = int(next((a for a in arguments if a.isdigit()), "1"))
    header(threads)
    fma, dot = peak("fma") * threads, int8_peak() * threads
    totals: dict[str, list[float]] = {}
    for case in CASES:
        fp32, int8 = measure(case)
        figures = {"f32_us": fp32 * 1e6, "i8_us": int8 * 1e6, "f32_peak": case.macs / fp32 / fma / 1e9}
        figures["i8_peak"] = case.macs / int8 / dot / 1e9
        line = f"{case.group:10s} {case.name:26s} fp32 {fp32 * 1e6:7.0f} us {figures['f32_peak']:4.0%} of peak"
        line += f" | int8 {int8 * 1e6:7.0f} us {figures['i8_peak']:4.0%} | x{fp32 / int8:.2f}"
        times = [fp32, int8]
        if "--peer" in arguments:
            peers = peer_times(case, threads)
            times += peers
            figures |= {"ort_f32_us": peers[0] * 1e6, "ort_i8_us": peers[1] * 1e6}
            line += f" | onnxruntime {peers[0] * 1e6:7.0f} {peers[1] * 1e6:7.0f} us"
        print(line)
        record("conv", f"{case.group}/{case.name}", **figures)
        totals[case.group] = [a + b for a, b in zip(totals.get(case.group, [0] * 4), times, strict=False)]
    for group, values in totals.items():
        print(f"{group}: " + ", ".join(f"{value * 1e3:.2f} ms" for value in values))


if __name__ == "__main__":
    main(sys.argv[1:])
