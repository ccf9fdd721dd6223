"""1-D and 3-D pooling (reference, 4.3, 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tnnquant.layers.base import Layer, layer, param

__all__ = ["Pooling1D", "Pooling3D"]


@layer(204, "Pooling1D")
class Pooling1D(Layer):
    """Maximum (``pool_type`` 0) or average over windows of (N, C, H) blobs; padding is never counted."""

    pool_type: int = param(default=0)
    kernel: int = param(default=0)
    stride: int = param(default=0)
    pad: int = param(default=0)
    unused_index: int = param(default=-1)
    kernel_index: int = param(default=-1)
    pad_type: int = param(default=0)
    ceil_mode: int = param(default=0)


@layer(202, "Pooling3D")
class Pooling3D(Layer):
    """Maximum (``pool_type`` 0) or average over windows of (N, C, D, H, W) blobs; padding is never counted."""

    pool_type: int = param(default=0)
    kernel_d: int = param(default=0)
    kernel_h: int = param(default=0)
    kernel_w: int = param(default=0)
    stride_d: int = param(default=0)
    stride_h: int = param(default=0)
    stride_w: int = param(default=0)
    pad_d: int = param(default=0)
    pad_h: int = param(default=0)
    pad_w: int = param(default=0)
    kernel_index_d: int = param(default=-1)
    kernel_index_h: int = param(default=-1)
    kernel_index_w: int = param(default=-1)
    pad_type: int = param(default=0)
    ceil_mode: int = param(default=0)

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> Pooling3D:
        parsed = super().parse(tokens)
        depth = parsed.kernel_index_d
        return replace(
            parsed,
            kernel_index_h=depth if parsed.kernel_index_h == -1 else parsed.kernel_index_h,
            kernel_index_w=depth if parsed.kernel_index_w == -1 else parsed.kernel_index_w,
        )
