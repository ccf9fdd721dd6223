"""``tnnquant convert``: from ONNX to the two files of a TNN model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tnnquant.cli.helped import HELP
from tnnquant.cli.options import VectorCommand, parse_input_shapes
from tnnquant.errors import ConfigError

if TYPE_CHECKING:
    from tnnquant.onnx.verify import Comparison

EPILOG = (
    "Exit codes: 0 done; 2 wrong option, or dims that the file leaves open; 3 bad ONNX file; 4 operators that TNN "
    "cannot express (nothing is written); 7 cannot write; 10 written, but its outputs differ from those of the ONNX "
    "model."
)
DIFFERS_CODE = 10
ZERO_POINTS_OPTION = "--zero-points fp32"
#: A cosine to the ONNX model's outputs below which the option is named.
_CLOSE = 0.999


EXAMPLES = (
    ("net.onnx -o net", "writes net.tnnproto and net.tnnmodel"),
    ("net.onnx --input-shape image:1,3,224,224", "dims that the file leaves open"),
    ("net_int8.onnx --zero-points fp32", "the codes of onnxruntime, in fp32"),
    ("net.onnx --list", "which operators TNN cannot express"),
)


@click.command("convert", cls=VectorCommand, epilog=EPILOG, context_settings=HELP, examples=EXAMPLES)
@click.argument("name", metavar="MODEL.onnx")
@click.option(
    "-o",
    "--output",
    metavar="NAME",
    help="Writes NAME.tnnproto and NAME.tnnmodel. Default: the name of the ONNX file, in the current folder.",
)
@click.option(
    "--input-shape", multiple=True, metavar="NAME:N,C,H,W", help="Dims of an input, where the file leaves them open."
)
@click.option("--half", is_flag=True, help="Store the weights as float16: half the size, fp32 arithmetic.")
@click.option(
    "--zero-points",
    type=click.Choice(["int8", "fp32"]),
    default="int8",
    show_default=True,
    help="Layers of an int8 model whose zero points are not 0: int8, which is fast, with codes off by one here and "
    "there; fp32, with onnxruntime's very codes, at the size of fp32 and slower than it.",
)
@click.option("--list", "is_list", is_flag=True, help="List the operators, and what TNN cannot express; write nothing.")
@click.option(
    "-i",
    "--input_path",
    metavar="FILE",
    help="A picture or tensor on which the outputs are compared as well, fed as it is (0 to 255).",
)
@click.option("--no-verify", is_flag=True, help="Do not run the two models beside each other in the end.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(
    name: str, output: str | None, input_shape: tuple[str, ...], half: bool, zero_points: str, is_list: bool,
    input_path: str | None, no_verify: bool, as_json: bool,
) -> int:  # fmt: skip
    """Convert an ONNX model to a TNN model, NAME.tnnproto and NAME.tnnmodel, that TNN loads.

    Shapes are fixed, constants folded, batch norms and activations fused as TNN's int8 wants them. In the end both
    models are run on a random input (with -i also on a real one), the ONNX model by onnxruntime if it is installed,
    else by onnx itself, and the largest difference is printed.
    """
    shapes = parse_input_shapes(input_shape)
    if not name.lower().endswith(".onnx") and Path(name).suffix in (".tnnproto", ".tnnmodel"):
        raise ConfigError(f"{name!r} is a TNN model already; convert takes an .onnx")
    if is_list:
        return _list(name, shapes, as_json)
    from tnnquant.format import write_model
    from tnnquant.onnx import convert

    target = _target(name, output)
    conversion = convert(name, shapes, half=half, zero_points=zero_points)
    write_model(conversion.graph, *target)
    facts = {
        "proto": str(target[0]), "model": str(target[1]), "layers": len(conversion.graph.nodes),
        "bytes": sum(map(os.path.getsize, target)), "notes": list(conversion.notes),
        "renamed": dict(conversion.renamed),
    }  # fmt: skip
    comparison = None
    if not no_verify:
        from tnnquant.cli.progress import progress_display
        from tnnquant.onnx.verify import compare

        conversion = conversion.without_weights()  # the comparison reads them from the files
        with progress_display(False):  # says when kernels have to be compiled first
            comparison = compare(name, target, conversion, input_path)
        facts["comparison"] = comparison.as_dict()
    if as_json:
        import json

        click.echo(json.dumps(facts, indent=2))
    else:
        _tell(facts, comparison)
        if comparison is not None and comparison.agrees and conversion.inexact and comparison.cosine < _CLOSE:
            click.echo(
                f"closer to the ONNX model: {ZERO_POINTS_OPTION} keeps the layers with zero points other than 0 in "
                "fp32 and computes onnxruntime's very codes, at the size of fp32 and slower than it"
            )
    return 0 if comparison is None or comparison.agrees else DIFFERS_CODE


def _target(name: str, output: str | None) -> tuple[Path, Path]:
    from tnnquant.format.constants import MODEL_SUFFIX, PROTO_SUFFIX

    base = output if output is not None else Path(name).name.removesuffix(".onnx").removesuffix(".ONNX")
    for suffix in (PROTO_SUFFIX, MODEL_SUFFIX):
        base = base.removesuffix(suffix)
    if not Path(base).name:
        raise ConfigError(f"--output is {output!r}, expected a name, optionally after a folder that exists")
    return Path(base + PROTO_SUFFIX), Path(base + MODEL_SUFFIX)


def _tell(facts: dict, comparison: Comparison | None) -> None:
    for note in facts["notes"]:
        click.echo(f"note: {note}", err=True)
    if facts["renamed"]:
        shown = ", ".join(f"{old!r} -> {new}" for old, new in list(facts["renamed"].items())[:5])
        more = ", ..." if len(facts["renamed"]) > 5 else ""
        click.echo(f"note: names that a .tnnproto cannot hold were replaced: {shown}{more}", err=True)
    click.echo(f"{facts['proto']}, {facts['model']}: {facts['layers']} layers, {facts['bytes'] / 1e6:.1f} MB")
    if comparison is not None:
        for line in comparison.lines():
            click.echo(line)


def _list(name: str, shapes: Mapping[str, tuple[int, ...]], as_json: bool) -> int:
    from tnnquant.onnx.listing import list_operators

    listing = list_operators(name, shapes)
    if as_json:
        import json

        click.echo(json.dumps(listing.as_dict(), indent=2))
        return 0
    from tnnquant.cli.plain import print_table

    print_table(["operator", ">opset", ">nodes", "in TNN"], listing.rows())
    if listing.refusals:
        click.echo(f"\n{len(listing.refusals)} nodes that TNN cannot express:")
        for refusal in listing.refusals:
            click.echo(f"  {refusal}")
    for note in listing.notes:
        click.echo(f"note: {note}")
    return 0
