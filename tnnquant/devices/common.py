"""Rules that more than one device has: each stands here once; the tables name it, some with an outcome of their own."""

from __future__ import annotations

from tnnquant.devices.rules import Outcome, Rule

__all__ = [
    "ARITHMETIC",
    "EVERYWHERE",
    "FUSED",
    "FUSED_ON_X86",
    "SAME_FLOATS",
    "SAME_INT8",
    "SUMS_AND_PEAKS",
    "int8_values",
    "int32",
    "lost_activations",
    "no_kernel",
    "or_rewritten",
    "single_output",
    "windows_in_padding",
]

ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Maximum", "Minimum")
SUMS_AND_PEAKS = (
    "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip


def or_rewritten(advice: str = "") -> str:
    """The advice for a layer that has a rewrite (:mod:`tnnquant.devices.rewrites`)."""
    return "; ".join(filter(None, (advice, "quantize writes other layers instead where it can")))


# --- on every device ---

#: TNN's passes fuse the activation before the device is asked; sizes are checked before it is chosen.
EVERYWHERE = (
    Rule(
        "fp32 activation after int8", ("ReLU", "ReLU6"), "fp32", "after an int8 convolution", Outcome.REFUSED,
        "stays fp32 after an int8 convolution: TNN takes it for a part of that layer and then misses its scales",
        "keep both int8 or both fp32", mixed=True,
    ),
    *(
        Rule(
            "pads checked wrongly", ("Pooling",), form, "pads checked wrongly", Outcome.REFUSED,
            "has pads that TNN takes for an error: it checks the width with a pad of the height",
            "change its pads or strides, or cut the input to what its windows cover",
        )
        for form in ("int8", "fp32")
    ),
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


# --- on ARM and x86 ---


def _unequal_dilations(form: str) -> Rule:
    return Rule(
        "unequal dilations", ("Convolution",), form, "unequal dilations", Outcome.WRONG,
        "has unequal dilations: the device uses both, TNN's naive device and tnnquant that of the height",
        "use equal dilations",
    )  # fmt: skip


def int32(types: tuple[str, ...], outcome: Outcome, reason: str = "computes int32 values") -> Rule:
    """Kernels that know float alone."""
    return Rule("int32", types, "fp32", "int32", outcome, reason, "cast them to float before")


def windows_in_padding(form: str, condition: str) -> Rule:
    """Windows without any value."""
    return Rule(
        "window in the padding", ("Pooling",), form, condition, Outcome.WRONG,
        "has windows that lie in the padding as a whole", "use less padding, or no ceil mode",
    )  # fmt: skip


#: Rules of int8 layers that ARM and x86 share.
SAME_INT8 = (
    Rule(
        "zero point", (), "int8", "has a zero point", Outcome.WRONG,
        "has zero points other than 0, which the kernels ignore",
        "use symmetric scales and weights: no method that is called asymmetric",
    ),
    Rule(
        "three addends", ("Add",), "int8", "three operands", Outcome.FAILS,
        "adds three blobs or more in int8, the kernel two only", "add two at a time",
    ),
    Rule(
        "int8 add of a batch", ("Add",), "int8", "int8 batch", Outcome.WRONG,
        "adds the first picture of a batch only", "use batch 1, or keep the layer in fp32",
    ),
    Rule(
        "no int8 kernel", ("Sigmoid", "Permute"), "int8", "always", Outcome.FAILS,
        "is int8, and the device has no int8 kernel of it", "keep the layer in fp32",
    ),
    windows_in_padding("int8", "maximum in the padding"),
    Rule(
        "lost addend", ("Convolution",), "int8", "ReLU6 before a fused add", Outcome.REFUSED,
        "has a ReLU6, and TNN fuses the add after it into it", "keep the add in fp32",
    ),
    _unequal_dilations("int8"),
)  # fmt: skip

#: Rules of fp32 layers that ARM and x86 share.
SAME_FLOATS = (
    Rule(
        "two ranks", ("HardSwish",), "fp32", "two operands of different rank", Outcome.WRONG,
        "has operands of different numbers of dims", or_rewritten("give both operands as many dims"),
    ),
    Rule(
        "adaptive average", ("Pooling",), "fp32", "adaptive average", Outcome.WRONG,
        "averages over windows of adaptive size", or_rewritten("use fixed windows"),
    ),
    Rule(
        "counted from the end", ("StridedSlice",), "fp32", "counts from the end", Outcome.WRONG,
        "begins or ends at a negative index", or_rewritten("write the index itself"),
    ),
    Rule(
        "backward slice", ("StridedSliceV2",), "fp32", "negative stride", Outcome.WRONG,
        "runs backwards", "avoid negative strides",
    ),
    _unequal_dilations("fp32"),
    Rule(
        "batches of two operands", ("MatMul",), "fp32", "batches broadcast both ways", Outcome.WRONG,
        "multiplies batches of which each is broadcast: the devices differ in what they pair",
        "expand one of them before",
    ),
    Rule(
        "stored operand", ARITHMETIC, "fp32", "stored operand out of step", Outcome.WRONG,
        "has a stored operand that does not broadcast: every device makes something else of it",
        "give it the dims that it is meant to have",
    ),
    Rule(
        "stride and dilation", ("Deconvolution",), "fp32", "stride and dilation", Outcome.WRONG,
        "has a stride and a dilation along one axis: the naive device, and tnnquant with it, skip taps",
        "use one of the two",
    ),
    Rule(
        "norm of a batch", ("Normalize",), "fp32", "batch", Outcome.WRONG,
        "is of a batch: the naive device, and tnnquant with it, count its pictures together", "use batch 1",
    ),
    int32(("SplitV",), Outcome.FAILS, "splits int32 values"),
    Rule(
        "crowd of operands", ARITHMETIC, "fp32", "three operands", Outcome.CRASHES,
        "has three operands or more", or_rewritten("use layers of two operands"),
    ),
)  # fmt: skip



def single_output(outcome: Outcome) -> Rule:
    """The kernel of LSTMONNX wants its two last states named too."""
    return Rule(
        "single output", ("LSTMONNX",), "fp32", "one output", outcome,
        "has one output, the kernel wants three", or_rewritten("name all three"),
    )  # fmt: skip


def int8_values(outcome: Outcome) -> Rule:
    """Casts know no INT8."""
    return Rule("int8 values", ("Cast",), "fp32", "int8 values", outcome, "casts INT8 values", "cast in the app")


def no_kernel(types: tuple[str, ...], device: str, advice: str = "use other layers") -> Rule:
    """Types that a device has no kernel of; constants are computed by the naive device."""
    return Rule("no kernel", types, "fp32", "not folded", Outcome.REFUSED, f"has no kernel on {device}", advice)
