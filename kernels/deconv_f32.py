"""fp32 deconvolution (transposed convolution) of channels-last images, as stride-1 convolutions.

An output row whose position, counted from the top of the padding, has the remainder r modulo the stride sees only the
taps ``kh = r, r + stride, ...``, on consecutive input rows: such rows are together a plain convolution with those taps
in reverse order. So for columns. Remainders ("phases") that need as many taps and start at the same input position are
one convolution with more output channels: a 2x2 kernel of stride 2 is one matrix product.

Versions, slowest first:

* :func:`deconv2d_f32_naive`: for every output position the taps that reach it; the reference.
* :func:`deconv2d_f32`: :func:`~tnnquant.kernels.conv_f32.conv2d_f32` for every kind of phase into scratch memory, from
  which the rows are then put together. No multiplication is done twice and nothing is added up in memory. The cost:
  the output is written, read and written again.

Stride and dilation must not both exceed 1 along an axis (TNN's own arithmetic then skips taps: see the layer).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.conv_f32 import conv2d_f32_op
from tnnquant.kernels.depthwise_f32 import depthwise_f32_op
from tnnquant.kernels.geometry import NO_ACTIVATION, RELU6, ConvGeometry, pixel_stride
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.pack_f32 import PackedConv, PackedDepthwise, pack_conv_f32, pack_depthwise_f32
from tnnquant.kernels.simd import copy_pixels, words

__all__ = ["DeconvPlan", "deconv2d_f32", "deconv2d_f32_naive", "deconv2d_f32_rows", "plan_deconv_f32"]


@kernel
def deconv2d_f32_naive(x, weight, bias, geometry, activation, out):
    # x: (N, H, W, C); weight: (C, OC/G, KH, KW), C = G*C/G; bias: (OC,); geometry: ConvGeometry; activation: int;
    # out: (N, OH, OW, OC); all arrays float32
    kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups = geometry
    count, channels = weight.shape[1], weight.shape[0] // groups
    for n in range(out.shape[0]):
        for y in range(out.shape[1]):
            for column in range(out.shape[2]):
                for o in range(out.shape[3]):
                    first = o // count * channels
                    total = bias[o]
                    for kh in range(kernel_h - 1, -1, -1):
                        from_y = y + pad_top - kh * dilation_h
                        if from_y < 0 or from_y % stride_h != 0 or from_y // stride_h >= x.shape[1]:
                            continue
                        for kw in range(kernel_w - 1, -1, -1):
                            from_x = column + pad_left - kw * dilation_w
                            if from_x < 0 or from_x % stride_w != 0 or from_x // stride_w >= x.shape[2]:
                                continue
                            for c in range(channels):
                                value = x[n, from_y // stride_h, from_x // stride_w, first + c]
                                total += value * weight[first + c, o % count, kh, kw]
                    if activation != NO_ACTIVATION:
                        total = max(total, np.float32(0))
                    if activation == RELU6:
                        total = min(total, np.float32(6))
                    out[n, y, column, o] = total


class _Phase(NamedTuple):
    """The outputs of one remainder along one axis.

    ``first``, ``size``: the first of them, and how many there are, ``stride`` apart; ``taps``: the kernel's positions
    in the order of the input; ``begin``: begin pad of the convolution.
    """

    first: int
    size: int
    taps: tuple[int, ...]
    begin: int


def _phases(kernel_size: int, stride: int, pad: int, dilation: int, out_size: int) -> list[_Phase]:
    """One phase for every remainder of (output + pad) modulo the stride."""
    phases = []
    for remainder in range(stride):
        first = (remainder - pad) % stride
        taps = range(remainder, kernel_size, stride) if stride > 1 else range(kernel_size)
        # Output q of the phase reads input q + offset - tap * dilation, tap = 0, 1, ... in the order of the kernel.
        offset = (first + pad - remainder) // stride
        begin = (len(taps) - 1) * (dilation if stride == 1 else 1) - offset
        phases.append(_Phase(first, len(range(first, out_size, stride)), tuple(reversed(taps)), begin))
    return phases


class _Part(NamedTuple):
    """One convolution for all phases of a kind: geometry, packed weights, output size, output channels of a group."""

    geometry: ConvGeometry
    packed: PackedConv | PackedDepthwise
    size: tuple[int, int]
    channels: int


class DeconvPlan(NamedTuple):
    """A deconvolution made ready; see :func:`plan_deconv_f32`.

    Attributes
    ----------
    parts : tuple of _Part
    places : tuple of (int, int)
        For every pair of phases, row phases first: the part it belongs to and its number there; part -1: no tap reaches
        it, the output is the bias.
    firsts : int64 (stride_h + stride_w,)
        The first output of every phase along height, then along width.
    strides : tuple of int
    groups : int
    bias : float32 (OC,)
    """

    parts: tuple[_Part, ...]
    places: tuple[tuple[int, int], ...]
    firsts: np.ndarray
    strides: tuple[int, int]
    groups: int
    bias: np.ndarray


def plan_deconv_f32(
    weight: np.ndarray, bias: np.ndarray | None, geometry: ConvGeometry, out_size: tuple[int, int]
) -> DeconvPlan:
    """Sort the phases into convolutions and pack their weights; done once per model.

    Parameters
    ----------
    weight : float32 (groups, C/groups, OC/groups, KH, KW)
        TNN's layout.
    bias : float32 (OC,) or None
    geometry : ConvGeometry
        Of the deconvolution: the tap ``kh`` of input row ``iy`` reaches the output row
        ``iy*stride_h - pad_top + kh*dilation_h``.
    out_size : tuple of int
        OH, OW.
    """
    groups, channels, count, *_ = weight.shape
    bias = np.zeros(groups * count, np.float32) if bias is None else np.asarray(bias, np.float32)
    depthwise = channels == 1 and groups > 1
    rows = _phases(geometry.kernel_h, geometry.stride_h, geometry.pad_top, geometry.dilation_h, out_size[0])
    columns = _phases(geometry.kernel_w, geometry.stride_w, geometry.pad_left, geometry.dilation_w, out_size[1])
    kinds: dict[tuple, list[tuple[_Phase, _Phase]]] = {}
    seen: list[tuple[tuple, int]] = []
    for row in rows:
        for column in columns:
            if not (row.taps and column.taps and row.size and column.size):
                seen.append(((), 0))  # no tap reaches it, or it has no outputs
                continue
            # Depthwise phases are not joined: their channels would lie apart and be copied one by one.
            kind = (row, column) if depthwise else (len(row.taps), row.begin, len(column.taps), column.begin)
            members = kinds.setdefault(kind, [])
            seen.append((kind, len(members)))
            members.append((row, column))
    numbers = {key: number for number, key in enumerate(kinds)}
    places = tuple((numbers.get(kind, -1), member) for kind, member in seen)
    parts = tuple(_part(members, weight, bias, geometry) for members in kinds.values())
    firsts = np.array([phase.first for phase in (*rows, *columns)], np.int64)
    return DeconvPlan(parts, places, firsts, geometry[2:4], groups, bias)


def _part(
    members: list[tuple[_Phase, _Phase]], weight: np.ndarray, bias: np.ndarray, geometry: ConvGeometry
) -> _Part:
    """One convolution for phases of a kind; its output channels are groups x members x OC/groups."""
    groups, channels, count, *_ = weight.shape
    stacked = np.stack([_corner(weight, row.taps, column.taps) for row, column in members], 1)
    stacked = stacked.reshape(groups * len(members) * count, channels, *stacked.shape[4:])
    biases = np.repeat(bias.reshape(groups, 1, count), len(members), 1).reshape(-1)
    row, column = members[0]
    dilation_h = geometry.dilation_h if geometry.stride_h == 1 else 1
    dilation_w = geometry.dilation_w if geometry.stride_w == 1 else 1
    height, width = stacked.shape[2:]
    flat = ConvGeometry(height, width, 1, 1, row.begin, column.begin, dilation_h, dilation_w, groups)
    depthwise = channels == 1 and groups > 1
    packed = pack_depthwise_f32(stacked, biases) if depthwise else pack_conv_f32(stacked, biases, groups)
    size = max(row.size for row, _ in members), max(column.size for _, column in members)
    return _Part(flat, packed, size, len(members) * count)


def _corner(weight: np.ndarray, rows: tuple[int, ...], columns: tuple[int, ...]) -> np.ndarray:
    """Some taps of the weights as those of a convolution: (groups, OC/groups, C/groups, rows, columns)."""
    return weight[:, :, :, list(rows)][..., list(columns)].swapaxes(1, 2)


@kernel
def _interleave_task(op, index, scratch):
    # op words from ARGS on: see deconv2d_f32_rows. Task: one output row. table: int64 (stride_h*stride_w, 5): address
    # of a phase's first pixel (0: none); bytes from image to image, row to row, pixel to pixel, group to group.
    args = words(op, program.WORDS)[program.ARGS :]
    out, height, width, out_step, groups, group_bytes = args[0], args[1], args[2], args[3], args[4], args[5]
    stride_h, stride_w, first_of, table, empty = args[6], args[7], args[8], args[9], args[10]
    image = index // height
    y = index - image * height
    firsts = words(first_of, stride_h + stride_w)
    row = np.int64(0)
    while (y - firsts[row]) % stride_h != 0:
        row += 1
    for column in range(stride_w):
        first = firsts[stride_h + column]
        pixels = (width - first + stride_w - 1) // stride_w
        if pixels <= 0:
            continue
        to = out + (index * width + first) * out_step
        place = words(table + (row * stride_w + column) * 40, 5)
        if place[0] == 0:
            copy_pixels(to, stride_w * out_step, empty, np.int64(0), pixels, groups * group_bytes)
            continue
        source = place[0] + image * place[1] + (y - firsts[row]) // stride_h * place[2]
        for g in range(groups):
            copy_pixels(to + g * group_bytes, stride_w * out_step, source + g * place[4], place[3], pixels, group_bytes)


def deconv2d_f32_rows(
    x: np.ndarray, plan: DeconvPlan, activation: int, out: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The ops (:mod:`~tnnquant.kernels.program`) of :func:`deconv2d_f32`, and the memory they work in.

    All arrays, those returned too, must stay alive.
    """
    images, height, width, channels = out.shape
    # A convolution of one phase has its channels in the order of the output: they are copied as if of one group.
    apart = any(part.channels != channels // plan.groups for part in plan.parts)
    groups = plan.groups if apart else 1
    group_bytes = channels // groups * 4
    rows, memory = [], []
    for part in plan.parts:
        made = np.empty((images, *part.size, plan.groups * part.channels), np.float32)
        if isinstance(part.packed, PackedDepthwise):
            rows.append(depthwise_f32_op(x, part.packed, part.geometry, activation, made))
        else:
            rows.append(conv2d_f32_op(x, part.packed, part.geometry, activation, made))
        memory.append(made)
    table = np.zeros((len(plan.places), 5), np.int64)
    for entry, (number, member) in zip(table, plan.places, strict=True):
        if number >= 0:
            made = memory[number]
            start = program.data_address(made) + member * group_bytes
            entry[:] = (start, *made.strides[:3], made.strides[2] // groups)
    empty = np.maximum(plan.bias, 0) if activation else plan.bias
    empty = np.minimum(empty, np.float32(6)) if activation == RELU6 else empty
    address = program.data_address
    args = [
        address(out), height, width, pixel_stride(out) * 4, groups, group_bytes,
        *plan.strides, address(plan.firsts), address(table), address(empty),
    ]  # fmt: skip
    rows.append(program.new_op(_interleave_task, images * height, 0, args))
    return np.concatenate(rows), [*memory, table, empty, plan.firsts]


def deconv2d_f32(x: np.ndarray, plan: DeconvPlan, activation: int, out: np.ndarray) -> np.ndarray:
    """Deconvolution with bias and activation: ``out[n, y, x, o] = act(b[o] + sum x[n, iy, ix, c] * w[c, o, kh, kw])``.

    Parameters
    ----------
    x : float32 (N, H, W, C)
        C-contiguous, or a slice of channels of such an array.
    plan : DeconvPlan
        :func:`plan_deconv_f32` for this size of ``out``.
    activation : int
        0 none, 1 ReLU, 2 ReLU6.
    out : float32 (N, OH, OW, OC)
        Written and returned; C-contiguous or a slice of channels of a wider array.
    """
    rows, memory = deconv2d_f32_rows(x, plan, activation, out)
    program.run(rows)
    del memory
    return out
