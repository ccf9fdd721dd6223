"""Quantize files: what the command line calls, and what a Python program may call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from tnnquant import recipes
from tnnquant.base.threads import set_threads
from tnnquant.config import QuantizeConfig, SearchConfig, VerifyConfig
from tnnquant.errors import ConfigError, InputError, OutputError
from tnnquant.format import read_model, write_model
from tnnquant.format.constants import MODEL_SUFFIX, PROTO_SUFFIX
from tnnquant.format.files import read_file
from tnnquant.graph import InputSpec
from tnnquant.inputs import InputConfig, Samples, scan
from tnnquant.pipeline.report import ENOUGH_SAMPLES, Report, blob_reports, layer_reports
from tnnquant.quantization.parts import (
    Part,
    merge,
    model_digest,
    observers_of,
    relevant_settings,
    require_complete,
    require_same,
)
from tnnquant.quantization.parts_file import read_part
from tnnquant.quantization.quantize import plan_graph, quantize_observed, with_second
from tnnquant.verdict.verify import Verification

__all__ = ["output_paths", "quantize_model"]

#: Options that trials differ in: statistics of all of them may lie together.
_TRIED = frozenset({"blob_method", "weight_method", "merge_type", "recipe"})

#: The recipe that chooses between models, on pictures held out for that.
BEST = "best"
#: The recipe that needs no inputs.
DYNAMIC = "dynamic"
#: How the notes of a recipe's steps begin, among those of layers.
STEP = "recipe: "

PathLike = str | os.PathLike
Progress = Callable[[str, int, int], None]
#: Gathers the statistics of samples.
Gather = Callable[[Samples], Part]


def quantize_model(
    proto: PathLike,
    model: PathLike,
    inputs: PathLike | Sequence[PathLike] | None,
    output: PathLike = "model",
    config: QuantizeConfig | None = None,
    *,
    verify: VerifyConfig | None = None,
    search: SearchConfig | None = None,
    statistics: Sequence[PathLike] | Part | Gather = (),
    threads: int | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Quantize an fp32 TNN model and write ``<output>_quantized.tnnproto`` and ``<output>_quantized.tnnmodel``.

    Parameters
    ----------
    proto, model : path
        The fp32 pair.
    inputs : path or sequence of path
        A folder of pictures (.jpg .jpeg .png .bmp) or tensors (.txt .npy .npz), or the files themselves; None with
        ``statistics``.
    output : path, default "model"
        May hold a folder, which must exist. Files of that name are replaced, and only on success.
    config : QuantizeConfig, optional
        Methods and preprocessing; the defaults are those of TNN's tool.
    verify : VerifyConfig, optional
        How the written model is judged; by default on 16 of the calibration pictures.
    statistics : sequence of path, Part, or callable (Samples) -> Part
        Statistics gathered elsewhere (:func:`tnnquant.collect_statistics`), of all parts: no sample is read, and the
        model is judged on the pictures of ``verify.eval_path``, or not at all. Or what gathers those of the samples of
        ``inputs`` that it is given (:func:`tnnquant.pipeline.distribute.gather_distributed`), the pictures held out
        excepted.
    search : SearchConfig, optional
        Several models to compare, of which the best is written; by default one is made.
    threads : int, optional
        Default: one a core. The result does not depend on it.
    dry_run : bool
        Check everything and plan, but run and write nothing.
    progress : callable (stage, done, total), optional
        Told of progress within the stages "ranges", "histograms", "weights" and "verdict".

    Returns
    -------
    Report

    Raises
    ------
    TnnQuantError
        One of its subclasses, with a message of one line. Nothing has been written then.

    Examples
    --------
    >>> report = tnnquant.quantize_model(
    ...     "squeezenet_v1.1.tnnproto", "squeezenet_v1.1.tnnmodel", "calibration/", "squeezenet",
    ...     tnnquant.QuantizeConfig(mean=(104.006, 116.669, 122.679), reverse_channel=True),
    ... )  # doctest: +SKIP
    """
    config, verify, search = config or QuantizeConfig(), verify or VerifyConfig(), search or SearchConfig()
    started = time.perf_counter()
    if statistics:
        _check_statistics(statistics, inputs, config, search)
    set_threads(threads)
    target_proto, target_model = output_paths(output)
    graph = read_model(proto, model)
    paths = (proto, model), (target_proto, target_model)
    if statistics and inputs is None:
        return _quantize_statistics(graph, paths, statistics, config, verify, threads, progress)
    if inputs is None:
        return _quantize_without_data(graph, paths, config, verify, threads, dry_run, progress)
    files = scan(inputs)
    read_seconds = time.perf_counter() - started
    samples = Samples(files, graph_inputs(graph, config), input_config(config), workers=threads)
    if search.compares and verify.no_verify:
        raise ConfigError("--auto and --target-agreement compare models by their verdict: leave out --no-verify")
    is_chosen = search.compares or config.recipe == BEST
    evaluation = _evaluation(samples, verify, threads)
    untouched = config.recipe == DYNAMIC and not search.compares
    verification = Verification(samples, verify, searching=is_chosen, evaluation=evaluation, untouched=untouched)
    report = Report(
        str(target_proto), str(target_model), _size(proto) + _size(model), settings=settings(config), dry_run=dry_run
    )
    report.warnings += files.notes + verification.notes
    if dry_run:
        return _planned(report, graph, samples, config)

    fed = verification.fed
    part = None
    if search.compares or search.state:
        result = _search(report, graph, verification, paths, config, search, progress)
        report.seconds = {"reading": read_seconds, **report.seconds}
    else:
        if statistics:
            result, part = _finish(graph, paths[0], statistics(fed), config, progress)
        else:
            result = recipes.quantize(graph, fed, config, progress, verification.watch)
        write_started = time.perf_counter()
        write_model(result.graph, target_proto, target_model)
        report.seconds = {"reading": read_seconds, **result.seconds, "writing": time.perf_counter() - write_started}
    if not verify.no_verify:
        _judge(report, verification, paths[1], result, progress)
    _tell_of_result(report, result, paths[1], started)
    if part is not None:
        _tell_of_part(report, part)
    else:
        if not untouched:
            report.samples = fed.fed or len(fed.numbers)  # nothing was fed if a state held the statistics
        report.skipped = list(fed.skipped)
    held_out = len(fed.held_out.numbers) if fed.held_out else 0
    if held_out and result.without_apart is not None:
        report.samples += held_out
    else:
        report.held_out = held_out
    _tell_of_inputs(report, graph, fed)
    _warn_of_few(report, len(samples.names) - len(report.skipped))
    return report


