"""PixelShuffle, Reorg and ShuffleChannel: channels into pixels and back, channels among themselves.

All are one permutation of a blob whose axes are split (docs/tnn-format.md, 4.4, 5.4); splitting needs no copy in any
layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.fields import param
from tnnquant.layers.movement import CopyLayer, Pairs, copy_into, empty_blob, is_channels_last, text

__all__ = ["PixelShuffle", "Reorg", "ShuffleChannel"]

DEPTH_COLUMN_ROW = 0


def _rank4(dims: tuple[int, ...], what: str) -> tuple[int, ...]:
    if len(dims) != 4:
        raise UnsupportedLayerError(f"{what} of a blob of dims {text(dims)}: TNN handles rank 4 (N, C, H, W) only")
    return dims


def _split(x: np.ndarray, dims: Sequence[int], order: Sequence[int]) -> np.ndarray:
    """A view of ``x`` with its axes split to ``dims`` and put in ``order``."""
    return x.reshape(dims).transpose(order)


def _depth_to_space(x: np.ndarray, block: int, column_first: bool) -> np.ndarray:
    """The view (N, C', H, block, W, block) of a blob (N, C'*block**2, H, W)."""
    n, c, h, w = x.shape
    depth = c // (block * block)
    if column_first:
        return _split(x, (n, block, block, depth, h, w), (0, 3, 4, 1, 5, 2))
    return _split(x, (n, depth, block, block, h, w), (0, 1, 4, 2, 5, 3))


def _space_to_depth(x: np.ndarray, block: int, column_first: bool) -> np.ndarray:
    """The view whose axes, merged, are those of a blob (N, C*block**2, H/block, W/block)."""
    n, c, h, w = x.shape
    dims = (n, c, h // block, block, w // block, block)
    return _split(x, dims, (0, 3, 5, 1, 2, 4) if column_first else (0, 1, 3, 5, 2, 4))


class _Shuffle(CopyLayer):
    """A layer that is one copy of a split and permuted view."""

    def _view(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _dims(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        raise NotImplementedError

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return [BlobSpec(self._dims(inputs[0].dims), inputs[0].dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        x = inputs[0]
        out = empty_blob(self._dims(x.shape), x.dtype, last=is_channels_last(x))
        view = self._view(x)
        copy_into(out.reshape(view.shape), view)
        return [out]

    def copies(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> Pairs | None:
        view = self._view(inputs[0])
        return [(view, outputs[0].reshape(view.shape))]


@layer(303, "PixelShuffle")
class PixelShuffle(_Shuffle):
    """``out[c, h*r + i, w*r + j] = in[c*r*r + i*r + j, h, w]`` with r the ``upscale_factor``."""

    upscale_factor: int = param()

    def _dims(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        n, c, h, w = _rank4(dims, "PixelShuffle")
        r = self.upscale_factor
        if r < 1 or c % (r * r):
            raise GraphError(f"the {c} channels of {text(dims)} are no multiple of upscale_factor**2 = {r}**2")
        return n, c // (r * r), h * r, w * r

    def _view(self, x: np.ndarray) -> np.ndarray:
        return _depth_to_space(x, self.upscale_factor, False)


@layer(63, "ShuffleChannel")
class ShuffleChannel(_Shuffle):
    """Channels, seen as a matrix of ``group`` rows, transposed: ``out[j*group + i] = in[i*(C/group) + j]``."""

    group: int = param(default=1)

    def _dims(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        if len(dims) < 2 or self.group < 1 or dims[1] % self.group:
            raise GraphError(f"the channels of {text(dims)} are no multiple of {self.group} groups")
        return dims

    def _view(self, x: np.ndarray) -> np.ndarray:
        dims = (x.shape[0], self.group, x.shape[1] // self.group, *x.shape[2:])
        return _split(x, dims, (0, 2, 1, *range(3, len(dims))))


@layer(131, "Reorg")
class Reorg(_Shuffle):
    """Depth to space (``to_space``) or space to depth, in blocks of ``stride``.

    ``mode`` 0 takes the place in the block as the outer part of the channel (DCR), else as the inner part (CRD).
    """

    stride: int = param()
    to_space: bool = param("bool")
    ignored: int = param()
    mode: int = param()

    def _dims(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        n, c, h, w = _rank4(dims, "Reorg")
        s = self.stride
        if s < 1 or (c % (s * s) if self.to_space else h % s or w % s):
            what = "channels must be a multiple of stride**2" if self.to_space else "sizes must be multiples of stride"
            raise GraphError(f"the {what}: dims {text(dims)}, stride {s}")
        if self.to_space:
            return n, c // (s * s), h * s, w * s
        return n, c * s * s, h // s, w // s

    def _view(self, x: np.ndarray) -> np.ndarray:
        view = _depth_to_space if self.to_space else _space_to_depth
        return view(x, self.stride, self.mode == DEPTH_COLUMN_ROW)
