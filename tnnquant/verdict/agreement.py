"""How often int8 and fp32 agree on the best class: counted, and expected of other pictures of the kind.

Of a few pictures a count says little: one of 16 is 6 %. What int8 does to a picture is therefore tried on all: the
error of one picture, the change of the distances between its best class and the next ones, is added to the distances of
every other. A class changes where a distance becomes negative. That makes n^2 trials of n pictures. Distances are those
of logits: of probabilities, differences of their logarithms.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

__all__ = ["Agreement"]

#: Classes after the best one that may overtake it.
_NEXT = 5
#: Of so many pictures the count alone is better: errors are not quite independent of distances. The trials of fewer
#: count as so many pictures.
_MANY, _WORTH = 100, 16
#: Fewer say nothing.
_FEW = 4
#: Probabilities below this are taken for it: float32 knows hardly smaller ones.
_LEAST = 1e-30


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
        self._errors: list[np.ndarray] = []
        self._weights: np.ndarray | None = None

    def add(self, share: float) -> None:
        """Count a picture in."""
        self.shares.append(share)
        self.count += 1

    def add_scores(self, wanted: np.ndarray, got: np.ndarray, are_probabilities: bool) -> None:
        """Note the distances of a picture's scores (classes,) and what int8 makes of them; to be added too."""
        wanted, got = wanted.astype(np.float64), got.astype(np.float64)
        if are_probabilities:
            wanted, got = (np.log(np.maximum(scores, _LEAST)) for scores in (wanted, got))
        order = np.argsort(-wanted, kind="stable")[: _NEXT + 1]
        margins, after = (scores[order[0]] - scores[order[1:]] for scores in (wanted, got))
        if np.isfinite(after).all():
            self._margins.append(margins)
            self._errors.append(after - margins)

    def mixed(self, own: Agreement, share: float) -> Agreement:
        """These pictures with the weight ``share``, and those of ``own`` with the rest."""
        found = Agreement([*self.shares, *own.shares])
        found.count = self.count
        found._margins, found._errors = self._margins + own._margins, self._errors + own._errors
        counts = len(self.shares), len(own.shares)
        weights = [np.full(n, part / max(n, 1)) for n, part in zip(counts, (share, 1 - share), strict=True)]
        found._weights = np.concatenate(weights)
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
    def tried(self) -> float | None:
        """Share of the trials in which the class stays; None: there are too few pictures, or enough to count them."""
        if not _FEW <= self.count < _MANY or len(self._margins) != len(self.shares):
            return None
        margins, errors = np.array(self._margins), np.array(self._errors)
        changed = np.array([(margins + error < 0).any(axis=1).mean() for error in errors])
        return 1 - float(np.average(changed, weights=self._weights))
