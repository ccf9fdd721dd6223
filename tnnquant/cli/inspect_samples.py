"""What the model is fed, and whether it is enough, on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tnnquant.cli.plain import print_table

if TYPE_CHECKING:
    from tnnquant.inspect.study import Study

__all__ = ["print_samples"]

SHOWN = 8


def print_samples(result: Study) -> None:
    """Lowest, mean and highest value of every input channel; coverage; inputs that stand alone.

    Parameters
    ----------
    result : Study
    """
    fed = result.samples.fed if result.samples is not None else 0
    click.echo(f"{fed} inputs, as the model sees them:")
    rows = [
        (name, str(channel), *(f"{value:.4g}" for value in values))
        for name, figures in result.statistics.items()
        for channel, values in enumerate(zip(figures["lowest"], figures["mean"], figures["highest"], strict=True))
    ]
    print_table(("input", ">channel", ">lowest", ">mean", ">highest"), rows)
    coverage = result.coverage
    if coverage is None:
        click.echo("\ncoverage needs the fp32 model: give it as MODEL, or with --against")
        return
    click.echo(f"\ncoverage ({coverage.method}): "
               f"{click.style(coverage.verdict, fg='green' if coverage.is_enough else 'yellow')}")  # fmt: skip
    moving = sorted(coverage.moves.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    print_table(("blob", ">scale moves by"), [(name, f"{100 * move:.1f} %") for name, move in moving])
    for lone in coverage.lone[:SHOWN]:
        noun = "blob" if lone.blobs == 1 else "blobs"
        click.echo(f"{lone.name} alone sets the maximum of {lone.blobs} {noun}, {lone.ratio:.2f} times any other's in "
                   f"{lone.worst}")  # fmt: skip
