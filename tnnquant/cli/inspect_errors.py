"""The errors against fp32 on the terminal: what comes out, which layers are at fault, what to type next."""

from __future__ import annotations

import shlex

import click

from tnnquant.cli.plain import print_table
from tnnquant.inspect.advice import advise
from tnnquant.inspect.classes import class_name
from tnnquant.inspect.compare import Errors, Figures
from tnnquant.inspect.summary import Summary

__all__ = ["print_errors"]

SHOWN = 20
COLOURS = ((30, "green"), (20, "yellow"), (-1000, "red"))


def print_errors(errors: Errors, summary: Summary, classes: tuple[str, ...] = ()) -> None:
    """The result, the ranking, and what to do."""
    advice = advise(errors, summary)
    status = errors.verdict.status
    colour = {"good": "green", "doubtful": "yellow", "broken": "red"}[status]
    click.echo(f"{click.style(status, fg=colour, bold=True)}  {advice.headline}")
    for name, figures in errors.outputs.items():
        click.echo(f"  output {name}: SQNR {figures.sqnr_db:.1f} dB, cosine {figures.cosine:.5f}")
    if errors.verdict.metric:
        click.echo(f"  {errors.verdict.metric.check().text}")
    worst = sorted(errors.samples, key=lambda sample: sample.sqnr_db)[:3]
    told = (f"{s.name} {s.sqnr_db:.1f} dB{_taken_for(s.top1, classes)}" for s in worst)
    click.echo("  worst inputs: " + ", ".join(told))
    rows = errors.ranked()
    click.echo(f"\n{_bold('isolated error, worst first')} (SQNR in dB: 6 dB more is half the error; RMSE in steps of "
               "the output's scale, 0.29 is the best)")  # fmt: skip
    table = []
    for row in rows[:SHOWN]:
        if row.isolated is None:
            continue
        table.append((
            str(row.rank_isolated), row.name, row.type, *(_db(getattr(row, what)) for what in
            ("isolated", "weights", "activations")), f"{row.isolated.cosine:.5f}",
            "" if row.isolated.rmse_steps is None else f"{row.isolated.rmse_steps:.2f}", _db(row.cumulative),
            str(row.rank_cumulative or ""),
        ))  # fmt: skip
    heads = (">#", "layer", "type", ">isolated", ">weights", ">activations", ">cosine", ">RMSE", ">cumulative",
             ">its rank")  # fmt: skip
    important = ("layer", "isolated", "weights", "activations", "cumulative", "#", "type", "RMSE", "cosine")
    print_table(heads, table, important=important)
    if len(rows) > SHOWN:
        click.echo(f"... {len(rows) - SHOWN} better ones (all: --csv, --json or --html)")
    click.echo()
    for line in advice.lines:
        click.echo(line)
    if advice.exclude:
        click.echo(f"  {_bold('--exclude ' + shlex.quote(','.join(advice.exclude)))}")


def _db(figures: Figures | None) -> tuple[str, str] | str:
    if figures is None:
        return ""
    return f"{figures.sqnr_db:.1f}", next(colour for limit, colour in COLOURS if figures.sqnr_db >= limit)


def _taken_for(top1: tuple[int, int] | None, classes: tuple[str, ...]) -> str:
    """What fp32 and int8 take an input for, where the classes have names."""
    if top1 is None or not classes:
        return ""
    wanted, got = (class_name(classes, number) for number in top1)
    return f" ({wanted})" if wanted == got else f" ({wanted} in fp32, {got} in int8)"


def _bold(text: str) -> str:
    return click.style(text, bold=True)
