"""The parts of the page, from top to bottom."""

from __future__ import annotations

import base64
import shlex
from collections import Counter
from collections.abc import Mapping

from tnnquant.inspect.advice import advise, cause_of
from tnnquant.inspect.compare import Errors
from tnnquant.inspect.coverage import SETTLED, Coverage
from tnnquant.inspect.page.marks import LEVELS, count_text, db_text, level, section, tag, text
from tnnquant.inspect.page.material import Material, Picture
from tnnquant.inspect.page.network import anchor, network_svg
from tnnquant.inspect.summary import LayerRow, Summary

__all__ = ["coverage_section", "graph_section", "head_section", "layers_section", "pictures_section", "reading_section",
           "stored_section"]  # fmt: skip

WORDS = {"good": "Good", "doubtful": "Doubtful", "broken": "Broken"}


def head_section(material: Material) -> str:
    """The result in a word and a sentence, what to do next, and the size of things."""
    summary, errors = material.summary, material.errors
    name = material.title
    if errors is not None:
        advice = advise(errors, summary)
        status = errors.verdict.status
        badge = tag("strong", text(WORDS[status]), class_=f"badge {status}")
        lines, exclude, headline = advice.lines, advice.exclude, advice.headline
    else:
        badge = tag("strong", text(summary.precision), class_="badge plain")
        lines, exclude, headline = summary.grouped_problems(), [], _static_headline(summary)
    brand = f"tnnquant inspect {summary.proto}".strip()
    body = [tag("p", text(brand), class_="brand"), tag("h1", text(name)),
            tag("p", badge, " ", text(headline), class_="headline")]  # fmt: skip
    if lines:
        body.append(tag("ul", *(tag("li", text(line)) for line in lines), class_="advice"))
    if exclude:
        body.append(_command("--exclude " + shlex.quote(",".join(exclude))))
    return tag("header", *body, _tiles(summary, errors))


def _static_headline(summary: Summary) -> str:
    totals = summary.totals()
    share = 100 * totals["int8_macs"] / totals["macs"] if totals["macs"] else 0
    verb = "are" if summary.precision == "int8" else "can be"
    return f"{totals['int8_layers']} of {totals['layers']} layers {verb} int8: {share:.1f} % of the arithmetic."


def _command(line: str) -> str:
    button = tag("button", "Copy", type="button", class_="copy", hidden="")
    return tag("div", tag("code", text(line)), button, class_="command")


def _tiles(summary: Summary, errors: Errors | None) -> str:
    totals = summary.totals()
    share = 100 * totals["int8_macs"] / totals["macs"] if totals["macs"] else 0
    tiles = [
        (f"{totals['int8_layers']} / {totals['layers']}", "layers in int8" if summary.precision == "int8" else
         "layers can be int8"),
        (f"{share:.1f} %", "of the arithmetic"),
        (count_text(totals["macs"]), "MACs per run"),
        (count_text(totals["file_bytes"]) + "B", "on disk"),
    ]  # fmt: skip
    if errors is not None:
        worst = min(errors.outputs.values(), key=lambda figures: figures.sqnr_db, default=None)
        if worst is not None:
            tiles[:0] = [(f"{worst.sqnr_db:.1f} dB", "output SQNR"), (f"{worst.cosine:.5f}", "output cosine")]
        if errors.agreement:
            tiles.insert(2, ("{} / {}".format(*errors.agreement), "same best score"))
    boxes = (tag("div", tag("dt", text(what)), tag("dd", text(value))) for value, what in tiles)
    return tag("dl", *boxes, class_="tiles")


