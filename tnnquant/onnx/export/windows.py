"""Windows that slide over a blob: TNN's pads as ONNX's, which are never negative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tnnquant.onnx.export.builder import Builder

__all__ = ["Window", "trimmed"]


@dataclass(frozen=True)
class Window:
    """A window along one axis.

    Attributes
    ----------
    size, out : int
        Of the input and of the output.
    kernel, stride, dilation : int
    begin : int
        What is padded in front; negative: so much of the input is passed over.
    """

    size: int
    out: int
    kernel: int
    stride: int
    begin: int
    dilation: int = 1

    @property
    def end(self) -> int:
        """What is padded at the end, so that there are ``out`` windows; negative: so much is not looked at."""
        extent = self.dilation * (self.kernel - 1) + 1
        return (self.out - 1) * self.stride + extent - self.size - self.begin


def _even_end(window: Window) -> int:
    """The end pad, as large as the begin pad where that makes no further window."""
    return window.begin if 0 <= window.begin - window.end < window.stride else window.end


def trimmed(b: Builder, x: str, rank: int, windows: Sequence[Window]) -> tuple[str, list[int]]:
    """``x`` without what no window looks at, and the pads that are left: all begins, then all ends.

    Parameters
    ----------
    b : Builder
    x : str
        Its last axes are those of the windows.
    rank : int
    windows : sequence of Window
    """
    cut = [i for i, w in enumerate(windows) if w.begin < 0 or w.end <= -w.stride]
    if cut:
        starts = [max(-windows[i].begin, 0) for i in cut]
        ends = [windows[i].size - max(-windows[i].end, 0) for i in cut]
        axes = [rank - len(windows) + i for i in cut]
        x = b.op("Slice", x, b.ints(*starts), b.ints(*ends), b.ints(*axes))
    begins, ends = [max(w.begin, 0) for w in windows], [max(_even_end(w), 0) for w in windows]
    return x, [*begins, *ends]
