"""The strip on top of the page: the error of every layer, from the first to the last, at a glance."""

from __future__ import annotations

from collections.abc import Callable

from tnnquant.inspect.compare import Errors, LayerError
from tnnquant.inspect.page.marks import attribute, section, tag, text
from tnnquant.inspect.page.material import Material
from tnnquant.inspect.page.network import anchor
from tnnquant.inspect.page.spread import spread
from tnnquant.inspect.summary import LayerRow

__all__ = ["WORST", "strip_section", "worst_layers"]

#: So many layers are marked.
WORST = 5
#: Units of a layer and of the height; the browser stretches them to the room there is.
WIDE, TALL = 10, 120
#: dB above which a bar would be too short to tell anything.
CEILING = 60.0
#: The shortest bar of a layer that has an error.
LEAST = 2.0
#: Width of the mark of one of the worst layers, in percent of the strip.
MARK = 3.4


def worst_layers(errors: Errors | None) -> dict[str, int]:
    """The worst layers by isolated error, with their rank from 1."""
    ranked = errors.ranked()[:WORST] if errors else []
    return {row.name: rank for rank, row in enumerate(ranked, 1) if row.isolated and row.isolated.sqnr_db < CEILING}


def strip_section(material: Material) -> str:
    """Bars of the isolated error and the line of the cumulative one; a second strip for the model beside."""
    if material.errors is None:
        return ""
    others = (material.other,) if material.other else ()
    low, high = _range([material.errors, *(other.errors for other in others if other.errors)])
    body = [
        tag("h2", "Error by depth"),
        _strip(material.summary.layers, material.errors, low, high, material.title if others else ""),
    ]
    body += [_strip(material.summary.layers, other.errors, low, high, f"B: {other.title}")
             for other in others if other.errors]  # fmt: skip
    body.append(tag(
        "p", "One bar per layer, from input to output. ", tag("i", "", class_="key bar"),
        "isolated: what the layer adds by itself; ", tag("i", "", class_="key curve"),
        "cumulative: what has gathered up to it. The higher, the worse; numbers "
        "mark the worst layers. Choose a bar for its details.", class_="note",
    ))  # fmt: skip
    return section("depth", *body)


def _range(all_errors: list[Errors]) -> tuple[float, float]:
    """dB at the top of the strip (the worst) and at its bottom."""
    found = [figures.sqnr_db for errors in all_errors for row in errors.layers
             for figures in (row.isolated, row.cumulative) if figures]  # fmt: skip
    low = 5 * (min([CEILING - 10, *found]) // 5)
    high = min(CEILING, 5 * -(-max([low + 10, *(db for db in found if db < CEILING)]) // 5))
    return max(low, -10.0), high


def _strip(layers: list[LayerRow], errors: Errors, low: float, high: float, name: str) -> str:
    measured = {row.name: row for row in errors.layers}
    worst = worst_layers(errors)

    def height(db: float) -> float:
        return min(max((high - db) / (high - low), LEAST / TALL), 1.0) * TALL

    bars, line = [], ""
    for place, row in enumerate(layers):
        error = measured.get(row.name)
        bars.append(_bar(row, error, place * WIDE, height, worst.get(row.name)))
        if error and error.cumulative:
            y = TALL - height(error.cumulative.sqnr_db)
            line += f"{'H' if line else 'M'}{place * WIDE}{' ' if not line else 'V'}{y:.1f}h{WIDE}"
    wide = WIDE * max(1, len(layers))
    drawing = (
        f'<svg class="strip" viewBox="0 0 {wide} {TALL}" preserveAspectRatio="none" role="group" '
        f'aria-label="{attribute("Error of every layer" + (f" of {name}" if name else ""))}">'
        f'{"".join(bars)}<path class="cumulative" vector-effect="non-scaling-stroke" d="{line}"/></svg>'
    )
    axis = tag("div", tag("span", f"{low:g} dB"), tag("span", f"{high:g} dB"), class_="axis", aria_hidden="true")
    title = tag("p", text(name), class_="stripname") if name else ""
    return title + tag("div", axis, tag("div", drawing, _marks(layers, worst), class_="bars"), class_="depth")


def _bar(row: LayerRow, error: LayerError | None, x: int, height: Callable[[float], float], rank: int | None) -> str:
    told = f"{row.index} {row.name}, {row.type}"
    shape = ""
    for what in ("isolated", "cumulative"):
        figures = getattr(error, what) if error else None
        if figures:
            told += f", {what} {figures.sqnr_db:.1f} dB"
    if error and error.isolated:
        tall = height(error.isolated.sqnr_db)
        shape = f'<rect class="bar" x="{x + 1}" y="{TALL - tall:.1f}" width="{WIDE - 2}" height="{tall:.1f}"/>'
    elif not error or not error.is_int8:
        told += ", fp32"
    return (
        f'<a href="#{anchor(row)}"{" class=" + chr(34) + "worst" + chr(34) if rank else ""} '
        f'aria-label="{attribute(told)}"><title>{text(told)}</title>'
        f'<rect class="hit" x="{x}" y="0" width="{WIDE}" height="{TALL}"/>{shape}</a>'
    )


def _marks(layers: list[LayerRow], worst: dict[str, int]) -> str:
    """The ranks of the worst layers above their bars."""
    found = [(100 * (place + 0.5) / len(layers), row) for place, row in enumerate(layers) if row.name in worst]
    places = spread([place for place, _ in found], [MARK] * len(found), 0, 100)
    marks = (tag("a", str(worst[row.name]), href=f"#{anchor(row)}", style=f"left:{place:.2f}%", title=row.name)
             for place, (_, row) in zip(places, found, strict=True))  # fmt: skip
    return tag("div", *marks, class_="ranks")
