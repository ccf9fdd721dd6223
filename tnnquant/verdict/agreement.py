"""How often int8 and fp32 agree on the best class: counted, and expected of other pictures of the kind.

Of a few pictures a count says little: one of 16 is 6 %. What int8 does to a picture is therefore tried on all: noise of
its size on the scores of every other picture, whose distances between the best class and the next ones are known. The
size is that of the errors of the best classes, about ten numbers a picture: one picture with unlucky signs does not
count for much. The class stays as often as no distance becomes negative (an integral over the noise of the best class;
that of the next ones is independent). Scores are logits; of probabilities, their logarithms.

Noise of int8's size changes the class of one picture in ten, so few distances decide. Wider noise is decided by more of
them, and how often the narrower one changes the class follows, as gaps between the best scores are about exponential:
such gaps are the reference, with the scale that the wider noise shows. Of a few pictures the error is a third smaller.
The best of ten or fewer scores are not far out in a tail: noise of int8's size is tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from math import erf, sqrt

import numpy as np

__all__ = ["Agreement"]

#: Classes after the best one that may overtake it, and classes whose errors tell the size of the noise.
_NEXT, _TOLD = 5, 10
#: Of so many pictures the count alone is taken; the trials of fewer count as so many pictures beside it.
_MANY, _WORTH = 100, 200
#: Noise is tried so many times wider than int8's.
_WIDER = 3.0
#: Fewer say nothing.
_FEW = 4
#: Pictures whose distances are kept, at most.
_MOST = 256
#: Probabilities below this are taken for it: float32 knows hardly smaller ones.
_LEAST = 1e-30
#: Points of the integral over the noise of the best class.
_POINTS = 16
#: Pictures that stand for all with exponential gaps of mean 1; sizes of noise tried on them, and the largest.
_TYPICAL, _SIZES, _LARGEST = 192, 33, 50.0


class Agreement:
    """Agreement of pictures, one after the other.

    Parameters
    ----------
    shares : iterable of float
        Of pictures, the share of places with the same class; for those without scores.

    Attributes
    ----------
    shares : list of float
    count : int
        Pictures; of :meth:`mixed` those of the first part, which the other part may hold too.
    """

    def __init__(self, shares: Iterable[float] = ()):
        self.shares = list(shares)
        self.count = len(self.shares)
        self._margins: list[np.ndarray] = []
        self._noises: list[float] = []
        self._weights: np.ndarray | None = None
        self._classes = 0
        self._tried: tuple[int, float | None] | None = None  # of so many pictures

    def add(self, share: float) -> None:
        """Count a picture in."""
        self.shares.append(share)
        self.count += 1

    def add_scores(self, wanted: np.ndarray, got: np.ndarray, are_probabilities: bool) -> None:
        """Note the distances of a picture's scores (classes,), and how noisy int8 makes them; to be added too."""
        wanted, got = _logits(wanted, are_probabilities), _logits(got, are_probabilities)
        self._classes = wanted.size
        best = np.argsort(-wanted, kind="stable")
        noise = float(np.std((got - wanted)[best[:_TOLD]], ddof=1))
        if np.isfinite(noise):
            self._margins.append(wanted[best[0]] - wanted[best[1 : _NEXT + 1]])
            self._noises.append(noise)

    def add_wanted(self, wanted: np.ndarray, are_probabilities: bool) -> None:
        """Note the distances of a picture that int8 is not run on, too."""
        wanted = _logits(wanted, are_probabilities)
        best = -np.sort(-wanted)[: _NEXT + 1]
        self._margins.append(best[0] - best[1:])

    def mixed(self, own: Agreement, share: float) -> Agreement:
        """These pictures with the weight ``share``, and those of ``own`` with the rest."""
        found = Agreement([*self.shares, *own.shares])
        found.count = self.count
        found._margins, found._noises = self._margins + own._margins, self._noises + own._noises
        counts = len(self.shares), len(own.shares)
        weights = [np.full(n, part / max(n, 1)) for n, part in zip(counts, (share, 1 - share), strict=True)]
        found._weights = np.concatenate(weights)
        found._classes = self._classes or own._classes
        return found

    @property
    def counted(self) -> float:
        """Mean share of agreeing places; 0 without pictures."""
        return float(np.average(self.shares, weights=self._weights)) if self.shares else 0.0

    @property
    def expected(self) -> float:
        """Mean share that is expected of other pictures of the kind."""
        count, tried = self.count, self.tried
        return self.counted if tried is None else (count * self.counted + _WORTH * tried) / (count + _WORTH)

    @property
    def known(self) -> int:
        """Different pictures whose distances are known."""
        return len(np.unique(np.array(self._margins), axis=0)) if self._margins else 0

    @property
    def tried(self) -> float | None:
        """Share of the trials in which the class stays; None: there are too few pictures, or enough to count them."""
        if self._tried is None or self._tried[0] != len(self.shares):
            self._tried = len(self.shares), self._try()
        return self._tried[1]

    def _try(self) -> float | None:
        if len(self.shares) < _FEW or self.count >= _MANY or len(self._noises) != len(self.shares):
            return None
        margins = np.unique(np.array(self._margins), axis=0)  # a picture that both parts hold
        if len(margins) > _MOST:
            margins = margins[np.linspace(0, len(margins) - 1, _MOST).astype(int)]
        tries = _expected_stays if self._classes > _TOLD else _stays
        stays = [tries(margins, noise) for noise in self._noises]
        return float(np.average(stays, weights=self._weights))