def _planned(report: Report, graph, samples: Samples, config: QuantizeConfig) -> Report:
    """The report of a dry run."""
    if config.recipe == DYNAMIC:
        result = recipes.quantize(graph, None, config)
        report.layers = layer_reports(result.graph, result.plan, result.notes)
    else:
        executor, plan = plan_graph(graph, config)
        report.layers = layer_reports(executor.graph, plan)
    samples.check()
    report.samples = 0 if config.recipe == DYNAMIC else samples.fed
    report.skipped = list(samples.skipped)
    _tell_of_inputs(report, graph, samples)
    _warn_of_few(report, len(samples.names) - len(report.skipped))
    return report


def _tell_of_inputs(report: Report, graph, samples: Samples) -> None:
    report.inputs = samples.statistics()
    report.warnings += samples.warnings(is_normalized_inside=_normalizes_inside(graph))


def _tell_of_result(report: Report, result, target, started: float) -> None:
    """What is in the files that were written, and how long all of it took."""
    report.seconds["total"] = time.perf_counter() - started
    report.bytes_after = sum(map(_size, target))
    report.layers = layer_reports(result.graph, result.plan, result.notes)
    report.blobs = blob_reports(result)
    notes = result.notes.items()
    report.steps = {name.removeprefix(STEP): note for name, note in notes if name.startswith(STEP)}


def _judge(report: Report, verification: Verification, target, result, progress: Progress | None) -> None:
    """Run the model as it was written beside fp32, and note what comes of it."""
    started = time.perf_counter()
    written = read_model(*target)
    report.verdict = verification.run(
        written, result.executor, progress=progress, zero_codes=result.zero_codes, without_apart=result.without_apart
    )
    report.seconds["verdict"] = time.perf_counter() - started


