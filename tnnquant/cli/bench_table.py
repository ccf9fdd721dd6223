"""``tnnquant bench table``: the configurations of TNN's documentation on one's own model and pictures."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from tnnquant.cli.helped import HELP
from tnnquant.cli.options import VectorCommand, chosen_model, model_options, own_metric, scoring_config, scoring_options

EXAMPLES = (
    ("-p net.tnnproto -m net.tnnmodel -i pictures --eval others", "KL and min-max, per channel and per tensor"),
    ("-p net.tnnproto -m net.tnnmodel -i pictures --json", "for a program"),
)


@click.command("table", cls=VectorCommand, context_settings=HELP, examples=EXAMPLES)
@model_options()
@click.option("-i", "--input_path", required=True, metavar="FOLDER", help="Calibration pictures (or tensors).")
@click.option(
    "--eval", "eval_path", metavar="FOLDER", help="Pictures to measure on. Default: the calibration pictures."
)
@scoring_options("Of the pictures that are measured on; as for 'bench accuracy'.")
def command(
    name: str | None, proto: str | None, model: str | None, input_path: str, eval_path: str | None, labels: str | None,
    no_labels: bool, output: str | None, input_shape: tuple[str, ...], threads: int | None, as_json: bool,
    **options: Any,
) -> int:  # fmt: skip
    """The accuracy table of TNN's documentation for your model and data: KL with ADMM per channel, per
    tensor and mixed, and min-max per channel, beside fp32 and our own recipe.

    Nothing is written. Rows with the same statistics share them. Flags are those of 'tnnquant quantize'.
    """
    metric = own_metric(options)
    config = scoring_config(options, input_shape, labels, no_labels)
    from tnnquant.base.threads import set_threads
    from tnnquant.bench.labels import labels_from_file
    from tnnquant.bench.models import samples_for, single_items
    from tnnquant.bench.table import measure_table
    from tnnquant.cli.progress import progress_display
    from tnnquant.inputs import Samples, scan
    from tnnquant.pipeline.models import model_files, open_model
    from tnnquant.pipeline.settings import input_config

    set_threads(threads)
    source = model_files(*chosen_model(name, proto, model))
    graph, config = open_model(source, config)
    samples = samples_for(graph, input_path, config, threads)
    specs = single_items(graph, config.input_dims)
    evaluation = Samples(scan(eval_path or input_path), specs, input_config(config), workers=threads)
    known = labels_from_file(labels, evaluation.names) if labels else None
    with progress_display(enabled=sys.stderr.isatty() and not as_json) as progress:
        report = measure_table(
            graph, samples, evaluation, known, config, from_names=not no_labels, output=output, progress=progress,
            input_dims={name: spec.dims for name, spec in specs.items()}, metric=metric,
        )
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
        return 0
    from tnnquant.cli.bench_tables import print_configurations

    print_configurations(report)
    if eval_path is None:
        click.echo("Measured on the calibration pictures: --eval FOLDER measures on others.")
    return 0
