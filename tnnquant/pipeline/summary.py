"""The summary of a run as lines of text: for the command line, for ``print(report)``, for a notebook."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html import escape

from tnnquant import recipes
from tnnquant.base.wording import parameter
from tnnquant.config import QuantizeConfig
from tnnquant.pipeline.devices import rewritten_lines
from tnnquant.pipeline.report import Report
from tnnquant.pipeline.split import snippet
from tnnquant.verdict import GOOD, Verdict

__all__ = ["advised", "summary_html", "summary_rows", "summary_text"]

_DEFAULT = QuantizeConfig().recipe
_NUMBER = re.compile(r"\d+")
_COLOURS = {"GOOD": "#2e7d32", "DOUBTFUL": "#b26a00", "BROKEN": "#c62828"}


def summary_rows(report: Report, seconds: float | None = None) -> Iterator[tuple[str, str]]:
    """What a run did: a label (empty: as above) and a line of text for each row.

    Parameters
    ----------
    report : Report
    seconds : float, optional
        That the whole took; default: as the report counted.
    """
    settings = report.settings
    if report.samples:
        yield "samples", _samples(report)
    declared = recipes.find(settings["recipe"])
    if "blob_method" in declared.settings:
        blob, weight, merge = (settings[key] for key in ("blob_method", "weight_method", "merge_type"))
        yield "methods", f"blobs {blob}, weights {weight}, scales per {merge}"
    else:
        yield "methods", f"recipe {settings['recipe']}"
        alike: dict[str, list[str]] = {}
        for step, note in report.steps.items():
            alike.setdefault(note, []).append(step.replace("_", " "))
        for note, steps in alike.items():
            yield "", f"{', '.join(steps)} {note}"
    dynamic = report.count("dynamic")
    widened = f", {dynamic} with int8 weights that are widened on loading" if dynamic else ""
    is_open = report.dry_run and declared.chooses_on_held_out
    chosen = ", before the recipe chooses some more to stay fp32" if is_open else ""
    yield "layers", f"{report.count('int8')} int8, {report.count('fp32')} fp32{widened}{chosen}"
    yield from _layer_rows(report)
    yield from _device_rows(report)
    if report.dry_run:
        if report.estimate:
            share = 100 * report.estimate.bytes / max(report.bytes_before, 1)
            sizes = f"{_megabytes(report.bytes_before)} -> about {_megabytes(report.estimate.bytes)} ({share:.0f} %)"
            yield "size", f"{sizes}, {100 * report.estimate.int8_share:.0f} % of the multiplications in int8"
            yield from _duration_rows(report)
        yield "dry run", "nothing was written"
        yield "would write", report.proto
        yield "", report.model
        return
    ratio = report.bytes_after / max(report.bytes_before, 1)
    yield "size", f"{_megabytes(report.bytes_before)} -> {_megabytes(report.bytes_after)} ({100 * ratio:.0f} %)"
    stages = ", ".join(f"{name} {value:.2f}" for name, value in report.seconds.items() if name != "total")
    if report.trials and report.trials[0]["likeness"]:
        yield from _trial_rows(report)
    if report.verdict:
        yield from _verdict_rows(report.verdict)
    total = report.seconds.get("total", 0.0) if seconds is None else seconds
    yield "seconds", f"{total:.2f} in all ({stages})"
    yield from _advice_rows(report)
    yield "written", report.proto
    yield "", report.model
    if report.tail:
        yield "", f"{report.tail['proto']}: the second model, in fp32; its inputs are outputs of the first:"
        for line in snippet(report.tail["inputs"]):
            yield "", f"  {line}"


def _duration_rows(report: Report) -> Iterator[tuple[str, str]]:
    """How long the run would take, and how that is known."""
    found = report.estimate
    if found is None or found.seconds is None:
        return
    seconds = f"{found.seconds:.1f}" if found.seconds < 10 else f"{found.seconds:.0f}"
    yield "time", (
        f"about {seconds} s here, by {found.timed} pictures that were timed, give or take a third; the first run of a "
        "version also compiles kernels, up to half a minute"
    )


def _samples(report: Report) -> str:
    more = [f"{report.held_out} more held out"] if report.held_out else []
    more += [f"{len(report.skipped)} skipped"] if report.skipped else []
    return f"{report.samples}" + (f" ({', '.join(more)})" if more else "")


def _layer_rows(report: Report) -> Iterator[tuple[str, str]]:
    """Why layers are fp32, and what was special about others: a line per reason, the most frequent first."""
    reasons: dict[str, Counter] = {}
    for (kind, reason), count in report.fp32_reasons().most_common():
        reasons.setdefault(reason, Counter())[kind] = count
    for reason, kinds in sorted(reasons.items(), key=lambda item: -item[1].total()):
        yield "", f"fp32: {', '.join(f'{count} {kind}' for kind, count in kinds.most_common())} - {reason}"
    noted: dict[str, list[tuple[str, int]]] = {}
    for layer in report.layers:
        for note in filter(None, layer.note.split("; ")):
            # "scale of 3 channels raised": one line for all layers with such channels.
            figure = _NUMBER.search(note)
            text = _NUMBER.sub("{}", note, count=1)
            noted.setdefault(text, []).append((layer.name, int(figure[0]) if figure else 0))
    for text, places in noted.items():
        where = places[0][0] if len(places) == 1 else f"in {len(places)} layers from {places[0][0]} on"
        yield "", f"note: {text.replace('{}', str(sum(count for _, count in places)))}, {where}"


def _device_rows(report: Report) -> Iterator[tuple[str, str]]:
    """Where the model is right, and what was done for that."""
    device = report.settings["device"]
    yield "device", device + (": arm, x86 and naive" if device == "any" else "")
    for line in rewritten_lines(report.rewritten):
        yield "", line
    inexact = [finding for finding in report.findings if not finding.outcome.breaks]
    for advice in dict.fromkeys(finding.advice for finding in inexact):
        mine = [finding for finding in inexact if finding.advice == advice]
        kinds, where = (", ".join(sorted({getattr(f, field) for f in mine})) for field in ("type", "device"))
        yield "", f"note: {advice}: {len({f.layer for f in mine})} layers ({kinds}) are inexact on {where} otherwise"


def _trial_rows(report: Report) -> Iterator[tuple[str, str]]:
    width = max(len(trial["name"]) for trial in report.trials)
    # Beside the names of the configurations of TNN's tool this is as wide as a terminal of 80 columns.
    has_metric = any(trial.get("metric") is not None for trial in report.trials)
    own = f" {'metric':>9}" if has_metric else ""
    yield "trials", f"  {'':{width}} {'verdict':8} {'agree %':>7} {'cosine':>6} {'dB':>5} {'seconds':>7}{own}"
    for trial in report.trials:
        mark = "->" if trial["best"] else "  "
        if trial["status"] == "failed":
            yield "", f"{mark}{trial['name']:{width}} failed: {trial['note']}"
            continue
        yield (
            "",
            (
                f"{mark}{trial['name']:{width}} {trial['status']:8} {100 * trial['agreement']:7.1f} "
                f"{trial['likeness']:6.4f} {trial['sqnr_db']:5.1f} {trial['seconds']:7.1f}"
                + (f" {'-' if trial['metric'] is None else format(trial['metric'], '.4g'):>9}" if has_metric else "")
            ),
        )
        if trial["fp32_layers"] and trial["best"]:
            yield "", f"  kept in fp32: {parameter('exclude', ','.join(trial['fp32_layers']))}"
    if report.target:
        reached = "reached" if report.target["reached"] else "NOT reached"
        told = report.target
        asked = f"{100 * told['agreement']:g} %" if "agreement" in told else (
            f"{told['metric']} at most {told['drop']:g} worse than fp32"
        )
        yield "target", f"{asked}: {reached}"


def _verdict_rows(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """The verdict on each set of pictures; what is true of several of them is said with the first."""
    told: set[str] = set()
    for number, found in enumerate(verdict.sets):
        label = "verdict" if number == 0 else ""
        yield label, f"{found.status.upper() if number == 0 else found.status} on {found.source}"
        if number == 0:
            yield "", "it holds for pictures like these, not for other kinds"
        checks = [f"{check.status}: {check.where} - {check.text}" for check in found.checks()]
        notes = [f"note: {note}" for note in found.notes]
        for line in checks:
            if line not in told:
                yield "", line
        for output in found.outputs:
            yield "", f"{output.name}: SQNR {output.figures['sqnr_db']:.1f} dB"
        if found.labels:
            labels = found.labels
            yield (
                "",
                (
                    f"top-1: fp32 {100 * labels['top1_fp32']:.2f} %, int8 {100 * labels['top1_int8']:.2f} % of "
                    f"{labels['pictures']}"
                ),
            )
        if found.disagreeing:
            yield "", f"another class than fp32: {', '.join(found.disagreeing)}"
        for line in notes:
            if line not in told:
                yield "", line
        told |= {*checks, *notes}
    if verdict.worst_layers:
        shown = (
            f"{noise.layer} {noise.input_sqnr_db:.1f} -> {noise.sqnr_db:.1f} dB" for noise in verdict.worst_layers[:3]
        )
        yield "", f"most noise added by: {', '.join(shown)}"
        if verdict.status != GOOD:
            names = ",".join(noise.layer for noise in verdict.worst_layers[:3])
            yield "", f"to keep these in fp32: {parameter('exclude', names)}"


def advised(report: Report) -> dict[str, float]:
    """Seconds of the recipes that a run of the default, or one whose model is not good, is told of, the best last."""
    is_good = report.verdict is not None and report.verdict.status == GOOD
    return {} if is_good and report.settings["recipe"] != _DEFAULT else report.others


def _advice_rows(report: Report) -> Iterator[tuple[str, str]]:
    """What better recipes would take."""
    shown = [f"{parameter('recipe', name)} in about {max(1, round(s))} s" for name, s in advised(report).items()]
    if shown:
        yield "advice", f"closer to fp32: {', '.join(shown)} (estimated from this run)"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"


def summary_text(report: Report) -> str:
    """The rows as aligned text, with the warnings."""
    lines = [f"{name:12} {text}".rstrip() for name, text in summary_rows(report)]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in report.warnings)])


def summary_html(report: Report) -> str:
    """The rows as a table of HTML with the verdict in colour, for notebooks."""
    rows = []
    for name, text in summary_rows(report):
        word, _, rest = text.partition(" ")
        shown = escape(text)
        if name == "verdict" and word in _COLOURS:
            shown = f'<b style="color:{_COLOURS[word]}">{word}</b> {escape(rest)}'
        rows.append(f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{shown}</td></tr>')
    rows += [
        f'<tr><th style="text-align:left">warning</th><td style="text-align:left">{escape(warning)}</td></tr>'
        for warning in report.warnings
    ]
    return f"<table>{''.join(rows)}</table>"
