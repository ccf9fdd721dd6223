"""QuantizeLinear and DequantizeLinear: how the codes of int8 blobs are written, and in which units they are read.

A blob with one scale is written as what it is: its values are ``scale * (code - zero point)``. A blob with one scale
per channel cannot be the input of an int8 operator in ONNX, which knows one scale per tensor. But TNN's int8 layers
never use the scale of their input: it is part of their weights. So the int8 layers read such a blob with one *unit* in
place of its scales, a power of two near them. The weights of both sides make up for it exactly: channels are equalized.
Where values matter, in front of fp32 layers and at the outputs, the true scales stand, one per channel.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tnnquant.errors import UnsupportedLayerError
from tnnquant.graph import Graph, Node, QuantParams
from tnnquant.layers.clip import Relu
from tnnquant.layers.concat import Concat
from tnnquant.layers.movement import CopyLayer
from tnnquant.layers.pooling import Pooling
from tnnquant.layers.upsample import Upsample
from tnnquant.onnx.export.builder import Builder

__all__ = ["Codes", "moves_codes", "units"]

_OFFSET = 128
_NO_SHIFT = np.zeros(1, np.int8)
#: Stands for a scale of 0, of a channel without values: what is quantized with it is 0.
_HUGE = np.float32(1e30)


def moves_codes(node: Node, graph: Graph) -> bool:
    """Whether the int8 form of a layer moves codes from its inputs to its outputs, whatever their scales."""
    layer = node.layer
    if isinstance(layer, Concat):
        return any(graph.scales[blob].scale.size != 1 for blob in node.inputs)
    if isinstance(layer, (Pooling, Relu)):
        return True
    return isinstance(layer, CopyLayer) and not isinstance(layer, Upsample)


def units(graph: Graph) -> dict[str, np.float32]:
    """The value of one step of each int8 blob, as int8 layers read and write it.

    Blobs between which codes are moved have one unit.
    """
    parent: dict[str, str] = {blob: blob for blob in graph.scales}

    def root(blob: str) -> str:
        while parent[blob] != blob:
            blob = parent[blob]
        return blob

    for node in graph.nodes:
        if node.quantized and not node.layer.CONVERTS and moves_codes(node, graph):
            first, *rest = (blob for blob in (*node.inputs, *node.outputs) if blob in parent)
            for blob in rest:
                parent[root(blob)] = root(first)
    groups: dict[str, list[np.ndarray]] = {}
    for blob in parent:
        groups.setdefault(root(blob), []).append(graph.scales[blob].scale)
    found = {name: _unit(np.concatenate(scales)) for name, scales in groups.items()}
    return {blob: found[root(blob)] for blob in parent}


def _unit(scales: np.ndarray) -> np.float32:
    """The scale itself if it is the same everywhere, else a power of two near the largest."""
    largest = scales.max()
    if (scales == largest).all() and largest > 0:
        return np.float32(largest)
    return np.float32(2.0 ** np.round(np.log2(max(float(largest), 1e-30))))


class Codes:
    """The int8 tensors of a graph in the making.

    Every one has a single scale, its unit, and a single zero point: a QuantizeLinear makes it, a DequantizeLinear reads
    it. Scales and zero points of channels stand beside them, as Div and Add in front of the one or Sub and Mul after
    the other: onnxruntime fails on operators between a QuantizeLinear and a DequantizeLinear of several.

    Parameters
    ----------
    builder : Builder
    graph : Graph
        As it is executed.
    unsigned : bool
        Codes are uint8, 128 more than those of TNN.
    """

    def __init__(self, builder: Builder, graph: Graph, *, unsigned: bool = False):
        self._b = builder
        self.unsigned = unsigned
        self._scales = graph.scales
        self._units = units(graph)
        self._names: dict[str, str] = {}
        self._views: dict[tuple[str, bytes, bytes], str] = {}

    def params(self, blob: str) -> QuantParams:
        """Scales and zero points of a blob."""
        return self._scales[blob]

    def unit(self, blob: str) -> np.ndarray:
        """The value of one step for int8 layers, float32 (1,)."""
        return np.array([self._units[blob]], np.float32)

    def zero_point(self, blob: str) -> np.ndarray:
        """int8 (1,) or (C,)."""
        return self._scales[blob].zero_point

    def values(self, blob: str, to: str | None = None) -> str:
        """The values of a blob, with its own scales."""
        params = self._scales[blob]
        return self.read(blob, params.scale, params.zero_point, to)

    def in_units(self, blob: str) -> str:
        """A blob as int8 layers read it: ``unit * (code - zero point)``."""
        return self.read(blob, self.unit(blob), self._scales[blob].zero_point)

    def read(self, blob: str, scale: np.ndarray, zero_point: np.ndarray, to: str | None = None) -> str:
        """``scale * (code - zero point)``; one tensor for all who want the same."""
        b, scale = self._b, np.asarray(scale, np.float32)
        key = (blob, scale.tobytes(), zero_point.tobytes())
        if to is None and key in self._views:
            return self._views[key]
        if not _is_uniform(scale):
            steps = self.read(blob, self.unit(blob), zero_point)
            made = b.op("Mul", steps, self._along_channels(scale / self.unit(blob), blob), to=to)
        elif not _is_uniform(zero_point):
            steps = self.read(blob, scale, _NO_SHIFT)
            made = b.op("Sub", steps, self._along_channels(zero_point * scale[0], blob), to=to)
        else:
            made = self._linear("DequantizeLinear", self.codes(blob), scale, zero_point, f"{blob}/values", to)
        self._views.setdefault(key, made)
        return made

    def quantized(self, x: str, blob: str) -> None:
        """Make the codes of ``blob`` of its values, with its own scales; 0 where the scale is 0."""
        params = self._scales[blob]
        self.write(x, blob, np.where(params.scale > 0, params.scale, _HUGE).astype(np.float32), params.zero_point)

    def write(self, x: str, blob: str, scale: np.ndarray, zero_point: np.ndarray) -> None:
        """Make the codes of ``blob`` of ``scale * (code - zero point)``."""
        if not _is_uniform(scale):
            x = self._b.op("Div", x, self._along_channels(scale / self.unit(blob), blob))
            scale = self.unit(blob)
        if not _is_uniform(zero_point):
            x = self._b.op("Add", x, self._along_channels(zero_point * np.float32(scale[0]), blob))
            zero_point = _NO_SHIFT
        self._names[blob] = self._linear("QuantizeLinear", x, scale, zero_point, f"{blob}/codes", None)

    def rounded(self, x: str, blob: str) -> str:
        """Values rounded as the codes of ``blob`` are: a pair of QuantizeLinear and DequantizeLinear."""
        unit, zero = self.unit(blob), self.zero_point(blob)
        codes = self._linear("QuantizeLinear", x, unit, zero, f"{blob}/linear_codes", None)
        return self._linear("DequantizeLinear", codes, unit, zero, f"{blob}/linear", None)

    def codes(self, blob: str) -> str:
        """The name of the int8 tensor.

        Raises
        ------
        UnsupportedLayerError
            Nothing makes it.
        """
        if blob not in self._names:
            raise UnsupportedLayerError(f"reads {blob!r}, which no int8 layer makes")
        return self._names[blob]

    def _linear(
        self, kind: str, x: str, scale: np.ndarray, zero_point: np.ndarray, name: str, to: str | None
    ) -> str:
        b, one = self._b, np.float32(scale.reshape(-1)[0])
        made = to if to is not None else b.unused(name)
        if self.unsigned:
            zero_point = (zero_point.astype(np.int16) + _OFFSET).astype(np.uint8)
        constants = b.constant(np.array(one), "scale"), b.constant(zero_point.reshape(-1)[:1].reshape(()), "zero_point")
        return b.op(kind, x, *constants, to=made)

    def _along_channels(self, values: np.ndarray, blob: str) -> str:
        rank = len(self._b.dims(blob))
        return self._b.constant(values.astype(np.float32).reshape(-1, *(1,) * max(rank - 2, 0)), "channel_scale")


def _is_uniform(values: np.ndarray) -> bool:
    return bool((values == values.reshape(-1)[0]).all())


def uniform(values: Iterable[np.ndarray]) -> int | None:
    """The number that all of some arrays hold, or None."""
    found = {int(v) for each in values for v in each}
    return found.pop() if len(found) == 1 else None
