"""``tnnquant inspect``: see the model, and where int8 hurts."""

from __future__ import annotations

import sys

import click

from tnnquant.cli.options import VectorCommand, config_options, from_options, parse_input_shapes
from tnnquant.config import QuantizeConfig
from tnnquant.errors import ConfigError

EPILOG = (
    "The two rankings of --against differ, and mean different things. Cumulative: both models run as a whole, and "
    "every blob is compared. It shows what reaches the output, but a layer is blamed for all layers before it. "
    "Isolated: one layer is int8 and reads fp32 inputs. It shows what a layer adds by itself, and is the one to find "
    "the guilty with; but it does not tell how much the layers behind it care."
)


@click.command("inspect", cls=VectorCommand, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("models", nargs=-1, metavar="[MODEL] [OTHER]")
@click.option("-p", "--proto", metavar="FILE", help="The .tnnproto, where it has another name than the .tnnmodel.")
@click.option("-m", "--model", metavar="FILE", help="The .tnnmodel.")
@click.option("--layer", metavar="NAME", help="Show one layer or blob, channel by channel.")
@click.option("--diff", "is_diff", is_flag=True, help="Compare MODEL and OTHER layer by layer.")
@click.option(
    "--against", metavar="FP32", help="The fp32 model that MODEL was made from: measure the error of every layer."
)
@click.option("-i", "--input_path", metavar="FOLDER", help="Pictures or tensors, as for quantize.")
@click.option(
    "--limit", type=int, default=16, show_default=True, metavar="N", help="Use N files of FOLDER, evenly spread."
)
@config_options(QuantizeConfig, "mean", "scale", "reverse_channel", "resize", "skip_bad")
@click.option(
    "--input-shape", multiple=True, metavar="NAME:N,C,H,W", help="Dims of an input, instead of those in the proto."
)
@click.option("--threads", type=int, default=None, metavar="N", help="Default: one a core; the result is the same.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON (schema: docs/inspect.md).")
@click.option("--csv", "as_csv", is_flag=True, help="Print the table of layers as CSV.")
def command(models, proto, model, layer, is_diff, against, input_path, limit, input_shape, threads, as_json, as_csv,
            **options) -> int:  # fmt: skip
    """Show a TNN model, fp32 or int8: layers, shapes, sizes, arithmetic, scales, and what is int8 and why.

    MODEL is a name (net, for net.tnnproto and net.tnnmodel), either file, or a folder with one model. With --against
    and -i also where int8 hurts, and the --exclude line for quantize.
    """
    dims = parse_input_shapes(input_shape)
    config = QuantizeConfig(**from_options(QuantizeConfig, options), input_dims=dims)
    names = _names(models, proto, model, is_diff)
    if against and not input_path:
        raise ConfigError("--against needs inputs to run both models on: give them with -i FOLDER")
    if input_path and not against:
        raise ConfigError("-i is for --against: give the fp32 model too")
    from tnnquant.inspect.run import diff_models, load

    first = load(names[0], proto, model, dims)
    if is_diff:
        _show_diff(diff_models(first, load(names[1])), as_json)
        return 0
    errors = _errors(first, against, input_path, limit, config, threads, not (as_json or as_csv)) if against else None
    if as_json:
        from tnnquant.inspect.table import json_text

        click.echo(json_text(summary=first.summary, errors=errors))
    elif as_csv:
        from tnnquant.inspect.table import csv_text

        columns = {row.name: row.columns() for row in errors.layers} if errors else None
        click.echo(csv_text(first.summary, columns), nl=False)
    elif layer:
        from tnnquant.cli.inspect_tables import print_channels
        from tnnquant.inspect.summary import find_row

        print_channels(find_row(first.summary, layer), first.summary)
    elif errors:
        from tnnquant.cli.inspect_errors import print_errors

        print_errors(errors, first.summary)
    else:
        from tnnquant.cli.inspect_tables import print_summary

        print_summary(first.summary)
    return 0


def _errors(model, against: str, input_path: str, limit: int, config: QuantizeConfig, threads, is_shown: bool):
    """Run both models, with progress on a terminal."""
    from tnnquant.cli.progress import progress_display
    from tnnquant.inspect.run import compare_models, load, pick_samples
    from tnnquant.threads import set_threads

    set_threads(threads)
    samples = pick_samples(model, input_path, config, limit, threads)
    with progress_display(enabled=sys.stderr.isatty() and is_shown) as progress:
        errors = compare_models(model, load(against), samples, config, progress)
    for line in samples.warnings():
        click.echo(f"warning: {line}", err=True)
    return errors


def _show_diff(diff, as_json: bool) -> None:
    if as_json:
        from tnnquant.inspect.table import json_text

        click.echo(json_text(diff=diff))
        return
    from tnnquant.cli.inspect_tables import print_diff

    print_diff(diff)


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
