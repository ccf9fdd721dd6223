"""What the errors say, in a few sentences, and what to try next."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tnnquant.base.wording import parameter
from tnnquant.inspect.compare import Errors, LayerError
from tnnquant.inspect.summary import Summary
from tnnquant.verdict import GOOD

__all__ = ["Advice", "advise", "cause_of", "is_unexplained"]

#: A layer whose whole error is that many dB worse than its parts together: neither weights nor ranges explain it.
UNEXPLAINED_DB = 6.0
#: The input quantized by itself is usually at 40 dB and more.
INPUT_DB = 25.0
#: Checks of the verdict that are quoted, worst first.
CHECKS = 3


@dataclass
class Advice:
    """Sentences, and the layers for ``quantize --exclude``.

    Attributes
    ----------
    headline : str
        The result in one sentence.
    lines : list of str
    exclude : list of str
        Worst first.
    """

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
    advice = Advice(_headline(errors))
    failed = [check for check in errors.verdict.checks() if check.status != GOOD]
    advice.lines += [f"{check.where}: {check.text}." for check in failed[:CHECKS]]
    advice.lines += [f"{note}." for note in errors.verdict.notes]
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
    """The layers to keep in fp32; those that are broken for another reason are not among them."""
    guilty = [row.name for row in errors.guilty() if row.name not in broken]
    if guilty:
        macs = sum(row.macs for row in summary.layers if row.name in guilty)
        share = 100 * macs / max(1, sum(row.macs for row in summary.layers))
        verb = "layer stands" if len(guilty) == 1 else "layers stand"
        advice.lines.append(f"{len(guilty)} {verb} out. To keep them in fp32, with {share:.1f} % of the arithmetic, "
                            "give this to quantize:")  # fmt: skip
        advice.exclude = [_pattern(name) for name in guilty]
        return
    if broken:
        return
    first = errors.candidates()
    spread = "No layer stands out: the error is spread over all of them."
    if errors.verdict.status != GOOD:
        spread += (
            f" Other ranges ({parameter('blob_method')}), weights ({parameter('weight_method')}) or more calibration "
            "pictures will do more than layers in fp32."
        )
    if first:
        advice.lines.append(f"{spread} The first to keep in fp32 would be:")
        advice.exclude = [_pattern(first[0].name)]


def _pattern(name: str) -> str:
    """A pattern for ``--exclude`` that matches a name, also one with the signs of a pattern in it."""
    return re.sub(r"[*?\[\]]", "?", name)


def is_unexplained(row: LayerError) -> bool:
    """Whether neither the weights nor the activations are nearly as bad as the layer as a whole."""
    if row.isolated is None or row.weights is None or row.activations is None:
        return False
    noise = sum(10 ** (-part.sqnr_db / 10) for part in (row.weights, row.activations))
    return 10 ** (-row.isolated.sqnr_db / 10) > noise * 10 ** (UNEXPLAINED_DB / 10)


def cause_of(row: LayerError) -> str:
    """The larger part of a layer's own error, in a word or two."""
    if is_unexplained(row):
        return "int8 form"
    if row.weights is None or row.activations is None:
        return "activations" if row.weights is None else "weights"
    gap = row.weights.sqnr_db - row.activations.sqnr_db
    return "activations" if gap > 3 else ("weights" if gap < -3 else "both")


def _headline(errors: Errors) -> str:
    worst = min((figures.sqnr_db for figures in errors.outputs.values()), default=0.0)
    text = f"The outputs keep {worst:.1f} dB over {len(errors.samples)} inputs"
    if errors.agreement:
        text += "; the best score is the same for {} of {}".format(*errors.agreement)
    return text + "."
