"""Whether two kernels give the same results: outputs in guarded memory, and the first difference in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from tnnquant.bench.operators import Operator

__all__ = ["Arguments", "difference", "first_wrong", "wrong_values"]

_GUARD_BYTES = 256
_GUARD = np.uint8(0xA5)


class Arguments:
    """A copy of an operator's arguments; what may be written lies between guards.

    Attributes
    ----------
    values : tuple
        What to call the kernel with.
    """

    def __init__(self, operator: Operator, args: tuple):
        outputs = operator.written(args)
        self._originals = args
        self._inputs = [i for i in range(len(args)) if i not in outputs]
        self._guards: list[np.ndarray] = []
        self.values = tuple(self._guarded(a) if i in outputs else _copy(a) for i, a in enumerate(args))

    def _guarded(self, array: np.ndarray) -> np.ndarray:
        buffer = np.full(array.nbytes + 2 * _GUARD_BYTES + 64, _GUARD)
        start = _GUARD_BYTES + -(buffer.ctypes.data + _GUARD_BYTES) % 64
        made = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        made[...] = array
        self._guards += [buffer[:start], buffer[start + array.nbytes :]]
        return made

    def has_changed(self, number: int) -> bool:
        """Whether an argument is not what it was."""
        return not _same(self._originals[number], self.values[number])

    def damage(self) -> str:
        """What was written that must not be: memory beside an output, or an input; empty if nothing was."""
        if any((guard != _GUARD).any() for guard in self._guards):
            return "wrote outside an output array"
        for i in self._inputs:
            if not _same(self._originals[i], self.values[i]):
                return f"changed argument {i}, an input"
        return ""


def _copy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        # Strides and the read-only flag are part of the type that a kernel is compiled for. In a network blobs begin at
        # a multiple of 64 bytes.
        made = _aligned_like(value) if value.flags.c_contiguous else np.empty_like(value)
        made[...] = value
        made.flags.writeable = value.flags.writeable
        return made
    if isinstance(value, tuple):
        parts = [_copy(part) for part in value]
        return value._make(parts) if hasattr(value, "_make") else tuple(parts)
    return value


def _aligned_like(array: np.ndarray) -> np.ndarray:
    raw = np.empty(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return bool(a.tobytes() == b.tobytes())
    return all(map(_same, a, b)) if isinstance(a, tuple) else True


def difference(operator: Operator, want: Arguments, got: Arguments, returned: tuple[Any, Any]) -> str:
    """How results differ, in words; empty if they are equal (within the operator's tolerance).

    ``returned``: what the reference and the kernel returned; looked at if the operator says so.
    """
    if operator.returns and not _is_same_result(*returned):
        return f"returned {_short(returned[1])}, expected {_short(returned[0])}"
    for i in operator.outputs(want.values):
        a, b = want.values[i], got.values[i]
        wrong = wrong_values(a, b, operator.tolerance)
        if wrong.any():
            unwritten = _unwritten(operator, got, returned[1])
            if unwritten:
                return unwritten
            return f"output {i}: {first_wrong(wrong, a, b)}"
    return ""


def _is_same_result(want: Any, got: Any) -> bool:
    return np.ndim(got) == 0 and not isinstance(got, tuple | str) and want == got


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype} {value.shape}"
    return "nothing" if value is None else f"{value}"[:60]


def _unwritten(operator: Operator, got: Arguments, returned: Any) -> str:
    """Why results are as they were before; empty if something was written."""
    names = operator.parameters
    outputs = operator.outputs(got.values)
    if any(got.has_changed(i) for i in outputs):
        return ""
    where = " and ".join(names[i] for i in outputs)
    hint = f"write the results into it: {names[outputs[0]]}[...] = ..., for {names[outputs[0]]} = ... is a new array"
    if returned is not None and not operator.returns:
        return f"returns {_short(returned)} and leaves {where} as it was; {hint}"
    return f"leaves {where} as it was; {hint}"


def first_wrong(wrong: np.ndarray, want: np.ndarray, got: np.ndarray) -> str:
    """How many values differ, and the first of them, in words; ``wrong``: as :func:`wrong_values`, not all False."""
    where = tuple(int(n) for n in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
    count = f"{int(wrong.sum())} of {wrong.size} values differ"
    return f"{count}; [{', '.join(map(str, where))}] is {got[where]}, expected {want[where]}"


def wrong_values(a: np.ndarray, b: np.ndarray, tolerance: float) -> np.ndarray:
    """Which values of ``b`` are not those of ``a``; tolerance: relative to the largest of ``a``."""
    different: np.ndarray = a != b
    if a.dtype.kind == "f":
        different &= ~(np.isnan(a) & np.isnan(b))
        if tolerance:
            finite = np.isfinite(a) & np.isfinite(b)
            largest = np.abs(a[finite]).max(initial=0)
            with np.errstate(invalid="ignore"):
                different &= ~(finite & (np.abs(a - b) <= tolerance * largest))
    return different
