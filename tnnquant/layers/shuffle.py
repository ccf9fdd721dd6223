"""PixelShuffle, Reorg and ShuffleChannel: channels into pixels and back, channels among themselves."""

from __future__ import annotations

from tnnquant.layers.base import Layer, layer, param

__all__ = ["PixelShuffle", "Reorg", "ShuffleChannel"]


@layer(303, "PixelShuffle")
class PixelShuffle(Layer):
    """Groups of ``upscale_factor**2`` channels become blocks of pixels."""

    upscale_factor: int = param()


@layer(63, "ShuffleChannel")
class ShuffleChannel(Layer):
    """Channels, seen as a matrix of ``group`` rows, transposed."""

    group: int = param(default=1)


@layer(131, "Reorg")
class Reorg(Layer):
    """Depth to space (``to_space``) or space to depth, in blocks of ``stride``; ``mode`` 0 DCR, 1 CRD."""

    stride: int = param()
    to_space: bool = param("bool")
    ignored: int = param()
    mode: int = param()
