"""How good models are on a folder of pictures: top-1, top-5, agreement and cosine with fp32, with intervals."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tnnquant.base.metric import Metric
from tnnquant.base.threads import threads_in_use
from tnnquant.base.wording import dims_of, parameter
from tnnquant.devices.rules import arithmetic_of
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError, GraphError, InputError
from tnnquant.graph import Graph
from tnnquant.inputs import Sample
from tnnquant.inputs.display import quoted
from tnnquant.pipeline.devices import broken_on
from tnnquant.verdict.intervals import bootstrap, mcnemar, wilson
from tnnquant.verdict.labels import PLAUSIBLE_TOP1, labels_of_names
from tnnquant.verdict.own_metric import GatheredOutputs, Goal, MetricScore

if TYPE_CHECKING:
    from tnnquant.inputs.samples import Samples

__all__ = ["AccuracyReport", "Candidate", "ModelAccuracy", "measure_accuracy"]

Progress = Callable[[str, int, int], None]
_TOP = 5


@dataclass(frozen=True)
class Candidate:
    """A model to be measured: a name to call it by, and its graph."""

    name: str
    graph: Graph


@dataclass(frozen=True)
class ModelAccuracy:
    """What a model did, picture by picture.

    Attributes
    ----------
    best : int64 (pictures,)
        The class with the highest score.
    top1, top5 : bool (pictures with a label,) or None
        Whether the right class was the best, or among the best five; None without labels.
    cosine : float64 (pictures,) or None
        Of the output and the reference's; None for the reference itself, and where there is none.
    agrees : bool (pictures,) or None
        Whether the best class is that of the reference.
    seconds : float
        Of all runs together, on one core each.
    metric : MetricScore or None
        The user's own metric; of the reference that of fp32 with itself.
    broken : tuple of str
        Why the model cannot be used on the device that was asked for; then it has no figures, because they would not
        be those of the device.
    """

    name: str
    precision: str
    best: np.ndarray
    top1: np.ndarray | None
    top5: np.ndarray | None
    cosine: np.ndarray | None
    agrees: np.ndarray | None
    seconds: float
    broken: tuple[str, ...] = ()
    metric: MetricScore | None = None

    def share(self, which: str) -> tuple[float, float, float] | None:
        """A share with its interval: ``top1``, ``top5`` or ``agrees``."""
        values = getattr(self, which)
        if values is None:
            return None
        hits, count = int(values.sum()), len(values)
        return hits / count, *wilson(hits, count)

    def mean_cosine(self) -> tuple[float, float, float] | None:
        """The mean over the pictures with its interval."""
        return None if self.cosine is None else (float(self.cosine.mean()), *bootstrap(self.cosine))


@dataclass(frozen=True)
class AccuracyReport:
    """All models on the same pictures.

    Attributes
    ----------
    reference : str or None
        The name of the fp32 model that the others are compared with.
    labels : str
        Where the right classes are from, or why there are none; for people.
    device : str or None
        For which the models were judged.
    """

    models: list[ModelAccuracy]
    reference: str | None
    names: list[str]
    labels: str
    classes: int
    skipped: list[str]
    warnings: list[str]
    device: str | None = None

    def change(self, model: ModelAccuracy) -> tuple[float, float, float, float] | None:
        """Difference of top-1 to the reference: share, its paired bootstrap interval, McNemar's p-value."""
        base = next((other for other in self.models if other.name == self.reference), None)
        if base is None or base is model or model.top1 is None or base.top1 is None:
            return None
        steps = model.top1.astype(float) - base.top1
        return float(steps.mean()), *bootstrap(steps), mcnemar(int((steps > 0).sum()), int((steps < 0).sum()))

    def as_dict(self) -> dict:
        """JSON types."""
        return {
            "pictures": len(self.names), "classes": self.classes, "reference": self.reference,
            "labels": self.labels, "skipped": self.skipped, "warnings": self.warnings,
            **({"device": self.device} if self.device else {}),
            "models": [self._model_dict(model) for model in self.models],
        }  # fmt: skip

    def _model_dict(self, model: ModelAccuracy) -> dict:
        def interval(values: Sequence[float]) -> dict[str, float]:
            return {"value": values[0], "low": values[1], "high": values[2]}

        change, cosine = self.change(model), model.mean_cosine()
        return {
            "model": model.name, "precision": model.precision,
            **({"broken": list(model.broken)} if self.device else {}),
            **{key: share and interval(share) for key, share in
               (("top1", model.share("top1")), ("top5", model.share("top5")), ("agreement", model.share("agrees")))},
            "cosine": cosine and interval(cosine),
            "lowest_cosine": None if model.cosine is None else float(model.cosine.min()),
            "top1_change": change and {**interval(change[:3]), "p": change[3]},
            **({"metric": model.metric.as_dict()} if model.metric else {}),
            "ms_a_picture": round(1e3 * model.seconds / max(len(self.names), 1), 3),
        }  # fmt: skip


