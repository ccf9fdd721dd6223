"""The verdict as data: for the report, for JSON, for the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tnnquant.verdict.own_metric import MetricScore

__all__ = [
    "BROKEN", "DOUBTFUL", "GOOD", "Check", "LayerNoise", "OutputVerdict", "SetVerdict", "Verdict", "broken_there",
    "number_of", "worst",
]  # fmt: skip

GOOD, DOUBTFUL, BROKEN = "good", "doubtful", "broken"
_ORDER = (GOOD, DOUBTFUL, BROKEN)


def worst(statuses: Iterable[str]) -> str:
    """The worst of some statuses; good if there are none."""
    return max(statuses, key=_ORDER.index, default=GOOD)


def number_of(count: int, noun: str) -> str:
    """So many of something, in words: "1 picture", "2 pictures"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class Check:
    """One figure beside its thresholds.

    Attributes
    ----------
    status : {"good", "doubtful", "broken"}
    text : str
        Figure and thresholds in words.
    where : str
        The output, and the part of it.
    """

    status: str
    text: str
    where: str


@dataclass(frozen=True)
class OutputVerdict:
    """One output on one set of pictures.

    Attributes
    ----------
    name, kind : str
        Kinds: :mod:`tnnquant.verdict.kinds`.
    figures : dict
        ``cosine`` (mean over pictures), ``pooled_cosine``, ``sqnr_db``, ``contrast_db``, ``largest_error``, ``peak``;
        of classes and integers ``agreement``.
    parts, rows : list of dict
        The same of each part and row; rows that share a unit are a part.
    checks : list of Check
    """

    name: str
    kind: str
    figures: dict
    parts: list[dict] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)


@dataclass(frozen=True)
class LayerNoise:
    """SQNR of a layer's int8 output, and of the noisiest blob it reads, in dB; the difference is what it adds."""

    layer: str
    type: str
    sqnr_db: float
    input_sqnr_db: float


@dataclass(frozen=True)
class SetVerdict:
    """The verdict on one set of pictures.

    Attributes
    ----------
    status : {"good", "doubtful", "broken"}
    pictures : int
    source : str
        Which pictures, in words.
    held_out : bool or None
        Whether none of them is in the statistics; None: not known.
    outputs : list of OutputVerdict
    limits : list of Check
        Of the pictures themselves: too few, all the same.
    labels : dict or None
        ``pictures``, ``top1_fp32``, ``top1_int8`` (shares) of those with labels.
    disagreeing : list of str
        Names of pictures whose best class differs, at most 10.
    notes : list of str
        What limits the verdict.
    metric : MetricScore or None
        The user's own metric.
    """

    status: str
    pictures: int
    source: str
    held_out: bool | None
    outputs: list[OutputVerdict] = field(default_factory=list)
    limits: list[Check] = field(default_factory=list)
    labels: dict | None = None
    disagreeing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    metric: MetricScore | None = None

    def checks(self) -> list[Check]:
        """Of the pictures, the user's metric and all outputs, the worst first."""
        own = [self.metric.check()] if self.metric else []
        found = self.limits + own + [check for output in self.outputs for check in output.checks]
        return sorted(found, key=lambda check: -_ORDER.index(check.status))


@dataclass(frozen=True)
class Verdict:
    """What the written int8 model is worth.

    Attributes
    ----------
    status : {"good", "doubtful", "broken"}
        Of the first set.
    sets : list of SetVerdict
        ``--eval`` first, if given; then calibration pictures.
    worst_layers : list of LayerNoise
        Those that add most noise, the worst first.
    """

    status: str
    sets: list[SetVerdict] = field(default_factory=list)
    worst_layers: list[LayerNoise] = field(default_factory=list)

    def as_dict(self) -> dict:
        """As JSON types."""
        return asdict(self)


def broken_there(
    verdict: SetVerdict, reasons: Sequence[str], device: str, notes: Sequence[str] = ()
) -> SetVerdict:
    """The verdict for a device on which the model cannot be used for these reasons; without reasons, as it is.

    Parameters
    ----------
    verdict : SetVerdict
    reasons : sequence of str
        Layers and rules, a sentence each.
    device : str
    notes : sequence of str
        Added where there are reasons.
    """
    if not reasons:
        return verdict
    limits = [Check(BROKEN, reason, f"device {device}") for reason in reasons]
    return replace(verdict, status=BROKEN, limits=limits + verdict.limits, notes=[*verdict.notes, *notes])
