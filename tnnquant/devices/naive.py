"""TNN's naive CPU device, the reference that int8 models are calibrated for: what TNN's passes get wrong on any."""

from __future__ import annotations

from tnnquant.devices.rules import Outcome, Rule, device

__all__ = ["naive"]

#: True of every device: TNN's passes fuse the activation before the device is asked.
FLOAT_ACTIVATION = Rule(
    "fp32 activation after int8", ("ReLU", "ReLU6"), "fp32", "reads int8", Outcome.REFUSED,
    "stays fp32 directly after an int8 layer: TNN takes it for a part of that layer and then misses its scales",
    "keep both int8 or both fp32", mixed=True,
)  # fmt: skip

#: The same, of an activation that reads something else.
STRAYED_ACTIVATION = tuple(
    Rule(
        "activation in the next line", ("ReLU", "ReLU6", "Swish"), form, "after a convolution it does not read",
        Outcome.CRASHES, "stands in the line after a convolution that nothing reads: TNN fuses the two, whatever it "
        "reads itself", "let another layer stand between the two",
    )
    for form in ("int8", "fp32")
)  # fmt: skip


@device(3, "naive")
def naive() -> tuple[Rule, ...]:
    """The table of the naive device."""
    return (FLOAT_ACTIVATION, *STRAYED_ACTIVATION)
