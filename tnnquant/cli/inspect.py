"""``tnnquant inspect``: see the model, and where int8 hurts."""

from __future__ import annotations

import sys
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tnnquant.cli.helped import HELP
from tnnquant.cli.options import (
    METRIC_OPTIONS,
    VectorCommand,
    config_options,
    device_option,
    from_options,
    given,
    own_metric,
    parse_input_shapes,
)
from tnnquant.cli.verbosity import note
from tnnquant.config import QuantizeConfig, VerifyConfig
from tnnquant.errors import ConfigError, ModelFormatError

if TYPE_CHECKING:
    from tnnquant.inputs.samples import Samples
    from tnnquant.inspect.compare import Errors
    from tnnquant.inspect.diff import Diff
    from tnnquant.inspect.run import Model
    from tnnquant.inspect.study import Study
    from tnnquant.inspect.summary import Summary

EPILOG = (
    "The two rankings of --against differ, and mean different things. Cumulative: both models run as a whole, and "
    "every blob is compared. It shows what reaches the output; it includes the errors of all layers before. "
    "Isolated: one layer is int8 and reads fp32 inputs. It shows what a layer adds by itself, so it finds the "
    "layers at fault. It does not tell how much of that reaches the output."
)
FIELDS = ("blob_method", "merge_type", "mean", "scale", "reverse_channel", "resize", "skip_bad")
LIMIT = 16

EXAMPLES = (
    ("net_quantized", "what is in a model, what is int8 and why"),
    ("net_quantized --against net -i pictures --html page.html", "the layers that int8 hurts, as a page"),
    ("a_quantized --with b_quantized --against net -i pictures --html page.html", "two int8 models side by side"),
    ("net_quantized --snippet cpp -n 127.5 -s 1/127.5", "the calls of TNN that feed it, for the app"),
    ("net_quantized --device arm", "what would go wrong with it on a phone"),
)


@click.command("inspect", cls=VectorCommand, epilog=EPILOG, context_settings=HELP, examples=EXAMPLES)
@click.argument("models", nargs=-1, metavar="[MODEL] [OTHER]")
@click.option("-p", "--proto", metavar="FILE", help="The .tnnproto, if its name is not the .tnnmodel's; or an .onnx.")
@click.option("-m", "--model", metavar="FILE", help="The .tnnmodel.")
@click.option("--layer", metavar="NAME", help="Show one layer or blob, channel by channel.")
@click.option("--diff", "is_diff", is_flag=True, help="Compare MODEL and OTHER layer by layer.")
@click.option(
    "--against", metavar="FP32", help="The fp32 model that MODEL was made from: measure the error of every layer."
)
@device_option("List the layers that go wrong there, by the rules of docs/devices.md; with --against, the verdict too.")
@click.option(
    "--snippet", type=click.Choice(["cpp"]), metavar="cpp",
    help="Print the TNN calls, in C++, that load MODEL and feed it with -n, -s, -r and --resize of its calibration.",
)
@click.option("-i", "--input_path", metavar="FOLDER", help="Pictures or tensors, as for quantize.")
@click.option("--limit", type=int, metavar="N",
              help=f"Use N files of FOLDER, evenly spread. Default: {LIMIT}, or all with --samples.")  # fmt: skip
@click.option("--samples", is_flag=True, help="Show what the model is fed, and whether it is enough to calibrate with.")
@click.option("--sheet", metavar="FILE", help="Write the pictures, as the model sees them, tiled on one PNG.")
@click.option("--html", metavar="FILE", help="Write a page that shows all of it, to open in a browser; no network.")
@click.option("--shares", is_flag=True,
              help="Show on the page what fp32 layers buy: models of quantize --recipe best by --fp32-share are made "
              "from all of FOLDER, judged and timed. Takes as long as six runs of best.")  # fmt: skip
