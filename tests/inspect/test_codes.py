"""Usage of int8 codes."""

import numpy as np

from tnnquant.inspect.codes import count_codes, usage_of_counts


def test_usage_of_two_channels():
    codes = np.array([[-127, 0, 127, 127], [-3, -3, 0, 5]], np.int8)
    counts = count_codes(codes)
    assert counts.shape == (2, 256)
    assert counts[0, 1] == 1
    assert counts[0, 255] == 2
    assert counts[1, 125] == 2
    usage = usage_of_counts(counts)
    assert usage.low.tolist() == [-127, -3]
    assert usage.high.tolist() == [127, 5]
    assert usage.saturated.tolist() == [0.75, 0]
    assert usage.unused.tolist() == [252, 252]
    assert usage.zero.tolist() == [0.25, 0.25]


def test_every_code_and_none():
    counts = count_codes(np.arange(-128, 128, dtype=np.int16).astype(np.int8)[None])
    assert counts.tolist() == [[1] * 256]
    assert usage_of_counts(counts).unused.tolist() == [0]
    empty = usage_of_counts(np.zeros((1, 256), np.int64))
    assert (empty.low[0], empty.high[0], empty.saturated[0], empty.unused[0]) == (0, 0, 0, 255)
