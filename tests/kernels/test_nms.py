"""Greedy suppression against its naive twin."""

from __future__ import annotations

import numpy as np
import pytest

from tnnquant.kernels.nms import TABLE_ROWS, greedy_nms, greedy_nms_naive


@pytest.mark.parametrize("is_lenient", [False, True])
@pytest.mark.parametrize("eta", [1, 0.9])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("count", [0, 1, 33, 400])
def test_equals_naive(rng, count, threshold, eta, is_lenient):
    corner, size = rng.uniform(0, 6, (count, 2)), rng.uniform(-0.3, 3, (count, 2))
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    boxes[::7] = boxes[:1]  # equal boxes
    boxes[3::11, 2] = boxes[3::11, 0]  # no area
    order = rng.permutation(count)
    results = []
    for kernel in (greedy_nms_naive, greedy_nms):
        kept, table = np.zeros(count, np.int64), np.empty((TABLE_ROWS, count), np.float32)
        for most in (count, 5):
            made = kernel(boxes, order, np.float32(threshold), np.float32(eta), is_lenient, most, table, kept)
            results.append(kept[:made].tolist())
    assert results[:2] == results[2:]
    assert count == 0 or results[0][0] == order[0]
