"""How sure a share of few pictures is: intervals of 95 %, and whether two models differ. NumPy only."""

from __future__ import annotations

from math import comb, sqrt

import numpy as np

__all__ = ["bootstrap", "mcnemar", "wilson"]

_Z = 1.959963984540054
_RESAMPLES = 2000
_SEED = 20261126


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's score interval of a share ``hits / count``; (0, 1) of nothing.

    ``(p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)``, z of 95 %.
    """
    if count == 0:
        return 0.0, 1.0
    share = hits / count
    middle = share + _Z**2 / (2 * count)
    half = _Z * sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    scale = 1 + _Z**2 / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def bootstrap(values: np.ndarray) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, the same every time.

    Parameters
    ----------
    values : float64 (pictures,)
        Of paired figures: their differences.
    """
    if not len(values):
        return float("nan"), float("nan")
    rng = np.random.default_rng(_SEED)
    means = np.empty(_RESAMPLES)
    for i in range(_RESAMPLES):
        means[i] = values[rng.integers(0, len(values), len(values))].mean()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value of McNemar's test: how likely at least so uneven a split of the pictures that changed is.

    ``gained``, ``lost``: pictures that only the one, or only the other model gets right.
    """
    count = gained + lost
    if count == 0:
        return 1.0
    # In integers: 2**count leaves float64 above 1023 pictures.
    tail = sum(comb(count, i) for i in range(min(gained, lost) + 1))
    return float(min(1.0, 2 * tail / 2**count))