def _search(
    report: Report, graph, verification: Verification, paths, config: QuantizeConfig, options: SearchConfig, progress
):
    """Try several models; the best is written whenever a better one is found. Fills in what the report says of them."""
    from tnnquant.search.auto import Search
    from tnnquant.search.state import State, digest_of

    source, target = paths
    state = None
    if options.state:
        fixed = {key: value for key, value in settings(config).items() if key not in _TRIED}
        contents = [read_file(path) for path in source]
        state = State(options.state, digest_of(*contents, fixed, verification.fingerprint()))
    search = Search(graph, verification, config, options, lambda graph: write_model(graph, *target), state, progress)
    outcome = search.run()
    report.seconds = dict(search.seconds)
    report.settings = settings(outcome.config)
    report.trials = [{**trial.as_dict(), "best": trial.name == outcome.best} for trial in outcome.trials]
    report.warnings += outcome.notes
    if options.target_agreement is not None:
        report.target = {"agreement": options.target_agreement, "reached": outcome.reached}
    return outcome.result


def _quantize_without_data(
    graph, paths, config: QuantizeConfig, verify: VerifyConfig, threads: int | None, dry_run: bool, progress
) -> Report:
    """The rest of :func:`quantize_model` for the recipe that reads no inputs."""
    started = time.perf_counter()
    if config.recipe != DYNAMIC:
        raise ConfigError(f"there are no inputs: give a folder of them, or choose --recipe {DYNAMIC}, which needs none")
    evaluation = _evaluation_alone(graph, config, verify, threads)
    source, target = paths
    result = recipes.quantize(graph, None, config)
    report = Report(*map(str, target), sum(map(_size, source)), settings=settings(config), dry_run=dry_run)
    report.layers = layer_reports(result.graph, result.plan, result.notes)
    if dry_run:
        return report
    write_model(result.graph, *target)
    report.seconds = dict(result.seconds)
    if evaluation is not None:
        _judge(report, evaluation, target, result, progress)
    elif not verify.no_verify:
        report.warnings.append("the model was not judged: add --eval FOLDER to have it judged on some pictures")
    _tell_of_result(report, result, target, started)
    return report


def _evaluation_alone(graph, config: QuantizeConfig, verify: VerifyConfig, threads: int | None) -> Verification | None:
    """What judges a model that is made without inputs: the pictures of --eval; None without them."""
    if verify.holdout:
        raise ConfigError("--holdout keeps calibration pictures out of the statistics: there are none in this run")
    if verify.labels and not verify.eval_path:
        raise ConfigError("--labels needs --eval FOLDER: the pictures that the labels are for")
    if verify.no_verify or not verify.eval_path:
        return None
    pictures = Samples(scan(verify.eval_path), graph_inputs(graph, config), input_config(config), workers=threads)
    return Verification(pictures, verify, evaluation=pictures, untouched=True)


def _evaluation(samples: Samples, verify: VerifyConfig, threads: int | None) -> Samples | None:
    """The pictures of --eval, fed as the calibration pictures are."""
    if not verify.eval_path or verify.no_verify:
        return None
    return Samples(scan(verify.eval_path), samples.specs, samples.config, workers=threads)


def _quantize_statistics(
    graph, paths, statistics, config: QuantizeConfig, verify: VerifyConfig, threads: int | None, progress
) -> Report:
    """The rest of :func:`quantize_model` where the statistics are there already."""
    started = time.perf_counter()
    evaluation = _evaluation_alone(graph, config, verify, threads)
    source, target = paths
    result, part = _finish(graph, source, statistics, config, progress)
    write_model(result.graph, *target)
    report = Report(*map(str, target), sum(map(_size, source)), settings=settings(config))
    report.seconds = dict(result.seconds)
    if evaluation is not None:
        _judge(report, evaluation, target, result, progress)
    elif not verify.no_verify:
        report.warnings.append(
            "the model was not judged: this run reads no pictures; add --eval FOLDER to have it judged on some"
        )
    _tell_of_result(report, result, target, started)
    _tell_of_part(report, part)
    _warn_of_few(report, report.samples)
    return report


