"""TNN's x86 device (AVX2): where a model is refused, fails or comes out wrong. Measured with TNN f0cb08129."""

from __future__ import annotations

from tnnquant.devices.arm import ARITHMETIC, SAME_FLOATS, SAME_ON_DEVICES
from tnnquant.devices.naive import FLOAT_ACTIVATION, FUSED_ON_X86, lost_activations
from tnnquant.devices.rules import Outcome, Rule, device

__all__ = ["x86"]

_COMPARISONS = ("Equal", "Greater", "Less", "SquaredDifference", "Where")
_REDUCE = (
    "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
_REWRITTEN = "tnnquant writes other layers instead where it can (--device)"


@device(2, "x86")
def x86() -> tuple[Rule, ...]:
    """The table of the x86 device."""
    return (
        *SAME_ON_DEVICES,
        FLOAT_ACTIVATION,
        *lost_activations(FUSED_ON_X86),
        Rule(
            "int8 reshape", ("Reshape",), "int8", "always", Outcome.WRONG,
            "is int8, and comes out wrong", "keep the layer in fp32",
        ),
        Rule(
            "group norm", ("GroupNorm",), "fp32", "always", Outcome.WRONG,
            "normalizes by groups, wrong in every case", "use instance norm of reshaped groups; " + _REWRITTEN,
        ),
        Rule(
            "product over axes", ("ReduceProd",), "fp32", "not folded", Outcome.WRONG,
            "multiplies along axes, wrong in every case", "split and multiply; " + _REWRITTEN,
        ),
        Rule(
            "fused swish", ("Convolution", "Convolution1D", "Deconvolution"), "fp32", "fused swish", Outcome.WRONG,
            "has a fused swish that is off by percents, or far off",
            "compute the sigmoid and the product in layers of their own; " + _REWRITTEN,
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
            "takes its indices from a blob", "store the indices in the layer; " + _REWRITTEN,
        ),
        Rule(
            "negative index", ("Gather",), "fp32", "negative index", Outcome.FAILS,
            "has negative indices", "count from the front; " + _REWRITTEN,
        ),
        Rule(
            "single output", ("LSTMONNX",), "fp32", "one output", Outcome.CRASHES,
            "has one output, the kernel wants three", "name all three; " + _REWRITTEN,
        ),
        Rule(
            "int32", (*ARITHMETIC, *_REDUCE, "Abs", "Neg"), "fp32", "int32", Outcome.WRONG,
            "computes int32 values", "cast them to float before",
        ),
        Rule(
            "int32", ("Expand",), "fp32", "int32", Outcome.FAILS, "expands int32 values", "cast them to float before",
        ),
        Rule("int8 values", ("Cast",), "fp32", "int8 values", Outcome.WRONG, "casts INT8 values", "cast in the app"),
        Rule(
            "int32", ("StridedSliceV2",), "fp32", "int32", Outcome.FAILS, "cuts int32 values",
            "cast them to float before",
        ),
        *SAME_FLOATS,
        Rule(
            "operands broadcast both ways", ("HardSwish",), "fp32", "operands broadcast both ways", Outcome.WRONG,
            "has two operands that are each repeated along some axis", "expand one of them before; " + _REWRITTEN,
        ),
        Rule(
            "half-precision weights", ("Scale",), "fp32", "half-precision weights", Outcome.WRONG,
            "has weights stored in half precision", "store them as float",
        ),
        Rule(
            "no kernel", ("Convolution3D", "Pooling3D"), "fp32", "always", Outcome.REFUSED,
            "has no kernel on x86", "use other layers",
        ),
        Rule(
            "place of the values found", ("NonMaxSuppression",), "fp32", "always", Outcome.WRONG,
            "gives as many boxes as were allocated, not as were found", "do it in the app",
        ),
        Rule(
            "indices of one dim", ("GatherND",), "fp32", "not folded", Outcome.FAILS,
            "fails in every case", "use Gather, or slices",
        ),
    )  # fmt: skip
