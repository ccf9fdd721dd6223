"""int8 matrix product with packed weights: the quantized inner product (docs/tnn-format.md, 6.4).

Versions, slowest first: :func:`gemm_i8_naive`; :func:`gemm_i8`, the tiles of :mod:`~tnnquant.kernels.conv_i8` over rows
(a single row streams four panels of weights at once).
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.conv_i8 import conv2d_i8_op, round_to_i8
from tnnquant.kernels.geometry import ConvGeometry
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.pack_i8 import PackedConvI8

__all__ = ["gemm_i8", "gemm_i8_naive", "gemm_i8_op"]

_POINT = ConvGeometry(1, 1)


@kernel
def gemm_i8_naive(x, weight, quant, out):
    # x: int8 (M, K); weight: int8 (OC, K); quant: ConvQuant with one value per output (input_zero: K values), the last
    # two None; out: int8 (M, OC)
    scale, weight_zero, input_zero, bias, scale_out, zero_out, _, _ = quant
    for m in range(x.shape[0]):
        for o in range(weight.shape[0]):
            total = bias[o]
            for k in range(x.shape[1]):
                a = np.int32(x[m, k]) - np.int32(input_zero[k])
                total = np.int32(total + np.int32(a * (np.int32(weight[o, k]) - np.int32(weight_zero[o]))))
            usable = scale_out[o] >= np.float32(1.1754943508222875e-38)
            factor = scale[o] / scale_out[o] if usable else np.float32(0)
            out[m, o] = round_to_i8(np.float32(total) * factor + np.float32(zero_out[o]))


def gemm_i8_op(x: np.ndarray, packed: PackedConvI8, out: np.ndarray) -> np.ndarray:
    """The op of a quantized matrix product; see :func:`gemm_i8`. The arrays must stay alive."""
    return conv2d_i8_op(x[None, None], packed, _POINT, 0, out[None, None])


def gemm_i8(x: np.ndarray, packed: PackedConvI8, out: np.ndarray) -> np.ndarray:
    """``out = f2i8(f32(sum (x - zero_x) * (w - zero_w) + bias) * S + zero_out)``.

    Parameters
    ----------
    x : int8 (M, K)
        Rows may lie further apart than K; a row is contiguous.
    packed : PackedConvI8
        :func:`~tnnquant.kernels.pack_i8.pack_inner_product_i8` of weights (OC, K).
    out : int8 (M, OC)
        Written and returned; a row is contiguous.
    """
    program.run(gemm_i8_op(x, packed, out))
    return out
