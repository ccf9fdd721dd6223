"""int8 convolution by tiles (:mod:`~tnnquant.kernels.tile_amx`): where the positions lie that a tile reads.

A tile wants 16 positions at a constant distance. A 1x1 convolution has them: the images are one long row of pixels,
read in place. For any other, a task copies the rows it needs, with a border of zero points, and numbers the positions
along the *padded* width, so that the distance stays the same from one row of outputs to the next; what is computed at
the border goes to a dump. With a stride, the rows of each phase lie together: a step of the kernel is then a step of
one row again.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.conv_rows import Work, cut_into_tasks
from tnnquant.kernels.dot_i8 import PANEL
from tnnquant.kernels.geometry import ConvGeometry, Extent, pixel_stride
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.pack_i8 import PackedConvI8
from tnnquant.kernels.results_i8 import PARAMETERS
from tnnquant.kernels.simd import copy_bytes, copy_pixels, fill_zero, i8_view, load_words, store_word
from tnnquant.kernels.tile_amx import BLOCK, CONFIG, FRAME, STEP, SUMS_BYTES, TILE, configure, release, runner

__all__ = ["conv2d_tiles_op", "takes_tiles"]

# Rows of a matrix from which on tiles are faster than a vector for each.
FEWEST_PIXELS = 4
# Bytes of weights that are multiplied with a block of positions before the next block: as many as stay in the nearest
# cache beside the positions, if a panel is so small; else many, which then pass by it.
_NEAR, _CHUNK = 24 * 1024, 256 * 1024
# Tiles multiply so many times faster than vectors.
_FASTER = 6
# A byte of weights, which lie in a far cache, takes as long as so many bytes of what the layer before has just written.
_FARTHER = 3
# Tiles at the end of an image that would read beyond it and are copied: those within a step of the end.
_COPIES = STEP // TILE + 2
_LINE_BYTES = 64
_TABLE_BYTES = 8 * BLOCK  # of the addresses of a block's results


@kernel
def _copy_cells(to, cell, source, step, count):
    # count cells of so many bytes, side by side at the address to, from pixels step bytes apart
    if step == cell:
        copy_bytes(to, source, count * cell)
    elif cell % 4 == 0:
        copy_pixels(to, cell, source, step, count, cell)
    else:
        for i in range(count):
            copy_bytes(to + i * cell, source + i * step, cell)


@kernel
def _fill_zeros(to, count, cell, zeros, has_zero):
    # count pixels of cell zero points
    if has_zero == 0:
        fill_zero(to, count * cell)
        return
    z, line = i8_view(zeros, cell), i8_view(to, count * cell)
    for i in range(count):
        for c in range(cell):
            line[i * cell + c] = z[c]


@kernel
def _fill_band(x, pixel_bytes, height, width, cell, zeros, has_zero, top, left, step_h, step_w, rows, columns, phases,
               plane, band):  # fmt: skip
    # x: address of an image's (0, 0), int8. Row r of rows, of columns pixels of cell bytes, goes to plane r % phases of
    # the band, plane bytes each; its pixel i is the image's (top + r * step_h, left + i * step_w), or the zero point
    # outside the image.
    row_bytes = columns * cell
    begin = min(-(left // step_w), columns) if left < 0 else np.int64(0)
    end = max(min((width - left + step_w - 1) // step_w, columns), begin)
    for r in range(rows):
        to = band + r % phases * plane + r // phases * row_bytes
        y = top + r * step_h
        if y < 0 or y >= height or begin == end:
            _fill_zeros(to, columns, cell, zeros, has_zero)
            continue
        _fill_zeros(to, begin, cell, zeros, has_zero)
        _fill_zeros(to + end * cell, columns - end, cell, zeros, has_zero)
        source = x + (y * width + left + begin * step_w) * pixel_bytes
        _copy_cells(to + begin * cell, cell, source, step_w * pixel_bytes, end - begin)


@kernel
def _list_results(table, start, stride, lines, width, pitch, count, dump):
    # int64 (count,) at the address table: where the results of lines of width positions go, numbered along pitch
    at = table
    for y in range(lines):
        first = start + y * width * stride
        for i in range(width):
            store_word(at + 8 * i, first + i * stride)
        at += 8 * width
        if y + 1 < lines:
            for i in range(pitch - width):
                store_word(at + 8 * i, dump)
            at += 8 * (pitch - width)
    while at < table + 8 * count:
        store_word(at, dump)
        at += 8


@kernel
def _list_pixels(tables, outs, others, blocks, x, pixel_bytes, cell, depth, end, count, target, out_stride, other,
                 added_stride, dump, copies):  # fmt: skip
    # Tables of a plain matrix of count rows. The last tile reaches back over rows that have been computed. Tiles that
    # would read beyond the end of x are copied.
    for t in range(2 * blocks):
        if TILE * t >= count:
            store_word(tables + 8 * t, np.int64(0))
            continue
        first = max(min(np.int64(TILE * t), count - TILE), np.int64(0))
        source = x + first * pixel_bytes
        rows = min(count - first, np.int64(TILE))
        if source + (TILE - 1) * pixel_bytes + depth > end:
            copy_bytes(copies, source, (rows - 1) * pixel_bytes + cell)
            source = copies
            copies += (TILE * pixel_bytes + depth + _LINE_BYTES) // _LINE_BYTES * _LINE_BYTES
        store_word(tables + 8 * t, source)
        _list_results(outs + 8 * TILE * t, target + first * out_stride, out_stride, np.int64(1), rows, rows,
                      np.int64(TILE), dump)  # fmt: skip
        _list_results(others + 8 * TILE * t, other + first * added_stride, added_stride, np.int64(1), rows, rows,
                      np.int64(TILE), dump)  # fmt: skip


@kernel
def _conv_task(op, index, scratch):
    # op words from ARGS on: see conv2d_tiles_op
    (x, height, width, pixel_bytes, channels, out, out_width, out_pixels, out_stride, out_channels, weights, params,
     panels, groups, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, fused, block,
     blocks, panel_blocks, steps, repeat, zeros, has_zero, added, added_stride, flat, end, chunk, activation, fusion,
     config, run, once) = load_words(op + 8 * program.ARGS, 40)  # fmt: skip

    # Which image, which range of its output positions, which panels.
    split = index % panel_blocks
    first = index // panel_blocks % blocks * block
    image = index // panel_blocks // blocks
    count = min(block, out_pixels - first)
    target = out + (image * out_pixels + first) * out_stride
    other = added + (image * out_pixels + first) * added_stride
    source = x + image * height * width * pixel_bytes
    cell = channels * groups
    y0 = first // out_width
    lines = (first + count - 1) // out_width - y0 + 1

    # A kernel of one row or column needs only the positions it is applied at.
    step_h, step_w = np.int64(1), np.int64(1)
    columns = ((out_width - 1) * stride_w + (kernel_w - 1) * dilation_w) // stride_w * stride_w + stride_w
    rows = (lines - 1) * stride_h + (kernel_h - 1) * dilation_h + 1
    top, left = y0 * stride_h - pad_top, -pad_left
    if kernel_h == 1:
        step_h, stride_h, rows = stride_h, np.int64(1), lines
    if kernel_w == 1:
        step_w, stride_w, columns = stride_w, np.int64(1), out_width
    row_bytes, width_of_a_line = columns * cell, columns // stride_w
    plane = (rows + stride_h - 1) // stride_h * row_bytes
    positions = count if flat else (lines - 1) * width_of_a_line + out_width
    pairs = (positions + BLOCK - 1) // BLOCK

    frame = scratch
    taps = frame + 8 * (FRAME + 2)
    sums = (taps + 8 * repeat * kernel_h * kernel_w + 63) // 64 * 64
    dump = sums + SUMS_BYTES
    tables = (dump + groups * panels * PANEL + 63) // 64 * 64
    outs = tables + 16 * pairs
    others = outs + _TABLE_BYTES * pairs
    band = (others + _TABLE_BYTES * pairs + 63) // 64 * 64
    if added == 0:
        other, added_stride = dump, np.int64(0)
    pitch = stride_w * cell
    if flat:
        pitch = pixel_bytes
        _list_pixels(tables, outs, others, pairs, source + first * pixel_bytes, pixel_bytes, channels, steps * STEP,
                     end, count, target, out_stride, other, added_stride, dump, band)  # fmt: skip
    else:
        _fill_band(source, pixel_bytes, height, width, cell, zeros, has_zero, top, left, step_h, step_w, rows, columns,
                   stride_h, plane, band)  # fmt: skip
        for b in range(pairs):
            at = band + b * BLOCK * pitch
            store_word(tables + 16 * b, at)
            store_word(tables + 16 * b + 8, at + TILE * pitch if BLOCK * b + TILE < positions else np.int64(0))
        _list_results(outs, target, out_stride, lines, out_width, width_of_a_line, BLOCK * pairs, dump)
        _list_results(others, other, added_stride, lines, out_width, width_of_a_line, BLOCK * pairs, dump)

    tap_count = repeat * kernel_h * (1 if fused else kernel_w)
    panel_bytes, params_bytes = tap_count * steps * (STEP * PANEL), np.int64(PARAMETERS * PANEL * 4)
    group_size = out_channels // groups
    last = groups * panels * (split + 1) // panel_blocks
    p = groups * panels * split // panel_blocks
    lines_a_step = (PANEL + pairs - 1) // pairs
    configure(config)
    while p < last:
        group = p // panels
        stop = min(last, (group + 1) * panels)
        at = taps
        for _ in range(repeat):
            for kh in range(kernel_h):
                offset = kh * dilation_h % stride_h * plane + kh * dilation_h // stride_h * row_bytes
                for kw in range(1 if fused else kernel_w):
                    store_word(at, group * channels + offset + kw * dilation_w * cell)
                    at += 8
        at_weights = weights + p * panel_bytes
        channel = group * group_size + (p - group * panels) * PANEL
        for i, word in enumerate((tables, pairs, outs, others, pitch, taps, tap_count, steps, at_weights,
                                  params + p * params_bytes, panel_bytes, params_bytes, channel,
                                  (group + 1) * group_size, stop - p, chunk, sums, lines_a_step,
                                  program.next_weights(op, index, at_weights), once, activation, fusion)):  # fmt: skip
            store_word(frame + 8 * i, word)
        program.call_task(run, op, frame, np.int64(0))
        p = stop
    release()


def takes_tiles(images: int, pixels: int, packed: PackedConvI8) -> bool:
    """Whether tiles multiply a convolution with so many output positions."""
    return packed.tile_steps > 0 and images * pixels >= FEWEST_PIXELS


def conv2d_tiles_op(
    x: np.ndarray,
    packed: PackedConvI8,
    geometry: ConvGeometry,
    activation: int,
    out: np.ndarray,
    added: np.ndarray | None = None,
    fusion: int = 0,
) -> np.ndarray:
    """The op of :func:`~tnnquant.kernels.conv_i8.conv2d_i8` if :func:`takes_tiles`. The arrays must stay alive."""
    channels, out_channels = x.shape[3], out.shape[3]
    groups, panels = packed.weights.shape[:2]
    images, x_height, x_width, out_width, pixels, flat = Extent.of(geometry, x, out, may_be_flat=groups == 1)
    kernel_h, kernel_w, stride_h, stride_w, _, _, dilation_h, dilation_w, _ = geometry
    taps = kernel_h * kernel_w
    macs = images * pixels * out_channels * (channels // groups) * taps
    read = channels * (stride_h * stride_w if kernel_h > 1 else 1)
    work = Work(
        images, pixels, out_width, macs // _FASTER, read, _FARTHER * packed.tile_weights.nbytes, groups * panels,
        not flat, whole_rows=not flat,
    )  # fmt: skip
    block, blocks, panel_blocks = cut_into_tasks(work, BLOCK)
    # What the task lays out in its scratch memory.
    stride = pixel_stride(x)
    lines = -(-block // out_width)
    step_w = 1 if kernel_w == 1 else stride_w
    columns = out_width if kernel_w == 1 else ((out_width - 1) * stride_w + (kernel_w - 1) * dilation_w) + stride_w
    rows = lines if kernel_h == 1 else (lines - 1) * stride_h + (kernel_h - 1) * dilation_h + stride_h
    pairs = -(-(block if flat else lines * columns) // BLOCK)
    if flat:
        cells = _COPIES * (TILE * stride + packed.tile_steps * STEP + _LINE_BYTES)
    else:
        cells = (rows * columns + BLOCK * step_w) * channels + packed.tile_steps * STEP
    scratch = (
        8 * (FRAME + 2) + 8 * taps * packed.repeat + SUMS_BYTES + groups * panels * PANEL
        + (16 + 2 * _TABLE_BYTES) * pairs + cells + 4 * _LINE_BYTES
    )  # fmt: skip
    panel_bytes = packed.tile_weights.nbytes // (groups * panels)
    simple = packed.simple.with_activation(activation) and (fusion != 2 or activation == 0)
    passes = panel_bytes > _NEAR
    chunk = max(1, (_CHUNK if passes else _NEAR) // panel_bytes)
    address = program.data_address
    end = address(x) + ((images * x_height * x_width) - 1) * stride + channels
    args = [
        address(x), x_height, x_width, stride, channels // groups,
        address(out), out_width, pixels, pixel_stride(out), out_channels,
        address(packed.tile_weights), address(packed.params), panels, groups,
        *geometry[:8],
        packed.fused, block, blocks, panel_blocks, packed.tile_steps, packed.repeat,
        address(packed.input_zero), packed.has_zero,
        address(added), 0 if added is None else pixel_stride(added),
        flat, end, chunk, activation, fusion,
        address(CONFIG), program.address_of(runner(activation, fusion and 1, simple)), passes,
    ]  # fmt: skip
    tasks = images * blocks * panel_blocks
    return program.new_op(_conv_task, tasks, scratch, args, packed.tile_weights, panel_blocks)
