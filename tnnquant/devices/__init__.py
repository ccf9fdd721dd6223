"""What TNN's devices make of a model: rules as data, the findings they give, and the rewrites that avoid them.

A device is one module here with ``@device(number, "name")`` above its table of rules (:mod:`tnnquant.devices.rules`).
From the tables come the plan of a quantization, its messages, what ``inspect`` lists, the verdict and docs/devices.md.
"""

from __future__ import annotations

from tnnquant.devices.findings import Finding, examine, findings
from tnnquant.devices.rules import Outcome, Rule, device_names, rules_of

__all__ = ["Finding", "Outcome", "Rule", "device_names", "examine", "findings", "method_codes", "rules_of"]


def method_codes() -> dict[int, str]:
    """Names of the devices by number."""
    return dict(enumerate(device_names()))
