"""fp32 matrix product with packed weights: the inner product layer, and 1x1 convolutions seen as rows.

Versions, slowest first: :func:`gemm_f32_naive`; :func:`gemm_f32`, the tiles of
:mod:`~tnnquant.kernels.conv_f32` over rows in place (a single row streams four panels of weights at once, at the speed
of memory).
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.conv_f32 import conv2d_f32_op
from tnnquant.kernels.geometry import NO_ACTIVATION, RELU6, ConvGeometry
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.pack_f32 import PackedConv

__all__ = ["gemm_f32", "gemm_f32_naive", "gemm_f32_op"]

_POINT = ConvGeometry(1, 1)


@kernel
def gemm_f32_naive(x, weight, bias, activation, out):
    # x: (M, K); weight: (OC, K); bias: (OC,); activation: int; out: (M, OC); all arrays float32
    for m in range(x.shape[0]):
        for o in range(weight.shape[0]):
            total = np.float32(0)
            for k in range(x.shape[1]):
                total += x[m, k] * weight[o, k]
            total += bias[o]
            if activation != NO_ACTIVATION:
                total = max(total, np.float32(0))
            if activation == RELU6:
                total = min(total, np.float32(6))
            out[m, o] = total


def gemm_f32_op(x: np.ndarray, packed: PackedConv, activation: int, out: np.ndarray) -> np.ndarray:
    """The op of a matrix product; see :func:`gemm_f32`. The arrays must stay alive."""
    return conv2d_f32_op(x[None, None], packed, _POINT, activation, out[None, None])


def gemm_f32(x: np.ndarray, packed: PackedConv, activation: int, out: np.ndarray) -> np.ndarray:
    """``out = activation(x @ weight.T + bias)``, sums over k in order.

    Parameters
    ----------
    x : float32 (M, K)
        Rows may lie further apart than K; a row is contiguous.
    packed : PackedConv
        :func:`~tnnquant.kernels.pack_f32.pack_inner_product_f32` of weights (OC, K).
    activation : int
        0 none, 1 ReLU, 2 ReLU6.
    out : float32 (M, OC)
        Written and returned; a row is contiguous.
    """
    program.run(gemm_f32_op(x, packed, activation, out))
    return out
