"""``tnnquant quantize``: the replacement of TNN's ``quantization_cmd``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
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
from tnnquant.cli.verbosity import is_quiet
from tnnquant.config import QuantizeConfig, SearchConfig, VerifyConfig

if TYPE_CHECKING:
    from tnnquant.base.progress import Progress
    from tnnquant.inputs.scan import PathLike
    from tnnquant.inputs.split import Split
    from tnnquant.quantization.parts import Part

EPILOG = (
    "Exit codes: 0 done; 2 wrong option; 3 bad model file; 4 model cannot be run; 5 bad calibration files; "
    "6 no usable statistics; 7 cannot write; 8 written, but broken by its verdict; "
    "9 written, but the target was not reached; 130 interrupted."
)
BROKEN_CODE, MISSED_CODE = 8, 9

EXAMPLES = (
    ("net.onnx -i pictures -n 127.5 -s 1/127.5 -o net", "from ONNX; the outputs are TNN's two files"),
    ("-p net.tnnproto -m net.tnnmodel -i pictures -n 127.5 -s 1/127.5 -o net", "as TNN's tool does, with a verdict"),
    ("-p net.tnnproto -m net.tnnmodel -i pictures --recipe best -o net", "as close to fp32 as int8 can be"),
)


@click.command("quantize", cls=VectorCommand, epilog=EPILOG, context_settings=HELP, examples=EXAMPLES)
@model_options()
@click.option(
    "-i", "--input_path", metavar="FOLDER",
    help="Pictures (.jpg .jpeg .png .bmp) or tensors (.txt in NCHW order, .npy, .npz).",
)
@config_options(QuantizeConfig)
@config_options(VerifyConfig)
@config_options(SearchConfig)
@click.option(
    "--input-shape", multiple=True, metavar="NAME:N,C,H,W", help="Dims of an input, instead of those in the proto."
)
@click.option(
    "-o", "--output", default="model", show_default=True, metavar="NAME",
    help="Writes NAME_quantized.tnnproto and NAME_quantized.tnnmodel.",
)
@click.option("--threads", type=int, default=None, metavar="N", help="Default: one per core; the result is the same.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan and how long it takes; write nothing.")
@click.option("--stats-only", is_flag=True, help="Write the statistics of these inputs to -o NAME.npz, and no model.")
@click.option(
    "--from-stats", multiple=True, metavar="FILES",
    help="Go on from the statistics of all parts: make the model, or with --stats-only the next pass.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Gather the statistics on the workers of a Dask scheduler.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    name: str | None, proto: str | None, model: str | None, input_path: str | None, input_shape: tuple[str, ...],
    output: str, threads: int | None, dry_run: bool, stats_only: bool, from_stats: tuple[str, ...],
    scheduler: str | None, as_json: bool, **options: Any,
) -> int:  # fmt: skip
    """Quantize an fp32 model, ONNX or TNN, to int8 over a folder of calibration pictures.

    MODEL is an .onnx, or a TNN model by its name (net, for net.tnnproto and net.tnnmodel), either file, or its folder.

    Methods and types may be given by name or by the numbers of TNN's tool: -b 2 is -b kl. In the end the written
    model is run beside fp32, with the integers of the device, and judged: good, doubtful or broken.
    """
    config = QuantizeConfig(
        **from_options(QuantizeConfig, options), input_dims=parse_input_shapes(input_shape)
    )
    verify = VerifyConfig(**from_options(VerifyConfig, options))
    search = SearchConfig(**from_options(SearchConfig, options))
    _check_sources(input_path, stats_only, from_stats, scheduler, dry_run, verify, search, config.recipe)
    from tnnquant.cli.progress import progress_display
    from tnnquant.health.ahead import ahead_of
    from tnnquant.pipeline.api import quantize_model

    files = chosen_model(name, proto, model)
    started = time.perf_counter()
    is_shown = sys.stderr.isatty() and not as_json and not dry_run
    runs_int8 = not (verify.no_verify or stats_only or dry_run)
    with ahead_of(str(files[0])) as ahead, progress_display(is_shown, ahead.start if runs_int8 else None) as progress:
        if stats_only:
            from tnnquant.pipeline.collect import collect_statistics

            part = collect_statistics(
                *files, input_path, output, config, after=from_stats, threads=threads, progress=progress
            )
        else:
            gather = _gathering(scheduler, *files, config, progress) if scheduler else None
            report = quantize_model(
                *files, input_path, output, config, verify=verify, search=search,
                statistics=from_stats, gather=gather, threads=threads, dry_run=dry_run, progress=progress,
            )  # fmt: skip
    if stats_only:
        return _tell_of_statistics(part, output, as_json)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    elif not is_quiet():
        from tnnquant.cli.summary import print_advice, print_summary

        print_summary(report, time.perf_counter() - started)
        context = click.get_current_context()
        print_advice(report, context.command.name or "", context.meta.get("arguments", ()))
    if report.verdict and report.verdict.status == "broken":
        return BROKEN_CODE
    return MISSED_CODE if report.target and not report.target["reached"] else 0


def _gathering(
    scheduler: str, proto: PathLike, model: PathLike | None, config: QuantizeConfig, progress: Progress | None
) -> Callable[[Split], Part]:
    """What gathers the statistics of samples on the workers of a Dask scheduler."""
    from tnnquant.pipeline.distribute import gather_distributed

    def gather(split: Split) -> Part:
        return gather_distributed(
            scheduler, proto, model, split.paths(), config, progress, unseen=split.unseen_paths()
        )

    return gather


def _check_sources(
    inputs: str | None, stats_only: bool, from_stats: tuple, scheduler: str | None, dry_run: bool, verify: VerifyConfig,
    search: SearchConfig, recipe: str,
) -> None:  # fmt: skip
    """Refuse combinations of options that would leave one of them without effect."""
    from tnnquant import recipes

    declared = recipes.find(recipe)
    scales_recipes = " or ".join(entry.name for entry in recipes.every() if "scales" in entry.settings)
    share_recipes = " or ".join(entry.name for entry in recipes.every() if "fp32_share" in entry.settings)
    for names, needed, why in (
        (("time_budget",), declared.bounded or search.compares, "limits --auto, --target, --target-agreement and "
         "--recipe best: give one of them"),
        (("scales",), "scales" in declared.settings and not search.compares, f"is for --recipe {scales_recipes}"),
        (("fp32_share",), "fp32_share" in declared.settings or search.compares, f"is for --recipe {share_recipes}"),
        (("eval_path", "labels", "task", "verify_pictures"), not verify.no_verify, "is for the verdict, which "
         "--no-verify skips"),
    ):  # fmt: skip
        if given(*names) and not needed:
            raise click.UsageError(f"{given(*names)[0]} {why}.")
    finishing = from_stats and not stats_only
    if not declared.starts_from_statistics and (stats_only or from_stats or scheduler):
        raise click.UsageError(
            f"--recipe {recipe} reads the inputs itself: not with --stats-only, --from-stats or --scheduler."
        )
    if not inputs and not from_stats and (declared.needs_inputs or search.compares):
        raise click.UsageError("Missing option '-i' / '--input_path'.")
    if inputs and finishing:
        raise click.UsageError(
            "--from-stats makes the model of statistics alone, -i would not be read: leave it out (--eval FOLDER gives "
            "the verdict pictures), or add --stats-only for the next pass over it."
        )
    if scheduler and (stats_only or from_stats):
        raise click.UsageError("--scheduler gathers all statistics by itself: leave out --stats-only and --from-stats.")
    if (verify.eval_path or verify.labels or verify.holdout or verify.metric) and stats_only:
        raise click.UsageError(
            "--eval, --labels, --metric and --holdout judge a model, and --stats-only makes none: give --eval, "
            "--labels and --metric with the --from-stats that makes it."
        )
    if verify.holdout and from_stats:
        raise click.UsageError(
            "--holdout keeps pictures out of statistics, and --from-stats has them already: judge on others with --eval"
        )
    if (search.compares or search.state) and (stats_only or from_stats or scheduler):
        raise click.UsageError(
            "--auto, --target, --target-agreement and --state make statistics of their own: not with --stats-only, "
            "--from-stats or --scheduler."
        )
    if dry_run and (stats_only or from_stats or scheduler):
        raise click.UsageError(
            "--dry-run looks at the inputs on this machine: leave out --stats-only, --from-stats and --scheduler."
        )


def _tell_of_statistics(part: Part, output: str, as_json: bool) -> int:
    """Say what was written and what comes next."""
    facts = {
        "written": output, "samples": len(part.samples), "skipped": list(part.skipped), "pass": part.number + 1,
        "passes": part.passes,
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps({**facts, "warnings": part.warnings()}, indent=2))
        return 0
    for warning in part.warnings():
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{output}: pass {part.number + 1} of {part.passes} over {len(part.samples)} samples. Then:")
    if part.is_last:
        click.echo("  make the model, without -i: ... --from-stats PARTS... -o NAME (--eval FOLDER judges it)")
    else:
        click.echo("  run the next pass on each: ... -i FOLDER --stats-only --from-stats PARTS... -o NEXT.npz")
    return 0
