"""Which of two float32 arithmetics the sums of products use.

*Fused*: one rounding per multiply-add, the fastest the machine has. *Exact*: products are rounded before they are
added, in TNN's order, which gives the bits of TNN's own CPU device on every machine; up to twice as slow. The same goes
for a function that TNN takes from the C library, one value at a time: erf. Calibration is exact, so that statistics,
and with them the files written, do not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["exact_sums", "is_exact", "with_sum_mode"]

#: What kernels take as the sign of exact sums in an activation code (tnnquant.kernels.tile_f32.EXACT).
EXACT = 16
_exact: ContextVar[bool] = ContextVar("exact_sums", default=False)


@contextmanager
def exact_sums(exact: bool = True) -> Iterator[None]:
    """Within the context, kernels that are called or put in programs sum exactly (or not)."""
    token = _exact.set(exact)
    try:
        yield
    finally:
        _exact.reset(token)


def is_exact() -> bool:
    """Whether kernels are to give the bits of TNN's CPU device."""
    return _exact.get()


def with_sum_mode(activation: int) -> int:
    """An activation code for a kernel, with the arithmetic in force."""
    return activation + EXACT if _exact.get() else activation
