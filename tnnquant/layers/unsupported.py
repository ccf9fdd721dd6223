"""Type strings that TNN knows but has no code for: they load, inspect and save, and are refused by name when run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tnnquant.layers.base import Layer, layer
from tnnquant.layers.fields import param

__all__ = ["Unimplemented"]


@dataclass(frozen=True)
class Unimplemented(Layer):
    """A type without an implementation in TNN; its parameters are kept as they stand in the file."""

    parameters: tuple[str, ...] = param("rest")

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> Self:
        return cls(tuple(tokens))

    def tokens(self) -> list[str]:
        return list(self.parameters)


_NAME_ONLY = "TNN knows the name but has no code for it"

# (number, type strings, what to use instead: empty where there is nothing)
_TYPES = (
    (11, ("Dropout",), "remove it: at inference it changes nothing"),
    (13, ("Proposal",), ""),
    (15, ("Eltwise",), "use Add, Mul or Maximum"),
    (17, ("ArbitraryDimensionSpp",), "use Pooling and Concat"),
    (18, ("BatchNorm",), "use BatchNormCxx, with mean and variance folded into its scale and bias"),
    (20, ("ReshapeC",), "use Reshape"),
    (40, ("LeakyRelu",), "use PReLU with one shared slope"),
    (46, ("QuantizeV2",), ""),
    (47, ("Lstm",), "use LSTMONNX"),
    (50, ("Dequantize",), ""),
    (52, ("ConvolutionDepthwise",), "use Convolution with as many groups as channels"),
    (55, ("ContinuationIndicator",), ""),
    (58, ("ReshapeTensorflow",), "use Reshape with reshape_type 1"),
    (61, ("lstm_ctc",), "use LSTMONNX"),
    (62, ("LabelsequenceAccuracy",), ""),
    (64, ("Im2colTranspose",), ""),
    (65, ("Im2col",), ""),
    (66, ("Transpose",), "use Permute"),
    (67, ("FileInput",), ""),
    (68, ("Reverse",), "use StridedSliceV2 with a negative stride"),
    (71, ("Tensordot",), "use MatMul or Einsum"),
    (73, ("Prod",), "use ReduceProd"),
    (101, ("Identity",), "remove it"),
    (102, ("Slice", "SliceCaffe"), "use SplitV or StridedSliceV2"),
    (106, ("Pack",), "use Unsqueeze and Concat"),
    (107, ("Placeholder",), "declare a model input"),
    (109, ("Add_tf",), "use Add"),
    (110, ("Mul_tf",), "use Mul"),
    (111, ("Slice_tf",), "use StridedSliceV2"),
    (113, ("Split_tf",), "use SplitV"),
    (114, ("NegReLUMul",), "use Neg, ReLU and Mul"),
    (115, ("NCHW2NHWC",), "use Permute"),
    (116, ("NHWC2NCHW",), "use Permute"),
    (121, ("PReLU_X",), "use PReLU"),
    (122, ("Requantize",), ""),
    (123, ("QuantizedBNGlobal",), ""),
    (124, ("QuantizedMul", "QuantizedBatchNormCxx"), "use the fp32 layer: TNN has no int8 form of it"),
    (127, ("QuantizeNCHWTONCHW4",), ""),
    (128, ("DequantizeNCHW4TONCHW",), ""),
    (129, ("Square",), "use Power with exponent 2, or Mul of a blob with itself"),
    (134, ("RealDiv",), "use Div"),
    (135, ("BN",), "use BatchNormCxx, with mean and variance folded into its scale and bias"),
    (136, ("Interp",), "use Upsample"),
    (139, ("DetectionOutputREF",), "use DetectionOutput"),
    (142, ("DequantizeNCHW4TONCHWByChannel",), ""),
    (143, ("QuantizedBatchNormCxxSignedInput",), ""),
    (144, ("QuantizedAddSignedInput",), "use QuantizedAdd"),
    (145, ("QuantizedConvolutionSignedInput",), "use QuantizedConvolution"),
    (146, ("QuantizedReluSignedInput",), "use QuantizedReLU"),
    (150, ("Pooling_nchwc4",), "use Pooling"),
    (151, ("QConv2DDequantizeMulAddQuantizeQRelu",), ""),
    (152, ("DequantizeBnAddBnQuantize",), ""),
    (154, ("BatchNormQuantizeV2",), ""),
    (155, ("QuantizeV2ByChannel",), ""),
    (157, ("QuantizedConvolutionByChannel",), "use QuantizedConvolution"),
    (158, ("QFusedCBRByChannel",), ""),
    (159, ("Unpack",), "use SplitV and Squeeze"),
    (160, ("Fill",), "use ConstantOfShape"),
    (161, ("ResizeBicubic",), "use Upsample with mode 3"),
    (162, ("FusedBatchNorm",), "use BatchNormCxx, with mean and variance folded into its scale and bias"),
    (165, ("Gru",), ""),
    (166, ("HardTanH",), "use Clip"),
    (167, ("AdaptiveAvgPool2d",), "use Pooling with is_adaptive 1"),
    (168, ("AdaptiveMaxPool2d",), ""),
    (1000, ("Dummy",), ""),
    (1001, ("AnyType",), ""),
)

# Known to shape inference, run by TNN's CUDA device only.
_CUDA_ONLY = ((800, "CbamFusedReduce"), (801, "CbamFusedPooling"))


def _register() -> None:
    rows = [(number, names, f"{_NAME_ONLY}; {hint}" if hint else _NAME_ONLY) for number, names, hint in _TYPES]
    rows += [(number, (name,), "TNN runs it on its CUDA device only") for number, name in _CUDA_ONLY]
    for number, names, reason in rows:
        layer(number, *names)(type(names[0], (Unimplemented,), {"__doc__": reason, "WHY_NOT": reason}))


_register()
