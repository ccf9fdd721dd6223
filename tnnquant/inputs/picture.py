"""Decoding pictures to 8-bit pixels as TNN's tool does: the only place that knows a picture library.

The library is Pillow, not imageio: for these formats imageio hands the file to Pillow as well, costs 0.4 ms more a
picture, cannot tell CMYK from RGBA, and offers no look at the header before the whole file is trusted. (Pictures are
written with imageio, in :mod:`~tnnquant.inputs.preview`.)

What becomes of each kind (docs/tnn-format.md, 7.3): grey is repeated for R, G and B; colour becomes grey as
``(77 R + 150 G + 29 B) >> 8``, but a JPEG's grey is its Y; alpha is dropped, or 255 where the model wants one and the
picture has none; palettes are looked up, with their transparency; 1-bit is 0 and 255; of 16 bits the high byte is
taken; CMYK is ``R = (255 - C)(255 - K) / 255``, without a colour profile; of several frames the first is taken. EXIF
orientation, gamma and colour profiles are ignored, as by TNN; frames and orientation are noted. TNN decodes JPEG with
another library, which differs by a few levels.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.errors import InputError
from tnnquant.inputs.display import printable
from tnnquant.inputs.files import open_input, reason_of

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FRAMES", "ORIENTATION", "Picture", "import_picture_library", "read_picture"]

#: Notes about a picture.
FRAMES = "several frames, of which the first is used"
ORIENTATION = "an EXIF orientation, which is ignored as by TNN (turn the pixels if the model needs them upright)"

#: Longest side of a picture; JPEG allows no more.
_SIDE_LIMIT = 65535
_SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"BM": "BMP", b"GIF8": "GIF"}
_FOREIGN = (
    (0, b"version https://git-lfs", "a Git LFS pointer instead of the picture (run `git lfs pull`)"),
    (8, b"WEBP", "a WebP picture"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (4, b"ftyp", "a HEIF or AVIF picture, or a video"),
    (4, b"jP  ", "a JPEG 2000 picture"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "a PDF file"),
    (0, b"PK\x03\x04", "a zip file"),
    (0, b"\x93NUMPY", "a NumPy file"),
    (0, b"<", "an HTML, XML or SVG file"),
)


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes
    ----------
    pixels : uint8 (H, W, C)
        C-contiguous, in the order R, G, B, A; grey, alpha for two channels.
    notes : tuple of str
        :data:`FRAMES`, :data:`ORIENTATION`, or nothing.
    """

    pixels: np.ndarray
    notes: tuple[str, ...] = ()


def read_picture(path: Path, channels: int, pixel_limit: int) -> Picture:
    """Decode a picture with the given number of channels, 1 to 4.

    The kind of file is recognised by its first bytes, not by its name.

    Raises
    ------
    InputError
        The file is missing, empty, foreign, truncated or damaged, or has more pixels than ``pixel_limit`` (checked in
        the header, before pixels are decoded or memory is allocated).
    """
    file, _ = open_input(path)
    with file:
        kind = _kind(file.read(32), path)
        file.seek(0)
        try:
            image = import_picture_library()[kind](file)
        except Exception as error:  # a damaged file may raise anything; the library's own errors share no base
            raise InputError(f"{printable(str(path))}: damaged {kind} header: {reason_of(error)}") from None
        _check_size(image.size, pixel_limit, path)
        try:
            pixels = _with_channels(_pixels(image, kind, channels), channels)
            return Picture(pixels, _notes(image))
        except Exception as error:
            raise InputError(f"{printable(str(path))}: damaged {kind} picture: {reason_of(error)}") from None


def _kind(head: bytes, path: Path) -> str:
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    known = (what for offset, signature, what in _FOREIGN if head[offset:].startswith(signature))
    what = next(known, f"no picture: it begins with the bytes {head[:8].hex(' ')}")
    raise InputError(f"{printable(str(path))}: is {what}; expected JPEG, PNG or BMP")


