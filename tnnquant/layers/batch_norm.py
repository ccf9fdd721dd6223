"""BatchNorm and Scale: one factor and one summand a channel (reference, 5.5); BiasAdd."""

from __future__ import annotations

from tnnquant.layers.base import FlagField, Layer, TensorField, TextField, layer, param

__all__ = ["BatchNorm", "BiasAdd", "Scale"]


@layer(2, "BatchNormCxx", "BatchNormalization", "BatchNormCxx_nhwc")
class BatchNorm(Layer):
    """x * scale[c] + bias[c], mean and variance folded in. Parameters on the line are ignored, as in TNN."""

    RESOURCE = (TensorField("scale"), TensorField("bias"))


@layer(16, "Scale")
class Scale(Layer):
    """x * scale[c], + bias[c] if there is one."""

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
