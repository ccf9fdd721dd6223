"""``tnnquant bench kernels``: every kernel against its naive twin, and the place to prototype one."""

from __future__ import annotations

import json
import sys

import click

from tnnquant.cli.helped import HELP, HelpedCommand
from tnnquant.errors import ConfigError, KernelError

EXAMPLES = (
    ("conv2d_i8", "one operator over its table of shapes"),
    ("--file mine.py", "a kernel of your own beside the built-in one"),
)


@click.command("kernels", cls=HelpedCommand, context_settings=HELP, examples=EXAMPLES)
@click.argument("names", nargs=-1, metavar="[OPERATOR]...")
@click.option("--file", "path", metavar="FILE.py", help="Your own @njit kernels, functions called like the operator.")
@click.option("--list", "list_only", is_flag=True, help="List the operators with the arguments of their kernels.")
@click.option("--threads", type=int, default=1, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(names: tuple[str, ...], path: str | None, list_only: bool, threads: int, as_json: bool) -> int:
    """Check kernels against their naive twins over a table of shapes and time them: OPERATORs, or all of them.

    Results that differ make the command fail, with exit code 1. Rates are those of the fastest of many runs; the share
    is that of what a bare loop of multiply-adds, or a bare copy of as many bytes, reaches on the same cores just now.

    --file checks and times functions of your own, beside the built-in kernels, and shows what the compiler made of
    them (docs/kernels.md has an example). The file is imported: it is a program that you run.
    """
    from tnnquant.base.threads import set_threads

    set_threads(threads)
    if list_only and path is not None:
        raise ConfigError("--list shows the operators there are: leave out --file, or --list to run it")
    if list_only:
        return _list(names, as_json)
    if path is not None:
        return _custom(path, names, as_json)
    return _builtin(names, as_json)


def _list(names: tuple[str, ...], as_json: bool) -> int:
    from tnnquant.bench.operators import find_operator, operators

    entries = [find_operator(name) for name in names] or list(operators().values())
    if as_json:
        listed = [
            {"operator": entry.name, "signature": entry.signature, "cases": list(entry.cases),
             "arguments": " ".join(line.lstrip("# ") for line in entry.notes)}
            for entry in entries
        ]  # fmt: skip
        click.echo(json.dumps(listed, indent=2))
        return 0
    for entry in entries:
        click.echo(entry.signature)
        for line in entry.notes:
            click.echo(f"    {line}")
        click.echo(f"    cases: {'; '.join(entry.cases)}")
    return 0


def _builtin(names: tuple[str, ...], as_json: bool) -> int:
    from tnnquant.bench.kernels import run_cases
    from tnnquant.bench.machine import describe
    from tnnquant.bench.operators import find_operator
    from tnnquant.cli.bench_tables import kernel_rows, print_machine, print_table
    from tnnquant.cli.progress import progress_display

    for name in names:
        find_operator(name)
    machine = describe()
    with progress_display(enabled=sys.stderr.isatty() and not as_json) as progress:
        outcomes = list(run_cases(names, progress))
    if as_json:
        click.echo(json.dumps({"machine": machine, "kernels": [o.as_dict() for o in outcomes]}, indent=2))
    else:
        print_machine(machine)
        print_table(("operator", "case", "result", "time", "naive", "rate", "of peak"), kernel_rows(outcomes))
    return _verdict(outcomes, "built-in kernel")


def _custom(path: str, names: tuple[str, ...], as_json: bool) -> int:
    from tnnquant.bench.custom import load_kernels, measure_custom
    from tnnquant.bench.machine import describe
    from tnnquant.cli.bench_tables import custom_rows, print_machine, print_report, print_table

    kernels = load_kernels(path)
    if names:
        found = [entry.operator.name for entry in kernels]
        missing = [name for name in names if name not in found]
        if missing:
            raise ConfigError(f"{path}: no kernel for {', '.join(missing)}; it has {', '.join(found)}")
        kernels = [entry for entry in kernels if entry.operator.name in names]
    machine = describe()
    outcomes = {entry.operator.name: list(measure_custom(entry)) for entry in kernels}
    flat = [outcome for made in outcomes.values() for outcome in made]
    reports = {entry.operator.name: entry.reports() for entry in kernels}
    if as_json:
        report = {name: [r.as_dict() for r in made] for name, made in reports.items()}
        click.echo(json.dumps({"machine": machine, "kernels": [o.as_dict() for o in flat], "code": report}, indent=2))
    else:
        print_machine(machine)
        print_table(("operator", "case", "result", "yours", "built-in", "ratio", "rate", "of peak"), custom_rows(flat))
        for name, made in reports.items():
            print_report(name, made)
    return _verdict(flat, path)


def _verdict(outcomes: list, whose: str) -> int:
    wrong = [outcome for outcome in outcomes if outcome.difference]
    if wrong:
        first = wrong[0]
        raise KernelError(
            f"{whose}: {len(wrong)} of {len(outcomes)} cases differ from the reference; "
            f"{first.operator}, {first.case}: {first.difference}"
        )
    return 0
