"""``tnnquant quantize``: the replacement of TNN's ``quantization_cmd``."""

from __future__ import annotations

import json
import sys
import time

import click

from tnnquant.cli.options import VectorCommand, config_options, from_options, parse_input_shapes
from tnnquant.config import QuantizeConfig, VerifyConfig

EPILOG = (
    "Exit codes: 0 done; 2 wrong option; 3 bad model file; 4 model cannot be run; 5 bad calibration files; "
    "6 no usable statistics; 7 cannot write; 8 written, but broken by its verdict; 130 interrupted."
)
BROKEN_CODE = 8


@click.command("quantize", cls=VectorCommand, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-p", "--proto", required=True, metavar="FILE", help="The fp32 .tnnproto.")
@click.option("-m", "--model", required=True, metavar="FILE", help="The fp32 .tnnmodel.")
@click.option(
    "-i", "--input_path", required=True, metavar="FOLDER",
    help="Pictures (.jpg .jpeg .png .bmp) or tensors (.txt in NCHW order, .npy, .npz).",
)
@config_options(QuantizeConfig)
@config_options(VerifyConfig)
@click.option(
    "--input-shape", multiple=True, metavar="NAME:N,C,H,W", help="Dims of an input, instead of those in the proto."
)
@click.option(
    "-o", "--output", default="model", show_default=True, metavar="NAME",
    help="Writes NAME_quantized.tnnproto and NAME_quantized.tnnmodel.",
)
@click.option("--threads", type=int, default=None, metavar="N", help="Default: one a core; the result is the same.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan, run and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(proto, model, input_path, input_shape, output, threads, dry_run, as_json, **options) -> int:
    """Quantize an fp32 TNN model to int8 over a folder of calibration pictures.

    Methods and types may be given by the original tool's numbers or by name: -b 2 is -b kl. In the end the written
    model is run beside fp32, with the integers of the device, and judged: good, doubtful or broken.
    """
    config = QuantizeConfig(
        **from_options(QuantizeConfig, options), input_dims=parse_input_shapes(input_shape)
    )
    verify = VerifyConfig(**from_options(VerifyConfig, options))
    from tnnquant.api import quantize_model
    from tnnquant.cli.progress import progress_display

    started = time.perf_counter()
    with progress_display(enabled=sys.stderr.isatty() and not as_json and not dry_run) as progress:
        report = quantize_model(
            proto, model, input_path, output, config, verify=verify, threads=threads, dry_run=dry_run,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        from tnnquant.cli.summary import print_summary

        print_summary(report, time.perf_counter() - started)
    return BROKEN_CODE if report.verdict and report.verdict.status == "broken" else 0
