"""What goes wrong with a model on a device, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tnnquant.cli.plain import print_table
from tnnquant.devices import Finding
from tnnquant.inspect.summary import Summary
from tnnquant.pipeline.devices import warnings_of

__all__ = ["print_findings"]


def print_findings(found: Sequence[Finding], device: str, summary: Summary) -> None:
    """The layers that break a rule, then a sentence for each rule.

    Parameters
    ----------
    found : sequence of Finding
    device : str
    summary : Summary
        Of the model.
    """
    where = "all devices" if device == "any" else f"the device {device}"
    name = click.style(summary.proto or "model", bold=True)
    if not found:
        right = click.style("runs right", fg="green", bold=True)
        click.echo(f"{name}  {right} on {where}, by the rules that are known")
        return
    broken = sum(finding.outcome.breaks for finding in found)
    status = click.style("broken", fg="red", bold=True) if broken else click.style("inexact", fg="yellow", bold=True)
    click.echo(f"{name}  {status} on {where}\n")
    print_table(
        ("layer", "type", "device", "outcome", "rule"),
        [(finding.layer, finding.type, finding.device, str(finding.outcome), finding.rule) for finding in found],
    )
    click.echo()
    for line in warnings_of(found):
        click.echo(line)
