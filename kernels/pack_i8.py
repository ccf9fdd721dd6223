"""int8 weights and requantization constants in the order in which the microkernels read them; done once per model.

Layout follows the instruction path (:mod:`~tnnquant.kernels.tile_i8`): GROUP = 2 stores ``w - zero_w`` as int16, and
the activations are widened to ``x - zero_x`` on the fly, so zero points cost nothing. GROUP = 4 stores bytes:
activations are ``x + SHIFT``, and the sum starts at ``bias - sum over k of (SHIFT + zero_x[c]) * (w - zero_w)``,
which makes it the same number; where ``w - zero_w`` leaves int8, the reduction runs twice, over two parts that add up
to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tnnquant.kernels.amx import tiles
from tnnquant.kernels.dot_i8 import BYTE_DOT, DEPTH, GROUP, PANEL, SHIFT
from tnnquant.kernels.geometry import RELU6, ConvGeometry
from tnnquant.kernels.program import aligned_empty
from tnnquant.kernels.results_i8 import (
    ADDED_SCALE,
    ADDED_ZERO,
    PARAMETERS,
    SCALE,
    SIX,
    SIX_BYTES,
    START,
    TILE_START,
    ZERO,
)
from tnnquant.kernels.tile_amx import STEP

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

__all__ = [
    "ConvQuant",
    "PackedConvI8",
    "PackedDepthwiseI8",
    "pack_conv_i8",
    "pack_depthwise_i8",
    "pack_inner_product_i8",
]

# Channels that a run of zero points covers at least: rows of few channels are converted several pixels at a time.
_ZERO_RUN = 512
# Channels of a group from which on tiles, 64 of them deep, are faster than vectors.
_TILE_CHANNELS = 32
# Results below this are far from leaving int32.
_SIMPLE_RESULT = 1e9
_MIN_SCALE = np.float32(np.finfo(np.float32).tiny)


class ConvQuant(NamedTuple):
    """What a quantized convolution or inner product needs beside its weights (docs/tnn-format.md, 6.3). n is 1 or a
    channel count.

    Attributes
    ----------
    weight_scale : float32 (n,)
        The input scale folded in, as TNN's tool writes it; n = 1 or OC.
    weight_zero, input_zero : int8 (n,)
        n = 1 or OC; n = 1 or C.
    bias : int32 (OC,) or None
    output_scale : float32 (n,); output_zero : int8 (n,)
        Of the output blob; n = 1 or OC.
    added_scale : float32 (n,) or None; added_zero : int8 (n,) or None
        Of the blob added by a fused Add; the zero point is indexed by the output's rule, as in TNN.
    """

    weight_scale: np.ndarray
    weight_zero: np.ndarray
    input_zero: np.ndarray
    bias: np.ndarray | None
    output_scale: np.ndarray
    output_zero: np.ndarray
    added_scale: np.ndarray | None = None
    added_zero: np.ndarray | None = None


class Simple(NamedTuple):
    """Which results :func:`~tnnquant.kernels.direct_i8.emit_direct` can round.

    bounded : no scaled sum comes near the end of int32, and none is NaN; centered : no output zero point but 0.
    """

    bounded: bool
    centered: bool

    def with_activation(self, activation: int) -> bool:
        """Whether the results are simple; ReLU6 drops the zero point."""
        return self.bounded and (self.centered or activation == RELU6)


class PackedConvI8(NamedTuple):
    """Weights of a grouped convolution in panels of PANEL output channels.

    weights : int16 or int8 (groups, panels, taps * steps, PANEL, DEPTH), 64-byte aligned; a tap is a kernel row of KW*C
    channels if ``fused``, else one pixel of C/groups; ``repeat`` = 2: the taps are run twice, with the two parts of
    the weights. params : int32 words (groups, panels, PARAMETERS, PANEL), see
    :mod:`~tnnquant.kernels.results_i8`.
    input_zero : int8 (r * C,), what padding is made of, r pixels of it.
    byte_weights : int8 (groups, panels, taps * byte_steps, PANEL, 4) for inputs without a negative value, or empty
    where that brings nothing (:data:`~tnnquant.kernels.dot_i8.BYTE_DOT`) or some zero point is not 0.
    tile_weights : int8 (groups, panels, repeat * taps * tile_steps * STEP / 4, PANEL, 4), what ``weights`` is with
    whole :data:`~tnnquant.kernels.tile_amx.STEP` products per step, or empty where tiles cannot be used; the same
    memory if it is the same.
    has_zero : whether a zero point of the input is not 0. simple : see :class:`Simple`.
    """

    weights: np.ndarray
    params: np.ndarray
    input_zero: np.ndarray
    byte_weights: np.ndarray
    tile_weights: np.ndarray
    fused: bool
    repeat: int
    steps: int
    byte_steps: int
    tile_steps: int
    has_zero: bool
    simple: Simple


class PackedDepthwiseI8(NamedTuple):
    """Weights of a depthwise convolution: GROUP kernel rows at a time.

    weights : int16 or int8 (phases, panels, repeat * row_groups * KW, PANEL, GROUP): ``phases`` rows of outputs in turn
    share the same groups of rows, each with its weights a stride further down.
    params : as in :class:`PackedConvI8`, (panels, PARAMETERS, PANEL). input_zero : int8 (OC,), of the input channel
    that each output channel reads.
    """

    weights: np.ndarray
    params: np.ndarray
    input_zero: np.ndarray
    repeat: int
    has_zero: bool
    simple: Simple


def _spread(values: ArrayLike, count: int, dtype: DTypeLike) -> np.ndarray:
    """``count`` values from ``count`` or from one."""
    return np.broadcast_to(np.asarray(values, dtype).reshape(-1), (count,))


def _round_to_i8(values: np.ndarray) -> np.ndarray:
    """f2i8 of TNN: half away from zero, saturated; NaN becomes 127."""
    shifted = values + np.where(values >= 0, np.float32(0.5), np.float32(-0.5))
    clamped = np.where(shifted < 127, shifted, np.float32(127))
    return np.trunc(np.where(clamped > -128, clamped, np.float32(-128))).astype(np.int32)


def _parameters(quant: ConvQuant, start: np.ndarray, tile_start: np.ndarray | int = 0) -> np.ndarray:
    """int32 words (PARAMETERS, OC); start is the int32 value the sums begin with, tile_start that of sums of tiles."""
    count = len(start)
    scale_out = _spread(quant.output_scale, count, np.float32)
    usable = scale_out >= _MIN_SCALE
    table = np.zeros((PARAMETERS, count), np.float32)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        table[SCALE] = np.where(usable, _spread(quant.weight_scale, count, np.float32) / scale_out, np.float32(0))
        table[ZERO] = _spread(quant.output_zero, count, np.float32)
        six = _round_to_i8(np.float32(6) / scale_out)
        if quant.added_scale is not None and quant.added_zero is not None:
            added = np.where(usable, _spread(quant.added_scale, count, np.float32) / scale_out, np.float32(0))
            table[ADDED_SCALE], table[ADDED_ZERO] = added, _spread(quant.added_zero, count, np.float32) * added
    words = table.view(np.int32)
    words[START], words[TILE_START], words[SIX], words[SIX_BYTES] = start, tile_start, six, six
    return words


def _simple(quant: ConvQuant, centered: np.ndarray, table: np.ndarray) -> Simple:
    """From int32 (OC, ...) weights minus their zero point and the parameters."""
    largest = 255.0 * np.abs(centered).reshape(len(centered), -1).sum(axis=1, dtype=np.int64)
    if quant.bias is not None:
        largest += np.abs(np.asarray(quant.bias, np.float64).reshape(-1))
    with np.errstate(invalid="ignore", over="ignore"):
        factors = np.abs(table.view(np.float32)[[SCALE, ADDED_SCALE]].astype(np.float64))
        results = largest * factors[0] + 255 * factors[1]
    return Simple(bool((results < _SIMPLE_RESULT).all()), not np.any(quant.output_zero))


def _in_panels(table: np.ndarray, groups: int, panels: int) -> np.ndarray:
    """(rows, OC) words to (groups, panels, rows, PANEL), 64-byte aligned, 0 in the lanes that do not exist."""
    rows, count = table.shape
    out = aligned_empty((groups, panels, rows, PANEL), np.int32)
    padded = np.zeros((rows, groups, panels * PANEL), np.int32)
    padded[:, :, : count // groups] = table.reshape(rows, groups, -1)
    out[...] = padded.reshape(rows, groups, panels, PANEL).transpose(1, 2, 0, 3)
    # The last row is read as bytes.
    out.view(np.int8)[:, :, -1, :PANEL] = out[:, :, -1]
    return out


def _parts(centered: np.ndarray) -> list[np.ndarray]:
    """Weights minus their zero point as one or two arrays that the path can multiply and that add up to them."""
    if GROUP == 2:
        return [centered.astype(np.int16)]
    if centered.min(initial=0) >= -128 and centered.max(initial=0) <= 127:
        return [centered.astype(np.int8)]
    first = np.clip(centered, -127, 127)
    return [first.astype(np.int8), (centered - first).astype(np.int8)]


def _start(centered: np.ndarray, input_zero: np.ndarray, bias: ArrayLike | None, shift: int = SHIFT) -> np.ndarray:
    """int32 (OC,): bias and what the shift and the zero points of the input add to the sums, taken off.

    centered : int32 (OC, C/G, taps); input_zero : int32 (OC, C/G). Sums wrap as int32 does.
    """
    start = np.zeros(len(centered), np.int64) if bias is None else np.asarray(bias, np.int64).reshape(-1).copy()
    if GROUP == 4:
        start -= (centered.sum(axis=2, dtype=np.int64) * (input_zero + shift)).sum(axis=1)
    return start.astype(np.int32)


def pack_conv_i8(weight: np.ndarray, geometry: ConvGeometry, quant: ConvQuant) -> PackedConvI8:
    """Pack the weights of a convolution.

    Parameters
    ----------
    weight : int8 (OC, C/groups, KH, KW)
        TNN's layout.
    geometry : ConvGeometry
        ``groups`` and ``dilation_w`` decide the layout.
    quant : ConvQuant
        Lengths are not checked here.
    """
    out_channels, channels, kernel_h, kernel_w = weight.shape
    groups = geometry.groups
    count, panels = out_channels // groups, -(-out_channels // groups // PANEL)
    input_zero = np.ascontiguousarray(_spread(quant.input_zero, channels * groups, np.int8))
    centered = weight.astype(np.int32) - _spread(quant.weight_zero, out_channels, np.int32)[:, None, None, None]
    by_group = np.repeat(input_zero.astype(np.int32).reshape(groups, channels), count, axis=0)
    by_tap = centered.reshape(out_channels, channels, -1)
    start = _start(by_tap, by_group, quant.bias)
    tile_start = np.zeros(len(start), np.int32)

    fused = geometry.dilation_w == 1 and groups == 1
    taps = kernel_h if fused else kernel_h * kernel_w
    in_order = centered.transpose(0, 2, 3, 1).reshape(groups, count, taps, -1)
    parts = _parts(in_order)
    packed, steps = _gemm_panels(parts, panels, DEPTH)
    byte_weights, byte_steps = np.empty(0, np.int8), 0
    if BYTE_DOT and not input_zero.any() and not np.any(quant.weight_zero):
        byte_weights, byte_steps = _gemm_panels([in_order.astype(np.int8)], panels, 4)
    tile_weights, tile_steps = np.empty(0, np.int8), 0
    if fits_tiles(groups, channels):
        tile_start = _start(by_tap, by_group, quant.bias, shift=0)
        unit = STEP // GROUP
        tile_weights, tile_steps = _gemm_panels(parts, panels, GROUP, unit) if steps % unit else (packed, steps)
        tile_steps //= unit
    table = _parameters(quant, start, tile_start)
    zeros = np.tile(input_zero, -(-_ZERO_RUN // len(input_zero)))
    return PackedConvI8(
        packed, _in_panels(table, groups, panels), zeros, byte_weights, tile_weights, fused, len(parts), steps,
        byte_steps, tile_steps, bool(input_zero.any()), _simple(quant, centered, table),
    )  # fmt: skip


def fits_tiles(groups: int, channels: int) -> bool:
    """Whether tiles multiply, where there are any, weights of so many groups and input channels per group."""
    return (groups == 1 or channels >= _TILE_CHANNELS) and bool(tiles())


def _gemm_panels(parts: list[np.ndarray], panels: int, group: int, unit: int = 1) -> tuple[np.ndarray, int]:
    """(groups, panels, parts * taps * steps, PANEL, group) of weights (groups, OC/G, taps, length); and steps, a
    multiple of ``unit``.
    """
    groups, count, taps, length = parts[0].shape
    steps = -(-length // (group * unit)) * unit
    padded = np.zeros((groups, panels * PANEL, len(parts), taps, steps * group), parts[0].dtype)
    for index, part in enumerate(parts):
        padded[:, :count, index, :, :length] = part
    packed = aligned_empty((groups, panels, len(parts) * taps * steps, PANEL, group), padded.dtype)
    packed[...] = padded.reshape(groups, panels, PANEL, -1, group).transpose(0, 1, 3, 2, 4)
    return packed, steps


def pack_inner_product_i8(weight: np.ndarray, quant: ConvQuant) -> PackedConvI8:
    """Pack the weights of an inner product, int8 (OC, K); ``quant.input_zero`` has 1 or K values."""
    return pack_conv_i8(weight.reshape(*weight.shape, 1, 1), ConvGeometry(1, 1), quant)


def pack_depthwise_i8(weight: np.ndarray, geometry: ConvGeometry, quant: ConvQuant) -> PackedDepthwiseI8:
    """Pack the weights of a depthwise convolution.

    Parameters
    ----------
    weight : int8 (OC, 1, KH, KW)
        OC is a multiple of C.
    geometry : ConvGeometry
        ``groups`` is C; stride and dilation along the height decide the layout.
    quant : ConvQuant
        Lengths are not checked here.
    """
    out_channels, _, kernel_h, kernel_w = weight.shape
    panels = -(-out_channels // PANEL)
    zero = np.repeat(_spread(quant.input_zero, geometry.groups, np.int8), out_channels // geometry.groups)
    centered = weight.astype(np.int32) - _spread(quant.weight_zero, out_channels, np.int32)[:, None, None, None]
    start = _start(centered.reshape(out_channels, 1, -1), zero.astype(np.int32)[:, None], quant.bias)
    row_groups = -(-kernel_h // GROUP)
    step = geometry.stride_h
    phases = (row_groups * GROUP - kernel_h) // step + 1 if geometry.dilation_h == 1 else 1
    parts = _parts(centered[:, 0])
    padded = np.zeros((phases, panels * PANEL, len(parts), row_groups * GROUP, kernel_w), parts[0].dtype)
    for phase in range(phases):
        for index, part in enumerate(parts):
            padded[phase, :out_channels, index, phase * step : phase * step + kernel_h] = part
    shape = (phases, panels, PANEL, len(parts), row_groups, GROUP, kernel_w)
    packed = aligned_empty((phases, panels, len(parts) * row_groups * kernel_w, PANEL, GROUP), padded.dtype)
    packed[...] = padded.reshape(shape).transpose(0, 1, 3, 4, 6, 2, 5).reshape(packed.shape)
    table = _parameters(quant, start)
    params = _in_panels(table, 1, panels)[0]
    simple = _simple(quant, centered, table)
    return PackedDepthwiseI8(packed, params, np.ascontiguousarray(zero), len(parts), bool(zero.any()), simple)
