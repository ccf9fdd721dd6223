"""``tnnquant bench latency``: how long a model takes in fp32 and in int8."""

from __future__ import annotations

import json
import sys

import click

from tnnquant.cli.helped import HELP
from tnnquant.cli.options import (
    VectorCommand,
    chosen_model,
    config_options,
    from_options,
    given,
    model_options,
    parse_input_shapes,
)
from tnnquant.config import QuantizeConfig
from tnnquant.errors import ConfigError

#: Parameters of the quantization itself.
METHODS = ("blob_method", "weight_method", "merge_type", "recipe", "exclude", "include")

EXAMPLES = (
    ("-p net.tnnproto -m net.tnnmodel", "fp32 and int8 side by side, layer by layer"),
    ("-p net.tnnproto -m net.tnnmodel --threads 1 --json", "one thread, for a program"),
)


@click.command("latency", cls=VectorCommand, context_settings=HELP, examples=EXAMPLES)
@model_options("The fp32 .tnnproto (an int8 one is timed alone), or an .onnx.", "Its .tnnmodel.")
@click.option(
    "--int8", "int8_pair", nargs=2, metavar="PROTO MODEL",
    help="The int8 pair. Without it the fp32 model is quantized on the fly, with the options below.",
)
@click.option(
    "-i", "--input_path", metavar="FOLDER",
    help="Pictures or tensors: the first is fed, all serve to quantize on the fly. Default: random values.",
)
@config_options(QuantizeConfig)
@click.option(
    "--input-shape", multiple=True, metavar="NAME:N,C,H,W", help="Dims of an input, instead of those in the proto."
)
@click.option("--repeats", type=int, default=50, show_default=True, metavar="N", help="Timed runs of each model.")
@click.option("--no-layers", is_flag=True, help="Leave the table of layers out.")
@click.option("--threads", type=int, default=None, metavar="N", help="Default: one a core.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    name, proto, model, int8_pair, input_path, input_shape, repeats, no_layers, threads, as_json, **options
) -> int:
    """Time a model in fp32 and int8, run in turns on this CPU, and every layer of both.

    Both run as TNN's runtime would execute them. A layer is timed alone, repeated, with its input and weights in the
    caches: the sum over the layers is not the time of the model. The share of the peak is that of a bare loop of
    multiply-adds on as many cores.
    """
    config = QuantizeConfig(**from_options(QuantizeConfig, options), input_dims=parse_input_shapes(input_shape))
    from tnnquant.base.threads import set_threads
    from tnnquant.bench.latency import measure_latency
    from tnnquant.bench.models import quantize_here, read_int8, samples_for
    from tnnquant.cli.progress import progress_display
    from tnnquant.pipeline.models import model_files, open_model

    set_threads(threads)
    source = model_files(*chosen_model(name, proto, model))
    graph, config = open_model(source, config)
    fp32, int8 = (None, graph) if graph.is_quantized else (graph, None)
    if int8_pair:
        int8 = read_int8(*int8_pair)
    samples = samples_for(graph, input_path, config, threads)
    made_here = int8 is None
    if given(*METHODS) and not made_here:
        raise ConfigError(f"{given(*METHODS)[0]} is for a model that is quantized on the fly, but there is an int8 one")
    with progress_display(enabled=sys.stderr.isatty() and not as_json) as progress:
        if made_here:
            int8 = quantize_here(graph, samples, config, progress)
        inputs = next(iter(samples)).arrays
        report = measure_latency(
            fp32, int8, inputs, repeats=repeats, input_dims=config.input_dims, progress=progress
        )
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
        return 0
    from tnnquant.cli.bench_tables import print_latency

    print_latency(report, with_layers=not no_layers)
    if made_here:
        source = f"pictures of {input_path}" if input_path else "random values: right for times, useless as a model"
        click.echo(f"The int8 model was made on the fly from {source}.")
    return 0