@click.option("--with", "other", metavar="OTHER", help="Another int8 model of FP32, shown beside MODEL on the page.")
@click.option("--classes", metavar="FILE", help="The names of the classes, one per line, that of class 0 first.")
@config_options(QuantizeConfig, *FIELDS)
@config_options(VerifyConfig, *METRIC_OPTIONS)
@click.option(
    "--input-shape", multiple=True, metavar="NAME:N,C,H,W", help="Dims of an input, instead of those in the proto."
)
@click.option("--threads", type=int, default=None, metavar="N", help="Default: one per core; the result is the same.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON (schema: docs/inspect.md).")
@click.option("--csv", "as_csv", is_flag=True, help="Print the table of layers as CSV.")
def command(
    models: tuple[str, ...], proto: str | None, model: str | None, layer: str | None, is_diff: bool,
    input_shape: tuple[str, ...], **options: Any,
) -> int:  # fmt: skip
    """Show a model, fp32 or int8: layers, shapes, sizes, arithmetic, scales, and what is int8 and why.

    MODEL is an .onnx, a name (net, for net.tnnproto and net.tnnmodel), either file, or a folder with one model. With
    --against and -i also where int8 hurts, and the --exclude line for quantize.
    """
    dims = parse_input_shapes(input_shape)
    config = QuantizeConfig(**from_options(QuantizeConfig, options), input_dims=dims)
    options["metric"] = own_metric(options)
    names = _names(models, proto, model, is_diff)
    _check(options, is_diff, layer)
    from tnnquant.inspect.run import diff_models, load

    first = load(names[0], proto, model, dims, may_be_alone=True)
    if first.summary.is_structure:
        _check_alone(first.summary, options, is_diff)
    if options["snippet"]:
        _show_snippet(first, config, options["judged_on"] or "any")
    elif is_diff:
        _show_diff(diff_models(first, load(names[1])), options["as_json"])
    elif layer:
        result = _study(first, config, options) if options["against"] else None
        shown, errors = (result.model, result.errors) if result else (first, None)
        _show_layer(shown.summary, layer, errors, options["as_json"])
    elif options["judged_on"] and not (options["input_path"] or options["html"]):
        _show_findings(first, options["judged_on"], dims, options["as_json"])
    elif options["input_path"] or options["html"]:
        _show_study(_study(first, config, options), options)
    else:
        _show(first.summary, None, options)
    return 0


def _check(options: dict, is_diff: bool, layer: str | None) -> None:
    """Refuse options that lack another one, or would have no effect."""
    if options["other"] and not (options["html"] and options["against"]):
        raise ConfigError("--with shows a second model on the page: give --html, and the fp32 model with --against")
    if options["shares"] and not (options["html"] and options["against"] and options["input_path"]):
        raise ConfigError("--shares is shown on the page: give --html, --against with the fp32 model, and -i")
    if options["classes"] and not options["against"]:
        raise ConfigError("--classes names what pictures are taken for: give --against and -i")
    for name in ("against", "samples", "sheet"):
        if options[name] and not options["input_path"]:
            raise ConfigError(f"--{name} needs inputs: give a folder with -i")
    if options["input_path"] and not any(options[name] for name in ("against", "samples", "sheet", "html", "as_json")):
        raise ConfigError("-i is for --against, --samples, --html or --json; give one of them")
    if given("limit") and not options["input_path"]:
        raise ConfigError("--limit needs inputs: give a folder with -i")
    if given("blob_method", "merge_type") and not (options["samples"] or options["sheet"]):
        raise ConfigError(f"{given('blob_method', 'merge_type')[0]} is for --samples; for another model, see quantize")
    if options["metric"] and not options["against"]:
        raise ConfigError("--metric compares a model with its fp32 one: give that with --against, and pictures with -i")
    if options["as_json"] and options["as_csv"]:
        raise ConfigError("--json and --csv are two forms of the same; give one of them")
    others = [name for name, is_given in (("--diff", is_diff), ("--layer", layer)) if is_given]
    if options["snippet"]:
        others += given("against", "input_path", "samples", "sheet", "html", "as_json", "as_csv")
        if others:
            raise ConfigError(f"--snippet prints calls of TNN for MODEL: not with {others[0]}")
    elif options["judged_on"]:
        others += given("as_csv") + (given("html", "samples", "sheet") if not options["against"] else [])
        if others:
            raise ConfigError(f"--device lists what goes wrong on a device: not with {others[0]}")
        if options["input_path"] and not options["against"]:
            raise ConfigError("--device with inputs judges an int8 model: give its fp32 model with --against")
    if options["as_csv"] and (is_diff or layer):
        raise ConfigError(f"--csv is the table of layers: not with {'--diff' if is_diff else '--layer'}")