def _logits(scores: np.ndarray, are_probabilities: bool) -> np.ndarray:
    scores = scores.astype(np.float64)
    return np.log(np.maximum(scores, _LEAST)) if are_probabilities else scores


def _stays(margins: np.ndarray, noise: float) -> float:
    """How often noise of one size on each score leaves the best class first; of distances (pictures, classes)."""
    if noise <= 0:
        return 1.0
    points, weights = np.polynomial.hermite_e.hermegauss(_POINTS)
    grid, values = _normal()
    below = np.interp(margins[:, :, None] / noise + points, grid, values)
    return float((below.prod(axis=1) @ weights).mean() / weights.sum())


def _expected_stays(margins: np.ndarray, noise: float) -> float:
    """As :func:`_stays`, of other pictures of the kind: by wider noise, and the gaps that such pictures have."""
    changes = 1 - _stays(margins, _WIDER * noise)
    sizes, known = _exponential_changes()
    return 1 - float(np.interp(np.interp(changes, known, sizes) / _WIDER, sizes, known))


@cache
def _exponential_changes() -> tuple[np.ndarray, np.ndarray]:
    """Sizes of noise, rising, and how often each changes the class where gaps are exponential.

    The largest of many scores with an exponential tail of scale 1 lie apart by independent exponential gaps of means 1,
    1/2, 1/3 ... (Renyi). Gaps of ``_TYPICAL`` pictures are quantiles: evenly spread of the first one, which matters
    most, and at the points of an additive recurrence of the others.
    """
    root = 2.0
    for _ in range(50):
        root = (1 + root) ** (1 / (_NEXT + 1))  # of x^(_NEXT + 1) = x + 1
    ranks, numbers = np.arange(1, _NEXT + 1), np.arange(1, _TYPICAL + 1)[:, None]
    points = (0.5 + numbers * root ** -ranks.astype(np.float64)) % 1
    points[:, :1] = (numbers - 0.5) / _TYPICAL
    margins = np.cumsum(-np.log1p(-points) / ranks, axis=1)
    sizes = np.concatenate([[0.0], np.geomspace(_LARGEST / 4096, _LARGEST, _SIZES - 1)])
    return sizes, np.array([1 - _stays(margins, size) for size in sizes])


@cache
def _normal() -> tuple[np.ndarray, np.ndarray]:
    """The share of a normal distribution below some values, and these."""
    grid = np.linspace(-8.0, 8.0, 1601)
    return grid, np.array([(1 + erf(x / sqrt(2))) / 2 for x in grid])
