"""Run an int8 model beside its fp32 model and gather what the verdict is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from tnnquant.base.wording import parameter
from tnnquant.engine.executor import Executor
from tnnquant.errors import CalibrationError
from tnnquant.inputs.references import References
from tnnquant.inputs.samples import Sample, SampleSource
from tnnquant.verdict.agreement import Agreement
from tnnquant.verdict.figures import OutputSums
from tnnquant.verdict.judge import judge_output
from tnnquant.verdict.kinds import CLASSES, INTEGERS, VALUES, OutputKind
from tnnquant.verdict.labels import PLAUSIBLE_TOP1
from tnnquant.verdict.own_metric import GatheredOutputs, Goal
from tnnquant.verdict.pictures import SeenClasses
from tnnquant.verdict.result import BROKEN, DOUBTFUL, Check, SetVerdict, number_of, worst

__all__ = ["Comparison", "compare"]

_MOST_NAMES = 10
#: Fewer pictures allow no good verdict.
_FEW = 4

Progress = Callable[[str, int, int], None]


def _not_held_out() -> str:
    return (
        f"other pictures may come out worse: {parameter('holdout', 0.2)} or {parameter('eval_path', 'FOLDER')} judge "
        "the model on pictures it was not made from"
    )


class Comparison:
    """What was seen of both models on a set of pictures, output by output.

    Parameters
    ----------
    kinds : iterable of OutputKind
        Of what is compared.
    goal : Goal, optional
        A metric of the user's own.
    outputs : iterable of str
        The model's outputs, all of which the metric is given.

    Attributes
    ----------
    pictures : int
    agreed : dict of str to Agreement
        Of classes and integers: the share of agreeing places of each picture.
    seen : dict of str to SeenClasses
        Of classes at one place.
    best : dict of str to list of (int, int)
        Of classes at one place: best class of fp32 and of int8 for each picture.
    sources : sequence of str
        Names of the files by number, for the metric.
    """

    def __init__(self, kinds: Iterable[OutputKind], goal: Goal | None = None, outputs: Iterable[str] = ()):
        self.kinds = list(kinds)
        self._goal, self._gathered = goal, GatheredOutputs(outputs) if goal else None
        self.sums = {kind.name: OutputSums(kind.rows) for kind in self.kinds}
        self.agreed = {kind.name: Agreement() for kind in self.kinds}
        self.best: dict[str, list[tuple[int, int]]] = {kind.name: [] for kind in self.kinds}
        self.names: list[str] = []
        self.sources: Sequence[str] = ()
        self.numbers: list[int] = []
        self.seen = {kind.name: SeenClasses(kind) for kind in self.kinds}
        self._beside = 0  # pictures of the other part, of a mean of two

    @property
    def pictures(self) -> int:
        """How many pictures have been compared."""
        return len(self.names)

    def add(self, sample: Sample, wanted: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> None:
        """Count in the fresh items of a sample.

        Raises
        ------
        CalibrationError
            fp32 itself gives NaN or infinity.
        """
        for kind in self.kinds:
            pairs = zip(*(kind.items(x[kind.name], sample.fresh) for x in (wanted, got)), strict=True)
            for reference, result in pairs:
                self._add_item(kind, sample, reference, result)
        numbers = getattr(sample, "numbers", ())
        self.names += [sample.name] * sample.fresh
        self.numbers += numbers if len(numbers) == sample.fresh else [-1] * sample.fresh
        if self._gathered:
            self._gathered.add(sample, wanted, got)

    @property
    def needed(self) -> frozenset[str]:
        """Names of the blobs that :meth:`add` looks at."""
        return frozenset(self.sums) | frozenset(self._gathered.outputs if self._gathered else ())

    def _add_item(self, kind: OutputKind, sample: Sample, reference: np.ndarray, result: np.ndarray) -> None:
        if not np.isfinite(reference).all():
            raise CalibrationError(
                f"{sample.name}: the output {kind.name!r} of the fp32 model is NaN or infinite; check the model and "
                "the preprocessing of its input"
            )
        self.sums[kind.name].add(reference, result)
        if reference.shape != result.shape:
            return
        if kind.kind == INTEGERS:
            self.agreed[kind.name].add(float(np.mean(reference == result)))
        elif kind.kind == CLASSES:
            best = [np.argmax(x.reshape(kind.rows, -1), axis=0) for x in (reference, result)]
            self.agreed[kind.name].add(float(np.mean(best[0] == best[1])))
            if best[0].size == 1:
                self.best[kind.name].append((int(best[0][0]), int(best[1][0])))
                are_probabilities = self.seen[kind.name].add(reference.ravel())
                self.agreed[kind.name].add_scores(reference.ravel(), result.ravel(), are_probabilities)

    def add_known(self, references: References) -> None:
        """Note what fp32 gives for the pictures that int8 was not run on: how close the best classes are, how sure."""
        for number in sorted({*references.numbers} - {*self.numbers}):
            outputs = references.get(number) or {}
            for kind in self.kinds:
                if kind.kind == CLASSES and self.best[kind.name] and kind.name in outputs:
                    scores = outputs[kind.name].ravel()
                    if scores.size == kind.rows and np.isfinite(scores).all():
                        self.agreed[kind.name].add_wanted(scores, self.seen[kind.name].add(scores))

    def mixed(self, own: Comparison, share: float) -> Comparison:
        """A comparison in which these pictures have the weight ``share``, and those of ``own`` the rest.

        The error of a model made from fewer pictures is larger on others than that of the model which is written. What
        lies beyond the ranges of n pictures falls as 1 / n: of that part of the error ``share`` is left, the number of
        the fewer over that of all. The rest is the error on pictures of the statistics. Of values, where one
        picture may make most of the error, the worst of few pictures counts as it is with ``own``.
        """
        found = Comparison(self.kinds)
        found.sums = {
            kind.name: self.sums[kind.name].mixed(own.sums[kind.name], share, forgives_one=kind.kind == VALUES)
            for kind in self.kinds
        }
        found.agreed = {name: agreed.mixed(own.agreed[name], share) for name, agreed in self.agreed.items()}
        found.best, found.seen = self.best, self.seen
        found.names, found.numbers, found.sources = self.names, self.numbers, self.sources
        found._goal, found._gathered = self._goal, self._gathered
        found._beside = own.pictures
        return found

    def verdict(
        self, source: str, *, held_out: bool | None, labels: Mapping[int, int] | None = None,
        are_guessed: bool = False, looks_at_pictures: bool = True,
    ) -> SetVerdict:  # fmt: skip
        """Judge every output.

        Parameters
        ----------
        source : str
            Which pictures these are, in words.
        held_out : bool or None
            None: whoever asks does not know whether the pictures are in the statistics.
        labels : mapping of int to int, optional
            Right class by number of the source.
        are_guessed : bool
            The labels are numbers that begin file names: the metric is given them only if they look like classes.
        looks_at_pictures : bool
            Say whether fp32 is sure of the pictures and tells them apart.
        """
        are_new = held_out is not False
        outputs = [
            judge_output(kind, self.sums[kind.name], self.agreed[kind.name], are_new=are_new) for kind in self.kinds
        ]
        disagreeing = [
            name
            for kind in self.kinds
            for name, (a, b) in zip(self.names, self.best[kind.name], strict=False)
            if a != b
        ]
        limits = self._limits(looks_at_pictures)
        top1 = self._top1(labels)
        score = None
        if self._goal and self._gathered:
            is_plausible = top1 is not None and top1["top1_fp32"] >= PLAUSIBLE_TOP1
            told = self._gathered.by_number(labels if is_plausible or not are_guessed else None)
            score = self._gathered.score(self._goal, told, self.sources)
        own = [score.check()] if score else []
        remarks = [] if are_guessed else self._notes(labels)
        status = worst(check.status for check in (*limits, *own, *(c for output in outputs for c in output.checks)))
        # None: whoever asks does not know. A broken model is broken on any pictures.
        remark = [_not_held_out()] if held_out is False and status != BROKEN else []
        return SetVerdict(
            status, self.pictures, source, held_out, outputs, limits, top1,
            list(dict.fromkeys(disagreeing))[:_MOST_NAMES], remark + remarks, score,
        )  # fmt: skip

    def _limits(self, looks_at_pictures: bool) -> list[Check]:
        """Why nothing can be called good, for any figures."""
        if max(self.pictures, self._beside) < _FEW:
            count = number_of(self.pictures, "picture")
            return [Check(DOUBTFUL, f"only {count}: a verdict needs {_FEW} different ones", "pictures")]
        if all(sums.is_constant for sums in self.sums.values()):
            return [Check(DOUBTFUL, "fp32 gives the same output for all of them, so they test nothing", "pictures")]
        return [check for seen in self.seen.values() if looks_at_pictures and (check := seen.check())]

    def _class_output(self) -> str | None:
        return next((kind.name for kind in self.kinds if self.best[kind.name]), None)

    def _top1(self, labels: Mapping[int, int] | None) -> dict | None:
        name = self._class_output()
        if not labels or name is None:
            return None
        rows = [
            (labels[number], *best)
            for number, best in zip(self.numbers, self.best[name], strict=True)
            if number in labels
        ]
        if not rows:
            return None
        right, wanted, got = np.array(rows).T
        return {
            "pictures": len(rows),
            "top1_fp32": float(np.mean(wanted == right)),
            "top1_int8": float(np.mean(got == right)),
        }

    def _notes(self, labels: Mapping[int, int] | None) -> list[str]:
        if labels and self._class_output() is None and self._goal is None:
            return ["labels are of no use: no output is one score per class"]
        return []


def compare(
    kinds: Iterable[OutputKind],
    samples: SampleSource,
    int8: Executor,
    fp32: Executor | None,
    known: References | None = None,
    progress: Progress | None = None,
    goal: Goal | None = None,
    outputs: Iterable[str] = (),
) -> Comparison:
    """Run both models on every sample.

    Parameters
    ----------
    kinds : iterable of OutputKind
        Of the outputs to compare.
    samples : re-iterable of Sample
    int8, fp32 : Executor
        ``fp32`` is needed for samples that are not ``known`` only.
    known : References, optional
        What fp32 gave for these samples; what is missing is added.
    progress : callable (stage, done, total), optional
        The stage is "verdict".
    goal, outputs
        See :class:`Comparison`.
    """
    result = Comparison(kinds, goal, outputs)
    result.sources = getattr(samples, "names", ())
    for done, sample in enumerate(samples, 1):
        numbers: tuple[int, ...] = getattr(sample, "numbers", ())
        references = known if len(numbers) == 1 else None
        wanted = references.get(numbers[0]) if references is not None else None
        if wanted is None or not result.needed <= wanted.keys():
            assert fp32 is not None  # not all samples are known
            wanted = fp32.run_sample(sample)
            if references is not None:
                references.put(numbers[0], wanted)
        result.add(sample, wanted, int8.run(sample.arrays))
        if progress:
            progress("verdict", done, len(samples))
    return result