def measure_accuracy(
    candidates: Sequence[Candidate],
    samples: Samples,
    labels: Mapping[str, int] | None,
    *,
    from_names: bool = False,
    output: str | None = None,
    input_dims: Mapping[str, tuple[int, ...]] | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    metric: Metric | None = None,
) -> AccuracyReport:
    """Run every model on every sample; the first fp32 model is the reference of the others.

    Parameters
    ----------
    candidates : sequence of Candidate
        With the same inputs, of batch 1 under ``input_dims``.
    samples : Samples
    labels : mapping of str to int, or None
        Right class by name of the sample.
    from_names : bool
        Without ``labels``: take the class indices that begin the names, if they are plausible.
    output : str, optional
        Which output holds the scores of the classes; needed if there are several.
    input_dims : mapping, optional
        As for :class:`Executor`.
    progress : callable (stage, done, total), optional
        The stage is "pictures".
    device : str, optional
        A model that goes wrong there is broken, with the reasons instead of figures. For ``arm``, int8 models run with
        its arithmetic.
    metric : Metric, optional
        Of the user's own. With it the outputs need not be scores of classes: maps and boxes have the metric and the
        cosine, that of all outputs together if ``output`` does not name one.

    Raises
    ------
    MetricError
        The metric fails.
    ConfigError
        The models do not take the same inputs; there is no such output, or there are several.
    InputError
        A label is no class of the models.
    """
    _check_inputs(candidates)
    runners = [_Runner(candidate, output, input_dims, device, metric is not None) for candidate in candidates]
    _check_alike(runners, metric)
    _check_labels(runners[0], labels)
    told = "given" if labels else "none"
    if labels is None and from_names and runners[0].are_scores:
        labels, told = _guessed(samples.names, runners[0].classes)
    fp32 = [i for i, runner in enumerate(runners) if runner.precision == "fp32"]
    reference = fp32[0] if fp32 else None
    names: list[str] = []
    rows: list[list[_Scores]] = []
    gathered = [GatheredOutputs(runner.graph.outputs) for runner in runners] if metric else []
    for sample, scores, outputs in _run_all(runners, samples, labels, reference, keeps=metric is not None):
        names.append(sample.name)
        rows.append(scores)
        for seen, mine in zip(gathered, outputs, strict=True):
            seen.add(sample, outputs[reference or 0], mine)
        if progress:
            progress("pictures", len(names), len(samples))
    labelled = [labels is not None and name in labels for name in names]
    models = [
        _joined(runner, [row[i] for row in rows], reference is not None and i != reference, labelled)
        for i, runner in enumerate(runners)
    ]
    if not runners[0].are_scores:
        models = [replace(model, top1=None, top5=None, agrees=None) for model in models]
    best = max((float(model.top1.mean()) for model in models if model.top1 is not None), default=1.0)
    if from_names and told != "given" and best < PLAUSIBLE_TOP1:
        models = [replace(model, top1=None, top5=None) for model in models]
        told = f"none: by the numbers that begin the file names no model is right in {PLAUSIBLE_TOP1:.0%} of them"
        labels = None
    if metric:
        classes = None if labels is None else [labels.get(name, -1) for name in names]
        scored = [seen.score(Goal(metric), classes, getattr(samples, "names", ())) for seen in gathered]
        models = [replace(model, metric=score) for model, score in zip(models, scored, strict=True)]
    broken = [runner.name for i, runner in enumerate(runners) if any(row[i].is_broken for row in rows)]
    warnings = [f"{name}: NaN among the scores of some pictures, which count as wrong" for name in broken]
    if device is not None:
        found = [tuple(broken_on(candidate.graph, device, input_dims)) for candidate in candidates]
        models = [_without_figures(model, why) if why else model for model, why in zip(models, found, strict=True)]
        warnings += [f"{model.name} is broken: {line}" for model in models for line in model.broken]
    return AccuracyReport(
        models, None if reference is None else runners[reference].name, names, told,
        runners[0].classes if runners[0].are_scores else 0,
        list(getattr(samples, "skipped", [])), warnings, device,
    )  # fmt: skip


