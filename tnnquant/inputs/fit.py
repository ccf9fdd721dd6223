"""Making pictures fit the model's input: stretch, crop, letterbox.

All filter with the kernels of TNN's tool (:mod:`tnnquant.kernels.resize`); a picture that needs no other size is not
filtered at all, as there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Fit", "fit_picture", "plan_fit"]


@dataclass(frozen=True)
class Fit:
    """How a picture becomes an input.

    Attributes
    ----------
    scaled : (int, int)
        Height and width the whole picture is scaled to; ``crop``: more than is used.
    size : (int, int)
        Height and width of the part that is used, the middle of the scaled picture.
    offset : (int, int)
        Row and column of the input where that part is put; around it is padding.
    """

    scaled: tuple[int, int]
    size: tuple[int, int]
    offset: tuple[int, int]


def plan_fit(picture: tuple[int, int], target: tuple[int, int], mode: str) -> Fit:
    """Scale and placement of a picture.

    Parameters
    ----------
    picture, target : (int, int)
        Height and width.
    mode : {"stretch", "crop", "letterbox"}
        ``stretch``: both sides to the target, whatever the aspect ratio. ``crop``: one scale for both, so that the
        picture covers the target; its middle is used. ``letterbox``: one scale for both, so that the picture lies
        inside the target; it is put into its middle. Sides are rounded to the nearest pixel, odd rests go to the bottom
        and right.
    """
    if mode == "stretch":
        return Fit(target, target, (0, 0))
    (height, width), (wanted_height, wanted_width) = picture, target
    # Which side decides the scale: compared as fractions, wanted_width / width and wanted_height / height.
    by_width = wanted_width * height > wanted_height * width
    if (mode == "letterbox") == by_width:
        scaled = (wanted_height, _rounded(width * wanted_height, height))
    else:
        scaled = (_rounded(height * wanted_width, width), wanted_width)
    size = (min(scaled[0], wanted_height), min(scaled[1], wanted_width))
    return Fit(scaled, size, ((wanted_height - size[0]) // 2, (wanted_width - size[1]) // 2))


def fit_picture(pixels: np.ndarray, fit: Fit) -> np.ndarray:
    """The part of a scaled picture that is used.

    Parameters
    ----------
    pixels : uint8 (H, W, C)
        C-contiguous, C <= 4.
    fit : Fit
        From :func:`plan_fit` with (H, W).

    Returns
    -------
    uint8 (*fit.size, C)
        C-contiguous; ``pixels`` itself if nothing has to be done.
    """
    starts = [(scaled - used) // 2 for scaled, used in zip(fit.scaled, fit.size, strict=True)]
    (top, bottom), (left, right) = [(start, start + used) for start, used in zip(starts, fit.size, strict=True)]
    if pixels.shape[:2] == fit.scaled:
        return np.ascontiguousarray(pixels[top:bottom, left:right])
    from tnnquant.kernels.resize import axis_taps, resize_u8

    x_taps = axis_taps(pixels.shape[1], fit.scaled[1], left, right)
    y_taps = axis_taps(pixels.shape[0], fit.scaled[0], top, bottom)
    return resize_u8(pixels, x_taps, y_taps, np.empty((*fit.size, pixels.shape[2]), np.uint8))


def _rounded(numerator: int, denominator: int) -> int:
    """The quotient to the nearest whole number, halves up, at least 1."""
    return max(1, (2 * numerator + denominator) // (2 * denominator))
