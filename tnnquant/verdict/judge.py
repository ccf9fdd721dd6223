"""Thresholds, and what they make of an output's figures: good, doubtful or broken.

Classes are judged by the agreement of the best class that is expected of other pictures of the kind
(:mod:`~tnnquant.verdict.agreement`) and by the cosine. A few pictures say little about an agreement: *broken* takes an
interval (Wilson, 95 %) that lies below the threshold as a whole, and outputs that have visibly moved; of integers, one
of a few may differ. Values are judged part by part: by the cosine, and by the contrast, the SQNR of what
differs between pictures. A face's mean landmarks, a detector's grid and a bias do not count: an output that ignores
its input has a fine cosine, and a contrast of 0 dB.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from tnnquant.verdict.agreement import Agreement
from tnnquant.verdict.figures import Figures, OutputSums
from tnnquant.verdict.intervals import wilson
from tnnquant.verdict.kinds import CLASSES, INTEGERS, VALUES, OutputKind, Part, magnitude_parts
from tnnquant.verdict.result import BROKEN, DOUBTFUL, GOOD, Check, OutputVerdict

__all__ = ["THRESHOLDS", "judge_output"]

#: (good from, broken below)
THRESHOLDS = {
    "agreement": (0.90, 0.75),
    "class cosine": (0.92, 0.80),
    "value cosine": (0.995, 0.90),
    "contrast": (15.0, 6.0),
    "row cosine": (0.90, 0.50),
}
#: Best classes that differ beside a cosine above this are ties, not damage.
_UNMOVED = 0.995
#: With so few pictures, one may differ.
_FEW = 20
#: With fewer pictures, ties that differ are no doubt as long as the interval holds enough that agree.
_COUNTED = 100
#: What is expected by fewer pictures than these may be several percent off: each that is missing asks for so much more.
_SURE, _MORE = 16, 0.005
#: A row counts if it reaches that share of its part's peak.
_SIGNIFICANT = 1 / 8
_MOST_ROWS = 1024


def judge_output(kind: OutputKind, sums: OutputSums, agreed: Agreement, *, are_new: bool = True) -> OutputVerdict:
    """The verdict on one output.

    Parameters
    ----------
    kind : OutputKind
    sums : OutputSums
    agreed : Agreement
        Of each picture, the share of its places where int8 has the same class (or integer) as fp32; empty for values.
    are_new : bool
        The pictures are not known to be in the statistics: what is expected is expected of any of the kind.
    """
    whole = sums.figures()
    figures = {"pictures": sums.pictures, "cosine": sums.mean_cosine, **_described(whole)}
    checks = []
    if sums.nonfinite:
        checks.append(Check(BROKEN, f"NaN or infinity in {sums.nonfinite} pictures", kind.name))
    if sums.unlike:
        checks.append(Check(DOUBTFUL, f"other dims than fp32 in {sums.unlike} pictures: not compared", kind.name))
    parts: tuple[Part, ...] = ()
    if kind.kind == VALUES:
        parts = kind.parts or magnitude_parts(sums.row_peaks)
        for part in parts or (Part("", np.arange(kind.rows)),):
            checks += _check_values(kind, sums, part)
    else:
        figures["agreement"] = agreed.counted
        figures["expected_agreement"] = agreed.expected
        checks += _check_agreement(kind, agreed, sums.mean_cosine, are_new)
    if kind.kind == CLASSES and sums.pictures:
        checks.append(_check("cosine", sums.mean_cosine, "class cosine", kind.name))
    return OutputVerdict(
        kind.name, kind.kind, figures,
        [{"name": part.name, **_described(sums.figures(part.rows))} for part in parts],
        _row_figures(kind, sums), checks,
    )  # fmt: skip


def _described(figures: Figures) -> dict:
    values = asdict(figures)
    return {"pooled_cosine": values.pop("cosine"), **values}


def _row_figures(kind: OutputKind, sums: OutputSums) -> list[dict]:
    if kind.kind != VALUES or not 1 < kind.rows <= _MOST_ROWS or not sums.pictures:
        return []
    return [{"row": row, **_described(sums.figures(np.array([row])))} for row in range(kind.rows)]


def _check(what: str, value: float, key: str, where: str, unit: str = "") -> Check:
    good, broken = THRESHOLDS[key]
    status = GOOD if value >= good else BROKEN if value < broken else DOUBTFUL
    shown = f"{value:.4f}" if not unit else f"{value:.1f}"
    return Check(status, f"{what} {shown}{unit} (good from {good:g}, broken below {broken:g})", where)


def _check_agreement(kind: OutputKind, agreed: Agreement, cosine: float, are_new: bool) -> list[Check]:
    good, broken = THRESHOLDS["agreement"]
    count, agreement, expected = agreed.count, agreed.counted, agreed.expected
    if not count:
        return []
    hits = round(agreement * count)
    low, high = wilson(hits, count)
    is_moved = kind.kind == INTEGERS or cosine < _UNMOVED
    is_guess = agreed.tried is not None
    needed = good + _MORE * max(0, _SURE - agreed.known) if is_guess else good
    one_differs = not is_guess and 1 < count <= _FEW and count - agreement * count <= 1
    are_ties = not is_moved and count < _COUNTED and high >= good
    status = BROKEN if high < broken and is_moved else DOUBTFUL
    if expected >= needed or are_ties or one_differs:
        status = GOOD
    what = "equal values" if kind.kind == INTEGERS else "same top-1 as fp32"
    others = "other pictures" if are_new else "more pictures of the statistics"
    more = f", expected on {others} {100 * expected:.1f} %" if is_guess else ""
    text = (
        f"{what} {100 * agreement:.1f} % of {count}{more} "
        f"(95 % interval {100 * low:.0f}..{100 * high:.0f} %; good from {100 * needed:g} %"
        f"{', or if one differs' if count <= _FEW and not is_guess else ''}, broken below {100 * broken:g} %)"
    )
    return [Check(status, text, kind.name)]


def _check_values(kind: OutputKind, sums: OutputSums, part: Part) -> list[Check]:
    figures = sums.figures(part.rows)
    if not sums.pictures:
        return []
    where = f"{kind.name} {part.name}".strip()
    checks = [_check("cosine", figures.cosine, "value cosine", where)]
    if figures.contrast_db is not None:
        checks.append(_check("contrast", figures.contrast_db, "contrast", where, " dB"))
    peaks = sums.row_peaks[part.rows]
    if kind.rows > 1 and part.rows.size > 1:
        counted = part.rows[peaks >= _SIGNIFICANT * max(figures.peak, np.finfo(np.float64).tiny)]
        cosines = [sums.figures(np.array([row])).cosine for row in counted]
        if cosines:
            at = int(np.argmin(cosines))
            checks.append(_check(f"worst row {counted[at]}: cosine", cosines[at], "row cosine", where))
    return checks
