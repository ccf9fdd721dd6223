"""What layers in fp32 buy: the curve of accuracy over latency, and its points as a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tnnquant.base.wording import parameter
from tnnquant.inspect.page.marks import section, tag, text
from tnnquant.inspect.page.material import Material
from tnnquant.inspect.page.plots import label_svg, plot_svg, ticks
from tnnquant.pipeline.shares import DEFAULT, FP32, ShareCurve, SharePoint

__all__ = ["curve_svg", "shares_section"]

#: The box of the curve within that of a plot, and the height of all.
LEFT, RIGHT, TOP, BOTTOM, HIGH = 52.0, 540.0, 16.0, 206.0, 244.0
#: A letter and a line of a label, and how far it stands from its point.
LETTER, LINE, AWAY = 6.4, 12.0, 8.0


def shares_section(material: Material) -> str:
    """Nothing where no curve was measured."""
    curve = material.shares
    if curve is None:
        return ""
    rows = [
        tag("tr", tag("th", text(_title(point)), scope="row"), tag("td", f"{point.milliseconds:.2f}", class_="num"),
            tag("td", f"{point.value:.{_digits(curve)}f}", class_="num"))
        for point in curve.points
    ]  # fmt: skip
    head = tag("tr", tag("th", "model", scope="col"), tag("th", "ms", scope="col", class_="num"),
               tag("th", text(curve.unit), scope="col", class_="num"))  # fmt: skip
    table = tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll plain")
    figure = tag("figure", tag("figcaption", text(curve.unit)), curve_svg(curve), class_="plotted")
    better = "higher" if curve.higher_is_better else "lower"
    note = tag("p", text(
        f"Models of the recipe best by {parameter('fp32_share')}, the largest share of the multiplications that stays "
        f"in fp32: {better} and further left is better. Judged on {curve.judged_on}; time: the least of several runs, "
        "in turns."
    ), class_="note")  # fmt: skip
    return section("shares", tag("h2", "What fp32 layers buy"), note, tag("div", figure, table, class_="body"))


def curve_svg(curve: ShareCurve) -> str:
    """The points of the shares as a line, the default recipe, and a stroke where fp32 is.

    Parameters
    ----------
    curve : ShareCurve
    """
    by_name = {point.name: point for point in curve.points}
    shares = [point for point in curve.points if point.name not in (FP32, DEFAULT)]
    fp32, default = by_name[FP32], by_name[DEFAULT]
    values = [point.value for point in shares]
    spread = max(max(values) - min(values), 1e-6 + 0.01 * abs(max(values)))
    # A default far off would flatten the curve: it is named at the edge.
    is_near = abs(default.value - float(np.mean(values))) < 4 * spread
    shown = [*values, *([default.value] if is_near else [])]
    low, high = min(shown), max(shown)
    pad = max(0.08 * (high - low), 1e-6 + 0.002 * abs(high))
    low, high = low - pad, high + pad
    right = 1.06 * max(point.milliseconds for point in curve.points)

    def x(ms: float) -> float:
        return LEFT + (RIGHT - LEFT) * ms / right

    def y(value: float) -> float:
        return float(BOTTOM - (BOTTOM - TOP) * (np.clip(value, low, high) - low) / (high - low))

    parts = []
    for value in ticks(low, high):
        parts.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{RIGHT}"/>')
        parts.append(label_svg(LEFT - 6, y(value) + 4, f"{value:g}", "end"))
    parts += [label_svg(x(ms), BOTTOM + 16, f"{ms:g}", "middle") for ms in ticks(0, right)]
    parts.append(label_svg(RIGHT, BOTTOM + 32, "ms per run", "end"))
    parts.append(f'<path class="rule" fill="none" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>')
    parts.append(f'<path class="method" d="M{x(fp32.milliseconds):.1f} {TOP}V{BOTTOM}"/>')
    parts.append(label_svg(x(fp32.milliseconds) - 5, BOTTOM - 6, FP32, "end"))
    places = [(x(point.milliseconds), y(point.value)) for point in shares]
    parts.append('<path class="chosen" d="M' + "L".join(f"{a:.1f} {b:.1f}" for a, b in places) + '"/>')
    parts += [f'<circle class="point" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in places]
    at = x(default.milliseconds), y(default.value)
    parts.append(f'<circle class="point other" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3.5"/>')
    told = DEFAULT if is_near else f"{DEFAULT}: {default.value:.{_digits(curve)}f}"
    names = [*(point.name for point in shares), told]
    line = [(a + t * (c - a), b + t * (d - b)) for (a, b), (c, d) in pairwise(places) for t in np.linspace(0, 1, 24)]
    parts += [label_svg(a, b, name, anchor) for a, b, name, anchor in _labels([*places, at], names, line)]
    return plot_svg(HIGH, f"{curve.unit} over milliseconds, by {parameter('fp32_share')}", *parts)


def _labels(
    places: Sequence[tuple[float, float]], names: Sequence[str], line: Sequence[tuple[float, float]]
) -> list[tuple[float, float, str, str]]:
    """Where the names of points stand: beside, above or below, where they cover no point, no other name and not the
    line."""
    taken = [(a - 4, b - 4, a + 4, b + 4) for a, b in places] + [(a - 1, b - 1, a + 1, b + 1) for a, b in line]
    found = []
    for (a, b), name in zip(places, names, strict=True):
        wide = LETTER * len(name)
        tries = [
            (a + AWAY, b + 4, "start", a + AWAY), (a - AWAY, b + 4, "end", a - AWAY - wide),
            (a, b - AWAY, "middle", a - wide / 2), (a, b + AWAY + 8, "middle", a - wide / 2),
        ]  # fmt: skip
        boxes = [(left, down - LINE, left + wide, down + 2) for _, down, _, left in tries]
        free = [k for k, box in enumerate(boxes) if not any(_overlap(box, other) for other in taken)
                and box[0] > LEFT and box[2] < RIGHT and box[3] < BOTTOM and box[1] > 0]  # fmt: skip
        chosen = free[0] if free else 0
        taken.append(boxes[chosen])
        found.append((tries[chosen][0], tries[chosen][1], name, tries[chosen][2]))
    return found


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _title(point: SharePoint) -> str:
    return {FP32: "fp32", DEFAULT: "default recipe"}.get(point.name, f"{parameter('fp32_share')} {point.name}")


def _digits(curve: ShareCurve) -> int:
    """Decimals of the values: of errors, percentages, cosines."""
    if not curve.higher_is_better:
        return 2
    return 1 if max(point.value for point in curve.points) > 10 else 4
