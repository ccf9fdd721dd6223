"""Statistics of one batch of one blob: range and histogram of every slot (a channel, or the whole blob).

A blob arrives in the form its memory has: ``rows`` (R, C), channels last, where a slot is a column; ``planes``
(N, C, I), where a slot is all ``[:, c, :]``; or ``flat`` (n,), one slot. All kernels work in chunks whose number does
not depend on the number of threads. Minimum, maximum and integer counts do not depend on the order either.

* ``*_naive``: element by element.
* the others: 16 accumulators side by side (ranges), a thread a block of slots or a part of a flat blob (histograms).
"""

from __future__ import annotations

import numpy as np
from numba import prange

from tnnquant.kernels.jit import inline, kernel

__all__ = [
    "BINS",
    "histogram_flat",
    "histogram_naive",
    "histogram_planes",
    "histogram_rows",
    "range_flat",
    "range_naive",
    "range_planes",
    "range_rows",
]

#: Bins between 0 and the largest magnitude. Each row of counts has one more, for zeros, which are not counted.
BINS = 2048
_LAST, _ZERO = np.int32(BINS - 1), np.int32(BINS)
_CHUNKS = 16
_LANES = 16
_SLOTS = 16
_ROWS = 512


@kernel
def range_naive(planes, low, high):
    # planes: float32 (N, C, I); low, high: float32 (C,), updated. Returns how many values are NaN or infinite.
    bad = 0
    for n in range(planes.shape[0]):
        for c in range(planes.shape[1]):
            for i in range(planes.shape[2]):
                v = planes[n, c, i]
                bad += not np.isfinite(v)
                if v < low[c]:
                    low[c] = v
                if v > high[c]:
                    high[c] = v
    return bad


@inline
def _not_finite(v):
    # x - x is 0 for finite x and NaN for all others
    d = v - v
    return np.int32(d != d)


@inline
def _range_line(line, low, high):
    # line: float32 (n,); low, high: float32 (16,), updated. The 16 lanes become vector registers.
    bad = np.int32(0)
    whole = line.shape[0] // _LANES * _LANES
    for i in range(0, whole, _LANES):
        for lane in range(_LANES):
            v = line[i + lane]
            low[lane] = v if v < low[lane] else low[lane]
            high[lane] = v if v > high[lane] else high[lane]
            bad += _not_finite(v)
    for i in range(whole, line.shape[0]):
        v = line[i]
        low[0] = v if v < low[0] else low[0]
        high[0] = v if v > high[0] else high[0]
        bad += _not_finite(v)
    return bad