def graph_section(material: Material) -> str:
    """The graph, and what its colours mean."""
    errors = material.errors
    body = [tag("h2", "Graph")]
    if errors is not None:
        names = [f"{LEVELS[0]:.0f} dB and more", *(f"{low:.0f} to {high:.0f}" for low, high in
                 zip(LEVELS[1:-1], LEVELS, strict=False)), f"below {LEVELS[-2]:.0f}"]  # fmt: skip
        swatches = "".join(tag("li", tag("i", class_=f"swatch e{i}"), text(name)) for i, name in enumerate(names))
        body += [
            '<input type="radio" name="by" id="by-isolated" checked><label for="by-isolated">Isolated error</label>',
            '<input type="radio" name="by" id="by-cumulative"><label for="by-cumulative">Cumulative error</label>',
            tag("p", "Isolated: what a layer adds by itself, all before it in fp32. Cumulative: what has gathered up "
                     "to it. Choose a layer for its details.", class_="note"),
            tag("ul", swatches, tag("li", tag("i", class_="swatch n"), "fp32"), class_="legend"),
        ]  # fmt: skip
    else:
        kinds = Counter("int8" if row.precision.stored == "int8" else row.precision.planned
                        for row in material.summary.layers)  # fmt: skip
        word = "int8" if material.summary.precision == "int8" else "becomes int8"
        entries = ((word, "int8", "int8"), ("fp32", "fp32", "n"))
        legend = (tag("li", tag("i", class_=f"swatch {colour}"), f"{name} ({kinds[kind]})")
                  for name, kind, colour in entries)  # fmt: skip
        body.append(tag("ul", *legend, class_="legend"))
    body.append(tag("div", network_svg(material.summary, errors), class_="map" + ("" if errors else " plain"),
                    tabindex="0", role="region", aria_label="Graph, scrollable"))  # fmt: skip
    return section("graph", *body)


def layers_section(material: Material) -> str:
    """The table of all layers, sortable by every column."""
    errors = {row.name: row for row in material.errors.layers} if material.errors else {}
    heads = ["#", "layer"]
    if errors:
        heads += ["isolated", "weights", "activations", "cumulative", "mostly", "RMSE", "cosine"]
    heads += ["type", "is", "MACs", "bytes", "why fp32"]
    numeric = {"#", "isolated", "weights", "activations", "cumulative", "RMSE", "cosine", "MACs", "bytes"}
    row_of = "".join(
        tag("th", tag("button", text(name), type="button"), scope="col", class_="num" if name in numeric else None)
        for name in heads
    )
    body = [tag("h2", "Layers")]
    if errors:
        body.append(tag("p", "SQNR in dB, more is better: 6 dB more is half the error. RMSE in steps of the output's "
                             "scale; 0.29 is what rounding alone costs.", class_="note"))  # fmt: skip
    body.append('<label class="find">Find <input type="search" id="find" placeholder="name or type" hidden></label>')
    rows = "".join(_table_row(row, errors.get(row.name), bool(errors)) for row in material.summary.layers)
    table = tag("table", tag("thead", tag("tr", row_of)), tag("tbody", rows), id="layers-table")
    body.append(tag("div", table, class_="scroll", tabindex="0", role="region",
                    aria_label="Table of layers, scrollable"))  # fmt: skip
    return section("layers", *body)


def _table_row(row: LayerRow, error, has_errors: bool) -> str:
    kind = row.precision.stored if row.precision.stored == "int8" else row.precision.planned
    shown = row.precision.stored if row.precision.stored != "fp32" or kind == "fp32" else "fp32 → int8"
    cells = [tag("td", str(row.index), class_="num"),
             tag("th", tag("a", text(row.name), href=f"#{anchor(row)}"), scope="row")]  # fmt: skip
    if has_errors:
        for what in ("isolated", "weights", "activations", "cumulative"):
            figures = getattr(error, what) if error else None
            db = figures.sqnr_db if figures else None
            cells.append(tag("td", db_text(db), class_="num" + (f" {level(db)}" if db is not None else "")))
        figures = error.isolated if error else None
        steps = figures.rmse_steps if figures else None
        cells += [
            tag("td", text(cause_of(error)) if figures else ""),
            tag("td", "" if steps is None else f"{steps:.2f}", class_="num"),
            tag("td", f"{figures.cosine:.5f}" if figures else "", class_="num"),
        ]
    cells += [tag("td", text(row.type)), tag("td", text(shown))]
    why = row.precision.problem or row.precision.reason
    cells += [tag("td", count_text(row.macs) if row.macs else "", class_="num", data_v=row.macs),
              tag("td", count_text(row.bytes) if row.bytes else "", class_="num", data_v=row.bytes),
              tag("td", text(why), class_="why")]  # fmt: skip
    return tag("tr", *cells)


def pictures_section(material: Material) -> str:
    """The inputs with the worst outputs, as the model sees them."""
    worst = [picture for picture in material.pictures if picture.kind == "worst"]
    if not worst:
        return ""
    note = tag("p", "As the model sees them, by the SQNR of the output.", class_="note")
    pictures = tag("div", *map(_figure, worst), class_="pictures")
    return section("pictures", tag("h2", "Worst inputs"), note, pictures)


def _figure(picture: Picture) -> str:
    source = f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
    image = f'<img src="{source}" alt="{text(picture.name)}" width="{picture.width}" height="{picture.height}">'
    return tag("figure", image, tag("figcaption", tag("b", text(picture.name)), *(tag("span", text(line))
               for line in picture.lines)))  # fmt: skip


