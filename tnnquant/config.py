"""Every parameter of a quantization, defined once: type, default, bounds, help. The command line is derived from here.

A configuration is checked when it is built; code that is handed one trusts it.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from math import isfinite
from numbers import Integral, Real
from typing import Any

from tnnquant.base import plugins
from tnnquant.base.metric import Metric, as_metric
from tnnquant.base.registry import declared_codes
from tnnquant.base.wording import choices, parameter
from tnnquant.errors import ConfigError

__all__ = ["MergeType", "QuantizeConfig", "SearchConfig", "VerifyConfig", "option"]


class MergeType(StrEnum):
    """How many scales a blob and a layer's weights have (TNN's ``-t``)."""

    CHANNEL = "channel"
    """0: blobs and weights have one per channel."""
    MIX = "mix"
    """1: blobs have one, weights one per channel."""
    TENSOR = "tensor"
    """2: blobs have one, weights one per layer."""


RESIZE_MODES = ("stretch", "crop", "letterbox")
TASKS = ("auto", "classify", "regress")


def option(default: Any, help: str, *flags: str, choices: str = "", metavar: str = "") -> Any:
    """A configuration field.

    Parameters
    ----------
    default, help
    flags : str
        Command-line spellings; none keeps the field off the command line.
    choices : {"", "observer", "weight_method", "recipe", "merge_type", "resize", "task", "device"}
        The values are registered names, and the numbers TNN's tool uses for them.
    metavar : str
        What ``--help`` shows for the value.
    """
    metadata = {"help": help, "flags": flags, "choices": choices, "metavar": metavar}
    return field(default=default, metadata=metadata)


#: Packages whose modules register names with a decorator that is called as the key.
_REGISTERED = {
    "observer": "tnnquant.observers", "weight_method": "tnnquant.weights", "recipe": "tnnquant.recipes",
    "device": "tnnquant.devices",
}  # fmt: skip


def choice_codes(kind: str) -> Mapping[int, str]:
    """The numbers of TNN's tool and the names they stand for."""
    if kind in _REGISTERED:
        package = _REGISTERED[kind]
        declared = None if plugins.is_extended() else declared_codes(package, kind)
        return declared or importlib.import_module(package).method_codes()
    return dict(enumerate({"task": TASKS, "merge_type": map(str, MergeType), "resize": RESIZE_MODES}[kind]))


def parse_choice(kind: str, text: str | int, what: str) -> str:
    """A registered name from a name or a number of TNN's tool.

    Raises
    ------
    ConfigError
        Neither; the known ones are listed.
    """
    codes = choice_codes(kind)
    if str(text).lstrip("+").isdecimal() and int(text) in codes:
        return codes[int(text)]
    if str(text) in codes.values():
        return str(text)
    if kind in _REGISTERED and not plugins.is_extended():
        # Only here, for a name that the package does not have: looking for installed plug-ins takes time.
        plugins.load_installed()
        if plugins.is_extended():
            return parse_choice(kind, text, what)
    known = choices(codes)
    close = get_close_matches(str(text).lower(), codes.values(), 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise ConfigError(f"{what} is {str(text)!r}, expected one of {known}{hint}")


def _numbers(value: Any, name: str) -> tuple[float, ...]:
    """One number, several, or a text as on the command line."""
    if isinstance(value, str):
        from tnnquant.inputs import parse_vector

        return parse_vector(value, name)
    try:
        found = (float(value),) if isinstance(value, Real) else tuple(float(number) for number in value)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} is {value!r}, expected a number, or one per channel") from None
    if not found or not all(map(isfinite, found)):
        raise ConfigError(f"{name} is {value!r}, expected finite numbers, one or one per channel")
    return found


def _patterns(value: Any, name: str) -> tuple[str, ...]:
    """Patterns, or a text of them as on the command line."""
    if isinstance(value, str):
        from tnnquant.graph.patterns import split_patterns

        return split_patterns((value,))
    if not isinstance(value, Iterable) or not all(isinstance(pattern, str) for pattern in value):
        raise ConfigError(f"{name} is {value!r}, expected names or patterns of layers")
    return tuple(value)


#: How fields that are neither choices nor flags are brought to the form the code trusts, by metavar.
_FORMS = {"NUMBERS": _numbers, "PATTERNS": _patterns}


def _require_number(config: Any, name: str, kind: type = Real, *, may_lack: bool = False) -> None:
    value = getattr(config, name)
    if not (may_lack and value is None) and (not isinstance(value, kind) or isinstance(value, bool)):
        expected = "a whole number" if kind is Integral else "a number"
        raise ConfigError(f"{parameter(name)} is {value!r}, expected {expected}")


