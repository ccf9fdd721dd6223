"""Tables of ``tnnquant bench``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape

from tnnquant.cli import plain
from tnnquant.cli.plain import screen_width

if TYPE_CHECKING:
    from tnnquant.bench.accuracy import AccuracyReport, ModelAccuracy
    from tnnquant.bench.assembly import LoopReport
    from tnnquant.bench.custom import CustomOutcome
    from tnnquant.bench.in_network import NetworkWith
    from tnnquant.bench.latency import LatencyReport, LayerRow
    from tnnquant.bench.table import TableReport
    from tnnquant.engine.explain import ProgramTable

__all__ = [
    "ACCURACY_COLUMNS", "accuracy_cells", "custom_rows", "kernel_rows", "print_accuracy", "print_configurations",
    "print_filled", "print_in_network", "print_latency", "print_lines", "print_machine", "print_program",
    "print_report", "print_table", "print_warnings", "seconds_text",
]  # fmt: skip

#: Layers that lose by int8, of which no more are listed.
_SHOWN = 5
_LEFT = ("operator", "case", "result", "layer", "type", "model", "what", "calls", "kernel", "path")


def _console() -> Console:
    # Only a terminal has an edge to wrap at.
    return Console(highlight=False, width=screen_width())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], important: Sequence[str] = ()) -> None:
    """A table between empty lines; columns that are no names or words are figures; ``important`` as in plain."""
    click.echo()
    names = 2 if columns[1] == "case" else 1
    plain.print_table([name if name in _LEFT else f">{name}" for name in columns], rows, names=names,
                      important=[name for name in important if name in columns])  # fmt: skip
    click.echo()


def print_filled(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table without the columns that are empty in every row."""
    filled = [number for number in range(len(columns)) if any(row[number] for row in rows)]
    print_table([columns[number] for number in filled], [[row[number] for number in filled] for row in rows])


def print_lines(*lines: str) -> None:
    """Plain lines."""
    for line in lines:
        _console().print(escape(line), soft_wrap=True)


def print_machine(machine: dict) -> None:
    """What the figures belong to."""
    print_lines(
        f"{machine['cpu']}, instruction path {machine['path']}, {machine['threads']} thread(s); one core reaches "
        f"{machine['fp32_peak_gmacs']} GMAC/s fp32, {machine['int8_peak_gmacs']} GMAC/s int8{_cached_peaks(machine)}"
    )


def _cached_peaks(machine: dict) -> str:
    """What is left of the int8 peak where tiles of weights are read from a cache; empty without tiles."""
    peak = machine["int8_peak_gmacs"]
    names = {"nearest": "int8_nearest_cache_gmacs", "second": "int8_second_cache_gmacs"}
    told = [f"{machine[key] / peak:.0%} of it from the {name} cache" for name, key in names.items() if key in machine]
    return f" ({', '.join(told)})" if told else ""


def seconds_text(seconds: float) -> str:
    """Three digits with a unit; empty for NaN."""
    if seconds != seconds:
        return ""
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def _rate(outcome: CustomOutcome) -> str:
    if outcome.difference:
        return ""
    value, unit = outcome.rate, outcome.unit.split()[-1]
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}/s"
    return f"{value:.3g} {unit}/s"


def _share(outcome: CustomOutcome) -> str:
    return "" if outcome.share is None or outcome.difference else f"{outcome.share:.0%}"


def _result(outcome: CustomOutcome) -> str:
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


def print_report(name: str, reports: Sequence, everything: bool = True) -> None:
    """What the compiler made of a kernel; its hottest loops alone, if not ``everything``."""
    for report in reports:
        if not report.loops and not everything:
            continue
        width = f"vectors of up to {report.bits} bits" if report.bits else "not vectorized"
        on_vectors = sum(loop.bits > 0 for loop in report.loops)
        loops = f"{on_vectors} of {len(report.loops)} innermost loops compute on vectors" if report.loops else "no loop"
        print_lines(f"{name}: compiled function {report.name}, {report.instructions} instructions; {width}; {loops}")
        if report.calls:
            print_lines(f"  calls left in: {', '.join(report.calls)}")
        if report.runtime_calls and everything:
            print_lines(f"  of Numba's runtime: {', '.join(report.runtime_calls)}")
        shown = range(len(report.loops)) if everything else report.hottest()
        rows = [
            [str(i + 1), str(loop.depth), str(loop.instructions), f"{loop.bits} bits" if loop.bits else "scalar",
             _kinds(loop), _calls(loop)]
            for i in shown
            for loop in (report.loops[i],)
        ]  # fmt: skip
        if rows:
            print_table(("loop", "depth", "instructions", "vectors", "what", "calls"), rows)
        if len(rows) < len(report.loops):
            left = len(report.loops) - len(rows)
            print_lines(f"{left} loops that matter less, by the code, not measured: --assembly all")


