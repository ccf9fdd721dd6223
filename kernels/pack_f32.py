"""fp32 weights in the order in which the microkernels read them; done once per model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tnnquant.kernels.jit import kernel
from tnnquant.kernels.program import aligned_empty
from tnnquant.kernels.tile_f32 import PANEL

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["PackedConv", "PackedDepthwise", "pack_conv_f32", "pack_depthwise_f32", "pack_inner_product_f32"]


class PackedConv(NamedTuple):
    """Weights of a grouped convolution in panels of :data:`~tnnquant.kernels.tile_f32.PANEL` output channels.

    weights : float32 (groups, panels, K, PANEL), K in the order kh, kw, c; channels beyond OC/groups are 0.
    bias : float32 (groups, panels, PANEL), 0 where there is none.
    """

    weights: np.ndarray
    bias: np.ndarray
    out_channels: int


class PackedDepthwise(NamedTuple):
    """Weights of a depthwise convolution in panels of channels.

    weights : float32 (panels, KH*KW, PANEL); bias : float32 (panels, PANEL). Channels beyond OC are 0, and the bias is
    where there is none.
    """

    weights: np.ndarray
    bias: np.ndarray


@kernel
def _pack_panels(weight, packed):
    # weight: float32 (G, OC/G, C/G, taps); packed: float32 (G, panels, taps*C/G, PANEL), zero where not written
    groups, count, channels, taps = weight.shape
    for g in range(groups):
        for o in range(count):
            panel = packed[g, o // PANEL]
            lane = o % PANEL
            for t in range(taps):
                for c in range(channels):
                    panel[t * channels + c, lane] = weight[g, o, c, t]


def _padded_bias(bias: ArrayLike | None, groups: int, count: int, panels: int) -> np.ndarray:
    padded = aligned_empty((groups, panels * PANEL), np.float32)
    padded[...] = 0
    if bias is not None:
        padded[:, :count] = np.asarray(bias, np.float32).reshape(groups, count)
    return padded.reshape(groups, panels, PANEL)


def pack_conv_f32(weight: np.ndarray, bias: np.ndarray | None = None, groups: int = 1) -> PackedConv:
    """Pack the weights of a convolution.

    Parameters
    ----------
    weight : float32 (OC, C/groups, KH, KW)
        TNN's layout.
    bias : float32 (OC,) or None
    groups : int
        Groups of channels; those of the output are OC/groups each.
    """
    out_channels, channels, kernel_h, kernel_w = weight.shape
    count = out_channels // groups
    panels = -(-count // PANEL)
    taps = kernel_h * kernel_w
    packed = aligned_empty((groups, panels, taps * channels, PANEL), np.float32)
    packed[...] = 0
    _pack_panels(np.ascontiguousarray(weight, np.float32).reshape(groups, count, channels, taps), packed)
    return PackedConv(packed, _padded_bias(bias, groups, count, panels), out_channels)


def pack_inner_product_f32(weight: np.ndarray, bias: np.ndarray | None = None) -> PackedConv:
    """Pack the weights of an inner product, float32 (OC, K); bias as in :func:`pack_conv_f32`."""
    return pack_conv_f32(weight.reshape(*weight.shape, 1, 1), bias)


def pack_depthwise_f32(weight: np.ndarray, bias: np.ndarray | None = None) -> PackedDepthwise:
    """Pack the weights of a depthwise convolution, float32 (OC, 1, KH, KW) where OC is a multiple of C."""
    count = weight.shape[0]
    panels = -(-count // PANEL)
    padded = np.zeros((panels * PANEL, weight.size // count), np.float32)
    padded[:count] = weight.reshape(count, -1)
    packed = aligned_empty((panels, weight.size // count, PANEL), np.float32)
    packed[...] = padded.reshape(panels, PANEL, -1).transpose(0, 2, 1)
    return PackedDepthwise(packed, _padded_bias(bias, 1, count, panels)[0])