@dataclass(frozen=True)
class QuantizeConfig:
    """The parameters of a quantization.

    The values of ``blob_method``, ``weight_method`` and ``merge_type`` may be given as the numbers of TNN's tool.
    """

    blob_method: str = option(
        "minmax", "Method for the scales of blobs.", "-b", "--blob_method", choices="observer", metavar="METHOD"
    )
    weight_method: str = option(
        "minmax", "Method for the weights.", "-w", "--weight_method", choices="weight_method", metavar="METHOD"
    )
    merge_type: str = option(
        MergeType.CHANNEL,
        "Scales: per channel; mix (blobs have one, weights one per channel); per tensor.",
        "-t",
        "--merge_type",
        choices="merge_type",
        metavar="TYPE",
    )
    recipe: str = option(
        "tnn",
        "tnn: the methods above, as TNN's tool; best: as close to fp32 as int8 can be, methods have no effect; "
        "dynamic: int8 weights alone, no data needed.",
        "--recipe",
        choices="recipe",
        metavar="RECIPE",
    )
    fp32_share: float | None = option(
        None,
        "With the recipe best, at most this share of the multiplications is kept in fp32. 0, also with "
        "fast: no layer that int8 can hold. "
        "Default: 0.3, or 0.6 where outputs are numbers.",
        "--fp32-share",
        metavar="SHARE",
    )
    mean: tuple[float, ...] = option(
        (0.0,),
        "Mean per channel, or one for all; fractions such as 255/2 are understood.",
        "-n",
        "--mean",
        "--bias",
        metavar="NUMBERS",
    )
    scale: tuple[float, ...] = option(
        (1.0,),
        "Multiplier per channel: input = (pixel - mean) * scale, for pictures only.",
        "-s",
        "--scale",
        metavar="NUMBERS",
    )
    reverse_channel: bool = option(
        False, "1: the model wants BGR (pictures are RGB inside).", "-r", "--reverse_channel", metavar="0|1"
    )
    resize: str = option(
        "stretch", "How pictures of another size are made to fit.", "--resize", choices="resize", metavar="MODE"
    )
    exclude: tuple[str, ...] = option(
        (),
        "Layers that are kept in fp32: names, globs ('conv*'), 're:' and a regular expression, 'type:' and a layer "
        "type; separated by commas, and repeatable.",
        "--exclude",
        metavar="PATTERNS",
    )
    include: tuple[str, ...] = option(
        (),
        "Layers that may become int8, in the same way; all others are kept in fp32.",
        "--include",
        metavar="PATTERNS",
    )
    device: str = option(
        "any",
        "Where the model must run rightly: on all of TNN's devices, or on one. Layers that come out wrong there are "
        "written in another way.",
        "--device",
        choices="device",
        metavar="DEVICE",
    )
    split: bool = option(
        False,
        "Where a layer would be wrong in a model with int8 layers and cannot be written in another way: two models, "
        "int8 before it, fp32 from there on, instead of the recipe dynamic.",
        "--split",
    )
    scales: str | None = option(
        None,
        "Scales of blobs from a file of 'tnnquant export-scales', in place of those of the statistics.",
        "--scales",
        metavar="FILE",
    )
    skip_bad: bool = option(False, "Skip unreadable files, and count them, instead of stopping.", "--skip-bad")
    input_dims: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    fp32_layers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Layers that stay fp32 for any option, each with the reason."""

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            kind = entry.metadata.get("choices")
            if kind:
                value = parse_choice(kind, getattr(self, entry.name), parameter(entry.name))
                object.__setattr__(self, entry.name, value)
            convert = _FORMS.get(entry.metadata.get("metavar", ""))
            if convert:
                object.__setattr__(self, entry.name, convert(getattr(self, entry.name), parameter(entry.name)))
        _require_number(self, "fp32_share", may_lack=True)
        if self.fp32_share is not None and not 0 <= self.fp32_share <= 1:
            raise ConfigError(f"{parameter('fp32_share')} is {self.fp32_share:g}, expected a share from 0 to 1")


@dataclass(frozen=True)
class VerifyConfig:
    """How the written model is judged."""

    no_verify: bool = option(False, "Do not run the int8 model once it is written.", "--no-verify")
    eval_path: str | None = option(
        None,
        "Pictures (or tensors) that are not used for the statistics, to judge the model on.",
        "--eval",
        metavar="FOLDER",
    )
    labels: str | None = option(
        None,
        "Their classes: lines 'name label', or one label per line in the order of the names. Default: class indices "
        "that begin the file names, if plausible.",
        "--labels",
        metavar="FILE",
    )
    task: str = option(
        "auto",
        "What the outputs are: scores of classes (also for every place of a map), or numbers.",
        "--task",
        choices="task",
        metavar="TASK",
    )
    metric: str | Callable | Metric | None = option(  # noqa: RUF009 - a field, as the others
        None,
        "A metric of your own, function(outputs, references, labels) -> float, for the verdict beside its own figures, "
        "and for --auto, --target and the recipe best (docs/metric.md).",
        "--metric",
        metavar="FILE.py:FUNCTION",
    )
    lower_is_better: bool = option(False, "Of --metric lower values are better, not higher ones.", "--lower-is-better")
    holdout: float | None = option(
        None,
        "Share of the calibration pictures kept out of the statistics and used for the verdict, chosen by content. "
        "Default: 0, as TNN's tool; 0.2 to 0.25 where models are compared.",
        "--holdout",
        metavar="SHARE",
    )
    verify_pictures: int = option(
        16,
        "At most so many calibration pictures are used for the verdict when none is held out.",
        "--verify-pictures",
        metavar="COUNT",
    )
    own_metric: Metric | None = field(init=False, default=None, repr=False, compare=False)
    """The metric that is meant by ``metric`` (a text as on the command line, or a callable)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", parse_choice("task", self.task, parameter("task")))
        _require_number(self, "holdout", may_lack=True)
        _require_number(self, "verify_pictures", Integral)
        if self.holdout is not None and not 0 <= self.holdout <= 0.9:
            raise ConfigError(f"{parameter('holdout')} is {self.holdout:g}, expected a share from 0 to 0.9")
        if self.verify_pictures < 1:
            raise ConfigError(
                f"{parameter('verify_pictures')} is {self.verify_pictures}, expected 1 or more "
                f"(or {parameter('no_verify', True)})"
            )
        if self.metric is None and self.lower_is_better:
            raise ConfigError(f"{parameter('lower_is_better')} is said of {parameter('metric')}: give one")
        if self.metric is not None and self.no_verify:
            raise ConfigError(
                f"{parameter('metric')} judges the model, which {parameter('no_verify')} skips: give one of them"
            )
        own = None if self.metric is None else as_metric(self.metric, self.lower_is_better)
        object.__setattr__(self, "own_metric", own)


