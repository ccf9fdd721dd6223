"""TNN's ARM device (aarch64), with and without dot product: where a model is refused, fails or comes out wrong.

Measured with TNN f0cb08129. What holds with and without dot product alike is not told apart; what holds without alone
is a rule too, because an app does not choose the phone.
"""

from __future__ import annotations

from tnnquant.devices.common import (
    ARITHMETIC,
    EVERYWHERE,
    FUSED,
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

__all__ = ["CHANNELS_FIRST", "arm"]

#: The kernels that know memory in the order N, C, H, W only.
CHANNELS_FIRST = (
    "ArgMaxOrMin", "Expand", "Gather", "GroupNorm", "Inverse", "LSTMONNX", "LayerNorm", "MatMul", "ScatterND",
    "Squeeze", "Tile", "Unsqueeze",
)  # fmt: skip
_NO_KERNEL = (
    "And", "BiasAdd", "BitShift", "ConstantOfShape", "Convolution3D", "DetectionPostProcess", "Einsum", "Equal", "Erf",
    "GatherND", "Greater", "HDRGuide", "Histogram", "LRN", "Less", "LogSoftmax", "NonMaxSuppression", "NonZero", "Not",
    "OneHot", "Pooling1D", "Pooling3D", "Range", "Scatter", "ScatterElements", "Shape", "Size", "SquaredDifference",
    "TopK", "Where",
)  # fmt: skip
_REDUCE = (*SUMS_AND_PEAKS, "ReduceLogSum", "ReduceLogSumExp", "ReduceProd")


def _fast_sigmoid(types: tuple[str, ...], condition: str, what: str) -> Rule:
    return Rule(
        "fast sigmoid", types, "fp32", condition, Outcome.INEXACT,
        f"{what} up to 12 % off for negative values at the default precision", "set PRECISION_HIGH in the app",
    )  # fmt: skip


@device(1, "arm")
def arm() -> tuple[Rule, ...]:
    """The table of the ARM device."""
    return (
        *SAME_INT8,
        *EVERYWHERE,
        *lost_activations(FUSED),
        Rule(
            "int8 border", (), "int8", "ragged channels reach a convolution", Outcome.WRONG,
            "makes an int8 blob with 1 to 3 channels more than a multiple of 8, and an fp32 convolution after it reads "
            "what lies beyond them: NaN, or what was in memory before",
            or_rewritten("keep both sides int8 or both fp32"),
        ),
        Rule(
            "int8 input before a deconvolution", ("Deconvolution",), "fp32", "int8 model input", Outcome.REFUSED,
            "is a deconvolution in a model whose input is int8",
            or_rewritten("keep the layers that read the model input in fp32"), mixed=True,
        ),
        Rule(
            "1x1 of a batch", ("Convolution",), "int8", "small 1x1 of a batch", Outcome.WRONG,
            "is an int8 1x1 convolution of few channels over a batch: wrong without dot product",
            "use batch 1, or keep the layer in fp32",
        ),
        Rule(
            "rest of outputs", ("InnerProduct",), "int8", "rest of outputs", Outcome.WRONG,
            "is an int8 inner product with a number of outputs that the kernel with dot product packs wrongly",
            "keep the layer in fp32, or add outputs that are not read",
        ),
        Rule(
            "weight of -128", ("Convolution",), "int8", "weight of -128", Outcome.WRONG,
            "has weights of -128, of which two products overflow 16 bits without dot product",
            "use weights from -127 to 127",
        ),
        Rule(
            "channels first", CHANNELS_FIRST, "fp32", "breaks rule A", Outcome.WRONG,
            "knows memory in the order N, C, H, W only, and TNN converts none in a model with an int8 layer",
            or_rewritten() + "; otherwise the recipe dynamic, or two models (split)", mixed=True,
        ),
        Rule(
            "quotient of ragged channels", ("Div",), "fp32", "divides ragged channels", Outcome.WRONG,
            "divides 0 by 0 beyond its channels, and a convolution after it reads that: NaN",
            or_rewritten("multiply by the reciprocal"),
        ),
        Rule(
            "lower rank", ARITHMETIC, "fp32", "breaks rule B", Outcome.WRONG,
            "has an operand of fewer dims, which is broadcast wrongly", or_rewritten("give both operands as many dims"),
        ),
        Rule(
            "one dim", ("ReLU", "Sign", "HardSwish", "Concat"), "fp32", "rank 1", Outcome.WRONG,
            "reads a blob of one dim", or_rewritten("give the blob two dims"),
        ),
        Rule(
            "one dim", ARITHMETIC, "fp32", "makes rank 1", Outcome.WRONG,
            "reads blobs of one dim", or_rewritten("give the blobs two dims"),
        ),
        Rule(
            "empty range", ("Clip",), "fp32", "empty range", Outcome.WRONG,
            "has a minimum above its maximum, which gives either of the two", "exchange the two, or use a constant",
        ),
        Rule(
            "one dim", ("Softmax",), "fp32", "rank 1", Outcome.FAILS,
            "reads a blob of one dim", or_rewritten("give the blob two dims"),
        ),
        Rule(
            "first axis", ("Softmax",), "fp32", "over axis 0", Outcome.FAILS,
            "runs over the first axis", or_rewritten("permute the axes before and after"),
        ),
        Rule(
            "first axis", _REDUCE, "fp32", "drops axis 0", Outcome.WRONG,
            "drops the first axis", or_rewritten("keep the axis as 1, and reshape"),
        ),
        Rule(
            "deconvolution with pad type 0", ("Deconvolution",), "fp32", "pads by type 0", Outcome.WRONG,
            "computes its padding by the type SAME", or_rewritten("write the padding as numbers"),
        ),
        Rule(
            "half channels", ("GLU",), "fp32", "halves ragged channels", Outcome.WRONG,
            "halves channels into numbers that are no multiples of 4",
            or_rewritten("split, apply a sigmoid, multiply"),
        ),
        Rule(
            "more repeats than dims", ("Tile",), "fp32", "more repeats than dims", Outcome.WRONG,
            "has more repeats than its blob has dims", or_rewritten("give the blob as many dims"),
        ),
        Rule(
            "border of other axes", ("PadV2",), "fp32", "pads other axes", Outcome.WRONG,
            "pads other axes than height and width of a picture",
            or_rewritten("reshape to rank 4 with the padded axes last"),
        ),
        Rule(
            "shape from a blob", ("Expand", "Gather", "PadV2", "Upsample"), "fp32", "operand from a blob",
            Outcome.REFUSED, "takes its shape, index or size from a blob", or_rewritten("store it in the layer"),
        ),
        Rule(
            "size from a blob", ("StridedSlice",), "fp32", "operand from a blob", Outcome.CRASHES,
            "takes its size from a blob", "store it in the layer",
        ),
        single_output(Outcome.REFUSED),
        int32(
            (*ARITHMETIC, *_REDUCE, "Abs", "Concat", "Neg", "Permute", "Reshape", "StridedSliceV2"), Outcome.FAILS
        ),
        int8_values(Outcome.FAILS),
        *SAME_FLOATS,
        windows_in_padding("fp32", "maximum in the padding"),
        no_kernel(_NO_KERNEL, "ARM", or_rewritten("use other layers")),
        _fast_sigmoid(("Sigmoid", "LogSigmoid"), "always", "is"),
        _fast_sigmoid(("Swish",), "swish after a convolution", "is"),
        _fast_sigmoid(("Convolution", "Convolution1D", "Deconvolution"), "fused swish", "has a swish that is"),
    )  # fmt: skip
