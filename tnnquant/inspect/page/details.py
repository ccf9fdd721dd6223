"""The details of every layer: its errors, its weights, and the blobs it makes. Closed until asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tnnquant.inspect.advice import cause_of
from tnnquant.inspect.compare import LayerError
from tnnquant.inspect.page.marks import db_text, section, tag, text
from tnnquant.inspect.page.material import Material
from tnnquant.inspect.page.network import anchor
from tnnquant.inspect.page.plots import (
    METHOD_LETTERS,
    channel_db_svg,
    channel_ranges_svg,
    histogram_svg,
    weights_svg,
)
from tnnquant.inspect.summary import BlobRow, LayerRow
from tnnquant.inspect.weights import sqnr_db

if TYPE_CHECKING:
    from tnnquant.inspect.codes import CodeUsage
    from tnnquant.inspect.ranges import BlobRanges

__all__ = ["details_section"]


def details_section(material: Material) -> str:
    """One fold per layer; one more for every model input."""
    blobs = {row.name: row for row in material.summary.blobs}
    errors = {row.name: row for row in material.errors.layers} if material.errors else {}
    folds = [_input_fold(material, blobs[name]) for name in material.summary.inputs if name in blobs]
    folds += [_fold(material, row, errors.get(row.name), blobs) for row in material.summary.layers]
    return section("details", tag("h2", "Details"), *folds)


def _fold(material: Material, row: LayerRow, error: LayerError | None, blobs: dict[str, BlobRow]) -> str:
    isolated = error.isolated.sqnr_db if error and error.isolated else None
    shade = material.shades.level("isolated", isolated)
    chip = tag("span", f"{db_text(isolated)} dB", class_=f"chip {shade}") if isolated is not None else ""
    head = tag("summary", tag("b", text(row.name)), tag("span", text(row.type), class_="kind"), chip)
    dims = "x".join(map(str, row.dims)) or "unknown shape"
    told = f"Layer {row.index}, {row.precision.stored}, makes {dims}."
    if row.precision.problem or row.precision.reason:
        told += f" {(row.precision.problem or row.precision.reason).capitalize()}."
    body = [tag("p", text(told))]
    if error is not None and (error.isolated or error.cumulative):
        body.append(_errors(error, material))
        if figures := error.isolated or error.cumulative:
            body.append(_plot("Error of each channel", channel_db_svg(figures.channel_db)))
    if row.name in material.weights:
        body += _weights(material, row)
    for name in row.outputs:
        if name in blobs:
            body += _blob(material, blobs[name])
    return tag("details", head, tag("div", *body, class_="body"), id=anchor(row))


def _input_fold(material: Material, blob: BlobRow) -> str:
    figures = material.errors.inputs.get(blob.name) if material.errors else None
    db = figures.sqnr_db if figures else None
    shade = material.shades.level("isolated", db)
    chip = tag("span", f"{db_text(db)} dB", class_=f"chip {shade}") if db is not None else ""
    head = tag("summary", tag("b", text(blob.name)), tag("span", "model input", class_="kind"), chip)
    return tag("details", head, tag("div", *_blob(material, blob), class_="body"))


def _errors(error: LayerError, material: Material) -> str:
    rows = []
    for what, name in (("isolated", "isolated"), ("weights", "of weights"), ("activations", "of activations"),
                       ("cumulative", "cumulative")):  # fmt: skip
        figures = getattr(error, what)
        if figures is not None:
            steps = "" if figures.rmse_steps is None else f"{figures.rmse_steps:.2f}"
            shade = material.shades.level(what, figures.sqnr_db)
            cells = (tag("td", db_text(figures.sqnr_db), class_=f"num {shade}"),
                     tag("td", f"{figures.cosine:.6f}", class_="num"), tag("td", steps, class_="num"))  # fmt: skip
            rows.append(tag("tr", tag("th", name, scope="row"), *cells))
    head = tag("tr", tag("th", "error", scope="col"), *(tag("th", name, scope="col", class_="num")
               for name in ("SQNR dB", "cosine", "RMSE")))  # fmt: skip
    cause = tag("p", f"Mostly: {cause_of(error)}.", class_="note") if error.isolated else ""
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), cause, class_="cell")


def _plot(title: str, svg: str, note: str = "") -> str:
    return tag("figure", tag("figcaption", text(title)), svg, tag("p", text(note), class_="note") if note else "",
               class_="plotted") if svg else ""  # fmt: skip


def _weights(material: Material, row: LayerRow) -> list[str]:
    before, after = material.weights[row.name]
    if before is not None and after is not None and np.array_equal(before, after):
        after = None  # kept in fp32: one histogram, and no error to show
    note = ""
    if before is not None and after is not None:
        note = f"fp32 filled, int8 as a line: {sqnr_db(before, after):.1f} dB. Counts on a logarithmic scale."
    if row.weights is not None and row.weights.usage is not None:
        usage = row.weights.usage
        note += f" Codes {usage.low.min()}..{usage.high.max()}; {_levels(usage)}."
    title = "Weights before and after" if before is not None and after is not None else "Weights"
    body = [_plot(title, weights_svg(before, after), note.strip())]
    if before is not None and after is not None:
        noise = np.maximum(((before.astype(np.float64) - after) ** 2).sum(axis=1), 1e-300)
        signal = (before.astype(np.float64) ** 2).sum(axis=1)
        with np.errstate(divide="ignore"):
            db = np.where(signal > 0, np.clip(10 * np.log10(signal / noise), -160, 160), np.nan)
        body.append(_plot("Weights of each output channel", channel_db_svg(db)))
    real = after if after is not None else before
    if real is None:
        return body
    spread = f"The widest channel is {row.weights.spread:.1f} times the median one." if row.weights else ""
    picture = channel_ranges_svg(real.min(axis=1), real.max(axis=1), None, "output channels")
    body.append(_plot("Range of the weights of each output channel", picture, spread))
    return body


def _blob(material: Material, row: BlobRow) -> list[str]:
    ranges = material.ranges.get(row.name)
    ends = row.ends
    chosen = None if ends is None else np.abs(ends[1])
    body = []
    if row.params is not None:
        scale = row.params.scale
        told = f"Blob {row.name}: {scale.size} {'scale' if scale.size == 1 else 'scales'}, {scale.min():.4g}"
        told += f" to {scale.max():.4g}" if scale.size > 1 else ""
        told += f", {row.dead} dead channels" if row.dead else ""
        usage = material.errors.usage.get(row.name) if material.errors else None
        if usage is not None:
            told += f". Codes {usage.low.min()}..{usage.high.max()} occur; {_levels(usage)}"
        body.append(tag("p", text(told + ".")))
    if ranges is None:
        return body
    body.append(_plot("Values, and where each method would clip", histogram_svg(ranges, chosen)))
    body.append(_methods(ranges, chosen))
    note = "Bars: what the samples held. Lines: what int8 can hold." if chosen is not None else ""
    body.append(_plot("Range of each channel", channel_ranges_svg(ranges.low, ranges.high, ends), note))
    return body


def _levels(usage: CodeUsage) -> str:
    unused, ends = np.median(usage.unused), 100 * usage.saturated.mean()
    return f"a channel leaves {unused:.0f} of 255 levels unused (median), {ends:.2f} % are at the ends"


def _methods(ranges: BlobRanges, chosen: np.ndarray | None) -> str:
    rows = []
    if chosen is not None:
        value = f"{chosen.min():.4g}" if chosen.size == 1 else f"{chosen.min():.4g} to {chosen.max():.4g}"
        rows.append(tag("tr", tag("th", tag("i", class_="line chosen"), "in the model", scope="row"),
                        tag("td", value, class_="num"), tag("td", "", class_="num")))  # fmt: skip
    for letter, threshold in zip(METHOD_LETTERS, ranges.thresholds, strict=False):
        symmetric = abs(threshold.low + threshold.high) < 1e-9 + 1e-6 * abs(threshold.high)
        value = f"{threshold.high:.4g}" if symmetric else f"{threshold.low:.4g} to {threshold.high:.4g}"
        rows.append(tag("tr", tag("th", tag("span", letter, class_="letter"), text(threshold.method), scope="row"),
                        tag("td", value, class_="num"),
                        tag("td", f"{100 * threshold.clipped:.3f} %" if symmetric else "", class_="num")))  # fmt: skip
    heads = (tag("th", name, scope="col", class_="num") for name in ("threshold", "values beyond"))
    head = tag("tr", tag("th", "method, with one scale", scope="col"), *heads)
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="cell")
