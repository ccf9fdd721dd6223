"""What a rewrite builds: the layers that take the place of one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from tnnquant.base.names import unused_name
from tnnquant.base.tensor import Tensor
from tnnquant.devices.conditions import Place
from tnnquant.graph import Node, Resource
from tnnquant.layers.base import BlobSpec, Layer, find_layer
from tnnquant.layers.fields import FlagField

__all__ = ["Fragment", "Rewrite", "all_rewrites", "rewrite", "rewrites_of"]

Rewrite = Callable[["Fragment"], "str | Sequence[str] | None"]

_REWRITES: dict[str, list[tuple[str, Rewrite]]] = {}
_loaded: list[bool] = []


def rewrite(how: str, *types: str) -> Callable[[Rewrite], Rewrite]:
    """Decorator: enter a rewrite for some layer types; ``how`` says to a user what is written instead."""

    def enter(function: Rewrite) -> Rewrite:
        for name in types:
            _REWRITES.setdefault(name, []).append((how, function))
        return function

    return enter


def rewrites_of(kind: str) -> Sequence[tuple[str, Rewrite]]:
    """The rewrites of a layer type, cheapest first, each with what it writes."""
    _load()
    return _REWRITES.get(kind, ())


def all_rewrites() -> dict[str, list[str]]:
    """What is written, and instead of which layer types."""
    _load()
    found: dict[str, list[str]] = {}
    for kind in sorted(_REWRITES):
        for how, _ in _REWRITES[kind]:
            found.setdefault(how, []).append(kind)
    return found


def _load() -> None:
    if not _loaded:
        package = importlib.import_module(__package__ or "")
        for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
            importlib.import_module(f"{__package__}.{module}")
        _loaded.append(True)


class Fragment:
    """Layers in the making.

    Parameters
    ----------
    place : Place
        The layer to be replaced.
    taken : set of str
        Names of blobs, constants and layers that are in use; those of the fragment are added.

    Attributes
    ----------
    nodes : list of Node
    constants : dict of str to Tensor
    may_be_int8 : set of str
        Names of its layers that may become int8; the others do what an fp32 layer did.
    """

    def __init__(self, place: Place, taken: set[str]):
        self.place, self._taken = place, taken
        self.nodes: list[Node] = []
        self.constants: dict[str, Tensor] = {}
        self.may_be_int8: set[str] = set()

    # --- what is replaced ---

    @property
    def node(self) -> Node:
        """The layer to be replaced."""
        return self.place.node

    @property
    def layer(self) -> Layer:
        """Its parameters, resolved."""
        return self.place.node.layer

    @property
    def inputs(self) -> Sequence[BlobSpec]:
        """What is known of the blobs it reads."""
        return self.place.inputs

    @property
    def outputs(self) -> Sequence[BlobSpec]:
        """What is known of the blobs it makes."""
        return self.place.outputs

    def value(self, number: int) -> np.ndarray | None:
        """The content of input ``number``, if it is a constant."""
        return self.inputs[number].value if number < len(self.inputs) else None

    # --- what is built ---

    def add(
        self, kind: str, inputs: str | Sequence[str], *values: Any, tensors: Mapping[str, np.ndarray] | None = None,
        outputs: int = 1, may_be_int8: bool = False, **params: Any,
    ) -> str:  # fmt: skip
        """Add a layer; the blob that it makes, or the first."""
        return self.add_many(
            kind, inputs, *values, tensors=tensors, outputs=outputs, may_be_int8=may_be_int8, **params
        )[0]

    def add_many(
        self, kind: str, inputs: str | Sequence[str], *values: Any, tensors: Mapping[str, np.ndarray] | None = None,
        outputs: int = 1, may_be_int8: bool = False, **params: Any,
    ) -> tuple[str, ...]:  # fmt: skip
        """Add a layer of several outputs; the blobs that it makes."""
        cls = find_layer(kind)
        assert cls is not None
        name = self._unused(f"{self.node.name}_{kind.lower()}")
        inputs = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        made = tuple(self._unused(f"{name}_out" + (str(i) if outputs > 1 else "")) for i in range(outputs))
        resource = None
        if tensors is not None:
            stored = {key: Tensor.from_array(np.ascontiguousarray(array), with_dims=key == "element")
                      for key, array in tensors.items()}  # fmt: skip
            flags = {entry.name: entry.of in tensors for entry in cls.RESOURCE if isinstance(entry, FlagField)}
            resource = Resource(stored, {"name": name, **flags}, cls.TYPE_NAMES[0])
        self.nodes.append(Node(name, cls.TYPE_NAMES[0], cls(*values, **params), inputs, made, resource))
        if may_be_int8:
            self.may_be_int8.add(name)
        return made

    def keep(self, inputs: Sequence[str], **changes: Any) -> str:
        """The layer itself on other inputs and with other parameters; the blob that it makes."""
        layer = replace(self.layer, **changes)
        name = self._unused(f"{self.node.name}_{self.place.kind.lower()}")
        made = tuple(self._unused(f"{name}_out{i or ''}") for i in range(len(self.node.outputs)))
        self.nodes.append(self.node.replace(name=name, layer=layer, inputs=tuple(inputs), outputs=made))
        self.may_be_int8.add(name)
        return made[0]

    def constant(self, array: np.ndarray) -> str:
        """A constant of the model, float32; its name."""
        name = self._unused(f"{self.node.name}_constant")
        self.constants[name] = Tensor.from_array(np.ascontiguousarray(array, np.float32))
        return name

    def reshape(self, blob: str, dims: Sequence[int], before: Sequence[int] = ()) -> str:
        """A blob under other dims; with ``before``, its dims, those that stay in front are kept whatever they are.

        Models are run with other sizes of their inputs: what need not be written as a number is not.
        """
        shape = list(dims)
        kept = 0
        while before and kept < min(len(shape), len(before)) and shape[kept] == before[kept]:
            shape[kept] = 0
            kept += 1
        if before and kept < len(shape) and prod(before):
            shape[-1] = -1
        return self.add("Reshape", blob, 0, len(shape), tuple(shape), 0)

    def slice(self, blob: str, axis: int, begin: int, end: int) -> str:
        """``blob[begin:end]`` along an axis."""
        return self.add("StridedSliceV2", blob, (begin,), (end,), (axis,), (1,))

    def finished(self, results: str | Sequence[str]) -> list[Node]:
        """The layers, the last of which make the outputs of the one that is replaced; the most important one has its
        name."""
        results = [results] if isinstance(results, str) else list(results)
        made = {blob for node in self.nodes for blob in node.outputs}
        for number, blob in enumerate(results):
            if blob not in made or blob in results[:number]:
                dims = self.outputs[number].dims
                results[number] = self.reshape(blob, dims, dims)
        names = dict(zip(results, self.node.outputs, strict=False))
        main = next((node.name for node in self.nodes if node.name in self.may_be_int8), self.nodes[-1].name)
        nodes = []
        for node in self.nodes:
            inputs, outputs = (tuple(names.get(blob, blob) for blob in blobs) for blobs in (node.inputs, node.outputs))
            nodes.append(node.replace(inputs=inputs, outputs=outputs))
            if node.name == main:
                extras = {"name": self.node.name}
                resource = node.resource
                if resource is not None and "name" in resource.extras:
                    resource = Resource(resource.tensors, {**resource.extras, **extras}, resource.type_string)
                nodes[-1] = nodes[-1].replace(name=self.node.name, resource=resource)
        if main in self.may_be_int8:
            self.may_be_int8.add(self.node.name)
        return nodes

    def _unused(self, name: str) -> str:
        free = unused_name(name, self._taken, joint="")
        self._taken.add(free)
        return free


