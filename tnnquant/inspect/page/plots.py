"""Plots as inline SVG: histogram with thresholds, ranges by channel, weights before and after, error by channel.

Axes are few and labelled in words; the numbers stand in tables beside the plots. Coordinates are those of a box of 560
units, which the page scales to the room there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from tnnquant.inspect.page.marks import text
from tnnquant.inspect.page.spread import grouped, spread
from tnnquant.inspect.ranges import BlobRanges
from tnnquant.inspect.weights import BEST_DB

__all__ = ["channel_db_svg", "channel_ranges_svg", "histogram_svg", "label_svg", "plot_svg", "ticks", "weights_svg"]

WIDE, TOP, LOW, LEFT, RIGHT = 560, 24, 22, 6, 6
MOST_COLUMNS = 180
METHOD_LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: Width of a letter and between labels; thresholds nearer than this share a label.
LETTER, LETTER_GAP, NEAR = 7.0, 6.0, 2.0


def plot_svg(height: float, label: str, *parts: str) -> str:
    """A plot of that height in units, of some elements."""
    return (f'<svg class="plot" viewBox="0 0 {WIDE} {height:.0f}" role="img" aria-label="{text(label)}">'
            f"{''.join(parts)}</svg>")  # fmt: skip


def label_svg(x: float, y: float, value: str, anchor: str = "start", kind: str = "axis") -> str:
    """A word or number; ``anchor`` as in SVG, ``kind`` its class."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(value)}</text>'


def _strokes(data: str, wide: float) -> str:
    return f'<path class="strokes" stroke-width="{wide:.1f}" d="{data}"/>'


def _steps(heights: np.ndarray, wide: float, base: float) -> str:
    """Path data of the outline of bars of one width, from the left edge."""
    return f"M{LEFT} {base:.0f}" + "".join(f"V{base - h:.1f}h{wide:.2f}" for h in heights) + f"V{base:.0f}"


def histogram_svg(ranges: BlobRanges, chosen: np.ndarray | None) -> str:
    """Magnitudes of a blob, counts on a logarithmic scale, with the thresholds of all methods and the one in the model.

    Parameters
    ----------
    ranges : BlobRanges
    chosen : float (n,) or None
        Thresholds in the model: what its largest codes stand for.
    """
    height, base = 150.0, 150.0 - LOW
    tall = np.log1p(ranges.counts.astype(np.float64))
    tall = tall / max(tall.max(), 1e-9) * (base - TOP)
    span = WIDE - LEFT - RIGHT
    farthest = max([ranges.peak, *(abs(t.high) for t in ranges.thresholds), *(chosen if chosen is not None else ())])
    # A threshold far outside would squeeze the histogram to nothing: it stands at the edge.
    limit = min(farthest, 1.6 * ranges.peak) or 1.0

    def at(value: float) -> float:
        return LEFT + span * min(value, limit) / limit

    outline = _steps(tall, (at(ranges.peak) - LEFT) / len(tall), base)
    parts = [f'<path class="bars" d="{outline}Z"/>', f'<path class="rule" d="M{LEFT} {base}H{WIDE - RIGHT}"/>']
    if chosen is not None and len(chosen):
        low, high = at(float(chosen.min())), at(float(chosen.max()))
        if high - low > 1.5:
            parts.append(f'<path class="band" d="M{low:.1f} {TOP}H{high:.1f}V{base}H{low:.1f}Z"/>')
        middle = at(float(np.median(chosen)))
        parts.append(f'<path class="chosen" d="M{middle:.1f} {TOP}V{base}"/>')
    lines = [at(abs(threshold.high)) for threshold in ranges.thresholds]
    parts += [f'<path class="method" d="M{x:.1f} {TOP}V{base}"/>' for x in lines]
    labels = grouped(lines, METHOD_LETTERS[: len(lines)], NEAR)
    widths = [LETTER * len(letters) + LETTER_GAP for _, letters in labels]
    for (x, letters), place in zip(
        labels, spread([x for x, _ in labels], widths, LEFT, WIDE - RIGHT), strict=True
    ):
        parts.append(f'<path class="method lead" d="M{place:.1f} 13L{x:.1f} {TOP}"/>')
        parts.append(label_svg(place, 10, letters, "middle", "letter"))
    parts += [label_svg(LEFT, height - 6, "0"), label_svg(WIDE - RIGHT, height - 6, f"{limit:.4g}", "end"),
              label_svg(WIDE / 2, height - 6, "magnitude; height: logarithm of the count", "middle")]  # fmt: skip
    return plot_svg(height, "histogram of magnitudes with thresholds", *parts)


def _columns(
    *arrays: np.ndarray, reduce: Sequence[Callable[[np.ndarray], float]] = (np.min, np.max)
) -> list[np.ndarray]:
    """Arrays (C,) brought to at most :data:`MOST_COLUMNS` columns; neighbours share one."""
    count = arrays[0].size
    if count <= MOST_COLUMNS:
        return [array.astype(np.float64) for array in arrays]
    edges = np.linspace(0, count, MOST_COLUMNS + 1).astype(int)
    return [np.array([how(array[a:b]) for a, b in pairwise(edges)], np.float64)
            for array, how in zip(arrays, reduce, strict=True)]  # fmt: skip


