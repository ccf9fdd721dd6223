"""The verdict of one run: which pictures, the int8 model as it was written, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tnnquant.base.wording import parameter
from tnnquant.config import VerifyConfig
from tnnquant.devices.rules import NAIVE, arithmetic_of
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError
from tnnquant.graph import Graph
from tnnquant.graph.meaning import Meaning
from tnnquant.inputs import Samples
from tnnquant.inputs.choose import pick
from tnnquant.inputs.normalize import PictureInput
from tnnquant.inputs.references import References
from tnnquant.inputs.split import LEAST_UNSEEN, Split, split_samples
from tnnquant.verdict.compare import Comparison, compare
from tnnquant.verdict.kinds import CLASSES, OutputKind, judged_blobs, judged_kinds
from tnnquant.verdict.labels import PLAUSIBLE_TOP1, labels_of_names, no_classes, read_labels
from tnnquant.verdict.layers import layer_noise
from tnnquant.verdict.own_metric import Goal
from tnnquant.verdict.pictures import normalizes_inside, nothing_found, pixels, poor_pixels, unusual_feed
from tnnquant.verdict.result import BROKEN, DOUBTFUL, Check, SetVerdict, Verdict, number_of, worst

__all__ = ["SECOND", "Verification", "require_labelled"]

#: The stage of progress in which the second model is judged.
SECOND = "verdict, second model"

#: Pictures whose blobs are compared layer by layer, and layers that are named.
_TAPPED, _NAMED = 1, 5
#: Pictures that layers to be kept in fp32 are ranked by.
_GLANCED = 4
#: Calibration pictures in which something must be found.
_LOOKED = 16
#: Pictures that a metric of the user's own is tried on, at most, before a model is made.
_PROBED = 16
#: Fewer calibration pictures allow no good verdict; nor do fewer labels say that fp32 is wrong.
LEAST_GIVEN = 8
#: Where a check stands that is of the number of pictures.
_PICTURES = "pictures"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class _Set:
    """Pictures to compare on."""

    samples: Samples
    source: str
    held_out: bool
    references: References
    labels: dict[int, int]
    are_labels_guessed: bool = False
    is_calibration: bool = False


def require_labelled(config: VerifyConfig, evaluation: Samples | None) -> None:
    """Raise ConfigError for labels without the pictures that they are for."""
    if config.labels and evaluation is None:
        raise ConfigError(
            f"{parameter('labels')} needs {parameter('eval_path', 'FOLDER')}: the pictures that the labels are for"
        )


class Verification:
    """Gives the verdict when the model is written, and those of trials before.

    Parameters
    ----------
    split : Split or None
        The calibration pictures: which of them judge, and which are in the statistics; None: there are none.
    config : VerifyConfig
    evaluation : Samples, optional
        The pictures of ``--eval``.
    device : str
        Int8 models run with the arithmetic of this one.
    target : float, optional
        Of the user's own metric: how much worse than fp32 the model may be.

    Attributes
    ----------
    goal : Goal or None
        The user's own metric, with labels for the calibration pictures once it was tried (:meth:`probe`).

    Raises
    ------
    ConfigError, InputError
        Options or labels that do not fit.
    """

    def __init__(
        self, split: Split | None, config: VerifyConfig, evaluation: Samples | None = None, device: str = NAIVE,
        target: float | None = None,
    ):  # fmt: skip
        self.config = config
        self._arithmetic = arithmetic_of(device)
        self.goal = None if config.own_metric is None else Goal(config.own_metric, target)
        require_labelled(config, evaluation)
        self._has_own = split is not None
        if split is None:
            assert evaluation is not None
            split = split_samples(
                evaluation, calibrates=False, judges=0 if config.no_verify else config.verify_pictures
            )
        self.split = split
        self._evaluation = evaluation
        self._labels = read_labels(config.labels, evaluation.names) if config.labels and evaluation else {}
        self._sets: list[_Set] = []
        self._glanced: _Set | None = None
        self._tried = 0
        self._reference: Executor | None = None
        if not config.no_verify:
            self._sets = self._make_sets()
            # Not of the statistics: values beyond the ranges, where layers in fp32 help most, occur in others only.
            samples = self.split.pictures
            few = pick(samples.digests(), _GLANCED * samples.batch, self.split.judge)
            self._glanced = _Set(samples.subset(few), "", False, self.split.references, {})

    @property
    def has_evaluation(self) -> bool:
        """Whether there are pictures of ``--eval``."""
        return self._evaluation is not None

    def fingerprint(self) -> dict:
        """What trials depend on beside the model, as JSON types: contents of the pictures and how they are judged."""
        split = self.split
        digests = split.pictures.digests()
        numbers = (split.calibrate if isinstance(split.calibrate, Samples) else split.pictures).numbers
        return {
            "statistics": sorted(digests[number] for number in numbers),
            "comparison": [digests[number] for number in split.judge],
            "evaluation": self._evaluation.digests() if self._evaluation is not None else [],
            "task": self.config.task,
            **({"metric": self.goal.metric.identity} if self.goal else {}),
        }

    def _make_sets(self) -> list[_Set]:
        """Evaluation pictures, if any, then calibration pictures."""
        sets = []
        if self._evaluation is not None:
            names = self._evaluation.names
            labels = self._labels or labels_of_names(names)
            source = f"all {len(names)} evaluation pictures"
            sets.append(_Set(self._evaluation, source, True, References(), labels, not self._labels))
        if self._has_own:
            sets.append(self._own_set())
        return sets

    def _made_from(self, count: int) -> str:
        """What is said of so many of the calibration pictures where they are in the statistics."""
        return f"{count} of the {len(self.split.pictures.names)} calibration pictures, which the model was made from"

    def _joined_set(self, fp32: Executor) -> _Set:
        """The calibration pictures that judge once those held out have joined the statistics.

        Few are held out of few pictures: of classes, whose scores all pictures tell of, and where those are too few for
        any verdict, others judge the model beside them.
        """
        split, chosen = self.split, list(self.split.judge)
        judged = judged_kinds(fp32.inference, self.config.task)
        is_short = len(chosen) < LEAST_UNSEEN or any(kind.kind == CLASSES for kind in judged)
        if is_short and split.pictures.batch == 1:
            digests = split.pictures.digests()
            held = {digests[number] for number in chosen}
            others = [number for number, digest in enumerate(digests) if digest not in held]
            chosen += pick(digests, max(0, self.config.verify_pictures - len(chosen)), others)
        return replace(
            self._sets[-1], samples=split.pictures.subset(sorted(chosen)), source=self._made_from(len(chosen)),
            held_out=False,
        )  # fmt: skip

    def _own_set(self) -> _Set:
        """The calibration pictures that judge."""
        split = self.split
        count, whole = len(split.judge), len(split.pictures.names)
        if split.is_held_out:
            source = f"{number_of(count, 'calibration picture')} held out from the statistics"
            source += "; the model was chosen by them" if split.compares else ""
        elif split.calibrate is None:
            source = f"{count} of the {whole} pictures"
        else:
            source = self._made_from(count)
        is_new = split.is_held_out or split.calibrate is None
        guessed = labels_of_names(split.pictures.names)
        return _Set(split.pictures.subset(split.judge), source, is_new, split.references, guessed, True, True)

    def run(
        self,
        written: Graph,
        fp32: Executor,
        layers: Executor | None = None,
        progress: Progress | None = None,
        meaning: Meaning | None = None,
        unseen: Graph | None = None,
        is_whole: bool = False,
    ) -> Verdict:
        """Compare on all sets of pictures, and find the layers that add most noise.

        The status is that of ``--eval``, if given; else that of the second model, or *broken* where either is.

        Parameters
        ----------
        written : Graph
            The int8 model, read back from its files.
        fp32 : Executor
            Of the fp32 model.
        layers : Executor, optional
            Of the graph whose blobs the int8 model has, if that is another.
        progress : callable (stage, done, total), optional
        meaning : Meaning, optional
            Of the int8 model; by default it means what it says.
        unseen : Graph, optional
            Of the quantization (:class:`tnnquant.quantization.quantize.Quantization`); nothing comes of it if there
            are pictures of ``--eval``.
        is_whole : bool
            ``unseen`` is the model itself.
        """
        int8, split = self.executor(written, fp32), self.split
        numbers = split.unseen
        if split.is_held_out and unseen is not None:
            # The model was made of the pictures that choose, too, in the end: the one made before was not.
            self._sets[-1] = self._joined_set(fp32)
            numbers = split.judge if self._evaluation is None else ()
        seen = [self._compare(chosen, int8, fp32, progress) for chosen in self._sets]
        usable = split.pictures.subset(numbers).usable
        is_apart = unseen is not None and len(usable) >= (1 if split.is_held_out else LEAST_UNSEEN)
        # fp32 is asked once about the calibration pictures: on those that are more. There is no --eval then.
        few = self._sets[-1] if is_apart else None
        found = [self._verdict(*pair, fp32, looks=pair[0] is not few) for pair in zip(self._sets, seen, strict=True)]
        if is_apart and unseen is not None:
            source = f"{number_of(len(usable), 'calibration picture')}, by a second model made without them"
            source += "; its steps were chosen by them" if split.is_held_out else ""
            labels = dict(self.goal.labels) if self.goal else {}  # for the metric
            chosen = _Set(split.pictures.subset(usable), source, True, split.references, labels, True, True)
            told = progress and (lambda _, done, total: progress(SECOND, done, total))
            apart = self._compare(chosen, self.executor(unseen, fp32), fp32, told)
            apart.add_known(split.references)
            if not is_whole:
                lost = len({*split.pictures.digests()}) - len(usable)
                apart = apart.mixed(seen[-1], lost / (lost + len(usable)))
                chosen = replace(chosen, source=f"{source}; corrected, as it was made from fewer pictures")
            found.append(self._verdict(chosen, apart, fp32))
            status = found[-1].status
            if is_whole or any(verdict.status == BROKEN for verdict in found):
                status = worst(verdict.status for verdict in found)
            # What is doubtful on the pictures of the statistics alone is in the other figures already.
            found.sort(key=lambda verdict: verdict.status != status)
        limits = self._picture_limits(fp32)
        if self._evaluation is None:
            tells = is_apart and len(usable) >= LEAST_GIVEN
            limits += self._set_limits(fp32, chosen.samples if tells else self._sets[-1].samples)
            limits += self._found_limits(fp32, [*seen, apart] if is_apart else seen)
        found = [_limited(verdict, limits) for verdict in found]
        worst_layers = layer_noise(layers or fp32, int8, self.tapped(), meaning)[:_NAMED]
        return Verdict(found[0].status, found, worst_layers)

    def try_out(self, graph: Graph, fp32: Executor, *, on_evaluation: bool = False) -> SetVerdict:
        """The verdict of a trial on calibration pictures, or on those of ``--eval`` if there are any."""
        if on_evaluation and self._evaluation is not None:
            self._tried += 1
            if self._tried == 2:
                # On the pictures that chose it the best of several trials looks better than it is.
                first = self._sets[0]
                self._sets[0] = replace(first, source=f"{first.source}; the model was chosen by them")
        return self._judge(self._sets[0 if on_evaluation else -1], self.executor(graph, fp32), fp32, None)

    def tapped(self) -> Samples:
        """The few pictures on which layers are compared."""
        samples = self.split.pictures
        return samples.subset(samples.subset(self.split.judge).usable[: _TAPPED * samples.batch])

    def glance(self, graph: Graph, fp32: Executor) -> SetVerdict:
        """As :meth:`try_out`, on a few of the pictures: to rank what is tried."""
        chosen = self._glanced if self._glanced and self._glanced.samples.usable else self._sets[-1]
        return self._judge(chosen, self.executor(graph, fp32), fp32, None)

    def executor(self, graph: Graph, fp32: Executor) -> Executor:
        """An executor of an int8 model with the dims of the fp32 one; its outputs are what is judged."""
        dims = {name: fp32.specs[name].dims for name in fp32.graph.inputs}
        return Executor(graph.replace(outputs=self._asked(fp32)), dims, device=self._arithmetic)

    def _asked(self, fp32: Executor) -> tuple[str, ...]:
        """What is judged, and the outputs themselves for a metric of the user's own."""
        judged, _ = judged_blobs(fp32.inference)
        return tuple(sorted({*judged, *fp32.graph.outputs}) if self.goal else judged)

    def probe(self, fp32: Executor) -> None:
        """Try the user's own metric on a few pictures, as fp32 sees them, before a model is made.

        Raises
        ------
        MetricError
            It fails, or gives no finite number.
        """
        if self.goal is None or not self._sets:
            return
        chosen = self._sets[-1]
        few = list(chosen.samples.numbers)[: _PROBED * chosen.samples.batch]
        chosen = replace(chosen, samples=chosen.samples.subset(few), references=References())
        kinds = judged_kinds(fp32.inference, self.config.task)
        dims = {name: fp32.specs[name].dims for name in fp32.graph.inputs}
        outputs, fp32 = fp32.graph.outputs, Executor(fp32.graph.replace(outputs=self._asked(fp32)), dims)
        seen = compare(kinds, chosen.samples, fp32, fp32, goal=self.goal, outputs=outputs)
        guessed = chosen.are_labels_guessed
        verdict = seen.verdict("", held_out=None, labels=_class_labels(chosen, kinds), are_guessed=guessed)
        is_plausible = verdict.labels is not None and verdict.labels["top1_fp32"] >= PLAUSIBLE_TOP1
        if is_plausible and self._has_own:
            names = self.split.pictures.names
            self.goal = replace(self.goal, labels=labels_of_names(names))

    def _feeds(self, fp32: Executor) -> tuple[dict[str, PictureInput], int]:
        """How pictures are fed, by input, and how many classes the model tells apart (0: it does not)."""
        samples = self.split.pictures if self._has_own or self._evaluation is None else self._evaluation
        kinds = judged_kinds(fp32.inference, self.config.task)
        classes = max((kind.rows for kind in kinds if kind.kind == CLASSES), default=0)
        return samples.picture_inputs(), classes

    def _picture_limits(self, fp32: Executor) -> list[Check]:
        """What is wrong with how pixels become inputs."""
        feeds, classes = self._feeds(fp32)
        inside = normalizes_inside(fp32.graph)
        found = (unusual_feed(name, feed, classes, is_normalized_inside=inside) for name, feed in feeds.items())
        return [check for check in found if check]

    def _set_limits(self, fp32: Executor, seen: Samples) -> list[Check]:
        """What is wrong with the calibration pictures as a whole, by those that were judged."""
        given = len(set(self.split.pictures.digests()))
        limits = []
        if given < LEAST_GIVEN:
            text = f"only {given} different calibration pictures: fewer than {LEAST_GIVEN} prove little; give more, or"
            limits.append(Check(DOUBTFUL, f"{text} {parameter('eval_path')}", _PICTURES))
        feeds, classes = self._feeds(fp32)
        statistics = seen.statistics() if feeds else {}
        found = (poor_pixels(name, feed, statistics.get(name, {}), classes) for name, feed in feeds.items())
        return limits + [check for check in found if check]

    def _found_limits(self, fp32: Executor, seen: list[Comparison]) -> list[Check]:
        """Whether fp32 finds nothing in the calibration pictures: in those compared, else in more of them."""
        limits = []
        for kind in seen[-1].kinds:
            if not kind.scores or kind.name not in fp32.graph.outputs:
                continue
            rows = list(kind.scores)
            peak = max(float(one.sums[kind.name].row_peaks[rows].max()) for one in seen)
            samples = self.split.pictures
            looked = samples.subset(pick(samples.digests(), _LOOKED * samples.batch))
            for sample in looked:
                if nothing_found(kind.name, peak, _LOOKED) is None:
                    break
                for item in kind.items(fp32.run_sample(sample)[kind.name], sample.fresh):
                    peak = max(peak, float(np.abs(item[rows]).max(initial=0)))
            check = nothing_found(kind.name, peak, len(looked.numbers))
            limits += [check] if check else []
        return limits

    def _judge(self, chosen: _Set, int8: Executor, fp32: Executor, progress: Progress | None) -> SetVerdict:
        return self._verdict(chosen, self._compare(chosen, int8, fp32, progress), fp32)

    def _compare(self, chosen: _Set, int8: Executor, fp32: Executor, progress: Progress | None) -> Comparison:
        _, instead = judged_blobs(fp32.inference)
        kinds = judged_kinds(fp32.inference, self.config.task)
        outputs = fp32.graph.outputs
        if instead:
            if self._reference is None:
                dims = {name: fp32.specs[name].dims for name in fp32.graph.inputs}
                self._reference = Executor(fp32.graph.replace(outputs=self._asked(fp32)), dims)
            fp32 = self._reference
        return compare(kinds, chosen.samples, int8, fp32, chosen.references, progress, self.goal, outputs)

    def _verdict(self, chosen: _Set, seen: Comparison, fp32: Executor, *, looks: bool = True) -> SetVerdict:
        verdict = seen.verdict(
            chosen.source, held_out=chosen.held_out, labels=_class_labels(chosen, seen.kinds),
            are_guessed=chosen.are_labels_guessed, looks_at_pictures=looks,
        )  # fmt: skip
        verdict = _with_label_finding(
            verdict, are_guessed=chosen.are_labels_guessed, shows_top1=not chosen.is_calibration
        )
        lost = "" if chosen.are_labels_guessed else no_classes(chosen.labels, _classes(seen.kinds))
        return replace(verdict, notes=[lost, *verdict.notes]) if lost else verdict


