"""How far two blobs are apart, channel by channel; how often each int8 code occurs.

Serial loops: each runs once per blob and picture. It goes over rows of channels, so that LLVM keeps a vector of sums.
"""

from __future__ import annotations

import numpy as np

from tnnquant.kernels.jit import kernel

__all__ = ["ERROR_SUMS", "count_codes", "sum_errors"]

#: Rows of the sums: reference squared, other squared, product, difference squared; the largest difference.
ERROR_SUMS = 5


@kernel
def sum_errors(reference, other, sums):
    """Add a blob to the sums of its channels.

    Parameters
    ----------
    reference, other : float32 (P, C)
        C-contiguous.
    sums : float64 (ERROR_SUMS, C)
        Added to; the last row takes the maximum.
    """
    for p in range(reference.shape[0]):
        for c in range(reference.shape[1]):
            r, o = np.float64(reference[p, c]), np.float64(other[p, c])
            d = r - o
            sums[0, c] += r * r
            sums[1, c] += o * o
            sums[2, c] += r * o
            sums[3, c] += d * d
            sums[4, c] = max(sums[4, c], abs(d))


@kernel
def count_codes(codes, counts):
    """Add the codes of a blob to the counts of its channels.

    Parameters
    ----------
    codes : int8 (P, C)
        C-contiguous.
    counts : int64 (C, 256)
        Column 0 is code -128.
    """
    for p in range(codes.shape[0]):
        for c in range(codes.shape[1]):
            counts[c, np.int64(codes[p, c]) + 128] += 1