@kernel
def _range_of_part(flat, chunk, lows, highs, bad):
    # flat: float32 (n,), of which one of _CHUNKS parts; lows, highs: float32 (_CHUNKS, 16); bad: int32 (_CHUNKS, 1)
    n = flat.shape[0]
    part = flat[chunk * n // _CHUNKS : (chunk + 1) * n // _CHUNKS]
    bad[chunk, 0] = _range_line(part, lows[chunk], highs[chunk])


@kernel(parallel=True)
def _range_of_parts(flat, lows, highs, bad):
    for chunk in prange(_CHUNKS):
        _range_of_part(flat, np.int64(chunk), lows, highs, bad)


def range_flat(flat: np.ndarray, low: np.ndarray, high: np.ndarray) -> int:
    """Update the range of a blob with one slot: flat float32 (n,); low, high float32 (1,).

    Returns how many values are NaN or infinite.
    """
    lows, highs = np.full((_CHUNKS, _LANES), low[0]), np.full((_CHUNKS, _LANES), high[0])
    bad = np.zeros((_CHUNKS, 1), np.int32)
    _range_of_parts(flat, lows, highs, bad)
    low[0], high[0] = lows.min(), highs.max()
    return int(bad.sum(dtype=np.int64))


@kernel
def _range_of_plane(planes, c, lows, highs, bad):
    # planes: float32 (N, C, I), of which channel c; lows, highs: float32 (C, 16); bad: int32 (C, 1)
    for n in range(planes.shape[0]):
        bad[c, 0] += _range_line(planes[n, c], lows[c], highs[c])


@kernel(parallel=True)
def _range_of_planes(planes, lows, highs, bad):
    for c in prange(planes.shape[1]):
        _range_of_plane(planes, np.int64(c), lows, highs, bad)


def range_planes(planes: np.ndarray, low: np.ndarray, high: np.ndarray) -> int:
    """Update the ranges of channels: planes float32 (N, C, I); low, high float32 (C,).

    Returns how many values are NaN or infinite.
    """
    lows, highs = (np.ascontiguousarray(np.repeat(x[:, None], _LANES, axis=1)) for x in (low, high))
    bad = np.zeros((planes.shape[1], 1), np.int32)
    _range_of_planes(planes, lows, highs, bad)
    low[:], high[:] = lows.min(axis=1), highs.max(axis=1)
    return int(bad.sum(dtype=np.int64))


@kernel
def _range_of_rows(rows, chunk, lows, highs, bad):
    # rows: float32 (R, C), of which one of _CHUNKS parts; lows, highs: float32, bad: int32, (_CHUNKS, C), row `chunk`
    # updated. Two rows of the blob at a time: half the traffic to the accumulators.
    count, channels = rows.shape
    first, last = chunk * count // _CHUNKS, (chunk + 1) * count // _CHUNKS
    low, high, wrong = lows[chunk], highs[chunk], bad[chunk]
    for r in range(first, last - 1, 2):
        for c in range(channels):
            v, w = rows[r, c], rows[r + 1, c]
            least, most = (v if v < w else w), (v if v > w else w)
            low[c] = least if least < low[c] else low[c]
            high[c] = most if most > high[c] else high[c]
            # A NaN beside a number is lost in the comparisons above, but not here.
            wrong[c] += _not_finite(v) + _not_finite(w)
    if (last - first) % 2:
        for c in range(channels):
            v = rows[last - 1, c]
            low[c] = v if v < low[c] else low[c]
            high[c] = v if v > high[c] else high[c]
            wrong[c] += _not_finite(v)


@kernel(parallel=True)
def _range_of_all_rows(rows, lows, highs, bad):
    for chunk in prange(_CHUNKS):
        _range_of_rows(rows, np.int64(chunk), lows, highs, bad)


def range_rows(rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> int:
    """Update the ranges of channels: rows float32 (R, C), channels last; low, high float32 (C,).

    Returns how many values are NaN or infinite.
    """
    lows, highs = np.tile(low, (_CHUNKS, 1)), np.tile(high, (_CHUNKS, 1))
    bad = np.zeros(lows.shape, np.int32)
    _range_of_all_rows(rows, lows, highs, bad)
    low[:], high[:] = lows.min(axis=0), highs.max(axis=0)
    return int(bad.sum(dtype=np.int64))


@inline
def _bin(v, interval):
    # int(|v| * interval), at most the last; zeros go to a bin of their own. The comparison is false for NaN, which thus
    # cannot become an index outside the histogram.
    place = np.float32(abs(v)) * interval
    index = np.int32(place if place < np.float32(BINS - 1) else np.float32(BINS - 1))
    return _ZERO if v == np.float32(0) else index


@kernel
def histogram_naive(planes, interval, counts):
    # planes: float32 (N, C, I); interval: float32 (C,), bins per unit; counts: int32 or int64 (C, BINS + 1), updated
    for n in range(planes.shape[0]):
        for c in range(planes.shape[1]):
            for i in range(planes.shape[2]):
                v = planes[n, c, i]
                if v != 0:
                    counts[c, min(int(np.float32(abs(v)) * interval[c]), BINS - 1)] += 1


@kernel
def _histogram_line(flat, first, last, scale, parts):
    # flat: float32 (n,); parts: int32 (4, BINS + 1), updated: neighbours often fall into one bin, and an addition must
    # not wait for the one before it.
    whole = first + (last - first) // 4 * 4
    for i in range(first, whole, 4):
        a, b = _bin(flat[i], scale), _bin(flat[i + 1], scale)
        c, d = _bin(flat[i + 2], scale), _bin(flat[i + 3], scale)
        parts[0, a] += np.int32(1)
        parts[1, b] += np.int32(1)
        parts[2, c] += np.int32(1)
        parts[3, d] += np.int32(1)
    for i in range(whole, last):
        parts[0, _bin(flat[i], scale)] += np.int32(1)


@kernel(parallel=True)
def histogram_flat(flat, interval, counts):
    # flat: float32 (n,); interval: float32 (1,); counts: int64 (1, BINS + 1), updated
    n = flat.shape[0]
    chunks = min(_CHUNKS, n // 8192 + 1)
    parts = np.zeros((chunks, 4, BINS + 1), np.int32)
    for chunk in prange(chunks):
        _histogram_line(flat, chunk * n // chunks, (chunk + 1) * n // chunks, interval[0], parts[chunk])
    for chunk in range(chunks):
        for k in range(4):
            for b in range(BINS + 1):
                counts[0, b] += parts[chunk, k, b]


@kernel(parallel=True)
def histogram_planes(planes, interval, counts):
    # planes: float32 (N, C, I); interval: float32 (C,); counts: int32 or int64 (C, BINS + 1), updated
    for c in prange(planes.shape[1]):
        scale = interval[c]
        for n in range(planes.shape[0]):
            for i in range(planes.shape[2]):
                counts[c, _bin(planes[n, c, i], scale)] += 1


@kernel
def _bins_of_rows(rows, interval, first, count, start, stop, bins):
    # rows: float32 (R, C), of which rows start..stop-1 and slots first..first+count-1; bins: int16 (_ROWS, _SLOTS)
    for r in range(start, stop):
        for c in range(count):
            bins[r - start, c] = np.int16(_bin(rows[r, first + c], interval[first + c]))


@kernel
def _histogram_block(rows, interval, counts, first, count, bins):
    # The bins of a few rows are found in vectors, then counted slot by slot: one slot's counts fit the L1 cache.
    for start in range(0, rows.shape[0], _ROWS):
        stop = min(start + _ROWS, rows.shape[0])
        _bins_of_rows(rows, interval, first, count, start, stop, bins)
        for c in range(count):
            for r in range(stop - start):
                counts[first + c, bins[r, c]] += 1


@kernel(parallel=True)
def histogram_rows(rows, interval, counts):
    # rows: float32 (R, C); interval: float32 (C,); counts: int32 or int64 (C, BINS + 1), updated
    channels = rows.shape[1]
    for block in prange((channels + _SLOTS - 1) // _SLOTS):
        bins = np.empty((_ROWS, _SLOTS), np.int16)
        first = block * _SLOTS
        _histogram_block(rows, interval, counts, first, min(_SLOTS, channels - first), bins)