@cache
def import_picture_library() -> dict[str, Callable]:
    """The class of each kind of file, imported with the first call."""
    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin

    # About things that are not used here. They would be printed among the progress, and warnings cannot be caught on
    # threads.
    warnings.filterwarnings("ignore", "Corrupt EXIF data|Tag data larger than|Invalid APNG", UserWarning, r"PIL\.")
    # The classes themselves instead of Image.open: no other format is tried on hostile bytes, and no global limit of
    # pixels applies beside ours. A JPEG with further pictures after it (MPO) is its first one here.
    return {
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "GIF": GifImagePlugin.GifImageFile,
    }


def _check_size(size: tuple[int, int], pixel_limit: int, path: Path) -> None:
    width, height = size
    if max(width, height) > _SIDE_LIMIT:
        raise InputError(f"{printable(str(path))}: is {width}x{height} pixels; no side may exceed {_SIDE_LIMIT}")
    if width * height > pixel_limit:
        raise InputError(
            f"{printable(str(path))}: is {width}x{height} = {width * height} pixels, more than the limit of "
            f"{pixel_limit}; use a smaller copy"
        )


def _pixels(image: Image.Image, kind: str, channels: int) -> np.ndarray:
    """Pixels of whatever channels the picture has: uint8 (H, W) or (H, W, 2..4); 2 and 4 have alpha."""
    if kind == "JPEG" and image.mode == "RGB" and channels <= 2:
        image.draft("L", None)  # the decoder then gives Y
    transparent = "transparency" in image.info
    if image.mode.startswith("I"):
        return _high_byte(image, channels)
    if image.mode == "CMYK":
        return _cmyk_to_rgb(np.asarray(image))
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if transparent or image.mode == "PA" else "RGB")
    elif transparent and channels in (2, 4):
        image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    elif image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise ValueError(f"pixels of kind {image.mode} are not supported")
    return np.array(image)


def _high_byte(image: Image.Image, channels: int) -> np.ndarray:
    # 16-bit grey; its transparent value, if any, is one of 16 bits.
    wide = np.asarray(image)
    grey = (wide >> 8).astype(np.uint8)
    key = image.info.get("transparency")
    if channels in (1, 3) or not isinstance(key, int):
        return grey
    return np.stack([grey, np.where(wide == key, 0, 255).astype(np.uint8)], axis=-1)


def _cmyk_to_rgb(cmyk: np.ndarray) -> np.ndarray:
    light = 255 - cmyk.astype(np.uint16)
    product = light[..., :3].astype(np.uint32) * light[..., 3:] + 128
    return ((product + (product >> 8)) >> 8).astype(np.uint8)


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """uint8 (H, W) or (H, W, 2..4) as (H, W, channels), C-contiguous."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    has = pixels.shape[-1]
    if has == channels:
        return np.ascontiguousarray(pixels)
    colour = pixels[..., : has - (has + 1) % 2]
    out = np.empty((*pixels.shape[:2], channels), np.uint8)
    if channels <= 2 and colour.shape[-1] == 3:
        red, green, blue = (colour[..., c].astype(np.uint16) for c in range(3))
        out[..., 0] = (77 * red + 150 * green + 29 * blue) >> 8
    else:
        out[..., : channels - (channels + 1) % 2] = colour
    if channels % 2 == 0:
        out[..., -1] = pixels[..., -1] if has % 2 == 0 else 255
    return out


def _notes(image: Image.Image) -> tuple[str, ...]:
    notes = []
    try:
        animated = bool(getattr(image, "is_animated", False))
    except Exception:  # looks for a second frame in bytes that nobody needs
        animated = False
    if animated:
        notes.append(FRAMES)
    if _exif_orientation(image.info.get("exif")) > 1:
        notes.append(ORIENTATION)
    return tuple(notes)


def _exif_orientation(exif: object) -> int:
    """The orientation (tag 0x0112) in the first directory of an EXIF block, 1..8; 0: none, or damaged."""
    if not isinstance(exif, bytes):
        return 0
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 10:
        return 0
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    if start + 2 > len(tiff):
        return 0
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == 0x0112 and kind == 3:
            return value if value <= 8 else 0
    return 0
