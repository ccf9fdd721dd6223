"""``tnnquant export-scales``: the scales of an int8 model as text."""

from __future__ import annotations

import click

from tnnquant.cli.helped import HELP, HelpedCommand
from tnnquant.errors import ConfigError

EXAMPLES = (
    ("net_quantized -o scales.toml", "to edit them, and give them to quantize --scales"),
    ("net_quantized --json", "for a program"),
)


@click.command("export-scales", cls=HelpedCommand, context_settings=HELP, examples=EXAMPLES)
@click.argument("model", metavar="MODEL")
@click.option("-o", "--output", metavar="FILE", help="Where to write them. Default: standard output.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of TOML.")
def command(model: str, output: str | None, as_json: bool) -> int:
    """Write scales and zero points of all int8 blobs of MODEL as text.

    'tnnquant quantize --scales FILE' uses the values of such a file in place of those that the statistics give; a file
    may hold some of the blobs only.
    """
    from tnnquant.format.files import refuse_inputs, write_files
    from tnnquant.inspect.run import load
    from tnnquant.quantization.scales_file import scales_json, scales_toml

    found = load(model)
    if not found.graph.scales:
        raise ConfigError(f"{model} has no int8 blob: give an int8 model, as quantize writes it")
    text = scales_json(found.graph) if as_json or (output or "").endswith(".json") else scales_toml(found.graph)
    if output is None:
        click.echo(text, nl=False)
        return 0
    refuse_inputs([output], [found.summary.proto, found.summary.model])
    write_files([(output, [text.encode()])])
    return 0
