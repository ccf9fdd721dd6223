"""Greedy non-maximum suppression of boxes.

One version, plain loops: a box is compared with those kept before it, until one suppresses it.
"""

from __future__ import annotations

import numpy as np
from tnnquant.kernels.jit import inline, kernel

__all__ = ["greedy_nms"]


@inline
def _area(box, is_lenient):
    width, height = box[2] - box[0], box[3] - box[1]
    if not is_lenient and (width < np.float32(0) or height < np.float32(0)):
        return np.float32(0)
    return width * height


@inline
def _suppresses(kept, box, threshold, is_lenient):
    """Whether the overlap (intersection over union, float32) of two boxes exceeds the threshold."""
    width = min(kept[2], box[2]) - max(kept[0], box[0])
    height = min(kept[3], box[3]) - max(kept[1], box[1])
    if not (width > np.float32(0) and height > np.float32(0)):
        return np.float32(0) > threshold and not is_lenient
    shared = width * height
    area, other = _area(kept, is_lenient), _area(box, is_lenient)
    union = area + other - shared
    if is_lenient:
        if area <= np.float32(0) or other <= np.float32(0) or union <= np.float32(0):
            return False
        return shared / union > threshold
    return not (shared / union <= threshold)


@kernel
def greedy_nms(boxes, order, threshold, eta, is_lenient, most, kept):
    """Keep the boxes, in the given order, that none of the boxes kept before them overlaps too much.

    Parameters
    ----------
    boxes : float32 (n, 4)
        Corners x0, y0, x1, y1.
    order : int64 (k,)
        Indices of the candidates, the best first.
    threshold : float32
        Largest overlap (intersection over union) of two kept boxes.
    eta : float32
        Below 1: the threshold, while it exceeds 0.5, is multiplied by it after every box kept (Caffe).
    is_lenient : bool
        Boxes without area suppress nothing (ONNX, TensorFlow Lite), instead of following the formula (Caffe).
    most : int64
        How many boxes to keep at most.
    kept : int64 (k,)
        Written: the indices of the boxes kept.

    Returns
    -------
    int64
        How many there are.
    """
    count = np.int64(0)
    for candidate in order:
        if count >= most:
            break
        keeps = True
        for i in range(count):
            if _suppresses(boxes[kept[i]], boxes[candidate], threshold, is_lenient):
                keeps = False
                break
        if keeps:
            kept[count] = candidate
            count += 1
            if eta < np.float32(1) and threshold > np.float32(0.5):
                threshold = np.float32(threshold * eta)
    return count
