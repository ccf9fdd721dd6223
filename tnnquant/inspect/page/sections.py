"""The parts of the page, from top to bottom."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping

from tnnquant.base.wording import parameter
from tnnquant.inspect.advice import advise
from tnnquant.inspect.coverage import SETTLED, Coverage
from tnnquant.inspect.page.marks import section, tag, text
from tnnquant.inspect.page.material import Material, Picture
from tnnquant.inspect.page.network import network_svg
from tnnquant.inspect.page.strip import worst_layers
from tnnquant.inspect.page.table import layers_section
from tnnquant.inspect.summary import Summary

__all__ = ["coverage_section", "explore_section", "head_section", "made_section", "pictures_section",
           "reading_section", "stored_section"]  # fmt: skip

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
        body.append(_command(parameter("exclude", ",".join(exclude))))
    return tag("header", *body)


def _static_headline(summary: Summary) -> str:
    totals = summary.totals()
    share = 100 * totals["int8_macs"] / totals["macs"] if totals["macs"] else 0
    verb = "are" if summary.precision == "int8" else "can be"
    return f"{totals['int8_layers']} of {totals['layers']} layers {verb} int8: {share:.1f} % of the arithmetic."


def _command(line: str) -> str:
    button = tag("button", "Copy", type="button", class_="copy", hidden="")
    return tag("div", tag("code", text(line)), button, class_="command")


def graph_section(material: Material) -> str:
    """The graph, and what its colours mean."""
    errors, shades = material.errors, material.shades
    body = [tag("h2", "Graph")]
    if errors is not None:
        body.append(
            '<input type="radio" name="by" id="by-isolated" checked><label for="by-isolated">Isolated error</label>'
            '<input type="radio" name="by" id="by-cumulative"><label for="by-cumulative">Cumulative</label>'
        )
        body += [_legend(of.names(), f"legend of-{what}") for what, of in
                 (("isolated", shades.isolated), ("cumulative", shades.cumulative))]  # fmt: skip
    else:
        kinds = Counter("int8" if row.precision.stored == "int8" else row.precision.planned
                        for row in material.summary.layers)  # fmt: skip
        word = "int8" if material.summary.precision == "int8" else "becomes int8"
        entries = ((word, "int8", "int8"), ("fp32", "fp32", "n"))
        swatches = (tag("li", tag("i", class_=f"swatch {colour}"), f"{name} ({kinds[kind]})")
                    for name, kind, colour in entries)  # fmt: skip
        body.append(tag("ul", *swatches, class_="legend"))
    body.append(_zoom())
    drawing = network_svg(material.summary, errors, shades, worst_layers(errors))
    body.append(tag("div", drawing, class_="map" + ("" if errors else " plain"), id="map",
                    tabindex="0", role="region", aria_label="Graph, scrollable"))  # fmt: skip
    return section("graph", *body)


def _legend(names: list[str], kind: str) -> str:
    swatches = "".join(tag("li", tag("i", class_=f"swatch e{i}"), text(name)) for i, name in enumerate(names))
    return tag("ul", swatches, tag("li", tag("i", class_="swatch n"), "fp32"), class_=kind)


def _zoom() -> str:
    """Buttons for the graph, which the script shows."""
    buttons = (("out", "\N{MINUS SIGN}", "Zoom out"), ("in", "+", "Zoom in"), ("fit", "Fit", "Fit the width"),
               ("one", "100 %", "Full size"))  # fmt: skip
    return tag("div", *(tag("button", sign, type="button", class_="copy", data_zoom=what, aria_label=told)
               for what, sign, told in buttons), class_="zoom", hidden="")  # fmt: skip


def explore_section(material: Material) -> str:
    """Graph and table of layers side by side where there is room, with one field to search both."""
    find = '<label class="find" hidden>Find a layer <input type="search" id="find" placeholder="name or type"></label>'
    return tag("div", find, tag("div", graph_section(material), layers_section(material), class_="sides"),
               class_="explore")  # fmt: skip


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
        ("Isolated", "One layer is int8 and reads the fp32 network's values. Finds the layers at fault; does not tell "
                     "how much of that reaches the output."),
        ("Weights, activations", "The parts of the isolated error: int8 weights in an fp32 layer; fp32 weights between "
                                 "quantized values."),
        ("Cumulative", "Both models run as a whole. Shows what reaches the output; it includes the errors of all "
                       "layers before."),
        ("Colours", "Over the range of this model's own errors, in equal steps of dB; they do not compare models."),
        ("int8 form", "The layer is far worse than both parts together: TNN's int8 arithmetic does something else, for "
                      "instance ignores an activation, or a bias overflows."),
    )  # fmt: skip
    items = "".join(tag("dt", name) + tag("dd", meaning) for name, meaning in terms)
    return section("reading", tag("h2", "How to read this"), tag("dl", items, class_="terms"))


def made_section(material: Material) -> str:
    """What made the page."""
    made = material.made
    body = [tag("h2", "Made by")]
    if made.command:
        body.append(_command(made.command))
    facts = (", ".join(made.versions), made.machine, made.date, material.made_by)
    body += [tag("p", text(fact), class_="note") for fact in facts if fact]
    return section("made", *body)