def _tell_of_part(report: Report, part: Part) -> None:
    report.samples, report.skipped = len(part.samples), list(part.skipped)
    report.warnings += part.warnings()


def _check_statistics(statistics, inputs, config: QuantizeConfig, search: SearchConfig) -> None:
    """Raise ConfigError where something else would be without effect."""
    if config.recipe != "tnn":
        raise ConfigError(f"--recipe {config.recipe} reads the inputs itself: it does not start from statistics")
    if search.compares or search.state:
        raise ConfigError("--auto, --target-agreement and --state make statistics of their own")
    if callable(statistics) != (inputs is not None):
        raise ConfigError(
            "statistics are gathered of inputs, or there already: give a callable with inputs, or files without"
        )


def _finish(graph, source, statistics, config: QuantizeConfig, progress: Progress | None):
    """A model of statistics that are complete: its quantization, and the merged statistics.

    Raises
    ------
    InputError
        They are of other files or options, of some of the samples, or a pass is left.
    """
    executor, plan = plan_graph(graph, config)
    part = statistics if isinstance(statistics, Part) else merge([read_part(path) for path in statistics], plan)
    require_same(part, model_digest([read_file(path) for path in source]), relevant_settings(config))
    require_complete(part)
    if not part.is_last:
        raise InputError(
            f"{part.name}: holds pass {part.number + 1} of {part.passes}; for the next one, run --stats-only with "
            "--from-stats and these files on every part of the inputs"
        )
    result = quantize_observed(executor, plan, observers_of(part, plan), config, progress)
    if part.without_apart is not None:
        result = with_second(result, executor, plan, observers_of(part.without_apart, plan), config)
    return result, part


def output_paths(output: PathLike) -> tuple[Path, Path]:
    """Where the results go; raises OutputError if the folder does not exist or cannot be written."""
    base = Path(output)
    folder = base.parent
    # Who writes a file name means the model: small.tnnproto is no small.tnnproto_quantized.tnnproto.
    name = base.name.removesuffix(PROTO_SUFFIX).removesuffix(MODEL_SUFFIX) or base.name
    if not base.name or str(output).endswith(("/", os.sep)):
        raise OutputError(f"--output is {str(output)!r}, expected a name, optionally behind a folder that exists")
    if not folder.is_dir():
        raise OutputError(f"the output folder {str(folder)!r} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the output folder {str(folder)!r} cannot be written")
    paths = tuple(folder / f"{name}_quantized{suffix}" for suffix in (PROTO_SUFFIX, MODEL_SUFFIX))
    for path in paths:
        if path.is_dir():
            raise OutputError(f"{str(path)!r} is a folder; choose another --output")
    return paths


def graph_inputs(graph, config: QuantizeConfig) -> dict:
    """The model's inputs with the overridden dims."""
    dims = config.input_dims
    return {name: InputSpec(tuple(dims.get(name, spec.dims)), spec.dtype) for name, spec in graph.inputs.items()}


def input_config(config: QuantizeConfig) -> InputConfig:
    """The preprocessing part of a configuration."""
    return InputConfig(
        mean=config.mean,
        scale=config.scale,
        reverse_channel=config.reverse_channel,
        resize=config.resize,
        skip_bad=config.skip_bad,
    )


def settings(config: QuantizeConfig) -> dict:
    """The configuration as JSON types."""
    values = asdict(config)
    values["merge_type"] = str(values["merge_type"])
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _normalizes_inside(graph) -> bool:
    """Whether the model itself shifts or scales its input before the first convolution."""
    return any(
        node.layer.NORMALIZES and any(blob in graph.inputs for blob in node.inputs) for node in graph.nodes
    )


def _warn_of_few(report: Report, given: int) -> None:
    # Where some are held out, the user gave enough all the same.
    if given < ENOUGH_SAMPLES and report.settings["recipe"] != DYNAMIC:
        count = f"{report.samples} sample{'' if report.samples == 1 else 's'}"
        report.warnings.append(
            f"only {count}: fewer than {ENOUGH_SAMPLES} seldom cover what the model will see"
        )


def _size(path: PathLike) -> int:
    return os.path.getsize(path)