def _check_alone(summary: Summary, options: dict, is_diff: bool) -> None:
    """Refuse what needs the weights of a model that has none."""
    needing = ("against", "input_path", "samples", "sheet", "html", "snippet", "judged_on")
    asked = (["--diff"] if is_diff else []) + given(*needing)
    if asked:
        missing = str(Path(summary.proto).with_suffix(".tnnmodel"))
        raise ModelFormatError(f"{asked[0]} needs the weights of {summary.proto!r}, and there is no {missing!r}")


def _show_snippet(first: Model, config: QuantizeConfig, device: str) -> None:
    """The calls for the app; a remark where the preprocessing was not told."""
    from tnnquant.inspect.snippet import cpp_snippet

    if not given("mean", "scale"):
        note("warning: neither -n nor -s is given: the snippet feeds pixels 0..255; give those of the calibration")
    click.echo(cpp_snippet(first.stored, first.summary.proto, first.summary.model, config, device), nl=False)


def _show_findings(first: Model, device: str, dims: dict, as_json: bool) -> None:
    """What goes wrong with the model on a device."""
    from tnnquant.devices import examine

    found = examine(first.stored, device, dims)
    if as_json:
        from tnnquant.inspect.table import json_text

        click.echo(json_text(device=device, findings=[asdict(finding) for finding in found]))
        return
    from tnnquant.cli.inspect_devices import print_findings

    print_findings(found, device, first.summary)


def _study(first: Model, config: QuantizeConfig, options: dict) -> Study:
    """Run what was asked for, with progress on a terminal."""
    from tnnquant.inspect.study import Study, study

    if not options["input_path"]:
        _refuse_inputs(options, first)
        return Study(first)
    from tnnquant.base.threads import set_threads
    from tnnquant.cli.progress import progress_display
    from tnnquant.inspect.classes import read_classes
    from tnnquant.inspect.run import load, pick_samples

    set_threads(options["threads"])
    against = load(options["against"], input_dims=config.input_dims) if options["against"] else None
    other = load(options["other"], input_dims=config.input_dims) if options["other"] else None
    classes = read_classes(options["classes"], _scores(against.summary)) if options["classes"] and against else ()
    limit = options["limit"] if options["limit"] is not None else (None if options["samples"] else LIMIT)
    samples = pick_samples(first, options["input_path"], config, limit, options["threads"])
    _refuse_inputs(options, first, against, other, samples)
    with progress_display(enabled=sys.stderr.isatty() and not options["as_json"]) as progress:
        result = study(
            first, against, samples, config, ranges=bool(options["html"] or options["as_json"]),
            coverage=bool(options["samples"] or options["sheet"]), progress=progress, device=options["judged_on"],
            metric=options["metric"], other=other,
        )  # fmt: skip
        result.classes = classes
        if options["html"] and against is not None:
            from tnnquant.cli.inspect_made import time_models

            time_models(result, config, progress)
            if options["shares"]:
                from tnnquant.pipeline.shares import measure_shares

                every = pick_samples(first, options["input_path"], config, None, options["threads"])
                result.shares = measure_shares(against.stored, every, config, progress=progress)
    return result


def _scores(summary: Summary) -> int | None:
    """How many classes a model tells apart, if it has one output of scores."""
    (dims, *others) = summary.outputs.values()
    if others or len(dims) < 2 or prod(dims[2:]) != 1:
        return None
    return dims[1]


