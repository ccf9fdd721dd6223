"""TNN's ARM device (aarch64), with and without dot product: where a model is refused, fails or comes out wrong.

Measured with TNN f0cb08129. What holds with and without dot product alike is not told apart; what holds without alone
is a rule too, because an app does not choose the phone.
"""

from __future__ import annotations

from tnnquant.devices.naive import FLOAT_ACTIVATION, FUSED, lost_activations
from tnnquant.devices.rules import Outcome, Rule, device

__all__ = ["ARITHMETIC", "CHANNELS_FIRST", "SAME_ON_DEVICES", "arm"]

ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Maximum", "Minimum")
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
_REDUCE = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
_REWRITTEN = "tnnquant writes other layers instead where it can (--device)"
_TAKES_ONE = "give both operands as many dims"

#: Rules of int8 layers that ARM and x86 share.
SAME_ON_DEVICES = (
    Rule(
        "zero point", (), "int8", "has a zero point", Outcome.WRONG,
        "has zero points other than 0, which the kernels ignore",
        "use symmetric scales and weights: another -b and -w than 3",
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
    Rule(
        "lost addend", ("Convolution",), "int8", "ReLU6 before a fused add", Outcome.REFUSED,
        "has a ReLU6, and TNN fuses the add after it into it", "keep the add in fp32",
    ),
    Rule(
        "unequal dilations", ("Convolution",), "int8", "unequal dilations", Outcome.WRONG,
        "has unequal dilations: the device uses both, TNN's naive device and tnnquant that of the height",
        "use equal dilations",
    ),
)  # fmt: skip

#: Rules of fp32 layers that ARM and x86 share.
SAME_FLOATS = (
    Rule(
        "two ranks", ("HardSwish",), "fp32", "two operands of different rank", Outcome.WRONG,
        "has operands of different numbers of dims", _TAKES_ONE + "; " + _REWRITTEN,
    ),
    Rule(
        "adaptive average", ("Pooling",), "fp32", "adaptive average", Outcome.WRONG,
        "averages over windows of adaptive size", "use fixed windows; " + _REWRITTEN,
    ),
    Rule(
        "window in the padding", ("Pooling",), "fp32", "window in the padding", Outcome.WRONG,
        "has windows that lie in the padding as a whole", "use less padding, or no ceil mode",
    ),
    Rule(
        "counted from the end", ("StridedSlice",), "fp32", "counts from the end", Outcome.WRONG,
        "begins or ends at a negative index", "write the index itself; " + _REWRITTEN,
    ),
    Rule(
        "backward slice", ("StridedSliceV2",), "fp32", "negative stride", Outcome.WRONG,
        "runs backwards", "avoid negative strides",
    ),
    Rule(
        "unequal dilations", ("Convolution",), "fp32", "unequal dilations", Outcome.WRONG,
        "has unequal dilations: the device uses both, TNN's naive device and tnnquant that of the height",
        "use equal dilations",
    ),
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
    Rule(
        "int32", ("SplitV",), "fp32", "int32", Outcome.FAILS, "splits int32 values", "cast them to float before",
    ),
    Rule(
        "crowd of operands", ARITHMETIC, "fp32", "three operands", Outcome.CRASHES,
        "has three operands or more", "use layers of two operands; " + _REWRITTEN,
    ),
)  # fmt: skip


@device(1, "arm")
def arm() -> tuple[Rule, ...]:
    """The table of the ARM device."""
    return (
        *SAME_ON_DEVICES,
        FLOAT_ACTIVATION,
        *lost_activations(FUSED),
        Rule(
            "int8 border", (), "int8", "ragged channels reach a convolution", Outcome.WRONG,
            "makes an int8 blob with 1 to 3 channels more than a multiple of 8, and an fp32 convolution after it reads "
            "what lies beyond them: NaN, or what was in memory before",
            "keep both sides int8 or both fp32; " + _REWRITTEN,
        ),
        Rule(
            "int8 input before a deconvolution", ("Deconvolution",), "fp32", "int8 model input", Outcome.REFUSED,
            "is a deconvolution in a model whose input is int8", "keep the layers that read the model input in fp32; "
            + _REWRITTEN, mixed=True,
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
            _REWRITTEN + "; otherwise --recipe dynamic, or --split", mixed=True,
        ),
        Rule(
            "quotient of ragged channels", ("Div",), "fp32", "divides ragged channels", Outcome.WRONG,
            "divides 0 by 0 beyond its channels, and a convolution after it reads that: NaN",
            "multiply by the reciprocal; " + _REWRITTEN,
        ),
        Rule(
            "lower rank", ARITHMETIC, "fp32", "breaks rule B", Outcome.WRONG,
            "has an operand of fewer dims, which is broadcast wrongly", _TAKES_ONE + "; " + _REWRITTEN,
        ),
        Rule(
            "one dim", ("ReLU", "Sign", "HardSwish", "Concat", *ARITHMETIC), "fp32", "rank 1", Outcome.WRONG,
            "reads a blob of one dim", "give the blob two dims; " + _REWRITTEN,
        ),
        Rule(
            "one dim", ("Softmax",), "fp32", "rank 1", Outcome.FAILS,
            "reads a blob of one dim", "give the blob two dims; " + _REWRITTEN,
        ),
        Rule(
            "first axis", ("Softmax",), "fp32", "over axis 0", Outcome.FAILS,
            "runs over the first axis", "permute the axes before and after; " + _REWRITTEN,
        ),
        Rule(
            "first axis", _REDUCE, "fp32", "drops axis 0", Outcome.WRONG,
            "drops the first axis", "keep the axis as 1, and reshape; " + _REWRITTEN,
        ),
        Rule(
            "deconvolution with pad type 0", ("Deconvolution",), "fp32", "pads by type 0", Outcome.WRONG,
            "computes its padding by the type SAME", "write the padding as numbers; " + _REWRITTEN,
        ),
        Rule(
            "half channels", ("GLU",), "fp32", "halves ragged channels", Outcome.WRONG,
            "halves channels into numbers that are no multiples of 4",
            "split, apply a sigmoid, multiply; " + _REWRITTEN,
        ),
        Rule(
            "more repeats than dims", ("Tile",), "fp32", "more repeats than dims", Outcome.WRONG,
            "has more repeats than its blob has dims", "give the blob as many dims; " + _REWRITTEN,
        ),
        Rule(
            "border of other axes", ("PadV2",), "fp32", "pads other axes", Outcome.WRONG,
            "pads other axes than height and width of a picture", "reshape to rank 4 with the padded axes last; "
            + _REWRITTEN,
        ),
        Rule(
            "shape from a blob", ("Expand", "Gather", "PadV2", "Upsample"), "fp32", "operand from a blob",
            Outcome.REFUSED, "takes its shape, index or size from a blob", "store it in the layer; " + _REWRITTEN,
        ),
        Rule(
            "size from a blob", ("StridedSlice",), "fp32", "operand from a blob", Outcome.CRASHES,
            "takes its size from a blob", "store it in the layer",
        ),
        Rule(
            "single output", ("LSTMONNX",), "fp32", "one output", Outcome.REFUSED,
            "has one output, the kernel wants three", "name all three; " + _REWRITTEN,
        ),
        Rule(
            "int32", (*ARITHMETIC, *_REDUCE, "Abs", "Concat", "Neg", "Permute", "Reshape", "StridedSliceV2"), "fp32",
            "int32", Outcome.FAILS, "computes int32 values", "cast them to float before",
        ),
        Rule("int8 values", ("Cast",), "fp32", "int8 values", Outcome.FAILS, "casts INT8 values", "cast in the app"),
        *SAME_FLOATS,
        Rule(
            "no kernel", _NO_KERNEL, "fp32", "not folded", Outcome.REFUSED,
            "has no kernel on ARM", "use other layers; " + _REWRITTEN,
        ),
        Rule(
            "fast sigmoid", ("Sigmoid", "LogSigmoid"), "fp32", "always", Outcome.INEXACT,
            "is up to 12 % off for negative values at the default precision", "set PRECISION_HIGH in the app",
        ),
        Rule(
            "fast sigmoid", ("Swish",), "fp32", "swish after a convolution", Outcome.INEXACT,
            "is up to 12 % off for negative values at the default precision", "set PRECISION_HIGH in the app",
        ),
        Rule(
            "fast sigmoid", ("Convolution", "Convolution1D", "Deconvolution"), "fp32", "fused swish", Outcome.INEXACT,
            "has a swish that is up to 12 % off for negative values at the default precision",
            "set PRECISION_HIGH in the app",
        ),
    )  # fmt: skip
