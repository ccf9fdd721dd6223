"""One run of ``quantize``: what it was asked for, its steps, and the report that these fill in."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tnnquant import recipes
from tnnquant.base.wording import parameter
from tnnquant.config import QuantizeConfig, SearchConfig, VerifyConfig
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError, MetricError
from tnnquant.format import read_model, write_model
from tnnquant.format.files import refuse_inputs
from tnnquant.graph import Graph
from tnnquant.graph.meaning import meaning_of
from tnnquant.inputs import Samples, scan
from tnnquant.inputs.choose import pick
from tnnquant.inputs.split import Split, split_samples
from tnnquant.pipeline.budget import fitting, settled
from tnnquant.pipeline.devices import fitting_recipe, tell_of_devices
from tnnquant.pipeline.duration import (
    TIMED,
    Pictures,
    expected_seconds,
    factor_of,
    seconds_of_others,
    time_pictures,
    work_of,
)
from tnnquant.pipeline.estimate import Estimate, estimate
from tnnquant.pipeline.models import open_model
from tnnquant.pipeline.pace import paced
from tnnquant.pipeline.report import ENOUGH_SAMPLES, Report, blob_reports, layer_reports
from tnnquant.pipeline.settings import PathLike, graph_inputs, input_config, settings
from tnnquant.pipeline.split import split_graph, tail_paths
from tnnquant.quantization.parts import Part
from tnnquant.quantization.plan import QuantPlan
from tnnquant.quantization.quantize import Quantization, Stopwatch, plan_graph
from tnnquant.recipes.base import Recipe
from tnnquant.verdict.pictures import normalizes_inside
from tnnquant.verdict.verify import Verification, require_labelled

__all__ = ["Job"]

_LOG = logging.getLogger(__name__)

#: How the notes of a recipe's steps begin, among those of layers.
STEP = "recipe: "
#: The seconds in which kernels were compiled, or loaded from the cache, among those of stages.
COMPILING = "kernels"

Progress = Callable[[str, int, int], None]


def _compiling_seconds() -> float:
    from tnnquant.kernels.jit import compiling_seconds

    return compiling_seconds()


@dataclass
class Job:
    """What is asked for, and the report on what comes of it.

    The routes (:mod:`tnnquant.pipeline.routes`) put its steps together.

    Attributes
    ----------
    source : tuple of path
        The fp32 model: a TNN pair, or an ONNX file.
    target : (path, path)
        The int8 pair to be written.
    config, verify, search
        See :func:`tnnquant.quantize_model`; likewise ``threads``, ``dry_run`` and ``progress``.
    started : float
        Of :func:`time.perf_counter`.
    compiled : float
        Seconds in which kernels had been compiled by then.
    graph : Graph
        The fp32 model.
    refitted : list of str
        Why the recipe is another than was asked for; empty if it is not.
    report : Report
    """

    source: tuple[PathLike, ...]
    target: tuple[Path, Path]
    config: QuantizeConfig
    verify: VerifyConfig
    search: SearchConfig
    threads: int | None = None
    dry_run: bool = False
    progress: Progress | None = None
    started: float = field(default_factory=time.perf_counter)
    compiled: float = field(default_factory=_compiling_seconds)
    graph: Graph = field(init=False)
    refitted: list[str] = field(init=False)
    report: Report = field(init=False)

    def __post_init__(self) -> None:
        refuse_inputs(self.target, [*self.source, *filter(None, [self.verify.labels])])
        if self.search.target is not None and self.verify.metric is None:
            raise ConfigError(
                f"{parameter('target')} is in the unit of {parameter('metric')}: give one, or "
                f"{parameter('target_agreement')}"
            )
        self._after = 0.0  # seconds that are expected to follow once the model is made
        self.graph, self.config = open_model(self.source, self.config)
        _LOG.info("read %s: %r", self.source[0], self.graph)
        asked = self.config.recipe
        self.config, self.refitted = fitting_recipe(self.graph, self.config, compares=self.search.compares)
        if self.recipe.name != asked and self.refitted:
            self.search = SearchConfig()
        proto, model = map(str, self.target)
        self.report = Report(
            proto, model, sum(map(os.path.getsize, self.source)), settings=settings(self.config), dry_run=self.dry_run
        )
        self.report.warnings += self.refitted

    @property
    def recipe(self) -> Recipe:
        """What the recipe of the configuration declares."""
        return recipes.find(self.config.recipe)

    # --- the pictures ---

    def read(self, inputs: PathLike | Sequence[PathLike]) -> Samples:
        """The samples of some files or a folder; they are decoded when they are used."""
        files = scan(inputs)
        self.report.warnings += files.notes
        samples = self._samples(files)
        self.report.seconds["reading"] = time.perf_counter() - self.started
        return samples

    def _samples(self, files: Iterable[Path]) -> Samples:
        return Samples(files, graph_inputs(self.graph, self.config), input_config(self.config), workers=self.threads)

    def _evaluation(self) -> Samples | None:
        """The pictures of --eval, fed as the calibration pictures are."""
        if not self.verify.eval_path or self.verify.no_verify:
            return None
        return self._samples(scan(self.verify.eval_path))

    def _evaluated(self) -> int:
        """How many pictures of --eval the model is judged on."""
        evaluation = self._evaluation()
        return len(evaluation.names) if evaluation else 0

    def split(self, samples: Samples) -> tuple[Split, Verification]:
        """Which of the samples are used for what, and what judges the model on some of them and on those of --eval."""
        evaluation, verify = self._evaluation(), self.verify
        require_labelled(verify, evaluation)
        split = split_samples(
            samples, calibrates=self.calibrates, compares=self.search.compares or self.recipe.chooses_on_held_out,
            holdout=verify.holdout, judges=0 if verify.no_verify else verify.verify_pictures,
            elsewhere=evaluation is not None,
            # Made from statistics the second model costs nothing, and the more pictures it is judged on the surer.
            apart=0.5 if self.recipe.starts_from_statistics else 0.25,
        )  # fmt: skip
        self.report.warnings += split.notes
        return split, Verification(split, verify, evaluation, self.config.device, self.search.target)

    @property
    def calibrates(self) -> bool:
        """Whether statistics are made of the inputs."""
        return self.recipe.needs_inputs or self.search.compares

    def judge_elsewhere(self) -> Verification | None:
        """What judges a model that is made without inputs: the pictures of --eval; None without them."""
        if self.verify.holdout:
            raise ConfigError(
                f"{parameter('holdout')} keeps calibration pictures out of the statistics: there are none in this run"
            )
        pictures = self._evaluation()
        require_labelled(self.verify, pictures)
        if pictures is None and self.verify.metric is not None:
            raise ConfigError(
                f"{parameter('metric')} needs pictures to judge the model on, and this run has none: add "
                f"{parameter('eval_path', 'FOLDER')}"
            )
        return None if pictures is None else Verification(None, self.verify, pictures, self.config.device)

    def try_metric(self, verification: Verification | None) -> None:
        """Try the user's own metric on what fp32 gives: what fails there is told before anything is written."""
        if verification is not None and verification.goal is not None:
            verification.probe(Executor(self.graph, self.config.input_dims))

    def pace(self, split: Split, verification: Verification) -> None:
        """Tell a bar from here on how many seconds are left."""
        evaluated = self._evaluated() if verification.has_evaluation else 0
        joining = () if evaluated else split.judge
        apart = joining if split.is_held_out and split.joins else split.unseen
        judged = (0, 0) if self.verify.no_verify else (len(split.judge), len(apart))
        self.progress = paced(self.progress, self.config, Pictures(len(split.pictures.numbers), *judged, evaluated))

    def fit_budget(self, samples: Samples) -> Samples:
        """The samples that a model can be made from in ``time_budget``; by another recipe, if none of them."""
        budget = self.search.time_budget
        if budget is None or not self.recipe.bounded or not samples.usable:
            return samples
        executor, plan = plan_graph(self.graph, self.config)
        work, made, evaluated = work_of(executor, plan), len(samples.usable), self._evaluated()
        found = settled(self.config, work, made, self._left(budget), evaluated)
        if found is None:
            factor = factor_of(work, time_pictures(executor, plan, samples))
            found = fitting(self.config, work, factor, made, self._left(budget), evaluated)
        self._after = found.after
        if (found.config, found.made) == (self.config, made):
            return samples
        pictures = f"{found.made} of {made} pictures" if found.made < made else f"{made} pictures"
        self.report.warnings.append(
            f"{parameter('time_budget', budget)} is less than recipe {self.config.recipe} is expected to take here "
            f"with {made} pictures (about {found.asked:.0f} s): made by recipe {found.config.recipe} from {pictures}"
        )
        self.config = found.config
        self.report.settings = settings(self.config)
        if found.made == made:
            return samples
        chosen = pick(samples.digests(), found.made, samples.usable)
        return self._samples(samples.subset(chosen).paths())

    def _left(self, budget: float) -> float:
        return budget - (time.perf_counter() - self.started)

    @property
    def left(self) -> float | None:
        """Seconds in which the model has to be made; None: as many as it takes."""
        budget = self.search.time_budget
        return None if budget is None else max(self._left(budget) - self._after, 0.0)

    def check_unread(self, samples: Samples) -> None:
        """Read inputs that no statistics are made of: what cannot be used is told before anything is written."""
        if not self.calibrates:
            samples.check()

    # --- the model ---

    def plan(self, samples: Samples | None = None) -> None:
        """Note what would become of each layer, and how long it would take: a few of the samples are run for that."""
        if self.recipe.needs_inputs:
            executor, plan = plan_graph(self.graph, self.config)
            self.report.layers = layer_reports(executor.graph, plan)
            found = estimate(executor, plan, self.report.bytes_before)
            self.report.estimate = found if samples is None else self._timed(found, executor, plan, samples)
            tell_of_devices(self.report, executor.graph, self.config)
        else:
            result = recipes.quantize(self.graph, None, self.config)
            self.report.layers = layer_reports(result.graph, result.plan, result.notes)
            tell_of_devices(self.report, result.graph, self.config)

    def _timed(self, found: Estimate, executor: Executor, plan: QuantPlan, samples: Samples) -> Estimate:
        """The estimate with the seconds that a run takes; a search takes what its budget says, so nothing is timed."""
        if self.search.compares or not samples.usable:
            return found
        work = work_of(executor, plan)
        factor = factor_of(work, time_pictures(executor, plan, samples))
        seconds = expected_seconds(self.config, work, factor, len(samples.usable), self._evaluated())
        return replace(found, seconds=seconds, timed=min(TIMED, len(samples.usable)))

    def tell_of_others(self, result: Quantization, samples: Samples) -> None:
        """How long recipes would take that come closer to fp32. Asked for after :meth:`tell_of`."""
        seconds = self.report.seconds
        # The next run does not compile again, and what comes before the statistics is counted as the start.
        spent = seconds["total"] - seconds.get(COMPILING, 0.0) - seconds.get("preparing", 0.0)
        work = work_of(result.executor, result.plan)
        others = seconds_of_others(self.config, work, spent, len(samples.usable), self._evaluated())
        # A recipe that has no use for the scales of a file is not the same run.
        fits = {name: self.config.scales is None or "scales" in recipes.find(name).settings for name in others}
        self.report.others = {name: value for name, value in others.items() if fits[name]}

    def write(self, result: Quantization) -> None:
        """Write the model; both files are replaced, or none."""
        self.report.seconds |= result.seconds
        started = time.perf_counter()
        self.write_graph(result.graph)
        _LOG.info("wrote %s: %r", self.target[0], result.graph)
        self.report.seconds["writing"] = time.perf_counter() - started

    def write_graph(self, graph: Graph) -> None:
        """Write a model, or the two that it is split into."""
        if not self.config.fp32_layers:
            write_model(graph, *self.target)
            return
        body, rest = split_graph(graph, self.config.fp32_layers)
        target = tail_paths(self.target)
        write_model(rest, *target)
        write_model(body, *self.target)
        inputs = [name for name in rest.inputs if name in body.outputs]
        self.report.tail = {"proto": str(target[0]), "model": str(target[1]), "inputs": inputs}

    def _written(self, result: Quantization) -> Graph:
        """The model as it was written; of two, both in one."""
        return result.graph if self.config.fp32_layers else read_model(*self.target)

    def judge(self, verification: Verification | None, result: Quantization, unjudged: str = "") -> None:
        """Run the model as it was written beside fp32, and note what comes of it.

        Parameters
        ----------
        verification : Verification or None
            None: there is nothing to judge it on.
        result : Quantization
        unjudged : str
            Why there is nothing; a warning.
        """
        if self.verify.no_verify:
            return
        if verification is None:
            self.report.warnings.append(unjudged)
            return
        clock = Stopwatch()
        written, meaning = self._written(result), None
        if result.zero_codes:
            meaning = meaning_of(written, result.fp32, result.zero_codes)
        try:
            self.report.verdict = verification.run(
                written, result.executor, progress=self.progress, meaning=meaning, unseen=result.unseen,
                is_whole=result.unseen is result.graph,
            )  # fmt: skip
        except MetricError as error:
            raise MetricError(f"{error}; the model is written, but not judged") from error
        clock.lap("verdict")
        self.report.seconds |= clock.laps

    # --- the report ---

    def tell_of(self, result: Quantization) -> None:
        """What is in the files that were written, and how long all of it took."""
        report = self.report
        compiled = _compiling_seconds() - self.compiled
        report.seconds |= {COMPILING: compiled} if compiled else {}
        report.seconds["total"] = time.perf_counter() - self.started
        tail = [report.tail["proto"], report.tail["model"]] if report.tail else []
        report.bytes_after = sum(map(os.path.getsize, (*self.target, *tail)))
        report.layers = layer_reports(result.graph, result.plan, result.notes)
        report.blobs = blob_reports(result)
        notes = result.notes.items()
        report.steps = {name.removeprefix(STEP): note for name, note in notes if name.startswith(STEP)}
        tell_of_devices(report, result.graph, self.config)

    def tell_of_samples(self, fed: Samples, *, counted: bool = True) -> None:
        """Which inputs were read, and what they hold.

        Parameters
        ----------
        fed : Samples
        counted : bool
            Statistics were made of them, by this process.
        """
        if counted:
            self.report.samples = fed.fed or len(fed.numbers)  # nothing was fed if a state held the statistics
        self.report.skipped = list(fed.skipped)

    def tell_of_part(self, part: Part) -> None:
        """Which inputs the statistics are of that were gathered elsewhere."""
        self.report.samples, self.report.skipped = len(part.samples), list(part.skipped)
        self.report.warnings += part.warnings()

    def tell_of_held_out(self, split: Split, result: Quantization) -> None:
        """How many inputs were held out: to the end, or until the recipe took them in."""
        held_out = len(split.choose.numbers) if split.choose else 0
        if held_out and result.unseen is not None:
            self.report.samples += held_out
        else:
            self.report.held_out = held_out

    def tell_of_values(self, fed: Samples) -> None:
        """What the inputs hold, and whether that looks right."""
        self.report.inputs = fed.statistics()
        # Where the verdict says already how pixels are fed, that is all there is to say of it.
        is_told = normalizes_inside(self.graph) or self._verdict_tells_of_pixels()
        self.report.warnings += fed.warnings(is_normalized_inside=is_told)

    def _verdict_tells_of_pixels(self) -> bool:
        sets = self.report.verdict.sets if self.report.verdict else []
        return any(check.where in self.graph.inputs for found in sets for check in found.limits)

    def warn_of_few(self, given: int) -> None:
        """Warn of statistics of a few inputs; where some are held out, the user gave enough all the same."""
        if given < ENOUGH_SAMPLES and recipes.find(self.report.settings["recipe"]).needs_inputs:
            count = f"{self.report.samples} sample{'' if self.report.samples == 1 else 's'}"
            self.report.warnings.append(
                f"only {count}: fewer than {ENOUGH_SAMPLES} seldom cover what the model will see"
            )
