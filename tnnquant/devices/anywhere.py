"""The device ``any``: what runs on all devices."""

from __future__ import annotations

from tnnquant.devices.rules import Rule, device

__all__ = ["anywhere"]


@device(0, "any")
def anywhere() -> tuple[Rule, ...]:
    """No rules of its own: :func:`tnnquant.devices.rules.rules_of` gives those of all devices."""
    return ()
