"""TNN's x86 device (AVX2): where a model is refused, fails or comes out wrong. Measured with TNN f0cb08129."""

from __future__ import annotations

from tnnquant.devices.common import (
    ARITHMETIC,
    EVERYWHERE,
    FUSED_ON_X86,
    SAME_FLOATS,
    SAME_INT8,
    SUMS_AND_PEAKS,
    int8_values,
    int32,
    lost_activations,
    no_kernel,
    or_rewritten,
    single_output,
    windows_in_padding,
)
from tnnquant.devices.rules import Outcome, Rule, device

__all__ = ["x86"]

_COMPARISONS = ("Equal", "Greater", "Less", "SquaredDifference", "Where")


@device(2, "x86")
def x86() -> tuple[Rule, ...]:
    """The table of the x86 device."""
    return (
        *SAME_INT8,
        *EVERYWHERE,
        *lost_activations(FUSED_ON_X86),
        Rule(
            "int8 reshape", ("Reshape",), "int8", "always", Outcome.WRONG,
            "is int8, and comes out wrong", "keep the layer in fp32",
        ),
        Rule(
            "group norm", ("GroupNorm",), "fp32", "always", Outcome.WRONG,
            "normalizes by groups, wrong in every case", or_rewritten("use instance norm of reshaped groups"),
        ),
        Rule(
            "product over axes", ("ReduceProd",), "fp32", "not folded", Outcome.WRONG,
            "multiplies along axes, wrong in every case", or_rewritten("split and multiply"),
        ),
        Rule(
            "fused swish", ("Convolution", "Convolution1D", "Deconvolution"), "fp32", "fused swish", Outcome.WRONG,
            "has a fused swish that is off by percents, or far off",
            or_rewritten("compute the sigmoid and the product in layers of their own"),
        ),
        Rule(
            "constant operand", _COMPARISONS, "fp32", "constant operand", Outcome.CRASHES,
            "has a constant operand", "make the constant a model input",
        ),
        Rule(
            "rank 5", ("GLU", "LogSoftmax", "Rsqrt", "SquaredDifference"), "fp32", "rank 5", Outcome.REFUSED,
            "reads a blob of five dims or more", "reshape it to fewer dims",
        ),
        Rule(
            "rank 5", ("StridedSlice",), "fp32", "rank 5", Outcome.FAILS,
            "reads a blob of five dims or more", "reshape it to fewer dims",
        ),
        Rule(
            "index input", ("ScatterND",), "fp32", "operand from a blob", Outcome.FAILS,
            "takes its indices from a blob", or_rewritten("store the indices in the layer"),
        ),
        Rule(
            "negative index", ("Gather",), "fp32", "negative index", Outcome.FAILS,
            "has negative indices", or_rewritten("count from the front"),
        ),
        single_output(Outcome.CRASHES),
        int32((*ARITHMETIC, *SUMS_AND_PEAKS, "Abs", "Neg"), Outcome.WRONG),
        int32(("Expand",), Outcome.FAILS, "expands int32 values"),
        int8_values(Outcome.WRONG),
        int32(("StridedSliceV2",), Outcome.FAILS, "cuts int32 values"),
        *SAME_FLOATS,
        windows_in_padding("fp32", "window in the padding"),
        Rule(
            "operands broadcast both ways", ("HardSwish",), "fp32", "operands broadcast both ways", Outcome.WRONG,
            "has two operands that are each repeated along some axis", or_rewritten("expand one of them before"),
        ),
        Rule(
            "half-precision weights", ("Scale",), "fp32", "half-precision weights", Outcome.WRONG,
            "has weights stored in half precision", "store them as float",
        ),
        no_kernel(("Convolution3D", "Pooling3D"), "x86"),
        Rule(
            "place of the values found", ("NonMaxSuppression",), "fp32", "always", Outcome.WRONG,
            "gives as many boxes as were allocated, not as were found", "do it in the app",
        ),
        Rule(
            "indices of one dim", ("GatherND",), "fp32", "not folded", Outcome.FAILS,
            "fails in every case", "use Gather, or slices",
        ),
    )  # fmt: skip
