"""What was fed to the model, and whether that is plausible."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.base.wording import parameter
from tnnquant.inputs.config import InputConfig

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["FedStatistics", "ItemStatistics", "pixel_statistics", "plausibility_warning", "tensor_statistics"]

#: Inputs with more channels are described as a whole.
_MOST_CHANNELS = 16
#: Beyond +-300 no usual preprocessing of 0..255 pixels leads; below 0.02, pixels were scaled down twice.
_LARGEST_USUAL, _SMALLEST_USUAL = 300.0, 0.02


@dataclass(frozen=True, eq=False)
class ItemStatistics:
    """Of the values of one file, per channel.

    Attributes
    ----------
    lowest, highest, total : float64 (C,)
        ``total`` is the sum.
    count : int
        Values per channel.
    """

    lowest: np.ndarray
    highest: np.ndarray
    total: np.ndarray
    count: int


def pixel_statistics(pixels: np.ndarray) -> ItemStatistics:
    """Of uint8 (H, W, C) pixels."""
    height, width, channels = pixels.shape
    flat = pixels.reshape(height, width * channels)

    # First down the columns, which are long rows of memory, then over the columns of each channel.
    def over(reduce: Callable[..., np.ndarray], **kwargs: DTypeLike) -> np.ndarray:
        return reduce(reduce(flat, axis=0, **kwargs).reshape(width, channels), axis=0, **kwargs).astype(np.float64)

    total = over(np.add.reduce, dtype=np.int64)
    return ItemStatistics(over(np.minimum.reduce), over(np.maximum.reduce), total, height * width)


def tensor_statistics(values: np.ndarray) -> ItemStatistics:
    """Of an array (N, C, ...), per channel if there are few, else of the whole."""
    few = values.ndim >= 2 and 1 <= values.shape[1] <= _MOST_CHANNELS
    by_channel = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1) if few else values.reshape(1, -1)
    return ItemStatistics(
        by_channel.min(axis=1).astype(np.float64),
        by_channel.max(axis=1).astype(np.float64),
        by_channel.sum(axis=1, dtype=np.float64),
        by_channel.shape[1],
    )


@dataclass
class FedStatistics:
    """Lowest, mean and highest value fed to one model input, per channel.

    Letterbox padding does not count.

    Attributes
    ----------
    items : int
        Pictures or tensors seen.
    """

    items: int = 0
    _sum: ItemStatistics | None = field(default=None, repr=False)

    def add(self, item: ItemStatistics, mean: np.ndarray | None = None, scale: np.ndarray | None = None) -> None:
        """Count one item in; pixels with the mean and scale (C,) that they are fed with."""
        lowest, highest, total = item.lowest, item.highest, item.total
        if mean is not None and scale is not None:
            ends = [(end - mean.astype(np.float64)) * scale for end in (lowest, highest)]
            lowest, highest = np.minimum(*ends), np.maximum(*ends)
            total = (total - item.count * mean.astype(np.float64)) * scale
        before = self._sum
        if before is not None:
            lowest, highest = np.minimum(lowest, before.lowest), np.maximum(highest, before.highest)
            total = total + before.total
        self._sum = ItemStatistics(lowest, highest, total, item.count + (before.count if before else 0))
        self.items += 1

    @property
    def span(self) -> tuple[float, float]:
        """Lowest and highest value of all channels; NaN before anything was seen."""
        if self._sum is None:
            return math.nan, math.nan
        return float(self._sum.lowest.min()), float(self._sum.highest.max())

    def as_dict(self) -> dict:
        """``lowest``, ``mean``, ``highest``: lists with one number per channel; ``items``."""
        if self._sum is None:
            return {"items": 0, "lowest": [], "mean": [], "highest": []}
        lists = {"lowest": self._sum.lowest, "mean": self._sum.total / self._sum.count, "highest": self._sum.highest}
        return {"items": self.items, **{name: [float(f"{v:.7g}") for v in values] for name, values in lists.items()}}


def plausibility_warning(
    statistics: FedStatistics, config: InputConfig, *, is_normalized_inside: bool = False
) -> str | None:
    """One line if the values that pictures were fed as are none that models are trained on, else None.

    The evidence is the range of the values and the options; it is a hint, not a proof.

    Parameters
    ----------
    statistics : FedStatistics
        Of one input, fed with pictures.
    config : InputConfig
    is_normalized_inside : bool
        The model subtracts a mean or scales by itself, first thing; raw pixels are then plausible.
    """
    low, high = statistics.span
    if math.isnan(low) or is_normalized_inside:
        return None
    fed = f"pictures are fed as values of {low:.4g}..{high:.4g}"
    largest = max(abs(low), abs(high))
    if low == high:
        return f"{fed}: every pixel of every picture is the same"
    if any(config.mean) and max(map(abs, config.mean)) <= 1:
        return (
            f"{fed}: the mean {_listed(config.mean)} looks as if meant for pixels of 0..1, but they are 0..255 here; "
            "give 255 times the mean, and the scale divided by 255"
        )
    if largest > _LARGEST_USUAL:
        return f"{fed}: few models are trained on values that large; check the scale {_listed(config.scale)}"
    if largest < _SMALLEST_USUAL:
        return f"{fed}: few models are trained on values that small; check the scale {_listed(config.scale)}"
    if not any(config.mean) and set(config.scale) == {1.0} and high > 2:
        return (
            f"{fed}, raw, since neither mean nor scale is given: most models are trained on about -1..1 or with a mean "
            "subtracted; give what the model was trained with (for instance "
            f"{parameter('mean', 127.5)} and {parameter('scale', '1/127.5')})"
        )
    return None


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:.4g}" for value in values)
