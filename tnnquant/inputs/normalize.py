"""From pixels to what the model is fed: ``f32(f32(pixel - mean) * scale)``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tnnquant.inputs.config import InputConfig
from tnnquant.inputs.fit import fit_picture, plan_fit
from tnnquant.inputs.picture import read_picture
from tnnquant.inputs.vectors import fit_vector

__all__ = ["LETTERBOX_LEVEL", "FittedPicture", "PictureInput"]

#: What letterboxed pictures are padded with when no mean is subtracted: the grey of YOLO detectors.
LETTERBOX_LEVEL = 114


@dataclass(frozen=True, eq=False)
class FittedPicture:
    """A picture of the size and channel order that the model is fed.

    Attributes
    ----------
    pixels : uint8 (h, w, C)
        C-contiguous; the channels are the model's (B, G, R after a reversal).
    offset : (int, int)
        Row and column of the input where they go; around them is padding.
    notes : tuple of str
        See :class:`~tnnquant.inputs.picture.Picture`.
    """

    pixels: np.ndarray
    offset: tuple[int, int]
    notes: tuple[str, ...]


class PictureInput:
    """One model input that pictures are fed to.

    Parameters
    ----------
    dims : tuple of int
        (N, C, H, W) with C in 1..4.
    config : InputConfig

    Attributes
    ----------
    mean, scale : float32 (C,)
        Per channel of the model.
    is_reversed : bool
        The first and third channel change places: B, G, R(, A). Of one or two channels nothing is reversed.
    padding : float32 (C,)
        What surrounds letterboxed pictures: 0, which is the mean colour; without a mean, grey 114 times scale.

    Raises
    ------
    ConfigError
        ``mean`` or ``scale`` have another number of values than the input has channels.
    """

    def __init__(self, dims: tuple[int, ...], config: InputConfig):
        _, self.channels, self.height, self.width = dims
        self.config = config
        self.mean = np.array(fit_vector(config.mean, self.channels, "mean"), np.float32)
        self.scale = np.array(fit_vector(config.scale, self.channels, "scale"), np.float32)
        level = 0 if self.mean.any() else LETTERBOX_LEVEL
        self.is_reversed = config.reverse_channel and self.channels >= 3
        self.padding = np.float32(level) * self.scale

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        # Mean and scale of every value of one picture row: long inner loops, where an inner loop over channels is slow.
        return np.tile(self.mean, self.width), np.tile(self.scale, self.width)

    def read(self, path: Path) -> FittedPicture:
        """Decode a picture and make it fit; raises InputError if it cannot be used."""
        picture = read_picture(path, self.channels, self.config.pixel_limit)
        fit = plan_fit(picture.pixels.shape[:2], (self.height, self.width), self.config.resize)
        pixels = fit_picture(picture.pixels, fit)
        if self.is_reversed:
            # Three strided copies take a fifth of the time of one indexed by a list.
            picture_order, pixels = pixels, pixels.copy()
            pixels[..., 0], pixels[..., 2] = picture_order[..., 2], picture_order[..., 0]
        return FittedPicture(pixels, fit.offset, picture.notes)

    def feed(self, picture: FittedPicture) -> np.ndarray:
        """float32 (1, C, H, W), stored channels-last: ``f32(f32(pixel - mean[c]) * scale[c])`` and padding.

        ``mean`` and ``scale`` belong to the model's channel c, not to the picture's. docs/tnn-format.md, 7.3.
        """
        height, width, channels = picture.pixels.shape
        out = np.empty((1, self.height, self.width, channels), np.float32)
        whole = (height, width) == (self.height, self.width)
        mean, scale = (row[: width * channels] for row in self._rows)
        values = out.reshape(height, width * channels) if whole else np.empty((height, width * channels), np.float32)
        np.subtract(picture.pixels.reshape(height, width * channels), mean, out=values)
        np.multiply(values, scale, out=values)
        if not whole:
            top, left = picture.offset
            out[:] = self.padding
            out[0, top : top + height, left : left + width] = values.reshape(height, width, channels)
        return out.transpose(0, 3, 1, 2)
