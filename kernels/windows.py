"""Windows of channels-last maps, tap by tap: copied side by side, or summed.

Which pixel each tap of a window meets is looked up in a table: strides, dilation and padding are no matter here.

Versions: the naive twins, value by value; the ops, a task per few windows, or per few channels of a tap.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels import program
from tnnquant.kernels.jit import kernel
from tnnquant.kernels.simd import f32_view, f64_view, i8_view, words

__all__ = ["gathered_windows", "gathered_windows_naive", "window_sums", "window_sums_naive"]

#: Windows of a task that copies; channels of one that sums.
_WINDOWS, _CHANNELS = 32, 64


@kernel
def gathered_windows_naive(pixels, rows, windows):
    # pixels: int8 or float32 (samples, P, C); rows: int64 (windows, taps), numbers of pixels, or -1 for padding;
    # windows: int8 or float32 (samples, windows, taps, C), written
    for sample in range(pixels.shape[0]):
        for window in range(rows.shape[0]):
            for tap in range(rows.shape[1]):
                for c in range(pixels.shape[2]):
                    row = rows[window, tap]
                    windows[sample, window, tap, c] = 0 if row < 0 else pixels[sample, row, c]


@kernel
def window_sums_naive(pixels, rows, sums):
    # pixels: float32 (P, C); rows: int64 (windows, taps), as above; sums: float64 (taps, C), updated
    for window in range(rows.shape[0]):
        for tap in range(rows.shape[1]):
            for c in range(pixels.shape[1]):
                if rows[window, tap] >= 0:
                    sums[tap, c] += np.float64(pixels[rows[window, tap], c])


@kernel
def _gather_task(op, index, scratch):
    # op words from ARGS on: addresses of pixels, rows, windows as in the naive twin; samples, windows, taps; bytes of a
    # pixel; P. Task: _WINDOWS windows
    args = words(op, program.WORDS)[program.ARGS :]
    samples, count, taps, size, pixels = args[3], args[4], args[5], args[6], args[7]
    first = _WINDOWS * index
    for number in range(first, min(first + _WINDOWS, samples * count)):
        rows = words(args[1] + 8 * taps * (number % count), taps)
        source, target = args[0] + size * pixels * (number // count), args[2] + size * taps * number
        for tap in range(taps):
            to = i8_view(target + size * tap, size)
            if rows[tap] < 0:
                for k in range(size):
                    to[k] = np.int8(0)
            else:
                pixel = i8_view(source + size * rows[tap], size)
                for k in range(size):
                    to[k] = pixel[k]


@kernel
def _sum_task(op, index, scratch):
    # op words from ARGS on: addresses of pixels, rows, sums as in the naive twin; windows, taps, C. Task: _CHANNELS
    # channels of a tap
    args = words(op, program.WORDS)[program.ARGS :]
    count, taps, channels = args[3], args[4], args[5]
    tap, first = index % taps, _CHANNELS * (index // taps)
    width = min(np.int64(_CHANNELS), channels - first)
    rows, sums = words(args[1], count * taps), f64_view(args[2] + 8 * (channels * tap + first), width)
    for window in range(count):
        row = rows[window * taps + tap]
        if row >= 0:
            pixel = f32_view(args[0] + 4 * (channels * row + first), width)
            for c in range(width):
                sums[c] += np.float64(pixel[c])


def gathered_windows(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The windows of each sample, of the type of the pixels (samples, windows, taps, C).

    Parameters
    ----------
    pixels : int8 or float32 (samples, P, C)
        C-contiguous.
    rows : int64 (windows, taps)
        Numbers of the pixels that the taps meet; -1: padding, which is 0.
    """
    samples, count, channels = pixels.shape
    windows = np.empty((samples, *rows.shape, channels), pixels.dtype)
    if windows.size:
        rows = np.ascontiguousarray(rows, np.int64)
        args = [program.data_address(array) for array in (pixels, rows, windows)]
        args += [samples, *rows.shape, channels * pixels.itemsize, count]
        program.run(program.new_op(_gather_task, -(-samples * len(rows) // _WINDOWS), 0, args))
    return windows


def window_sums(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sums over the windows of what each tap meets, float64 (taps, C), in the order of the windows.

    Parameters
    ----------
    pixels : float32 (P, C)
        C-contiguous.
    rows : int64 (windows, taps)
        As of :func:`gathered_windows`.
    """
    channels = pixels.shape[1]
    sums = np.zeros((rows.shape[1], channels))
    if sums.size:
        rows = np.ascontiguousarray(rows, np.int64)
        args = [program.data_address(array) for array in (pixels, rows, sums)]
        tasks = rows.shape[1] * -(-channels // _CHANNELS)
        program.run(program.new_op(_sum_task, tasks, 0, [*args, *rows.shape, channels]))
    return sums