def channel_ranges_svg(
    low: np.ndarray, high: np.ndarray, chosen: tuple[np.ndarray, np.ndarray] | None, what: str = "channels"
) -> str:
    """Lowest and highest value of every channel as a bar, the range that int8 can hold as lines."""
    height = 130.0
    channels = low.size
    limits = [np.broadcast_to(end, channels) for end in chosen or (np.zeros(1), np.zeros(1))]
    bottom, top, *limits = _columns(low, high, *limits, reduce=(np.min, np.max, np.min, np.max))
    peak = max(1e-30, *(float(np.abs(ends).max(initial=0)) for ends in (bottom, top, *limits)))
    middle, half = (height - LOW + 4) / 2, (height - LOW - 4) / 2
    wide = (WIDE - LEFT - RIGHT) / len(bottom)
    bar = max(0.6, min(wide * 0.7, 14))
    data = "".join(
        f"M{LEFT + (i + 0.5) * wide:.1f} {middle - half * a / peak:.1f}v{max(half * (a - b) / peak, 0.5):.1f}"
        for i, (a, b) in enumerate(zip(top, bottom, strict=True))
    )
    parts = [f'<path class="rule" d="M{LEFT} {middle:.1f}H{WIDE - RIGHT}"/>', _strokes(data, bar)]
    if chosen is not None:
        for limit in reversed(limits):
            heights = middle - half * limit / peak
            steps = "".join(f"V{y:.1f}h{wide:.2f}" for y in heights)
            parts.append(f'<path class="chosen" d="M{LEFT} {heights[0]:.1f}{steps}"/>')
    parts.append(label_svg(LEFT, height - 4, f"{channels} {what}"))
    parts.append(label_svg(WIDE - RIGHT, height - 4, f"±{peak:.4g}", "end"))
    return plot_svg(height, f"range of {channels} {what}", *parts)


def weights_svg(before: np.ndarray | None, after: np.ndarray | None) -> str:
    """Histograms of weights: fp32 filled, int8 made real again as a line; counts on a logarithmic scale."""
    height, base = 130.0, 130.0 - LOW
    shown = [values for values in (before, after) if values is not None]
    peak = max(float(np.abs(values).max(initial=0)) for values in shown) or 1.0
    bins = np.linspace(-peak, peak, 122)
    parts = [f'<path class="rule" d="M{LEFT} {base}H{WIDE - RIGHT}"/>']
    counts = [np.log1p(np.histogram(values, bins)[0]) for values in shown]
    top = max(float(c.max()) for c in counts) or 1.0
    wide = (WIDE - LEFT - RIGHT) / (len(bins) - 1)
    for tall, kind in zip(counts, ("bars", "after") if before is not None else ("after",), strict=False):
        parts.append(f'<path class="{kind}" d="{_steps(tall * (base - TOP) / top, wide, base)}"/>')
    parts += [label_svg(LEFT, height - 6, f"-{peak:.4g}"), label_svg(WIDE - RIGHT, height - 6, f"{peak:.4g}", "end"),
              label_svg(WIDE / 2, height - 6, "0", "middle")]  # fmt: skip
    return plot_svg(height, "histogram of weights", *parts)


def channel_db_svg(db: np.ndarray) -> str:
    """SQNR of every channel as a bar from 0 to 60 dB, worst first; channels that are always 0 are not drawn.

    Empty where no channel has an error: there is nothing to see.
    """
    values = np.sort(db[np.isfinite(db)])
    if not values.size or values[0] >= BEST_DB:
        return ""
    height, base = 96.0, 96.0 - LOW
    (values,) = _columns(values, reduce=(np.min,))
    wide = (WIDE - LEFT - RIGHT) / len(values)
    bar = max(0.6, min(wide * 0.75, 14))
    data = "".join(
        f"M{LEFT + (i + 0.5) * wide:.1f} {base:.0f}v{-(base - TOP) * min(max(value, 0.5), 60) / 60:.1f}"
        for i, value in enumerate(values)
    )
    lines = "".join(f'<path class="grid" d="M{LEFT} {base - (base - TOP) * mark / 60:.1f}H{WIDE - RIGHT}"/>'
                    for mark in (20, 40, 60))  # fmt: skip
    worst = label_svg(LEFT, height - 6, f"worst {values[0]:.1f} dB")
    best = label_svg(WIDE - RIGHT, height - 6, f"best {values[-1]:.1f} dB (lines: 20, 40, 60)", "end")
    return plot_svg(height, "SQNR of the channels, worst first", lines, _strokes(data, bar), worst, best)


def ticks(low: float, high: float) -> list[float]:
    """About four to five round values from ``low`` to ``high``, which is larger, for an axis."""
    rough = (high - low) / 4
    unit = 10 ** np.floor(np.log10(rough))
    step = unit * next(m for m in (1, 2, 5, 10) if m * unit >= rough)
    first = np.ceil(low / step - 1e-9) * step
    return [float(round(v, 10)) + 0.0 for v in np.arange(first, high + 1e-9, step)]
