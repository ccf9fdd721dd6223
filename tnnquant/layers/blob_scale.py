"""The scale of an int8 blob: a resource of the model file, never a layer of the proto (docs/tnn-format.md, 2.4)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer

__all__ = ["BlobScale"]


@layer(600, "BlobScale")
class BlobScale(Layer):
    """TNN knows the type string, so that a proto may hold it; such a model cannot be run."""

    WHY_NOT = "a blob scale is a resource of the .tnnmodel, not a layer"
