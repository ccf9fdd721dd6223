"""A metric of the user's own: ``function(outputs, references, labels) -> float`` over all pictures that judge."""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf, isfinite
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tnnquant.base.plugins import import_file
from tnnquant.base.wording import parameter
from tnnquant.errors import ConfigError, MetricError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Metric", "as_metric"]

_FORM = "expected FILE.py:function"
_PARAMETERS = ("outputs", "references", "labels")
#: A parameter of this name is given the names of the files, in order.
_NAMES = "names"


@dataclass(frozen=True)
class Metric:
    """A function that says how good outputs are.

    Attributes
    ----------
    name : str
        What it is called in reports.
    function : callable (outputs, references, labels) -> float
        ``outputs`` and ``references`` (of fp32) are dicts of output name to array, one item per picture along the first
        axis; ``labels`` is int64 (pictures,) with -1 where there is none, or None. A parameter ``names`` is given the
        file names.
    lower_is_better : bool
    takes_names : bool
    identity : str
        What results that were kept depend on: another text, another metric.
    """

    name: str
    function: Callable[..., Any]
    lower_is_better: bool = False
    takes_names: bool = False
    identity: str = ""

    def value(
        self, outputs: Mapping[str, np.ndarray], references: Mapping[str, np.ndarray], labels: np.ndarray | None,
        names: Sequence[str] = (),
    ) -> float:  # fmt: skip
        """What the function returns.

        Raises
        ------
        MetricError
            It fails, or returns something other than a finite number.
        """
        more = {_NAMES: list(names)} if self.takes_names else {}
        try:
            with redirect_stdout(sys.stderr):  # what it prints is no part of the result
                found = self.function(dict(outputs), dict(references), labels, **more)
        except (Exception, SystemExit) as error:
            text = next(iter(str(error).splitlines()), "")
            raise MetricError(
                f"{parameter('metric')} {self.name} failed{_place(error)}: {type(error).__name__}"
                f"{': ' if text else ''}{text}"
            ) from error
        return self._checked(found)

    def _checked(self, found: Any) -> float:
        if getattr(found, "ndim", None) == 0 and hasattr(found, "item"):  # an array of one number, or a tensor
            found = found.item()
        if not isinstance(found, Real):
            shape = f" of shape {tuple(found.shape)}" if hasattr(found, "shape") else ""
            what = f"{type(found).__name__}{shape}"
            raise MetricError(f"{parameter('metric')} {self.name} returned {what}, expected one number")
        try:
            number = float(found)
        except OverflowError:  # an integer or a fraction beyond float64
            number = inf if cast("float", found) > 0 else -inf
        if not isfinite(number):
            raise MetricError(f"{parameter('metric')} {self.name} returned {number}, expected a finite number")
        return number

    def drop(self, value: float, reference: float) -> float:
        """How much worse a value is than that of fp32, in the metric's own unit; negative if it is better."""
        return value - reference if self.lower_is_better else reference - value


def as_metric(given: str | Callable | Metric, lower_is_better: bool = False) -> Metric:
    """The metric that is meant by ``FILE.py:function``, or by a callable.

    A function may say itself that lower is better, by an attribute ``lower_is_better``.

    Raises
    ------
    InputError
        There is no such file, or it fails.
    ConfigError
        It has no such function, or the function does not take what it is given.
    """
    if isinstance(given, Metric):
        return given
    if isinstance(given, str):
        function = _loaded(given)
        path, _, called = given.rpartition(":")
        name, identity = f"{Path(path).name}:{called}", f"{called} {_contents(path)}"
    elif callable(given):
        function = given
        name = getattr(_plain(given), "__name__", type(given).__name__)
        identity = f"{getattr(given, '__module__', '')} {name} {_source_of(given)}"
    else:
        raise ConfigError(f"{parameter('metric')} is {given!r}, {_FORM} or a callable")
    lower_is_better = lower_is_better or any(getattr(f, "lower_is_better", False) for f in (function, _plain(function)))
    return Metric(name, function, lower_is_better, _takes_names(name, function), f"{identity} {lower_is_better}")


def _loaded(given: str) -> Callable:
    path, colon, name = given.rpartition(":")
    if not colon or not path or not name:
        raise ConfigError(f"{parameter('metric')} is {given!r}, {_FORM}")
    if not Path(path).exists() and not path.endswith(".py"):  # package.module:function
        raise ConfigError(f"{parameter('metric')} is {given!r}, {_FORM}: there is no file {path}")
    module = import_file(path, "metric", "metric")
    found = getattr(module, name, None)
    if found is None:
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        close = get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"its functions: {', '.join(known) or 'none'}"
        raise ConfigError(f"{parameter('metric')} {given!r}: {path} has no function {name!r} ({hint})")
    if not callable(found):
        raise ConfigError(f"{parameter('metric')} {given!r}: {name} is {type(found).__name__}, expected a function")
    function: Callable = found
    return function


def _plain(function: Callable) -> Callable:
    """The function whose arguments ``functools.partial`` gave in advance: its name and its direction are meant."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _takes_names(name: str, function: Callable) -> bool:
    """Whether a function takes the names too; raises ConfigError if it cannot be called as it will be."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False  # of a compiled function it cannot be known
    takes_names = _NAMES in signature.parameters
    try:
        signature.bind(*_PARAMETERS, **({_NAMES: ()} if takes_names else {}))
    except TypeError:
        raise ConfigError(
            f"{parameter('metric')} {name} takes {signature}, expected ({', '.join(_PARAMETERS)})"
        ) from None
    return takes_names


def _place(error: BaseException) -> str:
    """`` in line N of FILE``, where the error arose."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is the call here
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f" in line {own[-1].lineno} of {Path(own[-1].filename).name}" if own else ""


def _contents(path: str) -> str:
    """Of the file, and of those beside it that it has imported."""
    folder = Path(path).resolve().parent
    places = {Path(path).resolve()}
    for module in list(sys.modules.values()):
        place = getattr(module, "__file__", None)
        if place and Path(place).parent == folder:
            places.add(Path(place))
    return " ".join(place.read_bytes().hex() for place in sorted(places) if place.is_file())


def _source_of(function: Callable) -> str:
    """The text of a callable and the values that it holds: two of one text may measure otherwise."""
    if isinstance(function, functools.partial):
        return f"{_source_of(function.func)} {function.args!r} {function.keywords!r}"
    owner = getattr(function, "__self__", None) if inspect.ismethod(function) else function
    held = [getattr(owner, "__dict__", {}), getattr(function, "__defaults__", None)]
    held += [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    try:
        text = inspect.getsource(function if inspect.isroutine(function) else type(function))
    except (OSError, TypeError):
        return repr(function)
    return f"{text} {held!r}"