def _kinds(loop: LoopReport) -> str:
    """``512 bits: 4 add, subtract; 8 convert / scalar: 1 multiply``: widest first."""
    widths = sorted({kind.bits for kind in loop.kinds}, reverse=True)
    parts = []
    for bits in widths:
        found = sorted((kind.name, count) for kind, count in loop.kinds.items() if kind.bits == bits)
        parts.append((f"{bits} bits: " if bits else "scalar: ") + "; ".join(f"{n} {name}" for name, n in found))
    return " / ".join(parts)


def _calls(loop: LoopReport) -> str:
    counts = {name: loop.calls.count(name) for name in loop.calls}
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items())


def print_latency(report: LatencyReport, with_layers: bool) -> None:
    """The tables of ``bench latency``."""
    print_machine(report.machine)
    rows = []
    for name, model in report.models.items():
        times, macs = model.times, model.macs / model.times.median / 1e9
        rows.append([
            name, *(f"{1e3 * t:.2f}" for t in (times.minimum, times.median, times.p95)), f"{macs:.1f}",
            f"{1e3 * model.border_seconds:.3f}", f"{1e3 * model.layer_seconds:.2f}", _megabytes(model.blob_bytes),
            _megabytes(model.packed_bytes), _megabytes(model.scratch_bytes),
        ])  # fmt: skip
    columns = ("model", "min ms", "median ms", "p95 ms", "GMAC/s", "borders ms", "sum of layers ms", "blobs", "weights",
               "scratch")  # fmt: skip
    print_table(columns, rows)
    runs = len(next(iter(report.models.values())).times.samples)
    lines = [f"{runs} runs of each, in turns; borders: inputs to their places, and conversions between float and int8"]
    if report.speedup:
        lines.append(f"int8 is {report.speedup:.2f} times as fast as fp32 (medians)")
    if report.peak_rss:
        lines.append(f"this process has held at most {_megabytes(report.peak_rss)}: Python, Numba, LLVM and the models")
    print_lines(*lines)
    if with_layers:
        _print_layers(report)
    slower = sorted(
        ((row.fp32.seconds, row.int8.seconds, row) for row in report.rows if row.is_slower and row.fp32 and row.int8),
        key=lambda entry: entry[0] - entry[1],
    )
    for fp32, int8, row in slower[:_SHOWN]:
        print_lines(f"int8 loses: {row.name} ({row.type}) takes {1e6 * int8:.1f} us, in fp32 {1e6 * fp32:.1f} us")
    if len(slower) > _SHOWN:
        print_lines(f"int8 loses: {len(slower) - _SHOWN} more layers, by less (--json: int8_is_slower)")


def _print_layers(report: LatencyReport) -> None:
    sides = list(report.models)
    columns = ["layer", "type", "MMAC", *(f"{side} {what}" for side in sides for what in ("us", "GMAC/s", "of peak"))]
    if len(sides) == 2:
        columns.append("ratio")
    rows = []
    for row in report.rows:
        cells = [row.name, row.type, f"{row.macs / 1e6:.2f}" if row.macs else ""]
        for side in sides:
            layer, rate, share = getattr(row, side), row.rate(side), row.share(side)
            mark = "" if layer is None or layer.is_program else " (Python)"
            cells += [
                "" if layer is None else f"{1e6 * layer.seconds:.1f}{mark}",
                "" if rate is None else f"{rate / 1e9:.1f}",
                "" if share is None else f"{share:.0%}",
            ]
        if len(sides) == 2:
            cells.append(_ratio(row))
        rows.append(cells)
    print_table(columns, rows, ("layer", "fp32 us", "int8 us", "ratio", "MMAC", "type", "int8 of peak", "fp32 of peak"))
    print_lines("Each layer is timed alone and repeated, its data in the caches: the sum differs from the whole.")


def _ratio(row: LayerRow) -> str:
    if row.fp32 is None or row.int8 is None or min(row.fp32.seconds, row.int8.seconds) < 1e-7:
        return ""
    return f"x{row.fp32.seconds / row.int8.seconds:.2f}" + (" !" if row.is_slower else "")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def print_in_network(result: NetworkWith) -> None:
    """A kernel of one's own in a network: layer by layer, then as a whole."""
    rows = []
    for layer in result.layers:
        known = layer.seconds == layer.seconds
        rows.append([
            layer.layer, layer.type, layer.difference or "same", seconds_text(layer.seconds),
            seconds_text(layer.builtin_seconds), f"x{layer.builtin_seconds / layer.seconds:.2f}" if known else "",
        ])  # fmt: skip
    print_table(("layer", "type", "result", "yours", "built-in", "ratio"), rows)
    count = len(result.layers)
    layers = "1 layer" if count == 1 else f"{count} layers"
    where = f"{result.operator} in the {result.model} network: yours runs in {layers}"
    if result.left:
        where += f", {result.left} stay built-in (they ask for more than the naive twin's arguments say)"
    largest = max(result.outputs.values(), default=0)
    said = "all outputs are equal" if not largest else f"outputs differ by up to {largest:.2g} of their largest value"
    if result.problem:
        print_lines(where, result.problem)
        return
    gain = result.builtin_seconds / result.seconds
    print_lines(
        where, said, f"the whole network takes {seconds_text(result.seconds)} with yours, "
        f"{seconds_text(result.builtin_seconds)} with the built-in kernel: x{gain:.2f} (medians, in turns)",
        "Yours is called from Python, about 2 us a call, on one thread unless it is @njit(parallel=True).",
    )  # fmt: skip


