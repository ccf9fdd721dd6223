"""Sliding windows as ONNX describes them: pads, strides, dilations, rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tnnquant.onnx.refusal import Refused

__all__ = ["Windows"]


@dataclass(frozen=True)
class Windows:
    """Windows over the spatial axes of an input, one entry per axis.

    Attributes
    ----------
    sizes, kernel, strides, dilations, begins, ends, out : tuple of int
        Of the input; of a window; its steps; between its taps; border before and after; of the output.
    """

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    out: tuple[int, ...]

    @classmethod
    def of(
        cls, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None, pads: Sequence[int] | None = None, auto_pad: str = "NOTSET",
        ceil_mode: int = 0,
    ) -> Windows:  # fmt: skip
        """From a node's attributes; those that are absent have ONNX's defaults."""
        rank = len(sizes)
        strides, dilations = tuple(strides or (1,) * rank), tuple(dilations or (1,) * rank)
        pads = tuple(pads or (0,) * (2 * rank))
        if not len(kernel) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
            raise Refused(f"its kernel, strides, dilations and pads are not those of {rank} spatial axes")
        if min(*kernel, *strides, *dilations) < 1:
            raise Refused("its kernel, strides or dilations are below 1")
        begins, ends, out = [], [], []
        for axis, size in enumerate(sizes):
            extent = dilations[axis] * (kernel[axis] - 1) + 1
            stride = strides[axis]
            if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
                count = -(-size // stride)
                total = max((count - 1) * stride + extent - size, 0)
                less, more = total // 2, total - total // 2
                begin, end = (less, more) if auto_pad == "SAME_UPPER" else (more, less)
            elif auto_pad == "VALID":
                begin = end = 0
                count = -(-(size - extent + 1) // stride)
            else:
                begin, end = pads[axis], pads[axis + rank]
                count = _count(size, extent, stride, begin, end, ceil_mode)
            if count < 1:
                raise Refused(f"a window of {extent} does not fit an axis of {size} with pads {begin}, {end}")
            begins.append(begin)
            ends.append(end)
            out.append(count)
        return cls(tuple(sizes), tuple(kernel), strides, dilations, tuple(begins), tuple(ends), tuple(out))

    @property
    def is_symmetric(self) -> bool:
        """Whether the border is as wide before as after."""
        return self.begins == self.ends

    @property
    def extents(self) -> tuple[int, ...]:
        """How many places a window spans."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def is_tnn_same(self) -> bool:
        """Whether TNN's SAME (pad_type 0) gives these windows."""
        for size, extent, stride, begin, out in zip(
            self.sizes, self.extents, self.strides, self.begins, self.out, strict=True
        ):
            total = (out - 1) * stride + extent - size
            if out != -(-size // stride) or total < 0 or begin != total // 2:
                return False
        return True

    def padded(self) -> Windows:
        """The same windows over an input that has the border already."""
        sizes = tuple(s + b + e for s, b, e in zip(self.sizes, self.begins, self.ends, strict=True))
        zero = (0,) * len(sizes)
        return Windows(sizes, self.kernel, self.strides, self.dilations, zero, zero, self.out)


def _count(size: int, extent: int, stride: int, begin: int, end: int, ceil_mode: int) -> int:
    room = size + begin + end - extent
    if room < 0:
        return 0
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    # A last window that would start after the input is none.
    if ceil_mode and (count - 1) * stride >= size + begin:
        count -= 1
    return count
