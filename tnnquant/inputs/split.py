"""Which calibration picture calibrates, chooses between models, or judges. Decided once per run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tnnquant.inputs.choose import pick, split
from tnnquant.inputs.references import References
from tnnquant.inputs.samples import Samples, SampleSource

__all__ = ["LEAST_UNSEEN", "Split", "default_share", "split_samples"]

#: Share of the pictures that choose where models are compared: a fifth, or up to a quarter to have 16.
_SHARE, _LARGEST_SHARE, _ENOUGH = 0.2, 0.25, 16
#: Of this many pictures on, at least so many are judged by a model made without them, and at most so many.
_MANY, LEAST_UNSEEN, _MOST_UNSEEN = 8, 4, 32


@dataclass(frozen=True, eq=False)
class Split:
    """The use of each picture.

    Attributes
    ----------
    calibrate : re-iterable of Sample, or None
        Statistics are made of these; None: no statistics are made.
    samples : Samples or None
        All pictures: numbers are places among them. None: they have no numbers, and there is no verdict on them.
    choose : Samples or None
        Models made of the others are compared on these: they are held out.
    compares : bool
        Models are compared on those that choose; else they only judge.
    joins : bool
        Those that choose join the statistics once the choice is made.
    judge : tuple of int
        The verdict is on these: those that choose, if there are any, else some of those of the statistics.
    unseen : tuple of int
        Some of those of the statistics: the verdict on these is that of a second model, made without them.
    without : frozenset of int
        These and their copies: what the second model is made without.
    references : References
        What fp32 gives for those that judge, kept as it comes by.
    notes : list of str
        What the user should know about the pictures.
    """

    calibrate: SampleSource | None
    samples: Samples | None = None
    choose: Samples | None = None
    compares: bool = True
    joins: bool = True
    judge: tuple[int, ...] = ()
    unseen: tuple[int, ...] = ()
    without: frozenset[int] = frozenset()
    references: References = field(default_factory=References)
    notes: list[str] = field(default_factory=list)

    @property
    def calibrating(self) -> SampleSource:
        """:attr:`calibrate`, asked by what makes statistics."""
        if self.calibrate is None:
            raise TypeError("a split without statistics stands where samples to calibrate with are expected")
        return self.calibrate

    @property
    def pictures(self) -> Samples:
        """:attr:`samples`, asked where pictures are meant by their numbers."""
        if self.samples is None:
            raise TypeError("a split without numbers stands where numbered pictures are expected")
        return self.samples

    @property
    def is_held_out(self) -> bool:
        """Whether some pictures are in no statistics (before they join)."""
        return self.choose is not None

    def paths(self) -> list[Path]:
        """The files that statistics are made of, in order."""
        return self._files.paths()

    def unseen_paths(self) -> list[Path]:
        """Those of :meth:`paths` that the second model is made without."""
        return self._files.subset(sorted(self.without)).paths()

    @property
    def _files(self) -> Samples:
        if not isinstance(self.calibrate, Samples):
            raise TypeError("the statistics are not made of files")
        return self.calibrate


def default_share(count: int) -> float:
    """Share of ``count`` calibration pictures that choose where models are compared."""
    return max(_SHARE, min(_LARGEST_SHARE, _ENOUGH / max(count, 1)))


def split_samples(
    samples: Samples, *, calibrates: bool = True, compares: bool = False, holdout: float | None = None,
    judges: int = 0, elsewhere: bool = False, apart: float = _LARGEST_SHARE,
) -> Split:  # fmt: skip
    """Decide, by the contents of the files alone.

    Parameters
    ----------
    samples : Samples
        All calibration pictures.
    calibrates : bool
        Statistics are made.
    compares : bool
        Models are compared: pictures are held out even if the user does not say so.
    holdout : float, optional
        The share that the user keeps out of all statistics.
    judges : int
        At most so many of those of the statistics are for the verdict; 0: there is none.
    elsewhere : bool
        The model is judged on other pictures too: a second model is not needed.
    apart : float
        The share that the second model is made without.
    """
    digests = samples.digests()
    share = holdout if holdout is not None else default_share(len(digests)) if compares else 0.0
    kept, held = split(digests, share) if share > 0 else (list(samples.numbers), [])
    notes = []
    if share > 0 and not held:
        notes.append("all calibration pictures are the same: none can be held out for the verdict")
    calibrate = samples.subset(kept) if held else samples
    choose = samples.subset(held) if held else None
    judge: list[int] = []
    unseen: list[int] = []
    if judges:
        most = len(held) or judges
        judge = pick(digests, max(1, most // samples.batch) * samples.batch, held or None)
        if not held and samples.batch == 1 and calibrates and not elsewhere and holdout is None:
            unseen = _unseen(digests, apart)
        notes += _copies(digests)
    chosen = {digests[number] for number in unseen}
    return Split(
        calibrate if calibrates else None, samples, choose, compares, holdout is None, tuple(judge), tuple(unseen),
        frozenset(number for number, digest in enumerate(digests) if digest in chosen),
        References(() if held or samples.batch > 1 else {*judge, *unseen}, keeps_small=bool(unseen)), notes,
    )  # fmt: skip


def _unseen(digests: Sequence[str], share: float) -> list[int]:
    """Pictures for a second model to be made without.

    The files are made of all pictures, as those of TNN's tool; what that is worth on others, those pictures cannot
    tell.
    """
    count = len(set(digests))
    if count < _MANY:
        return []
    return pick(digests, min(max(LEAST_UNSEEN, round(share * count)), _MOST_UNSEEN))


def _copies(digests: Sequence[str]) -> list[str]:
    different = len(set(digests))
    if different == len(digests):
        return []
    line = f"{len(digests) - different} of {len(digests)} calibration pictures are copies of others"
    return [line + (": the statistics are those of one picture" if different == 1 else "")]