def _without_figures(model: ModelAccuracy, why: tuple[str, ...]) -> ModelAccuracy:
    return replace(model, top1=None, top5=None, cosine=None, agrees=None, metric=None, broken=why)


@dataclass(frozen=True)
class _Scores:
    best: int
    is_right: bool
    is_near: bool
    cosine: float
    agrees: bool
    is_broken: bool
    seconds: float


class _Runner:
    """A model made ready, and where its scores are."""

    def __init__(
        self, candidate: Candidate, output: str | None, input_dims: Mapping[str, tuple[int, ...]] | None,
        device: str | None, has_metric: bool = False,
    ):  # fmt: skip
        self.name, self.graph = candidate.name, candidate.graph
        self.precision = "int8" if candidate.graph.is_quantized else "fp32"
        # fp32 models are what the others are compared with, and stay exact.
        arithmetic = arithmetic_of(device if self.precision == "int8" else None)
        self.executor = Executor(candidate.graph, input_dims, device=arithmetic)
        outputs = candidate.graph.outputs
        if output is not None and output not in outputs:
            raise ConfigError(f"{self.name} has no output {output!r}; its outputs are {', '.join(outputs)}")
        if output is None and len(outputs) > 1 and not has_metric:
            raise ConfigError(
                f"{self.name} has the outputs {', '.join(outputs)}; {parameter('output', 'NAME')} says which holds "
                "the scores"
            )
        #: Those whose values are compared: one, or with a metric all.
        self.compared = (output,) if output else outputs
        self.dims = self.executor.specs[self.compared[0]].dims
        self.are_scores = len(self.compared) == 1 and sum(dim > 1 for dim in self.dims[1:]) <= 1
        self.classes = sum(int(np.prod(self.executor.specs[name].dims)) for name in self.compared)
        self.inputs = {name: self.executor.specs[name].dims for name in candidate.graph.inputs}


def _check_inputs(candidates: Sequence[Candidate]) -> None:
    first = candidates[0]
    for other in candidates[1:]:
        if set(other.graph.inputs) != set(first.graph.inputs):
            found, wanted = (", ".join(candidate.graph.inputs) for candidate in (other, first))
            raise ConfigError(
                f"{other.name} has the inputs {found}, {first.name} has {wanted}: models measured side by side "
                "take the same inputs"
            )


def _check_alike(runners: list[_Runner], metric: Metric | None) -> None:
    first = runners[0]
    for other in runners[1:]:
        if other.inputs != first.inputs:
            takes = [", ".join(f"{n} {'x'.join(map(str, d))}" for n, d in r.inputs.items()) for r in (first, other)]
            raise ConfigError(
                f"{other.name} takes {takes[1]}, {first.name} takes {takes[0]}: models measured side by side take the "
                "same inputs"
            )
        if other.classes != first.classes:
            raise ConfigError(
                f"{other.name} gives {other.classes} scores, {first.name} gives {first.classes}: not the same task"
            )
        if metric and set(other.graph.outputs) != set(first.graph.outputs):
            found, wanted = (", ".join(runner.graph.outputs) for runner in (other, first))
            raise ConfigError(
                f"{other.name} has the outputs {found}, {first.name} has {wanted}: {parameter('metric')} needs the same"
            )
    if metric and not any(runner.precision == "fp32" for runner in runners):
        raise ConfigError(f"{parameter('metric')} compares with fp32, and no fp32 model is given: add it")
    for runner in runners:
        if not runner.are_scores and not metric:
            shown = "x".join(map(str, runner.dims))
            raise ConfigError(
                f"output {runner.compared[0]!r} of {runner.name} is {shown}, not one score per class: "
                "quantize and inspect judge maps and boxes; or give a " + parameter("metric")
            )
    if len({runner.name for runner in runners}) < len(runners):
        raise ConfigError("a model is given twice")
    for name, dims in first.inputs.items():
        if dims[0] != 1:
            shown = "x".join(map(str, dims))
            raise GraphError(f"the model input {name!r} is {shown}, expected a batch of 1; give {dims_of(name)}")


def _check_labels(runner: _Runner, labels: Mapping[str, int] | None) -> None:
    for name, label in (labels or {}).items():
        if label >= runner.classes:
            raise InputError(
                f"{quoted(name)} has the label {label}, but {runner.name} gives {runner.classes} scores: expected a "
                f"class index of 0..{runner.classes - 1}"
            )


