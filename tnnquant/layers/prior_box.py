"""Default boxes of an SSD detector (docs/tnn-format.md, 4.4, 5.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer, layer
from tnnquant.layers.checks import check_inputs
from tnnquant.layers.fields import param

__all__ = ["PriorBox"]

_SQUARE = 1e-6
"""An aspect ratio this close to 1 makes no box of its own."""


@layer(33, "PriorBox")
class PriorBox(Layer):
    """Boxes of several sizes and aspect ratios around every cell of a feature map.

    The inputs are the map (N, C, H, W) and the image, of which only the size is used, and only where the parameters
    give none. The output (1, 2, H*W*boxes*4, 1) holds corners x0, y0, x1, y1 in parts of the image, then variances.
    """

    min_sizes: tuple[float, ...] = param("floats")
    max_sizes: tuple[float, ...] = param("floats")
    clip: int = param()
    flip: int = param()
    variances: tuple[float, ...] = param("floats")
    aspect_ratios: tuple[float, ...] = param("floats")
    img_w: int = param()
    img_h: int = param()
    step_w: int = param()
    step_h: int = param()
    offset: float = param("float")

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> Self:
        parsed = super().parse(tokens)
        return replace(parsed, clip=int(parsed.clip == 1), flip=int(parsed.flip == 1))

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        check_inputs(inputs, 1, 2)
        dims = inputs[0].dims
        if len(dims) != 4:
            raise GraphError(f"the feature map has the dims {dims}, expected (N, C, H, W)")
        if self.max_sizes and len(self.max_sizes) != len(self.min_sizes):
            raise GraphError(f"there are {len(self.max_sizes)} max_sizes, expected none or {len(self.min_sizes)}")
        if len(self.variances) != 1 and len(self.variances) < 4:
            raise GraphError(f"there are {len(self.variances)} variances, expected 1 or 4")
        if not self.min_sizes or min(self.aspect_ratios, default=1) <= 0:
            raise GraphError(
                f"min_sizes are {self.min_sizes}, aspect_ratios {self.aspect_ratios}; expected a size, ratios above 0"
            )
        self._image_size(inputs)
        return [BlobSpec((1, 2, dims[2] * dims[3] * self._count() * 4, 1))]

    def _count(self) -> int:
        """Boxes of a cell.

        TNN counts on one ratio of 1, which stands for the box of the min_size. With more of them its output ends in
        zeros; with none it writes beyond its output, where we make room.
        """
        return max(len(self.aspect_ratios) * len(self.min_sizes) + len(self.max_sizes), len(self._box_sizes()))

    def _image_size(self, inputs: Sequence[BlobSpec]) -> tuple[int, int]:
        """Width and height of the image."""
        if self.img_w and self.img_h:
            return self.img_w, self.img_h
        if len(inputs) < 2 or len(inputs[1].dims) != 4:
            raise GraphError("has no image size: neither img_w and img_h nor a second input (N, C, H, W)")
        return inputs[1].dims[3], inputs[1].dims[2]

    def _box_sizes(self) -> np.ndarray:
        """Width and height of the boxes of a cell, in pixels: float32 (boxes, 2)."""
        f32 = np.float32
        sizes = []
        for i, least in enumerate(int(size) for size in self.min_sizes):  # TNN cuts off the fractions
            sizes.append((least, least))
            if self.max_sizes:
                side = np.sqrt(f32(least * int(self.max_sizes[i])))
                sizes.append((side, side))
            for ratio in self.aspect_ratios:
                if abs(ratio - 1) >= _SQUARE:
                    root = np.sqrt(f32(ratio))
                    sizes.append((f32(least) * root, f32(least) / root))
        return np.array(sizes, f32)

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> np.ndarray:
        """The output, which depends on the dims alone."""
        height, width = inputs[0].dims[2:]
        image = self._image_size(inputs)
        step: tuple[float | np.float32, float | np.float32] = (self.step_w, self.step_h)
        if 0 in step:
            step = (np.float32(image[0]) / np.float32(width), np.float32(image[1]) / np.float32(height))
        f32 = np.float32
        x = (np.arange(width, dtype=f32) + f32(self.offset)) * f32(step[0])
        y = (np.arange(height, dtype=f32) + f32(self.offset)) * f32(step[1])
        centers = np.stack(np.broadcast_arrays(x, y[:, None]), -1)[:, :, None]
        half = self._box_sizes() / f32(2)
        size = np.array(image, f32)
        boxes = np.concatenate([(centers - half) / size, (centers + half) / size], -1)
        if self.clip:
            boxes = np.clip(boxes, f32(0), f32(1))
        out = np.zeros((1, 2, height * width * self._count() * 4, 1), f32)
        out[0, 0, : boxes.size, 0] = boxes.reshape(-1)
        variances = self.variances[:4] if len(self.variances) > 1 else self.variances * 4
        out[0, 1, :, 0] = np.tile(np.array(variances, f32), out.shape[2] // 4)
        return out

    def forward(self, inputs: Sequence[np.ndarray], state: np.ndarray) -> list[np.ndarray]:
        return [state]
