"""Statistics of some of the samples, in a file: gathered on several machines, merged, and finished to a model anywhere.

Observers merge exactly (minima, integer counts, exact sums), and calibration has the same bits on every machine, so
that merged statistics are those of one run over all samples. A method that shows the samples twice (KL: the range, then
a histogram of it) needs its first pass merged before the second can start. Every file therefore says which model,
which options and which pass it is of, what the pass was based on, and which samples it has seen; merging what does not
belong together is an error.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from tnnquant.config import QuantizeConfig
from tnnquant.errors import InputError
from tnnquant.inputs.display import printable
from tnnquant.inputs.samples import Samples, skipped_warning
from tnnquant.quantization.calibrate import calibrate, make_observers
from tnnquant.quantization.plan import QuantPlan

if TYPE_CHECKING:
    from tnnquant.base.progress import Progress
    from tnnquant.engine.executor import Executor

__all__ = [
    "Part",
    "gather",
    "merge",
    "model_digest",
    "observers_of",
    "relevant_settings",
    "require_complete",
    "require_same",
]

#: Options that leave the statistics as they are.
_IRRELEVANT = frozenset({"weight_method", "skip_bad", "scales", "recipe", "fp32_share"})
#: Characters of a setting that messages show.
_SHOWN = 60


@dataclass(frozen=True, eq=False)
class Part:
    """Statistics of one pass over some samples.

    Attributes
    ----------
    name : str
        For messages: the file.
    model : str
        Hash of the model's two files.
    settings : dict of str to str
        The options that the statistics depend on.
    number, passes : int
        Which pass, from 0, and how many the method takes.
    states : dict of str to dict of str to ndarray
        Of each observer (:meth:`~tnnquant.observers.Observer.state`), by blob.
    samples : tuple of str
        Hashes of the samples seen, sorted.
    base : str
        Hash of the merged pass before; empty for the first.
    expected : tuple of str
        The samples of the merged pass before: this pass is complete when it has seen the same.
    notes : tuple of str
        Warnings of the run, for people.
    skipped : tuple of str
        The files that could not be used, each with the reason.
    without : Part or None
        The statistics without the samples that a second model is made without (:class:`tnnquant.inputs.split.Split`),
        if there are such. Not in files.
    """

    name: str
    model: str
    settings: Mapping[str, str]
    number: int
    passes: int
    states: Mapping[str, Mapping[str, np.ndarray]]
    samples: tuple[str, ...]
    base: str = ""
    expected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    without: Part | None = None

    @property
    def is_last(self) -> bool:
        """Whether no pass is left: a model can be made of it."""
        return self.number + 1 >= self.passes

    def warnings(self) -> list[str]:
        """What the user should know, a line each: what parts say alike but for the numbers is said once."""
        alike: dict[str, list[str]] = {}
        for note in self.notes:
            alike.setdefault(re.sub(r"[\d.e+-]+", "#", note), []).append(note)
        lines = [found[0] + (f" (so in {len(found)} parts)" if len(found) > 1 else "") for found in alike.values()]
        return skipped_warning(self.skipped, len(self.samples) + len(self.skipped)) + lines

    def digest(self) -> str:
        """Hash of all that counts: the statistics and what they are of."""
        whole = hashlib.sha256(repr((self.model, sorted(self.settings.items()), self.number, self.passes)).encode())
        whole.update(repr((self.samples, self.base, self.expected)).encode())
        for blob, state in sorted(self.states.items()):
            for key, array in sorted(state.items()):
                array = np.asarray(array)
                whole.update(repr((blob, key, array.dtype.str, array.shape)).encode())
                whole.update(np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()


def model_digest(files: Iterable[bytes]) -> str:
    """Hash of the contents of a model's files."""
    whole = hashlib.sha256()
    for data in files:
        whole.update(len(data).to_bytes(8, "little") + data)
    return whole.hexdigest()


def relevant_settings(config: QuantizeConfig) -> dict[str, str]:
    """The options that statistics depend on, as text."""
    values = asdict(config)
    names = [entry.name for entry in fields(config) if entry.name not in _IRRELEVANT]
    return {name: repr(_plain(values[name])) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return sorted((key, _plain(entry)) for key, entry in value.items())
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, str) else value


def gather(
    executor: Executor, plan: QuantPlan, samples: Samples, model: str, config: QuantizeConfig, *,
    before: Part | None = None, may_be_empty: bool = False, progress: Progress | None = None,
) -> Part:  # fmt: skip
    """Run the first pass over samples, or the one after ``before``.

    Parameters
    ----------
    executor : Executor
    plan : QuantPlan
    samples : Samples
    model : str
        From :func:`model_digest`.
    config : QuantizeConfig
    before : Part, optional
        The merged pass before, complete.
    may_be_empty : bool
        Where files that cannot be used are skipped, none may be left: other parts have some.
    progress : callable (stage, done, total), optional

    Raises
    ------
    InputError
        ``before`` belongs to another model or other options, is incomplete, or was the last pass; or the samples leave
        a batch incomplete, which depends on what else is fed.
    CalibrationError
        See :func:`tnnquant.quantization.calibrate.calibrate`.
    """
    observers = make_observers(plan) if before is None else observers_of(before, plan)
    passes = max((observer.passes for observer in observers.values()), default=1)
    number = 0 if before is None else before.number + 1
    settings = relevant_settings(config)
    if before is not None:
        require_same(before, model, settings)
        require_complete(before)
        if before.is_last:
            raise InputError(
                f"{before.name}: holds the last of {passes} passes already; the model can be made of it"
            )
    try:
        calibrate(executor, samples, observers, progress, only=number)
    except InputError:
        if not (may_be_empty and len(samples.skipped) == len(samples.numbers)):
            raise
    if samples.repeated:
        raise InputError(
            f"the last batch of {samples.batch} is incomplete by {samples.repeated}: which samples would complete it "
            "depends on the other parts; give every part a multiple of the batch"
        )
    active = {name: observer for name, observer in observers.items() if number < observer.passes}
    carried = {} if before is None else dict(before.states)
    return Part(
        "this run", model, settings, number, passes, {**carried, **{name: o.state() for name, o in active.items()}},
        tuple(sorted(samples.fed_digests())), "" if before is None else before.digest(),
        () if before is None else before.samples, tuple(samples.notes()), tuple(samples.skipped),
    )  # fmt: skip


