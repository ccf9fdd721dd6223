"""The ways from an fp32 model to an int8 one. All take the same steps: read, make, write, judge, tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tnnquant import recipes
from tnnquant.base.wording import parameter
from tnnquant.errors import ConfigError, InputError
from tnnquant.format.files import read_file
from tnnquant.inputs import Samples
from tnnquant.inputs.split import Split
from tnnquant.pipeline.duration import seconds_of_trial, work_of
from tnnquant.pipeline.job import Job
from tnnquant.pipeline.report import Report
from tnnquant.pipeline.settings import PathLike, settings
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
from tnnquant.quantization.quantize import Quantization, plan_graph, quantize_observed, with_second
from tnnquant.search.auto import Outcome, Search
from tnnquant.search.state import State, digest_of
from tnnquant.verdict.verify import Verification

__all__ = ["Gather", "by_search", "from_inputs", "from_statistics", "without_inputs"]

#: Gathers the statistics of the pictures that calibrate.
Gather = Callable[[Split], Part]
Inputs = PathLike | Sequence[PathLike]

#: Options that trials differ in: statistics of all of them may lie together.
_TRIED = frozenset({"blob_method", "weight_method", "merge_type", "recipe"})


def from_inputs(job: Job, inputs: Inputs, gather: Gather | None = None) -> Report:
    """One model of a recipe that reads the inputs itself, or of statistics that ``gather`` makes of them."""
    samples = job.read(inputs)
    if not job.dry_run:
        samples = job.fit_budget(samples)
    split, verification = job.split(samples)
    if job.dry_run:
        return _planned(job, samples)
    job.check_unread(samples)
    job.try_metric(verification)
    job.pace(split, verification)
    part = gather(split) if gather else None
    if part is None:
        result = recipes.quantize(
            job.graph, split, job.config, job.progress, job.left, verification.goal
        )
    else:
        result = _of_part(job, part)
        split.references.fill(split.pictures, result.executor.run_sample)
    job.write(result)
    job.judge(verification, result)
    return _told(job, split, result, part)


def by_search(job: Job, inputs: Inputs) -> Report:
    """The best of several models; it is written whenever a better one is found."""
    samples = job.read(inputs)
    if job.search.compares and job.verify.no_verify:
        raise ConfigError(
            f"{parameter('auto')}, {parameter('target')} and {parameter('target_agreement')} compare models by their "
            f"verdict: leave out {parameter('no_verify')}"
        )
    split, verification = job.split(samples)
    if job.dry_run:
        return _planned(job, samples)
    job.check_unread(samples)
    job.try_metric(verification)
    result = _searched(job, verification).result
    job.judge(verification, result)
    return _told(job, split, result)


def from_statistics(job: Job, part: Part | None, files: Sequence[PathLike] = ()) -> Report:
    """One model of statistics that are there already, in memory or in files; no input is read."""
    verification = job.judge_elsewhere()
    if part is None:
        _, plan = plan_graph(job.graph, job.config)
        part = merge([read_part(path) for path in files], plan)
    job.try_metric(verification)
    result = _of_part(job, part)
    job.write(result)
    job.judge(
        verification, result,
        f"the model was not judged: this run reads no pictures; add {parameter('eval_path', 'FOLDER')} to have it "
        "judged on some",
    )  # fmt: skip
    job.tell_of(result)
    job.tell_of_part(part)
    job.warn_of_few(job.report.samples)
    return job.report


def without_inputs(job: Job) -> Report:
    """One model of a recipe that needs no inputs."""
    if job.recipe.needs_inputs:
        others = " or ".join(entry.name for entry in recipes.every() if not entry.needs_inputs)
        raise ConfigError(
            f"there are no inputs: give a folder of them, or choose the recipe {others}, which needs none"
        )
    verification = job.judge_elsewhere()
    if job.dry_run:
        job.plan()
        return job.report
    job.try_metric(verification)
    result = recipes.quantize(job.graph, None, job.config)
    job.write(result)
    job.judge(
        verification, result,
        f"the model was not judged: add {parameter('eval_path', 'FOLDER')} to have it judged on some pictures",
    )
    job.tell_of(result)
    return job.report


def _planned(job: Job, samples: Samples) -> Report:
    """The report of a dry run: what would be done, with all inputs read once, and a few run to be timed."""
    samples.check()
    job.plan(samples)
    job.report.samples = samples.fed if job.recipe.needs_inputs else 0
    job.report.skipped = list(samples.skipped)
    job.tell_of_values(samples)
    job.warn_of_few(len(samples.names) - len(samples.skipped))
    return job.report


def _told(job: Job, split: Split, result: Quantization, part: Part | None = None) -> Report:
    """The report, with what there is to say of the inputs."""
    job.tell_of(result)
    fed = split.calibrate if isinstance(split.calibrate, Samples) else split.pictures
    if part is None and not job.report.trials:
        job.tell_of_others(result, split.pictures)
    if part is None:
        job.tell_of_samples(fed, counted=job.calibrates)
    else:
        job.tell_of_part(part)
    job.tell_of_held_out(split, result)
    job.tell_of_values(fed)
    job.warn_of_few(len(split.pictures.names) - len(job.report.skipped))
    return job.report


def _of_part(job: Job, part: Part) -> Quantization:
    """A model of statistics that are complete.

    Raises
    ------
    InputError
        They are of other files or options, of some of the samples, or a pass is left.
    """
    executor, plan = plan_graph(job.graph, job.config)
    require_same(part, model_digest([read_file(path) for path in job.source]), relevant_settings(job.config))
    require_complete(part)
    if not part.is_last:
        raise InputError(
            f"{part.name}: holds pass {part.number + 1} of {part.passes}; for the next one, gather every part of "
            f"the inputs with {parameter('after', 'FILES')}, which are these"
        )
    result = quantize_observed(executor, plan, observers_of(part, plan), job.config, job.progress)
    if part.without is not None:
        result = with_second(result, executor, plan, observers_of(part.without, plan), job.config)
    return result


def _searched(job: Job, verification: Verification) -> Outcome:
    """Try several models; fills in what the report says of them."""
    report, options = job.report, job.search
    state = None
    if options.state:
        fixed = {key: value for key, value in settings(job.config).items() if key not in _TRIED}
        contents = [read_file(path) for path in job.source]
        state = State(options.state, digest_of(*contents, fixed, verification.fingerprint()))
    search = Search(
        job.graph, verification, job.config, options, job.write_graph, state, job.progress,
        lambda executor, plan, config, *spent: seconds_of_trial(config, work_of(executor, plan), *spent),
    )  # fmt: skip
    outcome = search.run()
    report.seconds |= search.seconds
    report.settings = settings(outcome.config)
    report.trials = [{**trial.as_dict(), "best": trial.name == outcome.best} for trial in outcome.trials]
    report.warnings += outcome.notes
    if options.target_agreement is not None:
        report.target = {"agreement": options.target_agreement, "reached": outcome.reached}
    elif options.target is not None:
        name = verification.goal.metric.name if verification.goal else ""
        report.target = {"metric": name, "drop": options.target, "reached": outcome.reached}
    return outcome