def _refuse_inputs(options: dict, *sources: Model | Samples | None) -> None:
    """Raise OutputError where --html or --sheet would overwrite a model or a picture."""
    from tnnquant.format.files import refuse_inputs
    from tnnquant.inspect.run import Model

    read: list = []
    for source in sources:
        if source is not None:
            read += [source.summary.proto, source.summary.model] if isinstance(source, Model) else source.paths()
    refuse_inputs(filter(None, [options["html"], options["sheet"]]), read)


def _show_study(result: Study, options: dict) -> None:
    """Print the results and write the files."""
    for line in result.warnings:
        note(f"warning: {line}")
    errors = result.errors
    if options["as_json"]:
        from tnnquant.inspect.table import json_text

        click.echo(json_text(summary=result.model.summary, errors=errors, coverage=result.coverage,
                             ranges=dict(result.ranges) or None, inputs=result.statistics or None))  # fmt: skip
    elif options["as_csv"] or not (errors or options["samples"] or options["html"] or options["sheet"]):
        _show(result.model.summary, errors, options)
    if errors and not (options["as_json"] or options["as_csv"]):
        from tnnquant.cli.inspect_errors import print_errors

        print_errors(errors, result.model.summary, result.classes)
    if options["samples"] and not (options["as_json"] or options["as_csv"]):
        from tnnquant.cli.inspect_samples import print_samples

        print_samples(result)
    if options["html"]:
        from tnnquant.cli.inspect_made import made_here
        from tnnquant.inspect.study import write_page

        write_page(result, options["html"], seen=options["samples"], made=made_here(click.get_current_context()))
        note(f"written {options['html']}")
    if options["sheet"]:
        from tnnquant.inspect.study import write_sheet

        count = write_sheet(result, options["sheet"])
        told = f"{options['sheet']} ({count} pictures)" if count else "no sheet: there are no pictures"
        note(f"written {told}" if count else told)


def _show(summary: Summary, errors: Errors | None, options: dict) -> None:
    """The table of layers, in the form that was asked for."""
    if options["as_json"]:
        from tnnquant.inspect.table import json_text

        click.echo(json_text(summary=summary))
    elif options["as_csv"]:
        from tnnquant.inspect.table import csv_text

        click.echo(csv_text(summary, {row.name: row.columns() for row in errors.layers} if errors else None), nl=False)
    else:
        from tnnquant.cli.inspect_tables import print_summary

        print_summary(summary)


def _show_layer(summary: Summary, name: str, errors: Errors | None, as_json: bool) -> None:
    from tnnquant.inspect.summary import LayerRow, find_row

    row = find_row(summary, name)
    if as_json:
        from tnnquant.inspect.table import json_text

        found = next((entry for entry in errors.layers if entry.name == name), None) if errors else None
        click.echo(json_text(**{"layer" if isinstance(row, LayerRow) else "blob": row}, errors=found))
        return
    from tnnquant.cli.inspect_tables import print_channels

    print_channels(row, summary, errors)


def _show_diff(diff: Diff, as_json: bool) -> None:
    if as_json:
        from tnnquant.inspect.table import json_text

        click.echo(json_text(diff=diff))
        return
    from tnnquant.cli.inspect_tables import print_diff

    print_diff(diff)


def _names(models: tuple[str, ...], proto: str | None, model: str | None, is_diff: bool) -> list[str | None]:
    """The names of the model and, for a comparison, of the other one."""
    names: list[str | None] = list(models)
    wanted = 2 if is_diff else 1
    # With one of -p and -m, a name may still mean the other half.
    if (proto and model) or ((proto or model) and len(names) < wanted):
        names.insert(0, None)
    if len(names) < wanted:
        what = "--diff compares two models: give both" if is_diff else "no model is given: name it, or give -p and -m"
        raise ConfigError(what)
    if len(names) > wanted:
        extra = names[wanted]
        hint = "" if is_diff else " (--diff compares two models)"
        raise ConfigError(f"{extra!r} is one model too many{hint}")
    return names
