"""``tnnquant bench accuracy``: models side by side on a folder of pictures."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from tnnquant.cli.helped import HELP
from tnnquant.cli.options import VectorCommand, device_option, own_metric, scoring_config, scoring_options

EXAMPLES = (
    ("net net_quantized -i pictures --labels labels.txt", "top-1 of fp32 and int8"),
    ("net net_quantized -i pictures --no-labels", "agreement and cosine alone"),
)


@click.command("accuracy", cls=VectorCommand, context_settings=HELP, examples=EXAMPLES)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("-i", "--input_path", required=True, metavar="FOLDER", help="Pictures (or tensors).")
@device_option("A model that goes wrong there, by the rules of docs/devices.md, is broken, and has no figures.")
@scoring_options("Lines 'name label', or one label per line in the order of the names; labels count from 0.")
def command(
    models: tuple[str, ...], input_path: str, labels: str | None, no_labels: bool, output: str | None,
    input_shape: tuple[str, ...], threads: int | None, as_json: bool, judged_on: str | None, **options: Any,
) -> int:  # fmt: skip
    """Accuracy of any number of models on the same pictures: top-1, top-5, agreement and cosine with fp32.

    MODEL is an .onnx, a .tnnproto whose .tnnmodel lies beside it, or PROTO,MODEL, or a folder with one model; fp32 and
    int8, ours or of TNN's tool. int8 models give the integers that they give on the device. The first fp32 model
    is what the others are compared with. In brackets: intervals of 95 % (Wilson; paired bootstrap for differences, with
    the p-value of McNemar's test).
    """
    metric = own_metric(options)
    config = scoring_config(options, input_shape, labels, no_labels)
    from tnnquant.base.threads import set_threads
    from tnnquant.bench.accuracy import Candidate, measure_accuracy
    from tnnquant.bench.labels import labels_from_file
    from tnnquant.bench.models import named_models, single_items
    from tnnquant.cli.progress import progress_display
    from tnnquant.inputs import Samples, scan

    set_threads(threads)
    candidates = [Candidate(name, graph) for name, graph in named_models(models, config.input_dims)]
    from tnnquant.pipeline.settings import input_config

    specs = single_items(candidates[0].graph, config.input_dims)
    samples = Samples(scan(input_path), specs, input_config(config), workers=threads)
    known = labels_from_file(labels, samples.names) if labels else None
    with progress_display(enabled=sys.stderr.isatty() and not as_json) as progress:
        report = measure_accuracy(
            candidates, samples, known, from_names=not no_labels, output=output, progress=progress,
            input_dims={name: spec.dims for name, spec in specs.items()}, device=judged_on,
            metric=metric,
        )
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
        return 0
    from tnnquant.cli.bench_tables import print_accuracy

    print_accuracy(report)
    return 0
