"""``tnnquant warmup``: compile the kernels now."""

from __future__ import annotations

import sys

import click

from tnnquant.cli.helped import HELP, HelpedCommand

EXAMPLES = (
    ("", "all kernels"),
    ("net", "those that this model needs, fp32 and int8"),
)


@click.command("warmup", cls=HelpedCommand, context_settings=HELP, examples=EXAMPLES)
@click.argument("model", required=False)
def command(model: str | None) -> int:
    """Fill the cache of compiled kernels, so that no later run compiles: for images of containers and for CI.

    With MODEL (net, for net.tnnproto and net.tnnmodel; fp32) the kernels of its layers are ready too.
    """
    from tnnquant.cli.progress import progress_display
    from tnnquant.health.warmup import warm_up

    graph = None
    if model:
        from tnnquant.errors import ConfigError
        from tnnquant.inspect.run import load

        graph = load(model).graph
        if graph.is_quantized:
            raise ConfigError(f"{model} is int8; give the fp32 model, which needs the kernels of both")
    from tnnquant.inputs.display import count_of

    with progress_display(sys.stderr.isatty()) as progress:
        warmth = warm_up(graph, progress)
    if warmth.folder is None:
        click.echo("no folder can be written: nothing was kept; set TNNQUANT_CACHE_DIR to a folder of your own")
        return 1
    word = f"{count_of(warmth.compiled, 'kernel')} compiled" if warmth.compiled else "nothing left to compile"
    click.echo(f"{word} in {warmth.seconds:.1f} s; {warmth.folder} holds {warmth.size / 1e6:.1f} MB")
    return 0
