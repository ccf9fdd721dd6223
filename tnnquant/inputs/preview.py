"""Pictures as the model sees them, written as files to look at: wrong channel order, aspect or crop is seen at once."""

from __future__ import annotations

import io
import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.errors import OutputError
from tnnquant.inputs.display import printable
from tnnquant.inputs.files import reason_of
from tnnquant.inputs.normalize import PictureInput
from tnnquant.inputs.samples import Samples

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["blank_picture", "contact_sheet", "save_preview", "thumbnail"]


def save_preview(samples: Samples, folder: str | os.PathLike, count: int = 8) -> list[Path]:
    """Write the first pictures as PNG files, after resizing and in the model's values, turned back into pixels.

    Parameters
    ----------
    samples : Samples
    folder : path
        Must exist. Files ``0000_INPUT.png`` and so on are replaced.
    count : int
        How many samples (batches) to write.

    Returns
    -------
    list of Path
        What was written; empty if the samples hold no pictures.

    Raises
    ------
    OutputError
        The folder does not exist or cannot be written.
    InputError
        A file cannot be used.
    """
    import imageio.v3 as iio

    written = []
    for number, sample in enumerate(islice(samples, count)):
        for name, picture_input in samples.picture_inputs().items():
            for row, pixels in enumerate(_pixels(sample.arrays[name][: sample.fresh], picture_input)):
                part = f"-{row}" if samples.batch > 1 else ""
                path = Path(folder) / f"{number:04}{part}_{_safe(name)}.png"
                try:
                    iio.imwrite(path, pixels, extension=".png")
                except OSError as error:
                    raise OutputError(f"{printable(str(path))}: cannot be written: {reason_of(error)}") from None
                written.append(path)
    return written


def thumbnail(array: np.ndarray, picture_input: PictureInput, size: int) -> tuple[bytes, int, int]:
    """One picture as a small PNG: its bytes, width and height.

    Parameters
    ----------
    array : float32 (1, C, H, W)
        What the model was fed.
    picture_input : PictureInput
    size : int
        Of the longer side, at most.
    """
    picture = _shrunk(_pixels(array, picture_input)[0], size)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue(), *picture.size


def contact_sheet(samples: Samples, count: int = 64, size: int = 160, columns: int = 8) -> tuple[bytes, int]:
    """The first pictures, as the model sees them, tiled on one PNG.

    Parameters
    ----------
    samples : Samples
    count : int
        Pictures at most.
    size : int
        Of the longer side of a picture.
    columns : int

    Returns
    -------
    bytes
        The PNG; empty if the samples hold no pictures.
    int
        How many pictures are on it.

    Raises
    ------
    InputError
        A file cannot be used.
    """
    from PIL import Image

    tiles: list[Image.Image] = []
    for sample in samples:
        for name, picture_input in samples.picture_inputs().items():
            for row in range(sample.fresh):
                if len(tiles) < count:
                    tiles.append(_shrunk(_pixels(sample.arrays[name][row : row + 1], picture_input)[0], size))
        if len(tiles) >= count:
            break
    if not tiles:
        return b"", 0
    columns = min(columns, len(tiles))
    width, height = (max(tile.size[axis] for tile in tiles) + 4 for axis in (0, 1))
    sheet = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height), (32, 36, 40))
    for i, tile in enumerate(tiles):
        sheet.paste(tile.convert("RGB"), (i % columns * width + 2, i // columns * height + 2))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue(), len(tiles)


def blank_picture(path: str | os.PathLike, mode: str, size: tuple[int, int]) -> None:
    """Write a black picture: something to decode where no picture is at hand.

    Parameters
    ----------
    path : path
    mode : str
        Of Pillow: ``L``, ``RGB``, ...
    size : (int, int)
        Width, height.
    """
    from PIL import Image

    Image.new(mode, size).save(path)


def _shrunk(pixels: np.ndarray, size: int) -> Image.Image:
    from PIL import Image

    picture = Image.fromarray(pixels)
    scale = size / max(picture.size)
    if scale >= 1:
        return picture
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)


def _pixels(array: np.ndarray, picture_input: PictureInput) -> np.ndarray:
    """uint8 (N, H, W) or (N, H, W, 3 or 4), R first, of what the model was fed (N, C, H, W)."""
    levels = array.transpose(0, 2, 3, 1) / picture_input.scale + picture_input.mean
    pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    if picture_input.is_reversed:
        pixels = pixels[..., [2, 1, 0, 3][: picture_input.channels]]
    return np.ascontiguousarray(pixels[..., 0] if picture_input.channels <= 2 else pixels)


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:80]
