"""Which function writes which layer type. Each stands in a module of this package, under the types it writes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence

from tnnquant.graph import Node
from tnnquant.onnx.export.builder import Builder

__all__ = ["Writer", "exported_types", "exports", "writer"]

#: Adds the nodes of a layer to a graph: inputs and outputs are names of ONNX tensors, in the order of the layer's
#: blobs. Raises UnsupportedLayerError where ONNX has no form of what this layer does.
Writer = Callable[[Builder, Node, Sequence[str], Sequence[str]], None]

_WRITERS: dict[str, Writer] = {}
_loaded = False


def exports(*types: str) -> Callable[[Writer], Writer]:
    """Register the writer of some layer types, by their canonical names."""

    def register(function: Writer) -> Writer:
        for name in types:
            if name in _WRITERS:
                raise ValueError(f"layer type {name} has two writers")
            _WRITERS[name] = function
        return function

    return register


def writer(node: Node) -> Writer | None:
    """The writer of a layer's fp32 form, or None."""
    _load()
    return _WRITERS.get(node.layer.TYPE_NAMES[0])


def exported_types() -> list[str]:
    """The layer types that can be written, sorted."""
    _load()
    return sorted(_WRITERS)


def _load() -> None:
    global _loaded
    if not _loaded:
        package = importlib.import_module(f"{__package__}.layers")
        for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
            importlib.import_module(f"{package.__name__}.{module}")
        _loaded = True
