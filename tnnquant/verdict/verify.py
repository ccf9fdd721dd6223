"""The verdict of one run: which pictures, the int8 model as it was written, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tnnquant.config import VerifyConfig
from tnnquant.errors import ConfigError
from tnnquant.executor import Executor
from tnnquant.graph import Graph
from tnnquant.inputs import Samples
from tnnquant.verdict.choose import pick, split
from tnnquant.verdict.compare import Recorder, compare
from tnnquant.verdict.kinds import CLASSES, output_kind
from tnnquant.verdict.labels import labels_of_names, read_labels
from tnnquant.verdict.layers import layer_noise
from tnnquant.verdict.result import SetVerdict, Verdict

__all__ = ["DEFAULT_HOLDOUT", "Verification"]

#: Share of the pictures that recipes which choose by the verdict keep out of the statistics.
DEFAULT_HOLDOUT = 0.2
#: Pictures whose blobs are compared layer by layer, and layers that are named.
_TAPPED, _NAMED = 1, 5
#: Leading numbers are no classes if fp32 is right in fewer cases than this.
_PLAUSIBLE_TOP1 = 0.1

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class _Set:
    """Pictures to compare on."""

    samples: Samples
    source: str
    held_out: bool
    labels: dict[int, int]
    are_labels_guessed: bool = False


class Verification:
    """Plans the verdict before anything runs, and gives it when the model is written.

    Parameters
    ----------
    samples : Samples
        All calibration pictures.
    config : VerifyConfig
    holdout : float
        Share of the pictures to keep out of the statistics, unless the configuration says another.
    evaluation : Samples, optional
        The pictures of ``--eval``.

    Attributes
    ----------
    fed : Samples
        Those for the statistics.
    watch : callable (sample, outputs) or None
        To be called with what fp32 gives while the statistics are made, see :func:`tnnquant.calibrate.calibrate`.
    notes : list of str
        What the user should know about the pictures.

    Raises
    ------
    ConfigError, InputError
        Options or labels that do not fit.
    """

    def __init__(
        self, samples: Samples, config: VerifyConfig, *, holdout: float = 0.0, evaluation: Samples | None = None
    ):
        self.config = config
        self.fed = samples
        self.watch: Recorder | None = None
        self.notes: list[str] = []
        self._samples = samples
        self._evaluation = evaluation
        if config.labels and evaluation is None:
            raise ConfigError("--labels needs --eval FOLDER: the pictures that the labels are for")
        self._labels = read_labels(config.labels, evaluation.names) if config.labels else {}
        share = holdout if config.holdout is None else config.holdout
        held: list[int] = []
        if share > 0:
            kept, held = split(samples.digests(), share)
            if held:
                self.fed = samples.subset(kept)
            else:
                self.notes.append("all calibration pictures are the same: none can be held out for the verdict")
        self._held = held
        self._checked: list[int] = []
        if not config.no_verify:
            self._choose()

    def _choose(self) -> None:
        among = self._held or None
        digests = self._samples.digests()
        most = self.config.verify_pictures if not self._held else len(self._held)
        self._checked = pick(digests, max(1, most // self._samples.batch) * self._samples.batch, among)
        if not self._held and self._samples.batch == 1:
            self.watch = Recorder(self._checked)
        different = len(set(digests))
        if different < len(digests):
            copies = len(digests) - different
            self.notes.append(
                f"{copies} of {len(digests)} calibration pictures are copies of others"
                + (": the statistics are those of one picture" if different == 1 else "")
            )

    @property
    def held(self) -> Samples | None:
        """The pictures that are held out, or None."""
        return self._samples.subset(self._held) if self._held else None

    def sets(self) -> list[_Set]:
        """Evaluation pictures, if any, then calibration pictures."""
        sets = []
        if self._evaluation is not None:
            names = self._evaluation.names
            labels = self._labels or labels_of_names(names)
            source = f"all {len(names)} of --eval"
            sets.append(_Set(self._evaluation, source, True, labels, not self._labels))
        count = len(self._checked)
        if self._held:
            source = f"{count} calibration pictures held out from the statistics"
        else:
            source = f"{count} of the {len(self._samples.names)} pictures of the statistics: not held out"
        sets.append(_Set(self._samples.subset(self._checked), source, bool(self._held), {}))
        return sets

    def run(
        self, written: Graph, fp32: Executor, layers: Executor | None = None, progress: Progress | None = None
    ) -> Verdict:
        """Compare.

        Parameters
        ----------
        written : Graph
            The int8 model, read back from its files.
        fp32 : Executor
            Of the fp32 model.
        layers : Executor, optional
            Of the graph whose blobs the int8 model has, if that is another.
        progress : callable (stage, done, total), optional
        """
        int8 = Executor(written, {name: fp32.specs[name].dims for name in fp32.graph.inputs})
        kinds = [output_kind(fp32.inference, name, self.config.task) for name in fp32.graph.outputs]
        known = self.watch.outputs if self.watch else None
        found = []
        for number, chosen in enumerate(self.sets()):
            # The watch is of calibration pictures: evaluation pictures have numbers of their own.
            is_last = number == len(self.sets()) - 1
            seen = compare(kinds, chosen.samples, int8, fp32, known if is_last else None, progress)
            classes = next((kind.rows for kind in kinds if kind.kind == CLASSES), None)
            labels = {n: label for n, label in chosen.labels.items() if classes is None or label < classes}
            verdict = seen.verdict(chosen.source, held_out=chosen.held_out, labels=labels)
            found.append(_without_guesses(verdict) if chosen.are_labels_guessed else verdict)
        tapped = self._samples.subset(self._checked[: _TAPPED * self._samples.batch])
        worst_layers = layer_noise(layers or fp32, int8, tapped)[:_NAMED]
        return Verdict(found[0].status, found, worst_layers)


def _without_guesses(verdict: SetVerdict) -> SetVerdict:
    """Top-1 by the numbers that begin the names only if fp32 is right often enough for them to be classes."""
    if verdict.labels is None or verdict.labels["top1_fp32"] >= _PLAUSIBLE_TOP1:
        return verdict
    return replace(verdict, labels=None)