_SEARCH_SECONDS = 60.0


@dataclass(frozen=True)
class SearchConfig:
    """What is tried beyond one model."""

    auto: bool = option(False, "Try several recipes and layers in fp32; write the best.", "--auto")
    target_agreement: float | None = option(
        None,
        "Keep the fewest layers in fp32 with which this share of the pictures held out (or of --eval) has the same "
        "top-1 as in fp32; for other outputs, the cosine of the worst part.",
        "--target-agreement",
        metavar="SHARE",
    )
    target: float | None = option(
        None,
        "The same, but --metric may be so much worse than that of fp32 on the same pictures, in its own unit.",
        "--target",
        metavar="DROP",
    )
    time_budget: float | None = option(
        None,
        "No trial is begun after so many seconds (default: 60); with the recipe best alone (default: no limit) fewer "
        "pictures are used, or steps skipped. The best model so far is always written.",
        "--time-budget",
        metavar="SECONDS",
    )
    state: str | None = option(
        None,
        "Keep statistics and trials there, to go on from after an interruption or with other options.",
        "--state",
        metavar="FOLDER",
    )

    def __post_init__(self) -> None:
        _require_number(self, "target_agreement", may_lack=True)
        _require_number(self, "target", may_lack=True)
        _require_number(self, "time_budget", may_lack=True)
        if self.target is not None and not (self.target >= 0 and isfinite(self.target)):
            raise ConfigError(
                f"{parameter('target')} is {self.target:g}, expected 0 or more, in the unit of {parameter('metric')}"
            )
        if self.target is not None and self.target_agreement is not None:
            raise ConfigError(
                f"{parameter('target')} and {parameter('target_agreement')} are two targets: give one of them"
            )
        target = self.target_agreement
        if target is not None and not 0 < target <= 1:
            raise ConfigError(f"{parameter('target_agreement')} is {target:g}, expected a share above 0, at most 1")
        if self.time_budget is not None and not self.time_budget >= 0:
            raise ConfigError(f"{parameter('time_budget')} is {self.time_budget:g}, expected seconds, 0 or more")

    @property
    def seconds(self) -> float:
        """The time budget of a search."""
        return _SEARCH_SECONDS if self.time_budget is None else self.time_budget

    @property
    def compares(self) -> bool:
        """Whether models are compared, on pictures held out for that."""
        return self.auto or self.has_target

    @property
    def has_target(self) -> bool:
        """Whether there is a target to reach."""
        return self.target is not None or self.target_agreement is not None
