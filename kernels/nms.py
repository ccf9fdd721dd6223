"""Greedy non-maximum suppression of boxes.

Versions, slowest first: :func:`greedy_nms_naive`, box by box; :func:`greedy_nms`, which compares a candidate with
blocks of kept boxes, whose corners and areas stand in rows: LLVM makes vectors of a block, and a block that suppresses
ends it.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels.jit import inline, kernel

__all__ = ["TABLE_ROWS", "greedy_nms", "greedy_nms_naive"]

#: Of the table that :func:`greedy_nms` works in: x0, y0, x1, y1, area.
TABLE_ROWS = 5
_BLOCK = 32
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)


@inline
def _area(x0, y0, x1, y1, is_lenient):
    if not is_lenient and (x1 < x0 or y1 < y0):
        return _ZERO
    return (x1 - x0) * (y1 - y0)


@kernel
def greedy_nms_naive(boxes, order, threshold, eta, is_lenient, most, table, kept):
    # boxes: float32 (n, 4), x0 y0 x1 y1; order: int64 (k,); threshold, eta: float32; is_lenient: bool; most: int;
    # table: float32 (TABLE_ROWS, k), memory to work in, not used; kept: int64 (k,)
    count = 0
    for candidate in order:
        if count >= most:
            break
        keeps = True
        for i in range(count):
            a, b = boxes[kept[i]], boxes[candidate]
            width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            area_a, area_b = _area(a[0], a[1], a[2], a[3], is_lenient), _area(b[0], b[1], b[2], b[3], is_lenient)
            shared = width * height if width > 0 and height > 0 else _ZERO
            union = area_a + area_b - shared
            if is_lenient:
                keeps &= shared == 0 or area_a <= 0 or area_b <= 0 or union <= 0 or shared / union <= threshold
            else:
                keeps &= (_ZERO if shared == 0 else shared / union) <= threshold
        if keeps:
            kept[count] = candidate
            count += 1
            if eta < _ONE and threshold > _HALF:
                threshold = threshold * eta
    return count


@inline
def _smaller(a, b):
    return a if a < b else b


@inline
def _larger(a, b):
    return a if a > b else b


@kernel
def _suppressed(table, first, last, box, threshold, is_lenient):
    # table: float32 (5, k); box: float32 (5,), x0 y0 x1 y1 area. Whether one of the boxes first..last-1 suppresses it.
    left, top, right, bottom, sizes = table[0], table[1], table[2], table[3], table[4]
    x0, y0, x1, y1, area = box
    found = np.int32(0)
    if is_lenient:
        for i in range(first, last):
            width = _smaller(right[i], x1) - _larger(left[i], x0)
            height = _smaller(bottom[i], y1) - _larger(top[i], y0)
            shared = width * height
            union = sizes[i] + area - shared
            has_area = (sizes[i] > _ZERO) & (area > _ZERO) & (union > _ZERO)
            found |= np.int32((width > _ZERO) & (height > _ZERO) & has_area & (shared / union > threshold))
    else:
        for i in range(first, last):
            width = _smaller(right[i], x1) - _larger(left[i], x0)
            height = _smaller(bottom[i], y1) - _larger(top[i], y0)
            shared = width * height
            overlap = shared / (sizes[i] + area - shared)
            overlap = overlap if (width > _ZERO) & (height > _ZERO) else _ZERO
            found |= np.int32(not overlap <= threshold)
    return found != 0


@kernel
def greedy_nms(boxes, order, threshold, eta, is_lenient, most, table, kept):
    """Keep the boxes, in the given order, that none of the boxes kept before them overlaps too much.

    Parameters
    ----------
    boxes : float32 (n, 4)
        Corners x0, y0, x1, y1.
    order : int64 (k,)
        Indices of the candidates, the best first.
    threshold : float32
        Largest overlap (intersection over union, in float32) of two kept boxes.
    eta : float32
        Below 1: the threshold, while it exceeds 0.5, is multiplied by it after every box kept (Caffe).
    is_lenient : bool
        Boxes without area suppress nothing (ONNX, TensorFlow Lite), instead of following the formula (Caffe).
    most : int64
        How many boxes to keep at most.
    table : float32 (TABLE_ROWS, k)
        Memory to work in.
    kept : int64 (k,)
        Written: the indices of the boxes kept.

    Returns
    -------
    int64
        How many there are.
    """
    count = 0
    for candidate in order:
        if count >= most:
            break
        x0, y0, x1, y1 = boxes[candidate, 0], boxes[candidate, 1], boxes[candidate, 2], boxes[candidate, 3]
        box = (x0, y0, x1, y1, _area(x0, y0, x1, y1, is_lenient))
        is_bad = False
        for first in range(0, count, _BLOCK):
            if _suppressed(table, first, min(first + _BLOCK, count), box, threshold, is_lenient):
                is_bad = True
                break
        if not is_bad:
            for row in range(TABLE_ROWS):
                table[row, count] = box[row]
            kept[count] = candidate
            count += 1
            if eta < _ONE and threshold > _HALF:
                threshold = np.float32(threshold * eta)
    return count
