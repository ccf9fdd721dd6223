"""Names that a .tnnproto can hold, one to one for those of an ONNX file."""

from __future__ import annotations

import hashlib
import re

from tnnquant.base.names import unused_name

__all__ = ["Names"]

_FORBIDDEN = re.compile(r'[\x00- ,":\x7f]')
#: Names that end so are those of blob scales in the .tnnmodel.
_KEPT = "_scale_data_"
#: A layer's line has room for 4095 bytes, and holds several names.
_LONGEST = 400


class Names:
    """The names of a model's blobs and layers.

    Attributes
    ----------
    replaced : dict of str to str
        ONNX's names that had to be replaced, with those that stand for them.
    """

    def __init__(self) -> None:
        self.replaced: dict[str, str] = {}
        self._taken: set[str] = set()
        self._layers: set[str] = set()
        self._known: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The blob name for the ONNX value of that name; the same at every call."""
        if name not in self._known:
            self._known[name] = self.fresh(name)
            if self._known[name] != name:
                self.replaced[name] = self._known[name]
        return self._known[name]

    def layer(self, name: str) -> str:
        """A layer name for the ONNX node of that name; layers may be called as blobs are."""
        return self._unused(writable(name), self._layers)

    def reserve(self, names: list[str]) -> None:
        """Take the names of model inputs and outputs before any others."""
        for name in names:
            self.of(name)

    def fresh(self, wanted: str) -> str:
        """A name like ``wanted`` that nothing has."""
        return self._unused(writable(wanted), self._taken)

    @staticmethod
    def _unused(name: str, taken: set[str]) -> str:
        found = unused_name(name, taken)
        taken.add(found)
        return found


def writable(name: str) -> str:
    """The name with ``_`` for what a proto has no room for."""
    text = _FORBIDDEN.sub("_", name).replace(_KEPT, "_scale_data") or "_"
    data = text.encode("utf-8", "surrogateescape")
    if len(data) <= _LONGEST:
        return text
    digest = hashlib.sha256(data).hexdigest()[:8]
    return data[: _LONGEST - 9].decode("utf-8", "ignore") + "_" + digest
