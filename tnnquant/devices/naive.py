"""TNN's naive CPU device, the reference that int8 models are calibrated for: what TNN's passes get wrong on any."""

from __future__ import annotations

from tnnquant.devices.rules import Outcome, Rule, device

__all__ = ["FLOAT_ACTIVATION", "FUSED", "FUSED_ON_X86", "lost_activations", "naive"]

#: True of every device: TNN's passes fuse the activation before the device is asked.
FLOAT_ACTIVATION = Rule(
    "fp32 activation after int8", ("ReLU", "ReLU6"), "fp32", "after an int8 convolution", Outcome.REFUSED,
    "stays fp32 after an int8 convolution: TNN takes it for a part of that layer and then misses its scales",
    "keep both int8 or both fp32", mixed=True,
)  # fmt: skip

#: What TNN fuses into the fp32 convolution before it: on ARM and naive, and on x86.
FUSED, FUSED_ON_X86 = ("ReLU", "ReLU6", "Swish", "Sigmoid"), ("ReLU", "ReLU6")


def lost_activations(types: tuple[str, ...]) -> tuple[Rule, ...]:
    """TNN fuses an activation into a convolution that it does not read, or whose own output is asked for."""
    return tuple(
        rule
        for form in ("int8", "fp32")
        for rule in (
            Rule(
                "activation in the next line", types, form, "after a convolution it does not read",
                Outcome.CRASHES, "stands in the line after a convolution that nothing reads: TNN fuses the two, "
                "whatever it reads itself", "let another layer stand between the two",
            ),
            Rule(
                "activation of an output", types, form, "after a convolution that is an output",
                Outcome.CRASHES, "stands in the line after a convolution that is an output of the model: TNN fuses the "
                "two, and the output is lost", "let another layer stand between the two",
            ),
        )
    )


@device(3, "naive")
def naive() -> tuple[Rule, ...]:
    """The table of the naive device."""
    return (FLOAT_ACTIVATION, *lost_activations(FUSED))
