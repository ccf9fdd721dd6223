"""TNN's naive CPU device: the reference that int8 models are calibrated for. It refuses one thing."""

from __future__ import annotations

from tnnquant.devices.rules import Outcome, Rule, device

__all__ = ["naive"]

#: True of every device: TNN's passes fuse the activation before the device is asked.
FLOAT_ACTIVATION = Rule(
    "fp32 activation after int8", ("ReLU", "ReLU6"), "fp32", "reads int8", Outcome.REFUSED,
    "stays fp32 directly after an int8 layer: TNN takes it for a part of that layer and then misses its scales",
    "keep both int8 or both fp32", mixed=True,
)  # fmt: skip


@device(3, "naive")
def naive() -> tuple[Rule, ...]:
    """The table of the naive device."""
    return (FLOAT_ACTIVATION,)
