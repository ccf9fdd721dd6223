"""``tnnquant inspect``: see the model, and where int8 hurts."""

from __future__ import annotations

import click

from tnnquant.cli.options import VectorCommand, parse_input_shapes
from tnnquant.errors import ConfigError


@click.command("inspect", cls=VectorCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("models", nargs=-1, metavar="[MODEL] [OTHER]")
@click.option("-p", "--proto", metavar="FILE", help="The .tnnproto, where it has another name than the .tnnmodel.")
@click.option("-m", "--model", metavar="FILE", help="The .tnnmodel.")
@click.option("--layer", metavar="NAME", help="Show one layer or blob, channel by channel.")
@click.option("--diff", "is_diff", is_flag=True, help="Compare MODEL and OTHER layer by layer.")
@click.option(
    "--input-shape", multiple=True, metavar="NAME:N,C,H,W", help="Dims of an input, instead of those in the proto."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON (schema: docs/inspect.md).")
@click.option("--csv", "as_csv", is_flag=True, help="Print the table of layers as CSV.")
def command(models, proto, model, layer, is_diff, input_shape, as_json, as_csv) -> int:
    """Show the layers of a TNN model, fp32 or int8: types, shapes, sizes, arithmetic, scales, and what is int8 and why.

    MODEL is a name (net, for net.tnnproto and net.tnnmodel), either file, or a folder with one model.
    """
    from tnnquant.inspect.run import diff_models, load
    from tnnquant.inspect.table import json_text

    names = _names(models, proto, model, is_diff)
    first = load(names[0], proto, model, parse_input_shapes(input_shape))
    if is_diff:
        diff = diff_models(first, load(names[1]))
        if as_json:
            click.echo(json_text(diff=diff))
            return 0
        from tnnquant.cli.inspect_tables import print_diff

        print_diff(diff)
        return 0
    if as_json:
        click.echo(json_text(summary=first.summary))
    elif as_csv:
        from tnnquant.inspect.table import csv_text

        click.echo(csv_text(first.summary), nl=False)
    elif layer:
        from tnnquant.cli.inspect_tables import print_channels
        from tnnquant.inspect.summary import find_row

        print_channels(find_row(first.summary, layer), first.summary)
    else:
        from tnnquant.cli.inspect_tables import print_summary

        print_summary(first.summary)
    return 0


def _names(models: tuple[str, ...], proto: str | None, model: str | None, is_diff: bool) -> list[str | None]:
    """The names of the model and, for a comparison, of the other one."""
    names: list[str | None] = list(models)
    if proto or model:
        names.insert(0, None)
    wanted = 2 if is_diff else 1
    if len(names) < wanted:
        what = "--diff compares two models: give both" if is_diff else "no model is given: name it, or give -p and -m"
        raise ConfigError(what)
    if len(names) > wanted:
        extra = names[wanted]
        hint = "" if is_diff else " (--diff compares two models)"
        raise ConfigError(f"{extra!r} is one model too many{hint}")
    return names