def _classes(kinds: list[OutputKind]) -> int | None:
    return next((kind.rows for kind in kinds if kind.kind == CLASSES), None)


def _class_labels(chosen: _Set, kinds: list[OutputKind]) -> dict[int, int]:
    """The labels of a set that can be classes of the model."""
    classes = _classes(kinds)
    labels = {n: label for n, label in chosen.labels.items() if classes is None or label < classes}
    if chosen.is_calibration and len(labels) < len(chosen.labels):
        return {}  # numbers that are no classes
    return labels


def _with_label_finding(verdict: SetVerdict, *, are_guessed: bool, shows_top1: bool) -> SetVerdict:
    """Say so where fp32 is hardly ever right by the labels; top-1 by guessed ones is shown only where it often is."""
    found = verdict.labels
    if found is None:
        return verdict
    is_plausible = found["top1_fp32"] >= PLAUSIBLE_TOP1
    if not shows_top1 or (are_guessed and not is_plausible):
        verdict = replace(verdict, labels=None)
    if is_plausible or found["pictures"] < LEAST_GIVEN:
        return verdict
    named = "the numbers that begin the file names, if they are classes" if are_guessed else "the labels"
    note = (
        f"by {named}, fp32 is right on {100 * found['top1_fp32']:.1f} % of {found['pictures']} pictures: check "
        f"{pixels()}, the pictures, and that the numbers are those of the model's classes"
    )
    return replace(verdict, notes=[note, *verdict.notes])


def _limited(verdict: SetVerdict, limits: list[Check]) -> SetVerdict:
    """The verdict with more limits; of those on the number of pictures, its own counts."""
    if any(check.where == _PICTURES for check in verdict.limits):
        limits = [check for check in limits if check.where != _PICTURES]
    status = worst([verdict.status, *(check.status for check in limits)])
    return replace(verdict, limits=[*verdict.limits, *limits], status=status)
