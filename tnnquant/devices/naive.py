"""TNN's naive CPU device, the reference that int8 models are calibrated for: what TNN's passes get wrong on any."""

from __future__ import annotations

from tnnquant.devices.common import EVERYWHERE, FUSED, lost_activations
from tnnquant.devices.rules import Rule, device

__all__ = ["naive"]


@device(3, "naive")
def naive() -> tuple[Rule, ...]:
    """The table of the naive device."""
    return (*EVERYWHERE, *lost_activations(FUSED))
