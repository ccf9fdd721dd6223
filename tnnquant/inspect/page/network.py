"""The graph of layers as SVG, coloured by error."""

from __future__ import annotations

from collections.abc import Mapping

from tnnquant.inspect.compare import Errors, LayerError
from tnnquant.inspect.page.marks import attribute, db_text, shorten, text
from tnnquant.inspect.page.placing import draw
from tnnquant.inspect.page.shades import ErrorShades
from tnnquant.inspect.summary import LayerRow, Summary

__all__ = ["anchor", "network_svg"]

BOX, TALL, GAP, ROW, MARGIN = 172, 36, 16, 58, 12
LETTERS = 23


def anchor(row: LayerRow) -> str:
    """The id of a layer's details."""
    return f"layer-{row.index}"


def network_svg(summary: Summary, errors: Errors | None, shades: ErrorShades, worst: Mapping[str, int]) -> str:
    """All layers; each box leads to its details. Colours are classes: ``i-e3`` by isolated, ``c-e3`` by cumulative
    error, ``p-int8`` by precision. ``worst``: ranks of the layers to mark."""
    makers = {blob: row.name for row in summary.layers for blob in row.outputs}
    edges = [(makers[blob], row.name) for row in summary.layers for blob in row.inputs
             if blob in makers and makers[blob] != row.name]  # fmt: skip
    drawing = draw([row.name for row in summary.layers], edges, box=BOX, gap=GAP, row=ROW)
    measured = {row.name: row for row in errors.layers} if errors else {}
    width, height = drawing.width + 2 * MARGIN, drawing.height + 2 * MARGIN
    parts = [
        f'<svg class="network" role="group" aria-label="Graph of {len(summary.layers)} layers" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="{-MARGIN} {-MARGIN} {width:.0f} {height:.0f}">',
        '<g class="edges">',
    ]
    parts += [f'<path d="{_curve(points)}"/>' for _, _, points in drawing.edges]
    parts.append("</g>")
    for row in summary.layers:
        x, y = drawing.boxes[row.name]
        parts.append(_box(row, measured.get(row.name), x - BOX / 2, y - TALL / 2, shades, worst.get(row.name)))
    return "".join(parts) + "</svg>"


def _box(
    row: LayerRow, error: LayerError | None, x: float, y: float, shades: ErrorShades, rank: int | None
) -> str:
    isolated = error.isolated.sqnr_db if error and error.isolated else None
    cumulative = error.cumulative.sqnr_db if error and error.cumulative else None
    kind = row.precision.stored
    if kind == "fp32" and row.precision.planned == "int8":
        kind = "plan"
    told = f"{row.name}, {row.type}, {row.precision.stored}"
    if isolated is not None:
        told += f", isolated {isolated:.1f} dB"
    if cumulative is not None:
        told += f", cumulative {cumulative:.1f} dB"
    classes = f"i-{shades.level('isolated', isolated)} c-{shades.level('cumulative', cumulative)} p-{kind}"
    lines = f'<text class="t" x="9" y="29">{text(row.type)}</text>'
    for letter, db in (("i", isolated), ("c", cumulative)):
        if db is not None:
            lines += f'<text class="d{letter}" x="{BOX - 9}" y="29" text-anchor="end">{db_text(db)} dB</text>'
    if rank:
        told += f", number {rank} of the worst"
        lines += (f'<g class="rank"><circle cx="{BOX - 2}" cy="2" r="9"/>'
                  f'<text x="{BOX - 2}" y="6" text-anchor="middle">{rank}</text></g>')  # fmt: skip
    return (
        f'<a href="#{anchor(row)}" id="box-{row.index}" class="{classes}" aria-label="{attribute(told)}" '
        f'transform="translate({x:.1f} {y:.1f})">'
        f'<title>{text(told)}</title><rect width="{BOX}" height="{TALL}" rx="6"/>'
        f'<text class="n" x="9" y="15">{text(shorten(row.name, LETTERS))}</text>{lines}</a>'
    )


def _curve(points: list[tuple[float, float]]) -> str:
    """A smooth line from box to box, vertical at every point it passes."""
    (x, y), *rest = points
    data = f"M{x:.0f} {y + TALL / 2:.0f}"
    y += TALL / 2
    for i, (a, b) in enumerate(rest):
        end = b - (TALL / 2 if i == len(rest) - 1 else 0)
        middle = (y + end) / 2
        data += f"C{x:.0f} {middle:.0f} {a:.0f} {middle:.0f} {a:.0f} {end:.0f}"
        x, y = a, end
    return data
