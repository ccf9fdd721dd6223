"""Trials: models that were made and judged on the same pictures, and which of them is the best."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import inf

from tnnquant.verdict.kinds import VALUES
from tnnquant.verdict.result import BROKEN, DOUBTFUL, GOOD, OutputVerdict, SetVerdict, worst

__all__ = ["Trial", "agreement_of", "likeness_of", "trial_of"]

_RANK = {BROKEN: 0, DOUBTFUL: 1, GOOD: 2}


@dataclass(frozen=True)
class Trial:
    """One model that was tried.

    Attributes
    ----------
    name : str
    status : str
        Of its verdict on the pictures of the comparison; ``failed``: no model came out, see ``note``.
    agreement : float
        Share of pictures with fp32's best class; of other outputs the cosine of the worst part.
    likeness : float
        Mean cosine of class scores, or the cosine of the worst part: what trials are ranked by.
    sqnr_db : float
        Of the worst output.
    fp32_layers : tuple of str
        Layers kept in fp32 for the sake of the result.
    seconds : float
    note : str
    measured : str
        The status without what the pictures limit (too few of them, all alike), which no model can change; empty: as
        ``status``.
    metric, drop : float or None
        The user's own metric, and how much worse it is than that of fp32; None without one, or without a value.
    """

    name: str
    status: str
    agreement: float = 0.0
    likeness: float = 0.0
    sqnr_db: float = 0.0
    fp32_layers: tuple[str, ...] = ()
    seconds: float = 0.0
    note: str = ""
    measured: str = ""
    metric: float | None = None
    drop: float | None = None

    @property
    def rank(self) -> tuple:
        """The larger, the better: by the verdict as measured, then int8 everywhere, the own metric, and likeness:
        a share of pictures is the same for many models."""
        own = -inf if self.drop is None else -self.drop
        return (
            _RANK.get(self.measured or self.status, -1), not self.fp32_layers, own, self.likeness, self.agreement,
            -len(self.fp32_layers),
        )  # fmt: skip

    def as_dict(self) -> dict:
        """As JSON types."""
        return {**asdict(self), "fp32_layers": list(self.fp32_layers)}


def agreement_of(verdict: SetVerdict) -> float:
    """The figure a target is compared with: agreement of classes or integers, cosine of the worst part of values."""
    return min((_agreement(output) for output in verdict.outputs), default=0.0)


def likeness_of(verdict: SetVerdict) -> float:
    """As :func:`agreement_of`, but the mean cosine of class scores: a few pictures tell more by it."""
    return min(
        (_worst_part(output) if output.kind == VALUES else output.figures["cosine"] for output in verdict.outputs),
        default=0.0,
    )


def _agreement(output: OutputVerdict) -> float:
    return _worst_part(output) if output.kind == VALUES else output.figures["agreement"]


def _worst_part(output: OutputVerdict) -> float:
    return float(min((part["pooled_cosine"] for part in output.parts), default=output.figures["pooled_cosine"]))


def trial_of(name: str, verdict: SetVerdict, seconds: float, fp32_layers: tuple[str, ...] = ()) -> Trial:
    """A trial from its verdict."""
    sqnr = min((output.figures["sqnr_db"] for output in verdict.outputs), default=0.0)
    own = verdict.metric
    # What is wrong on a device is among the limits too, and is the model's: broken.
    of_pictures = [check for check in verdict.limits if check.status == DOUBTFUL]
    measured = worst(check.status for check in verdict.checks() if check not in of_pictures)
    return Trial(
        name, verdict.status, agreement_of(verdict), likeness_of(verdict), sqnr, tuple(fp32_layers), seconds,
        measured=measured, metric=own.int8 if own else None, drop=own.drop if own else None,
    )  # fmt: skip
