"""``tnnquant bench kernels``: every kernel against its naive twin, and the place to prototype one."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time

import click

from tnnquant.cli.helped import HELP, HelpedCommand
from tnnquant.cli.verbosity import note
from tnnquant.errors import ConfigError, InputError, KernelError, OutputError, TnnQuantError

#: Seconds between two looks at a watched file.
_POLL = 0.2

EXAMPLES = (
    ("conv2d_i8", "one operator over its table of shapes"),
    ("--template dequantize_i8", "a file to start a kernel of your own from"),
    ("--file mine.py --watch", "your kernel beside the built-in one, on every save"),
)


@click.command("kernels", cls=HelpedCommand, context_settings=HELP, examples=EXAMPLES)
@click.argument("names", nargs=-1, metavar="[OPERATOR]...")
@click.option("--file", "path", metavar="FILE.py", help="Your own @njit kernels, functions called like the operator.")
@click.option(
    "--template", "start", metavar="OPERATOR",
    help="Write a file to start from, with the naive twin, to --file (default my_OPERATOR.py; - is the screen).",
)
@click.option("--watch", is_flag=True, help="With --file: run again whenever the file is saved, until Ctrl-C.")
@click.option(
    "--assembly", type=click.Choice(["hot", "all", "none"]), default="hot", show_default=True,
    help="With --file: loops of the machine code to show.",
)
@click.option("--list", "list_only", is_flag=True, help="List the operators, what they compute and their arguments.")
@click.option("--threads", type=int, default=1, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    names: tuple[str, ...], path: str | None, start: str | None, watch: bool, assembly: str, list_only: bool,
    threads: int, as_json: bool,
) -> int:  # fmt: skip
    """Check kernels against their naive twins over a table of shapes and time them: OPERATORs, or all of them.

    Results that differ make the command fail, with exit code 1. Rates are those of the fastest of many runs; the share
    is that of what a bare loop of multiply-adds, or a bare copy of as many bytes, reaches on the same cores just now.

    --file checks and times functions of your own, beside the built-in kernels, and shows what the compiler made of
    them (docs/kernels.md has an example). The file is imported: it is a program that you run. It runs in a process of
    its own, so that Ctrl-C ends a kernel that does not end.
    """
    _refuse_mixtures(path, start, watch, assembly, list_only, as_json, names)
    if start is not None:
        return _template(start, path)
    if list_only:
        return _list(names, as_json)
    if path is not None:
        if watch:
            return _watch(path, names, assembly, threads)
        return _custom(path, names, assembly, threads, as_json)
    from tnnquant.base.threads import set_threads

    set_threads(threads)
    return _builtin(names, as_json)


def _refuse_mixtures(
    path: str | None, start: str | None, watch: bool, assembly: str, list_only: bool, as_json: bool,
    names: tuple[str, ...],
) -> None:  # fmt: skip
    if list_only and (path is not None or start is not None):
        raise ConfigError("--list shows the operators there are: leave out --file and --template, or --list")
    if start is not None and (names or watch or as_json):
        raise ConfigError("--template writes a file and measures nothing: only --file goes with it")
    if path is None and (watch or assembly != "hot"):
        raise ConfigError(f"{'--watch' if watch else '--assembly'} is for kernels of your own: give --file FILE.py")
    if watch and as_json:
        raise ConfigError("--watch is for a screen: leave out --json")


def _template(name: str, path: str | None) -> int:
    from tnnquant.bench.operators import find_operator
    from tnnquant.bench.template import template

    target = path or f"my_{name}.py"
    text = template(find_operator(name), "mine.py" if target == "-" else shlex.quote(target))
    if target == "-":
        click.echo(text, nl=False)
        return 0
    try:
        with open(target, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{target} exists already and is left as it is; --file names another file") from None
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}") from error
    note(f"{target} written; it runs as it is: tnnquant bench kernels --file {shlex.quote(target)}")
    return 0


def _list(names: tuple[str, ...], as_json: bool) -> int:
    from tnnquant.bench.operators import find_operator, operators

    entries = [find_operator(name) for name in names] or list(operators().values())
    if as_json:
        listed = [
            {"operator": entry.name, "computes": entry.computes, "signature": entry.signature,
             "cases": list(entry.cases), "arguments": " ".join(line.lstrip("# ") for line in entry.notes),
             "codes": entry.codes, "fields": entry.field_lines}
            for entry in entries
        ]  # fmt: skip
        click.echo(json.dumps(listed, indent=2))
        return 0
    for entry in entries:
        click.echo(entry.signature)
        click.echo(f"    {entry.computes}")
        for line in (*entry.notes, *(f"# {line}" for line in (*entry.code_lines, *entry.field_lines))):
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


def _custom(path: str, names: tuple[str, ...], assembly: str, threads: int, as_json: bool) -> int:
    from tnnquant.bench.apart import run_apart
    from tnnquant.cli.progress import progress_display

    outcomes: list = []
    code: dict[str, list] = {}
    machine: dict = {}
    with progress_display(enabled=sys.stderr.isatty() and not as_json) as progress:
        for what, value in run_apart("tnnquant.bench.custom", "report_file", path, names, threads):
            if what == "progress" and progress:
                progress(*value)
            elif what == "outcome":
                outcomes.append(value)
            elif what == "code":
                code[value[0]] = value[1]
            elif what == "machine":
                machine = value
    if as_json:
        report = {name: [r.as_dict() for r in made] for name, made in code.items()}
        figures = [o.as_dict() for o in outcomes]
        click.echo(json.dumps({"machine": machine, "kernels": figures, "code": report}, indent=2))
    else:
        _print_custom(machine, outcomes, code, assembly)
    return _verdict(outcomes, path)


def _print_custom(machine: dict, outcomes: list, code: dict[str, list], assembly: str) -> None:
    from tnnquant.cli.bench_tables import custom_rows, print_machine, print_report, print_table

    print_machine(machine)
    if assembly != "none":
        for name, made in code.items():
            print_report(name, made, everything=assembly == "all")
    print_table(("operator", "case", "result", "yours", "built-in", "ratio", "rate", "of peak"), custom_rows(outcomes))


def _watch(path: str, names: tuple[str, ...], assembly: str, threads: int) -> int:
    """Measure whenever the file changes; what is wrong is a line, and the next save may mend it."""
    from tnnquant.base import interrupt

    seen = None
    try:
        while True:
            state = _state_of(path)
            if state == seen:
                interrupt.check()
                time.sleep(_POLL)
                continue
            if seen is None and state is None:
                raise InputError(f"--file {path!r} does not exist")
            seen = state
            if state is None:
                continue  # being saved: some editors put a new file in its place
            click.echo(click.style(f"--- {time.strftime('%H:%M:%S')} {path}", bold=True))
            try:
                _custom(path, names, assembly, threads, as_json=False)
            except TnnQuantError as error:
                click.echo("error: " + " ".join(str(error).split()), err=True)
            click.echo(f"waiting for {path} to be saved again (Ctrl-C ends)", err=True)
    except KeyboardInterrupt:
        interrupt.forget()
        return 0


def _state_of(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _verdict(outcomes: list, whose: str) -> int:
    wrong = [outcome for outcome in outcomes if outcome.difference]
    if wrong:
        first = wrong[0]
        raise KernelError(
            f"{whose}: {len(wrong)} of {len(outcomes)} cases differ from the reference; "
            f"{first.operator}, {first.case}: {first.difference}"
        )
    return 0
