"""``tnnquant bench latency``: how long a model takes in fp32 and in int8."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

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
from tnnquant.errors import ConfigError, KernelError

if TYPE_CHECKING:
    from tnnquant.graph import Graph
    from tnnquant.inputs.scan import PathLike

#: Parameters of the quantization itself.
METHODS = ("blob_method", "weight_method", "merge_type", "recipe", "exclude", "include")

EXAMPLES = (
    ("-p net.tnnproto -m net.tnnmodel", "fp32 and int8 side by side, layer by layer"),
    ("-p net.tnnproto -m net.tnnmodel --program", "the operations that run, one by one"),
    ("net --kernel mine.py", "a kernel of your own in the built-in one's place"),
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
@click.option(
    "--kernel", "kernel", metavar="FILE.py",
    help="Put your own kernels (docs/kernels.md) in the place of the built-in ones: outputs compared, times beside.",
)
@click.option(
    "--program", is_flag=True, help="Show the operations that run (layer, kernel, path, tasks, bytes); time nothing."
)
@click.option("--repeats", type=int, default=50, show_default=True, metavar="N", help="Timed runs of each model.")
@click.option("--no-layers", is_flag=True, help="Do not print the table of layers.")
@click.option("--threads", type=int, default=None, metavar="N", help="Default: one per core.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    name: str | None, proto: str | None, model: str | None, int8_pair: tuple[str, str] | None, input_path: str | None,
    input_shape: tuple[str, ...], kernel: str | None, program: bool, repeats: int, no_layers: bool, threads: int | None,
    as_json: bool, **options: Any,
) -> int:  # fmt: skip
    """Time a model in fp32 and int8, run in turns on this CPU, and every layer of both.

    Both run as TNN's runtime would execute them. A layer is timed alone, repeated, with its input and weights in the
    caches: the sum over the layers is not the time of the model. The share of the peak is that of a bare loop of
    multiply-adds on as many cores.
    """
    config = QuantizeConfig(**from_options(QuantizeConfig, options), input_dims=parse_input_shapes(input_shape))
    if kernel and program:
        raise ConfigError("--kernel measures and --program shows: give one of them")
    if no_layers and (kernel or program):
        raise ConfigError(f"--no-layers is of the table of times: not with {'--kernel' if kernel else '--program'}")
    if kernel:
        source = chosen_model(name, proto, model)
        return _with_kernel(kernel, source, int8_pair, input_path, config, repeats, threads, as_json)
    from tnnquant.base.threads import set_threads
    from tnnquant.bench.latency import measure_latency
    from tnnquant.bench.models import quantize_here, read_int8, samples_for
    from tnnquant.cli.progress import progress_display
    from tnnquant.pipeline.models import model_files, open_model

    set_threads(threads)
    graph, config = open_model(model_files(*chosen_model(name, proto, model)), config)
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
        if program:
            return _program(fp32, int8, config, as_json)
        report = measure_latency(
            fp32, int8, inputs, repeats=repeats, input_dims=config.input_dims, progress=progress
        )
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
        return 0
    from tnnquant.cli.bench_tables import print_latency

    print_latency(report, with_layers=not no_layers)
    if made_here:
        fed = f"pictures of {input_path}" if input_path else "random values: right for times, useless as a model"
        click.echo(f"The int8 model was made on the fly from {fed}.")
    return 0


def _with_kernel(
    path: str, source: tuple[PathLike, PathLike | None], int8_pair: tuple[str, str] | None, input_path: str | None,
    config: QuantizeConfig, repeats: int, threads: int | None, as_json: bool,
) -> int:  # fmt: skip
    from tnnquant.bench.apart import run_apart
    from tnnquant.cli.progress import progress_display

    results: list = []
    machine: dict = {}
    arguments = (path, source, int8_pair, input_path, config, repeats, threads)
    with progress_display(enabled=sys.stderr.isatty() and not as_json) as progress:
        for what, value in run_apart("tnnquant.bench.in_network", "report_network", *arguments):
            if what == "progress" and progress:
                progress(*value)
            elif what == "network":
                results.append(value)
            elif what == "machine":
                machine = value
    if as_json:
        click.echo(json.dumps({"machine": machine, "networks": [each.as_dict() for each in results]}, indent=2))
    else:
        from tnnquant.cli.bench_tables import print_in_network, print_machine

        print_machine(machine)
        for each in results:
            print_in_network(each)
    problems = [each for each in results if each.problem]
    if problems:
        first = problems[0]
        raise KernelError(f"{path}: {first.operator} in the {first.model} network: {first.problem}")
    return 0


def _program(fp32: Graph | None, int8: Graph | None, config: QuantizeConfig, as_json: bool) -> int:
    from tnnquant.engine.executor import Executor
    from tnnquant.graph.lower import lower

    graphs = {"fp32": None if fp32 is None else lower(fp32), "int8": int8}
    programs = {
        name: Executor(graph, config.input_dims, exact=False).explain()
        for name, graph in graphs.items() if graph is not None
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps({name: made.as_dict() for name, made in programs.items()}, indent=2))
        return 0
    from tnnquant.cli.bench_tables import print_program

    for name, made in programs.items():
        print_program(name, made)
    return 0
