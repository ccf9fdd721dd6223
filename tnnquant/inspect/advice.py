"""What the errors say, in a few sentences, and what to try next."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tnnquant.inspect.compare import Errors, Figures, LayerError
from tnnquant.inspect.summary import Summary

__all__ = ["Advice", "advise", "cause_of", "is_unexplained"]

GOOD_DB, FAIR_DB = 20.0, 10.0
#: A layer whose whole error is that many dB worse than its parts together: neither weights nor ranges explain it.
UNEXPLAINED_DB = 6.0
#: The input quantized by itself is usually at 40 dB and more.
INPUT_DB = 25.0
#: Outputs of so few channels, with several values each, are judged channel by channel: boxes, scores, masks.
FEW_CHANNELS = 64


@dataclass
class Advice:
    """Sentences, and the layers for ``quantize --exclude``.

    Attributes
    ----------
    grade : {"good", "fair", "poor"}
        Of the worst output, or of a quarter of its channels: SQNR of at least 20 dB, 10 dB, less.
    headline : str
        The result in one sentence.
    lines : list of str
    exclude : list of str
        Worst first.
    """

    grade: str
    headline: str
    lines: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)


def advise(errors: Errors, summary: Summary) -> Advice:
    """Read the errors.

    Parameters
    ----------
    errors : Errors
    summary : Summary
        Of the int8 model.
    """
    worst = min((figures.sqnr_db for figures in errors.outputs.values()), default=0.0)
    judged = min((_judged_db(name, figures, summary) for name, figures in errors.outputs.items()), default=0.0)
    advice = Advice(_grade(judged), _headline(errors, worst))
    for name, figures in errors.outputs.items():
        poor = int((figures.channel_db < FAIR_DB).sum())
        if poor and _is_judged_by_channel(name, figures, summary):
            advice.lines.append(f"Of the {figures.channel_db.size} channels of {name}, {poor} keep less than "
                                f"{FAIR_DB:.0f} dB.")  # fmt: skip
    for name, figures in errors.inputs.items():
        if figures.sqnr_db < INPUT_DB:
            advice.lines.append(f"Quantizing the input {name} alone leaves {figures.sqnr_db:.1f} dB: check mean and "
                                "scale, and that these pictures are like those of the calibration.")  # fmt: skip
    advice.lines += [f"{line}." for line in summary.grouped_problems()]
    broken = {row.name for row in errors.ranked() if is_unexplained(row)}
    if broken:
        names = [row.name for row in errors.ranked() if row.name in broken]
        listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        verb = "layer is" if len(names) == 1 else "layers are"
        advice.lines.append(f"{len(names)} {verb} far worse than weights and activations explain ({listed}): the int8 "
                            "form itself goes wrong, by an activation that TNN ignores in int8 or a bias that "
                            "overflows. Quantize the fp32 model anew.")  # fmt: skip
    _propose(advice, errors, summary, broken)
    return advice


def _propose(advice: Advice, errors: Errors, summary: Summary, broken: set[str]) -> None:
    """The layers to leave out; those that are broken for another reason are not among them."""
    guilty = [row.name for row in errors.guilty() if row.name not in broken]
    if guilty:
        macs = sum(row.macs for row in summary.layers if row.name in guilty)
        share = 100 * macs / max(1, sum(row.macs for row in summary.layers))
        verb = "layer stands" if len(guilty) == 1 else "layers stand"
        advice.lines.append(f"{len(guilty)} {verb} out. To keep them in fp32, with {share:.1f} % of the arithmetic, "
                            "give this to quantize:")  # fmt: skip
        advice.exclude = guilty
        return
    if broken:
        return
    first = errors.candidates()
    spread = "No layer stands out: the error is spread over all of them."
    if advice.grade != "good":
        spread += " Other ranges (-b), weights (-w) or more calibration pictures will do more than leaving layers out."
    if first:
        advice.lines.append(f"{spread} The first to leave out would be:")
        advice.exclude = [first[0].name]


def is_unexplained(row: LayerError) -> bool:
    """Whether neither the weights nor the activations are nearly as bad as the layer as a whole."""
    if row.weights is None or row.activations is None:
        return False
    noise = sum(10 ** (-part.sqnr_db / 10) for part in (row.weights, row.activations))
    return 10 ** (-row.isolated.sqnr_db / 10) > noise * 10 ** (UNEXPLAINED_DB / 10)


def cause_of(row: LayerError) -> str:
    """The larger part of a layer's own error, in a word or two."""
    if is_unexplained(row):
        return "int8 form"
    if row.weights is None or row.activations is None:
        return "activations"
    gap = row.weights.sqnr_db - row.activations.sqnr_db
    return "activations" if gap > 3 else ("weights" if gap < -3 else "both")


def _grade(db: float) -> str:
    return "good" if db >= GOOD_DB else ("fair" if db >= FAIR_DB else "poor")


def _is_judged_by_channel(name: str, figures: Figures, summary: Summary) -> bool:
    dims = summary.outputs.get(name, ())
    return len(dims) > 2 and 1 < figures.channel_db.size <= FEW_CHANNELS


def _judged_db(name: str, figures: Figures, summary: Summary) -> float:
    """What an output is judged by: its SQNR, or, if it has few channels, that of the worst quarter of them.

    Large channels (boxes in pixels) would otherwise hide that small ones (scores) are lost.
    """
    if not _is_judged_by_channel(name, figures, summary):
        return figures.sqnr_db
    return min(figures.sqnr_db, float(np.nanpercentile(figures.channel_db, 25)))


def _headline(errors: Errors, worst: float) -> str:
    text = f"The outputs keep {worst:.1f} dB over {len(errors.samples)} inputs"
    if errors.agreement:
        text += "; the best score is the same for {} of {}".format(*errors.agreement)
    return text + "."