def require_same(part: Part, model: str, settings: Mapping[str, str], other: str = "this run") -> None:
    """Refuse a part that does not belong to a run, or to another part.

    Parameters
    ----------
    part : Part
    model : str
        From :func:`model_digest`.
    settings : mapping of str to str
        From :func:`relevant_settings`.
    other : str
        What ``model`` and ``settings`` are of, for the message.

    Raises
    ------
    InputError
        It is of another model, or of other options.
    """
    if part.model != model:
        raise InputError(f"{part.name}: its statistics are of another model than {other}; both take the same two files")
    for name in sorted({*settings, *part.settings}):
        mine, theirs = part.settings.get(name, "absent"), settings.get(name, "absent")
        if mine != theirs:
            name, mine, theirs = (printable(text, _SHOWN) for text in (name, mine, theirs))
            raise InputError(f"{part.name}: was made with {name} {mine}, {other} has {theirs}; they must agree")


def require_complete(part: Part) -> None:
    """Raise InputError if a later pass has seen other samples than the one before it."""
    if part.number and Counter(part.samples) != Counter(part.expected):
        missing = sum((Counter(part.expected) - Counter(part.samples)).values())
        extra = sum((Counter(part.samples) - Counter(part.expected)).values())
        raise InputError(
            f"{part.name}: pass {part.number + 1} lacks {missing} of the {len(part.expected)} samples of pass "
            f"{part.number}, and has {extra} others; give the statistics of all parts, over the same files"
        )


def merge(parts: Sequence[Part], plan: QuantPlan) -> Part:
    """The statistics of all samples of several parts; their order does not matter.

    Raises
    ------
    InputError
        The parts are of different models, options, passes or bases, or one is given twice.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts[1:]:
        require_same(part, first.model, first.settings, first.name)
        if part.number != first.number:
            raise InputError(
                f"{part.name}: is of pass {part.number + 1}, {first.name} of pass {first.number + 1}; "
                "give the parts of one pass"
            )
        if part.base != first.base:
            raise InputError(
                f"{part.name}: its pass follows other statistics than that of {first.name}; give both the same files"
            )
    notes = [note for part in parts for note in part.notes] + _refuse_doubles(parts)
    merged = observers_of(first, plan)
    for part in parts[1:]:
        for name, observer in observers_of(part, plan).items():
            if first.number < observer.passes:
                merged[name].merge(observer)
    return Part(
        " + ".join(part.name for part in parts[:3]) + (" + ..." if len(parts) > 3 else ""), first.model, first.settings,
        first.number, first.passes, {name: observer.state() for name, observer in merged.items()},
        tuple(sorted(sample for part in parts for sample in part.samples)), first.base, first.expected,
        tuple(dict.fromkeys(notes)), tuple(line for part in parts for line in part.skipped),
    )  # fmt: skip


def _refuse_doubles(parts: Sequence[Part]) -> list[str]:
    """Warnings about pictures in two parts; a part whose pictures are all in another is an error."""
    seen: dict[str, Part] = {}
    notes = []
    for part in sorted(parts, key=lambda part: -len(part.samples)):
        known = [sample for sample in part.samples if sample in seen]
        if known:
            other = seen[known[0]]
            if len(known) == len(part.samples):
                raise InputError(f"{part.name}: all its samples are in {other.name} too; give each part once")
            notes.append(
                f"{len(known)} of {len(part.samples)} samples of {part.name} are in {other.name} too, and counted twice"
            )
        seen.update((sample, part) for sample in part.samples if sample not in seen)
    return notes


def observers_of(part: Part, plan: QuantPlan) -> dict:
    """Observers that hold a part's statistics.

    Raises
    ------
    InputError
        The statistics are not those of the plan's blobs, or damaged.
    """
    observers = make_observers(plan)
    if observers.keys() != part.states.keys():
        raise InputError(
            f"{part.name}: holds statistics of other blobs than the model has; was another version of tnnquant used?"
        )
    for name, observer in observers.items():
        try:
            _check(part.states[name], observer.slots)
            observer.restore(part.states[name])
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise InputError(f"{part.name}: damaged statistics of blob {name!r}: {error}") from None
    return observers


def _check(state: Mapping[str, np.ndarray], slots: int) -> None:
    for key, array in state.items():
        array = np.asarray(array)
        if array.ndim and array.shape[0] != slots:
            raise ValueError(f"{key} is of shape {array.shape}, expected {slots} rows")
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ValueError(f"{key} holds NaN")
        if array.dtype.kind in "iu" and array.size and array.min() < 0:
            raise ValueError(f"{key} holds negative counts")
