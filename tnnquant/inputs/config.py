"""How calibration files become model inputs."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from tnnquant.base.wording import parameter
from tnnquant.errors import ConfigError

__all__ = ["FIT_MODES", "PIXEL_LIMIT", "InputConfig"]

#: ``stretch``: to the input's height and width, as TNN does; ``crop``: the shorter side to fit, then the centre;
#: ``letterbox``: the longer side to fit, then padded.
FIT_MODES = ("stretch", "crop", "letterbox")
#: Pixels that a picture may have by default; decoding one of that size takes about 1 GB for a moment.
PIXEL_LIMIT = 100_000_000


@dataclass(frozen=True)
class InputConfig:
    """Preprocessing of pictures and treatment of bad files; checked when it is built.

    ``input[0, c, h, w] = f32(f32(pixel - mean[c]) * scale[c])`` with pixels 0..255 in the order R, G, B(, A), or with
    ``reverse_channel`` B, G, R(, A); c is the channel of the *model*. Tensors (.txt, .npy, .npz) are fed as they are.

    Attributes
    ----------
    mean, scale : tuple of float
        One value per channel, or one for all.
    reverse_channel : bool
        The model wants BGR; for inputs of 3 or 4 channels.
    resize : str
        One of :data:`FIT_MODES`. A picture that has the input's size already is never filtered.
    skip_bad : bool
        Leave out files that cannot be used, and list them, instead of raising InputError.
    pixel_limit : int
        Pictures with more pixels are refused before anything is decoded.
    cache_bytes : int
        Memory for decoded pictures and tensors, kept for the next pass. The default holds 110 RGB pictures of 224x224:
        the usual calibration set is decoded once, and thousands of pictures cost hardly more memory than 64.
    """

    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    reverse_channel: bool = False
    resize: str = "stretch"
    skip_bad: bool = False
    pixel_limit: int = PIXEL_LIMIT
    cache_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        for what in ("mean", "scale"):
            values = tuple(float(value) for value in getattr(self, what))
            object.__setattr__(self, what, values)
            for value in values:
                if not math.isfinite(_float32(value)):
                    raise ConfigError(f"{what} is {value:g}, expected a finite number that float32 can hold")
        if any(_float32(value) == 0 for value in self.scale):
            raise ConfigError("scale is 0 (or too small for float32): every pixel would become 0")
        if self.resize not in FIT_MODES:
            raise ConfigError(f"resize is {self.resize!r}, expected one of {', '.join(FIT_MODES)}")
        if self.pixel_limit < 1:
            raise ConfigError(f"pixel_limit is {self.pixel_limit}, expected 1 or more")
        if self.cache_bytes < 0:
            raise ConfigError(f"cache_bytes is {self.cache_bytes}, expected 0 or more")


    def for_pictures(self) -> list[str]:
        """The options given that have an effect on pictures alone, as messages name them."""
        default = InputConfig()
        names = ("mean", "scale", "reverse_channel", "resize")
        return [parameter(name) for name in names if getattr(self, name) != getattr(default, name)]


def _float32(value: float) -> float:
    """The value rounded to float32; infinite where that overflows."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.inf
