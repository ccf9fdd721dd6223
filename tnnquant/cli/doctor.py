"""``tnnquant doctor``: is everything in order on this machine?"""

from __future__ import annotations

import json
import sys

import click

from tnnquant.cli.helped import HELP, HelpedCommand
from tnnquant.cli.verbosity import note

SIGNS = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("bad ", "red")}

EXAMPLES = (
    ("", "the whole check"),
    ("--quick", "without running all kernels"),
)


@click.command("doctor", cls=HelpedCommand, context_settings=HELP, examples=EXAMPLES)
@click.option("--quick", is_flag=True, help="Skip the self-test of the kernels.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(quick: bool, as_json: bool) -> int:
    """Examine processor, instruction path, Numba, threads and cache, and test the kernels of every path.

    The self-test runs the int8 kernels of each instruction path this processor has in a process of its own, compares
    them with plain NumPy, and checks that all paths give the same bits. Exit code 1 if anything is bad.
    """
    from tnnquant.cli.progress import progress_display
    from tnnquant.health.doctor import examine

    with progress_display(sys.stderr.isatty() and not as_json and not quick) as progress:
        if progress is None and not quick:
            note("testing the kernels of every path (the first time they are compiled, which takes a while) ...")
        health = examine(self_test=not quick, progress=progress)
    if as_json:
        click.echo(json.dumps(health.as_dict(), indent=1))
        return 0 if health.is_well else 1
    width = max(len(finding.name) for finding in health.findings)
    for finding in health.findings:
        sign, colour = SIGNS[finding.status]
        click.echo(f"{click.style(sign, fg=colour)}  {finding.name:{width}}  {finding.value}")
        if finding.advice:
            click.echo(f"{'':6}{'':{width}}  {click.style(finding.advice, fg=colour)}")
    click.echo("all is well" if health.is_well else click.style("something is bad: see above", fg="red"))
    return 0 if health.is_well else 1
