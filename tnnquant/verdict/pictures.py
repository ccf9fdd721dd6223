"""Whether pictures are a test at all: what fp32 itself makes of them, and how they are fed.

A calibration set may be wrong, and the int8 model agrees with fp32 on it all the same. Four things give that away.
fp32 is *unsure*: on pictures like those it was trained on, a classifier gives its best class about as much as it is
often right. It hardly *tells them apart*: one class, or nearly the same scores. A detector *finds nothing*. And pixels
are *fed* as values that no classifier is trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from tnnquant.base.wording import parameter
from tnnquant.graph import Graph
from tnnquant.inputs.normalize import PictureInput
from tnnquant.verdict.kinds import OutputKind
from tnnquant.verdict.result import DOUBTFUL, Check

__all__ = ["SeenClasses", "advice", "normalizes_inside", "nothing_found", "pixels", "poor_pixels", "unusual_feed"]

#: From so many pictures on, fp32 itself is looked at.
_ENOUGH = 8
#: The share of pictures in one class from which they test little.
_ONE_CLASS = 0.8
#: Scores of so many classes differ between pictures; the mean cosine of two pictures above which they do not. With as
#: many classes as those of photographs have, this is what crops of a few pictures look like.
_MANY_CLASSES, _ALIKE, _FEW_THINGS = 10, 0.5, 0.25
#: Mean probability of the best class below which a classifier of photographs is unsure. Of others nobody knows.
_UNSURE = 0.42
#: The score below which nothing is found.
_FOUND = 0.1
#: Probabilities add up to 1, within this.
_ROUNDING = 0.01
#: Scores whose best one is never so far above their mean are no logits: similarities, embeddings.
_LOGITS = 4.0
#: Classifiers of so many classes are of photographs, which are fed in one of a few ways.
_PHOTOGRAPHS = 100
#: Of a pixel; the share of them that pictures together must use.
_LEVELS, _USED = 255, 0.6
#: Levels by which the means of the channels of coloured pictures differ at least.
_SAME_MEANS = 0.01


def pixels() -> str:
    """What pixels become values by, in messages."""
    return ", ".join(map(parameter, ("mean", "scale", "reverse_channel")))


def advice() -> str:
    """What to check where pictures are no test."""
    return f"check {pixels()} and the pictures"


class SeenClasses:
    """What a classifier gives for pictures, one after the other.

    Parameters
    ----------
    kind : OutputKind
        Of one score per class.
    """

    def __init__(self, kind: OutputKind):
        self._kind = kind
        self.classes: list[int] = []
        self._heights: list[float] = []
        self._direction = np.zeros(kind.rows)
        self._are_probabilities = True
        self._spread = 0.0

    def add(self, scores: np.ndarray) -> bool:
        """Count in the scores of a picture (classes,); returns whether they are probabilities."""
        scores = scores.astype(np.float64)
        are_probabilities = bool(scores.min() >= 0 and abs(scores.sum() - 1) <= _ROUNDING)
        self._are_probabilities &= are_probabilities
        self.classes.append(int(np.argmax(scores)))
        self._spread = max(self._spread, float(scores.max() - scores.mean()))
        if not are_probabilities:
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        self._heights.append(float(scores.max()))
        self._direction += scores / np.linalg.norm(scores)
        return are_probabilities

    def check(self) -> Check | None:
        """Why these pictures are no test."""
        kind, count = self._kind, len(self.classes)
        if count < _ENOUGH or kind.rows <= 2:
            return None
        (most, times), *_ = Counter(self.classes).most_common(1)
        if times >= _ONE_CLASS * count:
            return self._doubt(f"fp32 sees class {most} in {times} of {count} pictures, so they test little")
        if kind.rows < _MANY_CLASSES or not (self._are_probabilities or self._spread >= _LOGITS):
            return None
        # |sum of n unit vectors|^2 = n + n (n - 1) times the mean cosine of two of them.
        alike = (float(self._direction @ self._direction) - count) / (count * (count - 1))
        most_alike = _FEW_THINGS if kind.rows >= _PHOTOGRAPHS else _ALIKE
        if alike > most_alike:
            return self._doubt(
                f"fp32 gives nearly the same output for all of them (mean cosine of two pictures {alike:.2f}, expected "
                f"at most {most_alike:g}), so they test little"
            )
        sure = float(np.mean(self._heights))
        if kind.rows >= _PHOTOGRAPHS and sure < _UNSURE:
            return self._doubt(
                f"fp32 is unsure of these pictures: its best class has a probability of {sure:.2f} on average, "
                f"expected at least {_UNSURE:g}"
            )
        return None

    def _doubt(self, text: str) -> Check:
        return Check(DOUBTFUL, f"{text}; {advice()}", self._kind.name)


def nothing_found(name: str, peak: float, count: int) -> Check | None:
    """Why pictures are no test for a detector: fp32 finds nothing in them.

    Parameters
    ----------
    name : str
        Of an output with scores of what is found, 0..1.
    peak : float
        The highest of them.
    count : int
        Pictures.
    """
    if count < _ENOUGH or peak >= _FOUND:
        return None
    text = f"fp32 finds nothing in {count} pictures (no score above {peak:.2g}), so they test little; {advice()}"
    return Check(DOUBTFUL, text, name)


def normalizes_inside(graph: Graph) -> bool:
    """Whether the model itself shifts or scales its input before the first convolution."""
    return any(node.layer.NORMALIZES and any(blob in graph.inputs for blob in node.inputs) for node in graph.nodes)


def unusual_feed(name: str, picture: PictureInput, classes: int, *, is_normalized_inside: bool) -> Check | None:
    """Why the values that pixels become are none that classifiers of photographs are trained on.

    These are fed as 0..1, or with 0 in the middle: as -1..1 to about -3..3, or as pixels less a mean.

    Parameters
    ----------
    name : str
        Of the model's input.
    picture : PictureInput
        How pictures are fed.
    classes : int
    is_normalized_inside : bool
        The model shifts or scales its input by itself.
    """
    if classes < _PHOTOGRAPHS or is_normalized_inside:
        return None
    widths = _LEVELS * np.abs(picture.scale.astype(np.float64))
    middles = (_LEVELS / 2 - picture.mean.astype(np.float64)) * picture.scale / np.maximum(widths, 1e-30)
    for width, middle in zip(widths, middles, strict=True):
        is_unit = 0.9 <= width <= 1.1 and abs(middle - 0.5) <= 0.06
        is_centred = (1.6 <= width <= 6.5 or 240 <= width <= 270) and abs(middle) <= 0.15
        if not (is_unit or is_centred):
            low, high = width * (middle - 0.5), width * (middle + 0.5)
            return Check(
                DOUBTFUL, f"pixels are fed as {low:.4g}..{high:.4g}; classifiers are trained on 0..1, about -1..1 or "
                f"-2..2, or pixels less a mean: {advice()}", name,
            )  # fmt: skip
    return None


def poor_pixels(name: str, picture: PictureInput, fed: Mapping[str, Any], classes: int) -> Check | None:
    """Why the pixels of all pictures together say little about others: dark, pale, without colours.

    Parameters
    ----------
    name : str
        Of the model's input.
    picture : PictureInput
    fed : mapping
        Of :meth:`tnnquant.inputs.Samples.statistics`: lowest, mean and highest value of each channel, as fed.
    classes : int
        Colours are missed by classifiers of photographs alone.
    """
    if fed.get("items", 0) < _ENOUGH or not np.all(picture.scale):
        return None
    lowest, mean, highest = (
        np.array(fed[key], np.float64) / picture.scale + picture.mean for key in ("lowest", "mean", "highest")
    )
    low, high = float(np.minimum(lowest, highest).min()), float(np.maximum(lowest, highest).max())
    if 0 < high - low < _USED * _LEVELS:
        return Check(
            DOUBTFUL, f"the pixels of all pictures lie in {low:.0f}..{high:.0f} of 0..{_LEVELS}: what is brighter or "
            "darker was never seen; check the pictures", name,
        )  # fmt: skip
    if classes >= _PHOTOGRAPHS and picture.channels >= 3 and np.ptp(mean[:3]) < _SAME_MEANS:
        return Check(DOUBTFUL, "all pictures are grey: colours were never seen; check the pictures", name)
    return None
