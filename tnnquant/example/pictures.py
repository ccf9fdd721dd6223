"""Calibration crops and named pictures from the photographs inside scikit-image's wheel.

Every picture is a square cut out of a photograph, some mirrored, never resampled: the pixels depend on nothing but the
photograph. They are of many sizes, so that quantizing them goes through the same resizing as a user's own pictures.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from tnnquant.errors import TnnQuantError

__all__ = ["CALIBRATION_COUNT", "NAMED", "NamedPicture", "calibration_pictures", "named_pictures", "read_photographs"]

# Photograph and how many crops of it: more of the colourful scenes, fewer of the grey and the uniform ones.
_CROPS = {
    "astronaut.png": 9,
    "chelsea.png": 9,
    "coffee.png": 9,
    "motorcycle_left.png": 10,
    "rocket.jpg": 8,
    "camera.png": 4,
    "coins.png": 3,
    "hubble_deep_field.jpg": 3,
    "retina.jpg": 2,
    "clock_motion.png": 2,
    "brick.png": 2,
    "grass.png": 2,
    "gravel.png": 1,
}
CALIBRATION_COUNT = sum(_CROPS.values())

# Side of each crop of a photograph in turn, in percent of its shorter side; the first is as large as can be.
_SIDES = (100, 70, 50, 85, 60)


@dataclass(frozen=True)
class NamedPicture:
    """A picture whose content is known.

    Attributes
    ----------
    name : str
        File name without suffix.
    photograph : str
        File in scikit-image.
    box : tuple of int
        Left, top, right, bottom, in pixels of the photograph.
    classes : tuple of str
        The ImageNet class names that are right for it.
    """

    name: str
    photograph: str
    box: tuple[int, int, int, int]
    classes: tuple[str, ...]


NAMED = (
    NamedPicture("cat", "chelsea.png", (0, 0, 451, 300), ("Egyptian cat", "tabby", "tiger cat")),
    NamedPicture("coffee", "coffee.png", (0, 0, 600, 400), ("espresso",)),
    NamedPicture("motorcycle", "motorcycle_left.png", (80, 0, 480, 400), ("motor scooter", "moped")),
    NamedPicture("brake", "motorcycle_left.png", (480, 240, 680, 440), ("disk brake",)),
    NamedPicture("rocket", "rocket.jpg", (240, 80, 440, 280), ("missile", "projectile")),
    NamedPicture("photographer", "camera.png", (0, 0, 512, 512), ("tripod",)),
)


def read_photographs(wheel: Path) -> dict[str, Image.Image]:
    """Decode the photographs that the example uses.

    Parameters
    ----------
    wheel : Path
        A wheel of scikit-image.

    Returns
    -------
    dict of str to PIL.Image.Image
        By file name; RGB, or L where the photograph is grey.

    Raises
    ------
    TnnQuantError
        The wheel or a photograph in it cannot be read.
    """
    photographs = {}
    name = ""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in dict.fromkeys((*_CROPS, *(picture.photograph for picture in NAMED))):
                with Image.open(io.BytesIO(archive.read(f"skimage/data/{name}"))) as picture:
                    photographs[name] = picture.convert("L" if picture.mode == "L" else "RGB")
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise TnnQuantError(f"{wheel.name}: photograph {name or 'folder'} cannot be read: {error}") from error
    return photographs


def _crop_boxes(width: int, height: int, count: int) -> Iterator[tuple[int, int, int, int]]:
    """``count`` squares of several sizes, spread over a picture of ``width`` x ``height``."""
    for i in range(count):
        side = min(width, height) * _SIDES[i % len(_SIDES)] // 100
        # Two steps that share no factor with 32 visit the places in a scattered order.
        left = (width - side) * (i * 13 % 32) // 31
        top = (height - side) * (i * 21 % 32) // 31
        yield left, top, left + side, top + side


def calibration_pictures(photographs: Mapping[str, Image.Image]) -> Iterator[tuple[str, Image.Image]]:
    """The :data:`CALIBRATION_COUNT` calibration pictures, as (file name, picture); every other crop is mirrored."""
    for name, count in _CROPS.items():
        photograph = photographs[name]
        for i, box in enumerate(_crop_boxes(*photograph.size, count)):
            crop = photograph.crop(box)
            yield f"{name.partition('.')[0]}_{i:02d}.png", ImageOps.mirror(crop) if i % 2 else crop


def named_pictures(photographs: Mapping[str, Image.Image]) -> Iterator[tuple[str, Image.Image]]:
    """The pictures of :data:`NAMED`, as (file name, picture)."""
    for picture in NAMED:
        yield f"{picture.name}.png", photographs[picture.photograph].crop(picture.box)
