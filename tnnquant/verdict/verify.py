"""The verdict of one run: which pictures, the int8 model as it was written, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tnnquant.config import VerifyConfig
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError
from tnnquant.graph import Graph
from tnnquant.inputs import Samples
from tnnquant.verdict.choose import pick, split
from tnnquant.verdict.compare import Recorder, References, compare
from tnnquant.verdict.kinds import CLASSES, judged_blobs, output_kind
from tnnquant.verdict.labels import PLAUSIBLE_TOP1, labels_of_names, read_labels
from tnnquant.verdict.layers import layer_noise
from tnnquant.verdict.result import SetVerdict, Verdict, worst

__all__ = ["Verification", "default_share"]

#: Share of the pictures that is held out where trials are compared: a fifth, or up to a quarter to have 16.
_SHARE, _LARGEST_SHARE, _ENOUGH = 0.2, 0.25, 16
#: Of this many pictures on, at least so many are judged by a model made without them.
_MANY, _APART = 8, 4
#: Pictures whose blobs are compared layer by layer, and layers that are named.
_TAPPED, _NAMED = 1, 5
#: Pictures that layers to be kept in fp32 are ranked by.
_GLANCED = 4

Progress = Callable[[str, int, int], None]


def default_share(count: int) -> float:
    """Share of ``count`` calibration pictures to hold out where trials are compared."""
    return max(_SHARE, min(_LARGEST_SHARE, _ENOUGH / max(count, 1)))


@dataclass(frozen=True, eq=False)
class _Set:
    """Pictures to compare on."""

    samples: Samples
    source: str
    held_out: bool
    references: References
    labels: dict[int, int]
    are_labels_guessed: bool = False


class Verification:
    """Plans the verdict before anything runs, and gives it when the model is written.

    Parameters
    ----------
    samples : Samples
        All calibration pictures.
    config : VerifyConfig
    searching : bool
        Trials are compared: pictures are kept out of the statistics although the configuration does not say so.
    evaluation : Samples, optional
        The pictures of ``--eval``; ``samples`` themselves if there are no others.
    untouched : bool
        No statistics are made of ``samples``: they are as good as others for the verdict.

    Attributes
    ----------
    fed : Samples
        Those for the statistics.
    watch : callable (sample, outputs) or None
        To be called with what fp32 gives while the statistics are made, see
        :func:`tnnquant.quantization.calibrate.calibrate`.
    notes : list of str
        What the user should know about the pictures.

    Raises
    ------
    ConfigError, InputError
        Options or labels that do not fit.
    """

    def __init__(
        self, samples: Samples, config: VerifyConfig, *, searching: bool = False, evaluation: Samples | None = None,
        untouched: bool = False,
    ):  # fmt: skip
        self.config = config
        self.fed = samples
        self.watch: Recorder | None = None
        self.notes: list[str] = []
        self._samples = samples
        self._evaluation = evaluation
        if config.labels and evaluation is None:
            raise ConfigError("--labels needs --eval FOLDER: the pictures that the labels are for")
        self._labels = read_labels(config.labels, evaluation.names) if config.labels else {}
        self._is_searching, self._untouched = searching, untouched
        share = default_share(len(samples.names)) if searching else 0.0
        share = share if config.holdout is None else config.holdout
        held: list[int] = []
        if share > 0:
            kept, held = split(samples.digests(), share)
            if held:
                self.fed = samples.subset(kept)
                self.fed.held_out = samples.subset(held)
                self.fed.stays_out = config.holdout is not None
            else:
                self.notes.append("all calibration pictures are the same: none can be held out for the verdict")
        self._held = held
        self._checked: list[int] = []
        self._apart: list[int] = []
        self._references = References()
        self._sets: list[_Set] = []
        self._glanced: _Set | None = None
        self._tried = 0
        self._reference: Executor | None = None
        if not config.no_verify:
            self._choose()
            self._sets = self._make_sets()
            # Not of the statistics: values beyond the ranges, where layers in fp32 help most, occur in others only.
            few = pick(samples.digests(), _GLANCED * samples.batch, self._checked)
            self._glanced = _Set(samples.subset(few), "", False, self._references, {})

    def _choose(self) -> None:
        among = self._held or None
        digests = self._samples.digests()
        most = self.config.verify_pictures if not self._held else len(self._held)
        self._checked = pick(digests, max(1, most // self._samples.batch) * self._samples.batch, among)
        if not self._held and self._samples.batch == 1:
            self.watch = Recorder(self._checked, self._references)
            self._keep_apart(digests)
        different = len(set(digests))
        if different < len(digests):
            copies = len(digests) - different
            self.notes.append(
                f"{copies} of {len(digests)} calibration pictures are copies of others"
                + (": the statistics are those of one picture" if different == 1 else "")
            )

    def _keep_apart(self, digests: Sequence[str]) -> None:
        """Choose pictures for a second model to be made without, unless there are better ones to judge on.

        The files are made of all pictures, as the original's; what that is worth on others, those pictures cannot tell.
        """
        count = len(set(digests))
        if self._untouched or self._evaluation is not None or self.config.holdout is not None or count < _MANY:
            return
        among = pick(digests, min(max(_APART, round(_LARGEST_SHARE * count)), _ENOUGH), self._checked)
        chosen = {digests[number] for number in among}
        self._apart = among
        self.fed.apart = frozenset(number for number, digest in enumerate(digests) if digest in chosen)

    def fingerprint(self) -> dict:
        """What trials depend on beside the model, as JSON types: contents of the pictures and how they are judged."""
        digests = self._samples.digests()
        return {
            "statistics": sorted(digests[number] for number in self.fed.numbers),
            "comparison": [digests[number] for number in self._checked],
            "evaluation": self._evaluation.digests() if self._evaluation is not None else [],
            "task": self.config.task,
        }

    def _make_sets(self) -> list[_Set]:
        """Evaluation pictures, if any, then calibration pictures."""
        sets = []
        if self._evaluation is not None:
            names = self._evaluation.names
            labels = self._labels or labels_of_names(names)
            source = f"all {len(names)} of --eval"
            sets.append(_Set(self._evaluation, source, True, References(), labels, not self._labels))
            if self._evaluation is self._samples:
                return sets
        count = len(self._checked)
        if self._held:
            source = f"{count} calibration pictures held out from the statistics"
            source += "; the model was chosen by them" if self._is_searching else ""
        elif self._untouched:
            source = f"{count} of the {len(self._samples.names)} pictures"
        else:
            source = f"{count} of the {len(self._samples.names)} pictures of the statistics: not held out"
        is_new = bool(self._held) or self._untouched
        sets.append(_Set(self._samples.subset(self._checked), source, is_new, self._references, {}))
        return sets

    def run(
        self,
        written: Graph,
        fp32: Executor,
        layers: Executor | None = None,
        progress: Progress | None = None,
        zero_codes: Mapping | None = None,
        without_apart: Graph | None = None,
    ) -> Verdict:
        """Compare on all sets of pictures, and find the layers that add most noise.

        The status is that of ``--eval``, if given; else the worst.

        Parameters
        ----------
        written : Graph
            The int8 model, read back from its files.
        fp32 : Executor
            Of the fp32 model.
        layers : Executor, optional
            Of the graph whose blobs the int8 model has, if that is another.
        progress : callable (stage, done, total), optional
        zero_codes : mapping of str to ndarray, optional
            Of the quantization, see :class:`tnnquant.quantization.quantize.Quantization`.
        without_apart : Graph, optional
            Of the quantization, likewise; nothing comes of it if there are pictures of ``--eval``.
        """
        int8 = self.executor(written, fp32)
        if self._held and without_apart is not None:
            self._take_in_held()
        found = [self._judge(chosen, int8, fp32, progress) for chosen in self._sets]
        apart = self._samples.subset(self._apart).usable
        if without_apart is not None and len(apart) >= (1 if self._held else _APART):
            source = f"{len(apart)} calibration pictures, with a model made without them"
            source += "; its steps were chosen by them" if self._held else ""
            chosen = _Set(self._samples.subset(apart), source, True, self._references, {})
            found.append(self._judge(chosen, self.executor(without_apart, fp32), fp32, None))
            status = worst(verdict.status for verdict in found)
            found.sort(key=lambda verdict: verdict.status != status)
        worst_layers = layer_noise(layers or fp32, int8, self.tapped(), zero_codes)[:_NAMED]
        return Verdict(found[0].status, found, worst_layers)

    def _take_in_held(self) -> None:
        """The model was made of the pictures held out, too, in the end: those of another, made before, were not."""
        source = f"{len(self._checked)} of the {len(self._samples.names)} pictures of the statistics: not held out"
        self._sets[-1] = replace(self._sets[-1], source=source, held_out=False)
        if self._evaluation is None:
            self._apart = self._checked

    def try_out(self, graph: Graph, fp32: Executor, *, on_evaluation: bool = False) -> SetVerdict:
        """The verdict of a trial on calibration pictures, or on those of ``--eval`` if there are any."""
        if on_evaluation and self._evaluation is not None:
            self._tried += 1
            if self._tried == 2:
                # The best of several trials flatters itself on the pictures that chose it.
                first = self._sets[0]
                self._sets[0] = replace(first, source=f"{first.source}; the model was chosen by them")
        return self._judge(self._sets[0 if on_evaluation else -1], self.executor(graph, fp32), fp32, None)

    def tapped(self) -> Samples:
        """The few pictures on which layers are compared."""
        usable = self._samples.subset(self._checked).usable
        return self._samples.subset(usable[: _TAPPED * self._samples.batch])

    def glance(self, graph: Graph, fp32: Executor) -> SetVerdict:
        """As :meth:`try_out`, on a few of the pictures: to rank what is tried."""
        chosen = self._glanced if self._glanced.samples.usable else self._sets[-1]
        return self._judge(chosen, self.executor(graph, fp32), fp32, None)

    def executor(self, graph: Graph, fp32: Executor) -> Executor:
        """An executor of an int8 model with the dims of the fp32 one; its outputs are what is judged."""
        judged, _ = judged_blobs(fp32.inference)
        return Executor(
            graph.replace(outputs=tuple(judged)), {name: fp32.specs[name].dims for name in fp32.graph.inputs}
        )

    def _judge(self, chosen: _Set, int8: Executor, fp32: Executor, progress: Progress | None) -> SetVerdict:
        judged, instead = judged_blobs(fp32.inference)
        kinds = [
            output_kind(fp32.inference, name, "regress" if name in instead else self.config.task) for name in judged
        ]
        if instead:
            if self._reference is None:
                dims = {name: fp32.specs[name].dims for name in fp32.graph.inputs}
                self._reference = Executor(fp32.graph.replace(outputs=tuple(judged)), dims)
            fp32 = self._reference
        seen = compare(kinds, chosen.samples, int8, fp32, chosen.references, progress)
        classes = next((kind.rows for kind in kinds if kind.kind == CLASSES), None)
        labels = {n: label for n, label in chosen.labels.items() if classes is None or label < classes}
        verdict = seen.verdict(chosen.source, held_out=chosen.held_out, labels=labels)
        return _without_guesses(verdict) if chosen.are_labels_guessed else verdict


def _without_guesses(verdict: SetVerdict) -> SetVerdict:
    """Top-1 by the numbers that begin the names only if fp32 is right often enough for them to be classes."""
    if verdict.labels is None or verdict.labels["top1_fp32"] >= PLAUSIBLE_TOP1:
        return verdict
    return replace(verdict, labels=None)
