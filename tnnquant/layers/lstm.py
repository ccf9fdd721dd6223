"""LSTM in ONNX's form (reference, 4.4, 5.7)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["LSTMONNX"]


@layer(310, "LSTMONNX", "DynamicRangeQuantizedLSTMONNX")
class LSTMONNX(Layer):
    """LSTM over (T, B, I) blobs; weights come as constant blobs. ``direction`` 0 forward, 1 reverse, 2 both."""

    clip_threshold: float = param("float", default=0.0)
    hidden_size: int = param(default=0)
    direction: int = param(default=0)
