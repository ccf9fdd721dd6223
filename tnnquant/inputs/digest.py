"""What a calibration file holds, as a hash: independent of its name, place and time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tnnquant.errors import InputError
from tnnquant.inputs.files import open_input

__all__ = ["digest_files"]

_CHUNK = 1 << 20


def digest_files(files: Iterable[tuple[str, Path]]) -> str:
    """Hash of the contents of a sample's files and of the model inputs they are for, 32 hex digits.

    Parameters
    ----------
    files : iterable of (model input, path)
        A file that cannot be read counts by its path: whoever feeds it reports why.
    """
    whole = hashlib.blake2b(digest_size=16)
    for name, path in files:
        one = hashlib.blake2b(digest_size=16)
        try:
            file, _ = open_input(path)
            with file:
                while chunk := file.read(_CHUNK):
                    one.update(chunk)
        except (InputError, OSError):
            one.update(b"unreadable " + str(path).encode(errors="surrogateescape"))
        whole.update(repr(name).encode() + one.digest())
    return whole.hexdigest()