def print_program(name: str, program: ProgramTable) -> None:
    """The operations of a model, in the order in which they run."""
    rows = [
        [op.layer, op.kernel, op.path, str(op.tasks) if op.program else "", _size(op.bytes),
         str(op.program) if op.program else "Python"]
        for op in program.operations
    ]  # fmt: skip
    print_table(("layer", "kernel", "path", "tasks", "bytes", "program"), rows)
    programs = "1 program, one call" if program.programs == 1 else f"{program.programs} programs, each a call"
    print_lines(
        f"{name}: {len(rows)} operations; {programs} from Python; {program.in_python} steps through Python",
        "tasks: parts that threads take, 0 where nothing is left to do; bytes: the layer's inputs, weights and outputs",
    )


def _size(count: int) -> str:
    for factor, unit in ((1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} B" if count else ""


def print_accuracy(report: AccuracyReport) -> None:
    """The table of ``bench accuracy``."""
    print_filled(ACCURACY_COLUMNS, [[model.name, *accuracy_cells(report, model)] for model in report.models])
    reference = f"agreement, cosine and change: with {report.reference}" if report.reference else "no fp32 model given"
    classes = f", {report.classes} classes" if report.classes else ""
    print_lines(f"{len(report.names)} pictures{classes}; {reference}", f"labels: {report.labels}")
    print_warnings(report)


ACCURACY_COLUMNS = (
    "model", "type", "metric", "top-1 %", "top-5 %", "agreement %", "cosine", "lowest", "change of top-1", "p",
)  # fmt: skip


def accuracy_cells(report: AccuracyReport, model: ModelAccuracy) -> list[str]:
    """One model's figures, each with its interval."""
    change, cosine = report.change(model), model.mean_cosine()
    return [
        f"{model.precision}, broken" if model.broken else model.precision,
        "" if model.metric is None else "-" if model.metric.int8 is None else f"{model.metric.int8:.6g}",
        *(_percent(model.share(which)) for which in ("top1", "top5", "agrees")),
        "" if cosine is None else f"{cosine[0]:.4f} [{cosine[1]:.4f}, {cosine[2]:.4f}]",
        "" if model.cosine is None else f"{model.cosine.min():.4f}",
        "" if change is None else f"{100 * change[0]:+.2f} [{100 * change[1]:+.2f}, {100 * change[2]:+.2f}]",
        "" if change is None else f"{change[3]:.2g}",
    ]  # fmt: skip


def _percent(share: tuple[float, float, float] | None) -> str:
    return "" if share is None else "{:.2f} [{:.2f}, {:.2f}]".format(*(100 * value for value in share))


def print_warnings(report: AccuracyReport) -> None:
    """On stderr: what was skipped, and what is strange."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    for line in report.warnings:
        errors.print(f"[yellow]warning:[/] {escape(line)}")
    if report.skipped:
        errors.print(f"[yellow]warning:[/] {escape(f'{len(report.skipped)} files skipped: {report.skipped[0]}')}")


def print_configurations(report: TableReport) -> None:
    """The table of ``bench table``."""
    fp32, *models = report.accuracy.models
    rows = [[fp32.name, "", *accuracy_cells(report.accuracy, fp32)[1:], _megabytes(report.fp32_bytes), ""]]
    for row, model in zip(report.rows, models, strict=True):
        cells = accuracy_cells(report.accuracy, model)[1:]
        seconds = f"{row.seconds:.1f}" + (" *" if row.statistics_from else "")
        rows.append([model.name, row.configuration.flags, *cells, _megabytes(row.bytes), seconds])
    print_filled(("model", "what", *ACCURACY_COLUMNS[2:], "size", "seconds"), rows)
    lines = [f"{report.samples} calibration samples; measured on {len(report.accuracy.names)} pictures, 95 % intervals"]
    shared = [f"{row.configuration.name} with {row.statistics_from}" for row in report.rows if row.statistics_from]
    if shared:
        lines.append(f"* statistics shared: {'; '.join(shared)}")
    lines.append(f"labels: {report.accuracy.labels}")
    print_lines(*lines)
    print_warnings(report.accuracy)
