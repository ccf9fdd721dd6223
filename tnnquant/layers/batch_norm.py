"""BatchNorm and Scale: one factor and one summand per channel (docs/tnn-format.md, 5.5); BiasAdd."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import Layer, layer
from tnnquant.layers.channelwise import Channelwise, channel_values
from tnnquant.layers.fields import FlagField, TensorField, TextField, param

__all__ = ["BatchNorm", "BiasAdd", "Scale"]


class _Affine(Channelwise):
    FUNCTION = "AFFINE"

    def values(self, tensors: Mapping[str, Tensor], channels: int) -> tuple[np.ndarray, np.ndarray]:
        scale = channel_values(tensors, "scale", channels)
        if "bias" not in tensors or tensors["bias"].size == 0:
            return scale, np.zeros_like(scale)
        bias = np.ascontiguousarray(tensors["bias"].float32())
        if bias.size < scale.size:
            raise GraphError(f"bias has {bias.size} values, expected {scale.size}, as many as scale")
        return scale, bias[: scale.size]


@layer(2, "BatchNormCxx", "BatchNormalization", "BatchNormCxx_nhwc")
class BatchNorm(_Affine):
    """x * scale[c] + bias[c], mean and variance folded in. Parameters on the line are ignored, as in TNN.

    A scale of one value serves all channels.
    """

    RESOURCE = (TensorField("scale"), TensorField("bias"))


@layer(16, "Scale")
class Scale(_Affine):
    """x * scale[c], + bias[c] if there is one. A scale of one value serves all channels."""

    axis: int = param("int")
    num_axes: int = param("int")
    bias_term: int = param("int")

    RESOURCE = (
        TextField(),
        FlagField("has_bias", of="bias"),
        TensorField("scale"),
        TensorField("bias", when="has_bias"),
    )


@layer(54, "BiasAdd", "QuantizedBiasAdd", "QuantizedSum")
class BiasAdd(Layer):
    """x + bias[c], which TNN cannot run: its reader builds a resource its kernel refuses."""

    RESOURCE = (TensorField("bias"),)
    WHY_NOT = "TNN's own kernel always refuses the resource its reader builds; use Add or Scale with a bias instead"