def coverage_section(material: Material) -> str:
    """What the model sees, and whether the pictures are enough."""
    coverage, seen = material.coverage, [picture for picture in material.pictures if picture.kind == "seen"]
    if coverage is None and not seen:
        return ""
    body = [tag("h2", "Calibration inputs")]
    if coverage is not None:
        body += _coverage(coverage)
    if material.statistics:
        body.append(_statistics(material.statistics))
    if seen:
        body.append(tag("div", *map(_figure, seen), class_="pictures small"))
    return section("inputs", *body)


def _coverage(coverage: Coverage) -> list[str]:
    badge = tag("strong", "Enough" if coverage.is_enough else "Add more",
                class_=f"badge {'good' if coverage.is_enough else 'doubtful'}")  # fmt: skip
    body = [tag("p", badge, " ", text(coverage.verdict.split(": ", 1)[1]), f" ({text(coverage.method)}).")]
    moving = sorted(coverage.moves.items(), key=lambda item: -item[1])[:10]
    rows = "".join(tag("tr", tag("th", text(name), scope="row"), tag("td", f"{100 * move:.1f} %", class_="num"))
                   for name, move in moving if move > SETTLED)  # fmt: skip
    if rows:
        head = tag("tr", tag("th", "blob", scope="col"), tag("th", "its scale moves by", scope="col", class_="num"))
        body.append(tag("div", tag("table", tag("thead", head), tag("tbody", rows)), class_="scroll"))
    if coverage.lone:
        items = (tag("li", tag("b", text(lone.name)), text(f" alone sets the maximum of "
                     f"{lone.blobs} {'blob' if lone.blobs == 1 else 'blobs'}, by up to {lone.ratio:.2f} times "
                     f"({lone.worst})")) for lone in coverage.lone[:8])  # fmt: skip
        body += [tag("p", "Inputs that stand alone; look at them, they may be mistakes:"), tag("ul", *items)]
    return body


def _statistics(statistics: Mapping[str, dict]) -> str:
    rows = []
    for name, figures in statistics.items():
        for channel, values in enumerate(zip(figures["lowest"], figures["mean"], figures["highest"], strict=True)):
            rows.append(tag("tr", tag("th", text(name), scope="row"), tag("td", str(channel), class_="num"),
                            *(tag("td", f"{value:.4g}", class_="num") for value in values)))  # fmt: skip
    head = "".join(tag("th", name, scope="col", class_="num" if i else None)
                   for i, name in enumerate(("input", "channel", "lowest", "mean", "highest")))  # fmt: skip
    return tag("div", tag("table", tag("thead", tag("tr", head)), tag("tbody", *rows)), class_="scroll")


def stored_section(material: Material) -> str:
    """What the file holds that is no part of what the model means; everything else on the page is of what it means."""
    taken_out = material.summary.taken_out
    if not taken_out:
        return ""
    note = tag("p", "The recipe best wrote these so that more codes can be used. They are no channels and no layers "
                    "of the network: nothing else on this page counts them, but for the bytes.",
               class_="note")  # fmt: skip
    entries = (tag("dt", text(entry.name)) + tag("dd", text(entry.why)) for entry in taken_out)
    return section("stored", tag("h2", "Stored beside"), note, tag("dl", *entries, class_="terms"))


def reading_section(material: Material) -> str:
    """How to read the page."""
    terms = (
        ("SQNR", "Power of the fp32 values over power of the error, in dB. 6 dB more is half the error; 20 dB means "
                 "errors of a tenth."),
        ("Isolated", "One layer is int8 and reads the fp32 network's values. Finds the guilty layer; does not tell how "
                     "much the layers after it care."),
        ("Weights, activations", "The parts of the isolated error: int8 weights in an fp32 layer; fp32 weights between "
                                 "quantized values."),
        ("Cumulative", "Both models run as a whole. Shows what reaches the output; a layer is blamed for all before "
                       "it."),
        ("int8 form", "The layer is far worse than both parts together: TNN's int8 arithmetic does something else, for "
                      "instance ignores an activation, or a bias overflows."),
    )  # fmt: skip
    items = "".join(tag("dt", name) + tag("dd", meaning) for name, meaning in terms)
    foot = tag("p", text(material.made_by), class_="note")
    return section("reading", tag("h2", "How to read this"), tag("dl", items, class_="terms"), foot)
