"""Tables of ``tnnquant bench``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["custom_rows", "kernel_rows", "print_lines", "print_machine", "print_report", "print_table", "seconds_text"]

UNLIMITED = 10_000
_LEFT = ("operator", "case", "result", "layer", "type", "model", "what")


def _console() -> Console:
    # Only a terminal has an edge to wrap at.
    return Console(highlight=False, width=None if sys.stdout.isatty() else UNLIMITED)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; the first columns are text, the others figures."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in _LEFT else "right", no_wrap=name not in _LEFT)
    for row in rows:
        table.add_row(*map(escape, row))
    _console().print(table)


def print_lines(*lines: str) -> None:
    """Plain lines."""
    for line in lines:
        _console().print(escape(line), soft_wrap=True)


def print_machine(machine: dict) -> None:
    """What the figures belong to."""
    print_lines(
        f"{machine['cpu']}, instruction path {machine['path']}, {machine['threads']} thread(s); one core reaches "
        f"{machine['fp32_peak_gmacs']} GMAC/s fp32, {machine['int8_peak_gmacs']} GMAC/s int8"
    )


def seconds_text(seconds: float) -> str:
    """Three digits with a unit; empty for NaN."""
    if seconds != seconds:
        return ""
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def _rate(outcome) -> str:
    if outcome.difference:
        return ""
    value, unit = outcome.rate, outcome.unit.split()[-1]
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}/s"
    return f"{value:.3g} {unit}/s"


def _share(outcome) -> str:
    return "" if outcome.share is None or outcome.difference else f"{outcome.share:.0%}"


def _result(outcome) -> str:
    return outcome.difference or ("equal" if not outcome.tolerance else f"within {outcome.tolerance:g}")


def kernel_rows(outcomes: Iterable) -> Iterator[list[str]]:
    """Rows of built-in kernels."""
    last = None
    for o in outcomes:
        times = [seconds_text(o.seconds), seconds_text(o.naive_seconds)]
        yield ["" if o.operator == last else o.operator, o.case, _result(o), *times, _rate(o), _share(o)]
        last = o.operator


def custom_rows(outcomes: Iterable) -> Iterator[list[str]]:
    """Rows of a user's kernels; the ratio is how many times as fast as the built-in one they are."""
    last = None
    for o in outcomes:
        ratio = "" if o.difference else f"x{o.builtin_seconds / o.seconds:.2f}"
        times = [seconds_text(o.seconds), seconds_text(o.builtin_seconds), ratio]
        yield ["" if o.operator == last else o.operator, o.case, _result(o), *times, _rate(o), _share(o)]
        last = o.operator


def print_report(name: str, reports: Sequence) -> None:
    """What the compiler made of a kernel."""
    for report in reports:
        width = f"vectors of up to {report.bits} bits" if report.bits else "not vectorized"
        on_vectors = sum(loop.bits > 0 for loop in report.loops)
        loops = f"{on_vectors} of {len(report.loops)} innermost loops compute on vectors" if report.loops else "no loop"
        print_lines(f"{name}: compiled function {report.name}, {report.instructions} instructions; {width}; {loops}")
        if report.calls:
            print_lines(f"  calls left in: {', '.join(report.calls)}")
        if report.runtime_calls:
            print_lines(f"  of Numba's runtime: {', '.join(report.runtime_calls)}")
        rows = [
            [str(i), str(loop.instructions), f"{loop.bits} bits" if loop.bits else "scalar", _kinds(loop), _calls(loop)]
            for i, loop in enumerate(report.loops, 1)
        ]
        if rows:
            print_table(("loop", "instructions", "vectors", "what", "calls"), rows)


def _kinds(loop) -> str:
    """``512 bits: 4 add, subtract; 8 convert / scalar: 1 multiply``: widest first."""
    widths = sorted({kind.bits for kind in loop.kinds}, reverse=True)
    parts = []
    for bits in widths:
        found = sorted((kind.name, count) for kind, count in loop.kinds.items() if kind.bits == bits)
        parts.append((f"{bits} bits: " if bits else "scalar: ") + "; ".join(f"{n} {name}" for name, n in found))
    return " / ".join(parts)


def _calls(loop) -> str:
    counts = {name: loop.calls.count(name) for name in loop.calls}
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items())
