"""Where pixels come from: resizes, samples between pixels, copies, boxes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tnnquant.bench.cases.convolution_f32 import random
from tnnquant.bench.operators import OTHER, Operator, Prepared, operator
from tnnquant.kernels import sample_f32
from tnnquant.kernels.nms import TABLE_ROWS, greedy_nms, greedy_nms_naive
from tnnquant.kernels.resize import axis_taps, resize_u8, resize_u8_naive
from tnnquant.kernels.sample_f32 import grid_sample_f32, grid_sample_f32_naive, roi_align_f32, roi_align_f32_naive
from tnnquant.kernels.strided_copy import strided_copy_naive, strided_copy_ops
from tnnquant.kernels.upsample import bilinear_f32_naive, bilinear_f32_op


@operator("bilinear_f32")
class BilinearF32(Operator):
    computes = "Bilinear resize of float32 pixels; rows, columns and their weights come as tables."
    naive = staticmethod(bilinear_f32_naive)
    cases = {"5x4 to 9x7, 17": ((2, 5, 4, 17), (9, 7)), "28 to 56, 64": ((1, 28, 28, 64), (56, 56))}

    def make(self, rng: np.random.Generator, image: tuple[int, ...], out_size: tuple[int, int]) -> tuple:
        tables = []
        for size, out in zip(image[1:3], out_size, strict=True):
            first = rng.integers(0, size, out)
            weight = rng.random(out, dtype=np.float32)
            tables += [np.stack([first, np.minimum(first + 1, size - 1)], 1), np.stack([1 - weight, weight], 1)]
        return random(rng, *image), *tables, np.empty((image[0], *out_size, image[3]), np.float32)

    def builtin(self, *args: Any) -> Prepared:
        return Prepared(bilinear_f32_op(*args))


@operator("resize_u8")
class ResizeU8(Operator):
    computes = "Resize of an 8-bit picture with antialiasing: weights of neighbouring pixels along x, then along y."
    naive = staticmethod(resize_u8_naive)
    cases = {"9x13 to 20x7": ((9, 13, 1), (20, 7)), "500x375 to 227x227": ((375, 500, 3), (227, 227))}

    def make(self, rng: np.random.Generator, size: tuple[int, ...], out_size: tuple[int, int]) -> tuple:
        pixels = rng.integers(0, 256, size, dtype=np.uint8)
        taps = [axis_taps(size[axis], out_size[axis]) for axis in (1, 0)]
        return pixels, *taps, np.empty((*out_size, size[2]), np.uint8)

    def builtin(self, *args: Any) -> Prepared:
        return Prepared(call=lambda: resize_u8(*args))


@operator("grid_sample_f32")
class GridSampleF32(Operator):
    computes = "Samples of a float32 image at the coordinates of a grid (-1..1), nearest or bilinear."
    codes: ClassVar = {
        "mode": {"NEAREST": sample_f32.NEAREST, "BILINEAR": sample_f32.BILINEAR},
        "padding": {"ZEROS": sample_f32.ZEROS, "REFLECTION": sample_f32.REFLECTION, "BORDER": sample_f32.BORDER},
    }
    naive = staticmethod(grid_sample_f32_naive)
    cases = {
        "nearest": ((2, 5, 7, 19), (6, 5), sample_f32.NEAREST, sample_f32.BORDER, True),
        "bilinear, reflected": ((2, 5, 7, 19), (6, 5), sample_f32.BILINEAR, sample_f32.REFLECTION, False),
        "16x16, 32": ((1, 16, 16, 32), (16, 16), sample_f32.BILINEAR, sample_f32.ZEROS, False),
    }
    tolerance, why = 1e-5, "the weights of corners are computed otherwise"

    def make(
        self, rng: np.random.Generator, image: tuple[int, ...], out_size: tuple[int, int], mode: int, padding: int,
        align_corners: bool,
    ) -> tuple:  # fmt: skip
        grid = random(rng, image[0], *out_size, 2) * np.float32(1.5)
        out = np.empty((image[0], *out_size, image[3]), np.float32)
        return random(rng, *image), grid, mode, padding, align_corners, out

    def builtin(
        self, x: np.ndarray, grid: np.ndarray, mode: int, padding: int, align_corners: bool, out: np.ndarray
    ) -> Prepared:
        return Prepared(
            call=lambda: grid_sample_f32(x, grid, out, mode=mode, padding=padding, align_corners=align_corners)
        )


@operator("roi_align_f32")
class RoiAlignF32(Operator):
    computes = "Pools float32 regions of interest to a fixed size from bilinear samples: their average or maximum."
    codes: ClassVar = {"mode": {"MAX": sample_f32.MAX, "AVERAGE": sample_f32.AVERAGE}}
    naive = staticmethod(roi_align_f32_naive)
    cases = {"average 17": (17, 5, 0, sample_f32.AVERAGE), "max 17": (17, 5, 3, sample_f32.MAX),
             "average 64, 32 regions": (64, 32, 2, sample_f32.AVERAGE)}  # fmt: skip
    tolerance, why = 1e-5, "corners are weighted in another order"

    def make(self, rng: np.random.Generator, channels: int, regions: int, ratio: int, mode: int) -> tuple:
        corner, size = rng.uniform(0, 16, (regions, 2)), rng.uniform(1, 12, (regions, 2))
        rois = np.concatenate([corner, corner + size], 1).astype(np.float32)
        images = rng.integers(0, 3, regions).astype(np.int32)
        out = np.empty((regions, 7, 7, channels), np.float32)
        return random(rng, 3, 14, 14, channels), rois, images, np.float32(0.5), ratio, mode, out

    def builtin(
        self, x: np.ndarray, rois: np.ndarray, images: np.ndarray, scale: np.float32, ratio: int, mode: int,
        out: np.ndarray,
    ) -> Prepared:  # fmt: skip
        wide, factor = images.astype(np.int64), float(scale)
        return Prepared(call=lambda: roi_align_f32(x, rois, wide, out, scale=factor, ratio=ratio, mode=mode))


@operator("strided_copy")
class StridedCopy(Operator):
    computes = "Copy between arrays of one shape and any strides: a permutation of axes, for instance."
    naive = staticmethod(strided_copy_naive)
    cases = {"permute 5x7x9": ((5, 7, 9), (2, 0, 1)), "NHWC to NCHW, 64 at 56": ((56, 56, 64), (2, 0, 1))}

    def make(self, rng: np.random.Generator, shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple:
        x = random(rng, *shape).transpose(axes)
        return x, np.empty(x.shape, np.float32)

    def builtin(self, x: np.ndarray, out: np.ndarray) -> Prepared:
        return Prepared(strided_copy_ops([(x, out)]))


@operator("greedy_nms")
class GreedyNms(Operator):
    computes = "Greedy non-maximum suppression: keeps a box that overlaps no kept one too much; returns their number."
    naive = staticmethod(greedy_nms_naive)
    cases = {"33 boxes": (33, 0.3, 1, False), "400 boxes, lenient": (400, 0.5, 1, True),
             "2000 boxes, eta": (2000, 0.7, 0.9, False)}  # fmt: skip
    scratch = (-2,)
    returns = True
    unit = OTHER

    def make(self, rng: np.random.Generator, count: int, threshold: float, eta: float, is_lenient: bool) -> tuple:
        corner, size = rng.uniform(0, 60, (count, 2)), rng.uniform(1, 9, (count, 2))
        boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
        table = np.empty((TABLE_ROWS, count), np.float32)
        order = rng.permutation(count)
        limits = np.float32(threshold), np.float32(eta), is_lenient, count
        return boxes, order, *limits, table, np.zeros(count, np.int64)

    def builtin(self, *args: Any) -> Prepared:
        made: list[int] = []

        def call() -> None:
            made[:] = [greedy_nms(*args)]

        return Prepared(call=call, finish=lambda: made[0])

    def work(self, boxes: np.ndarray, *rest: object) -> int:
        return len(boxes)
