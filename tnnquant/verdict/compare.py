"""Run an int8 model beside its fp32 model and gather what the verdict is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from tnnquant.engine.executor import Executor
from tnnquant.errors import CalibrationError
from tnnquant.inputs.references import References
from tnnquant.verdict.figures import OutputSums
from tnnquant.verdict.judge import judge_output
from tnnquant.verdict.kinds import CLASSES, INTEGERS, OutputKind
from tnnquant.verdict.result import BROKEN, DOUBTFUL, Check, SetVerdict, worst

__all__ = ["Comparison", "compare"]

_MOST_NAMES = 10
_FLATTERY = (
    "these pictures are also in the statistics, so fresh ones may come out worse: --holdout 0.2 or --eval FOLDER judge "
    "the model on others"
)
_ONE_CLASS = 16
#: Fewer pictures allow no good verdict.
_FEW = 4

Progress = Callable[[str, int, int], None]


class Comparison:
    """What was seen of both models on a set of pictures, output by output.

    Attributes
    ----------
    pictures : int
    agreed : dict of str to list of float
        Of classes and integers: the share of agreeing places of each picture.
    best : dict of str to list of (int, int)
        Of classes at one place: best class of fp32 and of int8 for each picture.
    """

    def __init__(self, kinds: Iterable[OutputKind]):
        self.kinds = list(kinds)
        self.sums = {kind.name: OutputSums(kind.rows) for kind in self.kinds}
        self.agreed: dict[str, list[float]] = {kind.name: [] for kind in self.kinds}
        self.best: dict[str, list[tuple[int, int]]] = {kind.name: [] for kind in self.kinds}
        self.names: list[str] = []
        self.numbers: list[int] = []

    @property
    def pictures(self) -> int:
        """How many pictures have been compared."""
        return len(self.names)

    def add(self, sample, wanted: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> None:
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

    def _add_item(self, kind: OutputKind, sample, reference: np.ndarray, result: np.ndarray) -> None:
        if not np.isfinite(reference).all():
            raise CalibrationError(
                f"{sample.name}: the output {kind.name!r} of the fp32 model is NaN or infinite; check the model and "
                "the preprocessing of its input"
            )
        self.sums[kind.name].add(reference, result)
        if reference.shape != result.shape:
            return
        if kind.kind == INTEGERS:
            self.agreed[kind.name].append(float(np.mean(reference == result)))
        elif kind.kind == CLASSES:
            best = [np.argmax(x.reshape(kind.rows, -1), axis=0) for x in (reference, result)]
            self.agreed[kind.name].append(float(np.mean(best[0] == best[1])))
            if best[0].size == 1:
                self.best[kind.name].append((int(best[0][0]), int(best[1][0])))

    def verdict(self, source: str, *, held_out: bool | None, labels: Mapping[int, int] | None = None) -> SetVerdict:
        """Judge every output.

        Parameters
        ----------
        source : str
            Which pictures these are, in words.
        held_out : bool or None
            None: whoever asks does not know whether the pictures are in the statistics.
        labels : mapping of int to int, optional
            Right class by number of the source.
        """
        outputs = [judge_output(kind, self.sums[kind.name], self.agreed[kind.name]) for kind in self.kinds]
        disagreeing = [
            name
            for kind in self.kinds
            for name, (a, b) in zip(self.names, self.best[kind.name], strict=False)
            if a != b
        ]
        limits = self._limits()
        status = worst(check.status for check in (*limits, *(c for output in outputs for c in output.checks)))
        # None: whoever asks does not know. A broken model is broken, whatever the pictures.
        flattered = [_FLATTERY] if held_out is False and status != BROKEN else []
        return SetVerdict(
            status, self.pictures, source, held_out, outputs, limits, self._top1(labels),
            list(dict.fromkeys(disagreeing))[:_MOST_NAMES], flattered + self._notes(labels),
        )  # fmt: skip

    def _limits(self) -> list[Check]:
        """Why nothing can be called good, whatever the figures are."""
        if self.pictures < _FEW:
            count = f"{self.pictures} picture{'s' if self.pictures != 1 else ''}"
            return [Check(DOUBTFUL, f"only {count}: fewer than {_FEW} different ones prove nothing", "pictures")]
        if all(sums.is_constant for sums in self.sums.values()):
            return [Check(DOUBTFUL, "fp32 gives the same for all of them: they are no test", "pictures")]
        return []

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
        notes = []
        name = self._class_output()
        if name is None:
            return ["labels are of no use: no output is one score a class"] if labels else []
        classes = {wanted for wanted, _ in self.best[name]}
        count = next(kind.rows for kind in self.kinds if kind.name == name)
        if len(classes) == 1 and self.pictures >= _ONE_CLASS and count > 2:
            notes.append(
                f"fp32 sees class {classes.pop()} in all {self.pictures} pictures: check the preprocessing (-n -s -r)"
            )
        return notes


def compare(
    kinds: Iterable[OutputKind],
    samples: Iterable,
    int8: Executor,
    fp32: Executor | None,
    known: References | None = None,
    progress: Progress | None = None,
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
    """
    kinds = list(kinds)
    result = Comparison(kinds)
    for done, sample in enumerate(samples, 1):
        numbers = getattr(sample, "numbers", ())
        is_alone = known is not None and len(numbers) == 1
        wanted = known.get(numbers[0]) if is_alone else None
        if wanted is None or any(kind.name not in wanted for kind in kinds):
            wanted = fp32.run_sample(sample)
            if is_alone:
                known.put(numbers[0], wanted)
        result.add(sample, wanted, int8.run(sample.arrays))
        if progress:
            progress("verdict", done, len(samples))
    return result