def _run_all(
    runners: Sequence[_Runner], samples: Iterable[Sample], labels: Mapping[str, int] | None, reference: int | None,
    keeps: bool,
) -> Iterator[tuple[Any, list[_Scores], list[Mapping[str, np.ndarray]]]]:  # fmt: skip
    """Pictures side by side, each on a core and in memory of its own; results in order, with all outputs if asked."""
    count = threads_in_use()
    own = threading.local()

    def work(sample: Sample) -> tuple[list[_Scores], list[Mapping[str, np.ndarray]]]:
        from tnnquant.kernels.program import one_thread

        with one_thread():
            if not hasattr(own, "executors"):
                own.executors = [runner.executor.twin() for runner in runners]
            scores, outputs = _score(runners, own.executors, sample, labels, reference)
            return scores, outputs if keeps else []

    import tnnquant.kernels.program  # noqa: F401 - threads must not import what they share

    pool = ThreadPoolExecutor(count, thread_name_prefix="tnnquant-accuracy")
    pending: deque[tuple[Sample, Future[tuple[list[_Scores], list[Mapping[str, np.ndarray]]]]]] = deque()
    try:
        for sample in samples:
            pending.append((sample, pool.submit(work, sample)))
            while len(pending) > count + 1:
                first, future = pending.popleft()
                yield first, *future.result()
        while pending:
            first, future = pending.popleft()
            yield first, *future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _score(
    runners: Sequence[_Runner], executors: Sequence[Executor], sample: Sample, labels: Mapping[str, int] | None,
    reference: int | None,
) -> tuple[list[_Scores], list[Mapping[str, np.ndarray]]]:  # fmt: skip
    label = None if labels is None else labels.get(sample.name)
    outputs: list[np.ndarray] = []
    seconds: list[float] = []
    every: list[Mapping[str, np.ndarray]] = []
    for runner, executor in zip(runners, executors, strict=True):
        before = time.perf_counter()
        made = executor.run_sample(sample)
        every.append(made)
        values = [np.asarray(made[name], np.float64).reshape(-1) for name in runner.compared]
        outputs.append(np.concatenate(values) if len(values) > 1 else values[0])
        seconds.append(time.perf_counter() - before)
    wanted = None if reference is None else outputs[reference]
    rows = [_compare(scores, label, wanted, spent) for scores, spent in zip(outputs, seconds, strict=True)]
    return rows, every


def _compare(scores: np.ndarray, label: int | None, wanted: np.ndarray | None, seconds: float) -> _Scores:
    is_broken = bool(np.isnan(scores).any())
    # Ties go to the lower index, as argmax does.
    order = np.argsort(-scores, kind="stable")[:_TOP]
    best = -1 if is_broken else int(order[0])
    is_right = label is not None and best == label
    is_near = label is not None and not is_broken and label in order
    cosine, agrees = float("nan"), False
    if wanted is not None:
        norm = float(np.linalg.norm(scores) * np.linalg.norm(wanted))
        # Of two zero vectors, 1; NaN where a score is.
        cosine = float(scores @ wanted) / norm if norm else float(not scores.any() and not wanted.any())
        agrees = best == int(np.argmax(wanted))
    return _Scores(best, is_right, is_near, cosine, agrees, is_broken, seconds)


def _guessed(names: Sequence[str], classes: int) -> tuple[dict[str, int] | None, str]:
    """Labels by the names of the files, and what to say of them."""
    found = labels_of_names(names, classes)
    if not found:
        return None, "none: the file names do not begin with class indices"
    count = f"{len(found)} of {len(names)} pictures" if len(found) < len(names) else f"all {len(names)} pictures"
    told = f"the class index that begins the file name, for {count} ({parameter('no_labels')} ignores it)"
    return {names[position]: label for position, label in found.items()}, told


def _joined(runner: _Runner, rows: list[_Scores], is_compared: bool, labelled: list[bool]) -> ModelAccuracy:
    def column(which: str) -> np.ndarray:
        return np.array([getattr(row, which) for row in rows])

    def of_labelled(which: str) -> np.ndarray | None:
        values = [getattr(row, which) for row, has_label in zip(rows, labelled, strict=True) if has_label]
        return np.array(values) if values else None

    return ModelAccuracy(
        runner.name, runner.precision, column("best"), of_labelled("is_right"), of_labelled("is_near"),
        column("cosine") if is_compared else None,
        column("agrees") if is_compared else None, sum(row.seconds for row in rows),
    )  # fmt: skip
