"""What ``tnnquant inspect`` shows on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click
import numpy as np

from tnnquant.cli.plain import print_table
from tnnquant.inspect.codes import CodeUsage
from tnnquant.inspect.summary import BlobRow, LayerRow, Summary

if TYPE_CHECKING:
    from tnnquant.inspect.compare import Errors, LayerError
    from tnnquant.inspect.diff import Diff

__all__ = ["bytes_text", "count_text", "dims_text", "print_channels", "print_diff", "print_summary"]

LIKE = {"int8": "green", "fp32": "yellow", "dynamic": "cyan", "": "white"}


def count_text(value: float | None) -> str:
    """A number in at most five characters: 1.24 M; ? if it is not known."""
    if value is None:
        return "?"
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.0f}" if value else ""


def bytes_text(value: int | None) -> str:
    """Bytes in decimal units; ? if they are not known."""
    if value is None:
        return "?"
    return f"{count_text(value)}B" if value >= 1000 else (f"{value} B" if value else "")


def dims_text(dims: tuple[int, ...]) -> str:
    """Dims with x between them; ? if they are unknown."""
    return "x".join(map(str, dims)) or "?"


def print_summary(summary: Summary) -> None:
    """Head, layers, totals, reasons, problems."""
    is_int8 = summary.precision == "int8"
    click.echo(f"{_bold(summary.proto or 'model')}  {summary.precision}, {bytes_text(sum(summary.sizes))}")
    for word, blobs in (("input ", summary.inputs), ("output", summary.outputs)):
        for name, dims in blobs.items():
            click.echo(f"  {word} {name} {dims_text(dims)}")
    click.echo()
    (_print_int8_layers if is_int8 else _print_fp32_layers)(summary)
    totals = summary.totals()
    share = 100 * totals["int8_macs"] / totals["macs"] if totals["macs"] else 0
    verb = "are" if is_int8 else "can be"
    parts = [f"{totals['layers']} layers"]
    if is_int8 or not summary.is_structure:
        parts[0] += f", {totals['int8_layers']} {verb} int8 ({share:.1f} % of the arithmetic)"
    if not summary.is_structure:
        parts.append(f"{count_text(totals['parameters']) or 0} parameters in {bytes_text(totals['bytes']) or '0 B'}")
    click.echo(f"\n{'; '.join(parts)}, {count_text(totals['macs']) or 0} MACs")
    _print_reasons(summary)
    for entry in summary.taken_out:
        click.echo(f"  {click.style('stored beside', fg='cyan')} {entry.name}: {entry.why}")
    _print_problems(summary)


def _print_fp32_layers(summary: Summary) -> None:
    rows = []
    for row in summary.layers:
        kind = "" if row.is_fused else row.precision.planned
        rows.append((
            str(row.index), row.name, row.type, dims_text(row.dims), count_text(row.parameters),
            bytes_text(row.bytes), count_text(row.macs), (kind, LIKE[kind]), (row.precision.reason, "bright_black"),
        ))  # fmt: skip
    print_table((">#", "layer", "type", "output", ">params", ">bytes", ">MACs", "becomes", "why"), rows,
                important=("layer", "becomes", "type", "output", "MACs", "bytes", "why", "#"))  # fmt: skip


def _print_int8_layers(summary: Summary) -> None:
    blobs = {row.name: row for row in summary.blobs}
    rows = []
    for row in summary.layers:
        blob = blobs.get(row.outputs[0]) if row.outputs else None
        kind, problem = row.precision.stored, row.precision.problem
        codes = ("", "", "")
        if row.weights is not None and row.weights.usage is not None:
            usage = row.weights.usage
            codes = (f"{usage.low.min()}..{usage.high.max()}", f"{np.median(usage.unused):.0f}",
                     f"{100 * usage.saturated.mean():.2f} %")  # fmt: skip
        rows.append((
            str(row.index), row.name, row.type, dims_text(row.dims), bytes_text(row.bytes), count_text(row.macs),
            (kind, "red" if problem else LIKE[kind]), *_scale_texts(blob), *codes,
            (problem or row.precision.reason, "red" if problem else "bright_black"),
        ))  # fmt: skip
    heads = (">#", "layer", "type", "output", ">bytes", ">MACs", "is", ">out scale", ">out range", ">weight codes",
             ">unused", ">at ends", "why")  # fmt: skip
    important = ("layer", "is", "output", "out range", "type", "bytes", "MACs", "weight codes", "out scale")
    print_table(heads, rows, important=important)


def _scale_texts(blob: BlobRow | None) -> tuple[str, str]:
    if blob is None or blob.params is None or blob.range is None:
        return "", ""
    scale, zero = blob.params.scale, blob.params.zero_point
    text = f"{scale.max():.4g}" if scale.size == 1 else f"{scale.min():.3g}..{scale.max():.3g}"
    if zero.any():
        text += f" zp {zero.min()}..{zero.max()}" if zero.size > 1 else f" zp {zero[0]}"
    if blob.dead:
        text += f", {blob.dead} dead"
    return text, "{:.4g}..{:.4g}".format(*blob.range)


def _print_reasons(summary: Summary) -> None:
    reasons = Counter(
        (row.type, row.precision.reason) for row in summary.layers if row.precision.reason and not row.is_fused
    )
    for (kind, reason), count in reasons.most_common():
        click.echo(f"  {click.style('fp32', fg='yellow')} {count} {kind}: {reason}")


def _print_problems(summary: Summary) -> None:
    if summary.is_structure:
        for line in summary.problems:
            click.echo(f"  {click.style('note', fg='yellow')} {line}")
        return
    for line in summary.grouped_problems():
        click.echo(f"  {click.style('problem', fg='red', bold=True)} {line}")


def print_channels(row: LayerRow | BlobRow, summary: Summary, errors: Errors | None = None) -> None:
    """One layer or blob, channel by channel; with Errors also how the codes of its blobs are used."""
    blobs = {blob.name: blob for blob in summary.blobs}
    usage = errors.usage if errors else {}
    if isinstance(row, BlobRow):
        _print_blob(row, usage.get(row.name))
        return
    click.echo(f"{_bold(row.name)}  {row.type}, layer {row.index}, {row.precision.stored}")
    for word, names in (("reads", row.inputs), ("makes", row.outputs)):
        click.echo(f"  {word} " + ", ".join(f"{n} {dims_text(blobs[n].dims)}" for n in names if n in blobs))
    reason = row.precision.problem or row.precision.reason
    if reason:
        click.echo(f"  {reason}")
    known = f"{row.parameters} parameters, {row.bytes} bytes" if row.parameters is not None else "? parameters"
    click.echo(f"  {known}, {row.macs} MACs")
    for error in errors.layers if errors else ():
        if error.name == row.name:
            _print_figures(error)
    made = [blobs[name] for name in row.outputs if name in blobs and blobs[name].params is not None]
    _print_in_short(row, made, usage)
    if row.weights is not None:
        _print_weights(row)
    for blob in made:
        _print_blob(blob, usage.get(blob.name))


def _print_in_short(row: LayerRow, made: list[BlobRow], usage: Mapping[str, CodeUsage]) -> None:
    """A line for the weights and one for each blob, before a row for each of a thousand channels."""
    if row.weights is not None and row.weights.usage is not None:
        click.echo(f"  weights: {_codes_text(row.weights.usage)}")
    for blob in made:
        scale, reach = _scale_texts(blob)
        told = f"; {_codes_text(usage[blob.name])}" if blob.name in usage else ""
        click.echo(f"  {blob.name}: scale {scale}, range {reach}{told}")


def _codes_text(usage: CodeUsage) -> str:
    unused, ends = np.median(usage.unused), 100 * usage.saturated.mean()
    codes = f"codes {usage.low.min()}..{usage.high.max()}"
    return f"{codes}, a channel leaves {unused:.0f} of 255 levels unused (median), {ends:.2f} % at the ends"


def _print_figures(error: LayerError) -> None:
    click.echo()
    rows = []
    for what in ("isolated", "weights", "activations", "cumulative"):
        figures = getattr(error, what)
        if figures is not None:
            steps = "" if figures.rmse_steps is None else f"{figures.rmse_steps:.3f}"
            rows.append((what, f"{figures.sqnr_db:.1f}", f"{figures.cosine:.6f}", steps))
    print_table(("error", ">SQNR dB", ">cosine", ">RMSE in steps"), rows)


def _print_weights(row: LayerRow) -> None:
    weights = row.weights
    if weights is None:
        return
    usage, scale, zero = weights.usage, weights.scale, weights.zero_point
    columns = [">channel", ">low", ">high"]
    if usage is not None:
        columns += [">scale", ">zero point", ">low code", ">high code", ">unused levels", ">at the ends", ">zeros"]
    click.echo(f"\nweights: {weights.count} values, {weights.dtype}; the widest channel is {weights.spread:.1f} times "
               "the median one")  # fmt: skip
    rows = []
    for channel in range(weights.channels):
        cells = [str(channel), f"{weights.low[channel]:.5g}", f"{weights.high[channel]:.5g}"]
        if usage is not None and scale is not None and zero is not None:
            of = channel if scale.size > 1 else 0
            cells += [
                f"{scale[of]:.5g}", str(zero[of]), str(usage.low[channel]),
                str(usage.high[channel]), str(usage.unused[channel]), f"{100 * usage.saturated[channel]:.2f} %",
                f"{100 * usage.zero[channel]:.1f} %",
            ]  # fmt: skip
        rows.append(cells)
    print_table(columns, rows)


def _print_blob(row: BlobRow, usage: CodeUsage | None = None) -> None:
    made = f"made by {row.made_by}" if row.made_by else "a model input"
    click.echo(f"\n{_bold(row.name)}  blob {dims_text(row.dims)}, {made}")
    if row.params is None or row.ends is None:
        click.echo("  fp32: it has no scale")
        return
    columns = [">channel", ">scale", ">zero point", ">low", ">high"]
    if usage is not None:
        columns += [">low code", ">high code", ">unused levels", ">at the ends", ">zeros"]
    rows = []
    for channel in range(usage.low.size if usage else row.params.scale.size):
        of = channel if row.params.scale.size > 1 else 0
        scale, zero = row.params.scale[of], row.params.zero_point[of]
        ends = (side[of] for side in row.ends)
        cells = ["all" if row.params.scale.size == 1 and not usage else str(channel), f"{scale:.6g}", str(zero),
                 *(f"{end:.5g}" for end in ends)]  # fmt: skip
        if usage is not None:
            cells += [str(usage.low[channel]), str(usage.high[channel]), str(usage.unused[channel]),
                      f"{100 * usage.saturated[channel]:.2f} %", f"{100 * usage.zero[channel]:.1f} %"]  # fmt: skip
        rows.append(cells)
    print_table(columns, rows)


def print_diff(diff: Diff) -> None:
    """What differs; equal layers are only counted."""
    click.echo(f"A {_bold(diff.a)}\nB {_bold(diff.b)}")
    for line in diff.header:
        click.echo(f"  {line}")
    if diff.is_same:
        click.echo("the same layers, weights and scales")
        return
    for kind in ("layer", "blob"):
        rows = [row for row in diff.rows if row.kind == kind]
        if not rows:
            continue
        click.echo()
        shown = [
            (row.name, (row.status, "yellow" if row.status == "changed" else "red"),
             "" if row.weight_sqnr_db is None else f"{row.weight_sqnr_db:.1f}", "; ".join(row.changes))
            for row in rows if row.status != "same"
        ]  # fmt: skip
        if shown:
            print_table((kind, "status", ">weights dB", "what"), shown)
        counts = ", ".join(f"{diff.count(status, kind)} {status}"
                           for status in ("same", "changed", "only in A", "only in B"))  # fmt: skip
        click.echo(f"{kind}s: {counts}")


def _bold(text: str) -> str:
    return click.style(text, bold=True)
