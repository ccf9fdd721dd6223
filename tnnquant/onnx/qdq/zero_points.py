"""Zero points kept exactly, in a format whose zero points are 0.

A blob of ``scale * (code - zero)`` is stored with the codes of the file and zero point 0. What TNN takes for its values
is then too high by the *shift* ``zero * scale``, everywhere:

- the int8 layer that makes it adds the shift to its bias, and needs no ReLU where the lowest code means 0, because
  codes saturate;
- an int8 layer that reads it takes ``zero`` times the sum of its weights from its bias, an integer. Where it pads, the
  border has to have the code ``zero``, which TNN's padding has not: an fp32 layer writes it;
- fp32 layers that keep sums with a constant apart from it (pooling, Add, Concat, other shapes) take the shift along;
  in front of others, and in front of model outputs, it is subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from tnnquant.base.tensor import QuantParams
from tnnquant.graph import Graph, Node
from tnnquant.kernels.geometry import NO_ACTIVATION, RELU, RELU6
from tnnquant.layers.base import BlobSpec, QuantRole
from tnnquant.layers.binary import Add
from tnnquant.layers.concat import Concat
from tnnquant.layers.convolution import EXPLICIT
from tnnquant.layers.permute import Permute
from tnnquant.layers.pooling import Pooling
from tnnquant.layers.reshape import Flatten, Reshape
from tnnquant.layers.shuffle import PixelShuffle, Reorg, ShuffleChannel
from tnnquant.layers.squeeze import Squeeze, Unsqueeze
from tnnquant.layers.upsample import Upsample
from tnnquant.layers.weighted import fused_activation
from tnnquant.layers.windowed import Windowed
from tnnquant.onnx.qdq.parts import Names, added, all_equal, bordered, rounded
from tnnquant.onnx.qdq.record import BlobCodes
from tnnquant.recipes.best.guards import open_taps

__all__ = ["Stored", "absorbs_activation", "borders", "stored"]

_LOWEST, _HIGHEST = -128, 127
#: A ReLU6 is saturation if the highest code means at most this.
_CEILING = 6.01
_NOTHING = np.zeros(1)
#: Layers of one input that only move values.
_MOVES = Reshape | Flatten | Permute | Squeeze | Unsqueeze | Upsample | Pooling | PixelShuffle | Reorg | ShuffleChannel
#: ... and that keep them in their channels.
_IN_CHANNELS = Upsample | Pooling


@dataclass(frozen=True, eq=False)
class Stored:
    """The graph with all codes as TNN has them.

    Attributes
    ----------
    nodes : list of Node
    scales : dict of str to QuantParams
    shifted : list of str
        Blobs whose zero point is not 0 in the file.
    bordered : list of str
        Those of them with a border written in fp32.
    rounded : list of str
        Blobs of fp32 layers that an int8 layer rounds.
    of : dict of str to str
        The blob of the converted model that each int8 blob holds, borders apart.
    """

    nodes: list[Node] = field(default_factory=list)
    scales: dict[str, QuantParams] = field(default_factory=dict)
    shifted: list[str] = field(default_factory=list)
    bordered: list[str] = field(default_factory=list)
    rounded: list[str] = field(default_factory=list)
    of: dict[str, str] = field(default_factory=dict)


def absorbs_activation(node: Node, codes: BlobCodes) -> bool:
    """Whether a weighted int8 layer can write these codes: its activation, if any, is where they end or zero is 0."""
    activation = fused_activation(node.layer)
    if activation == NO_ACTIVATION or not codes.zero.any():
        return True
    ends = bool((codes.zero == _LOWEST).all())
    if activation == RELU6:
        return ends and bool((codes.scale * (_HIGHEST - _LOWEST) <= _CEILING).all())
    return ends and activation == RELU


def borders(node: Node, specs: Mapping[str, BlobSpec]) -> tuple[int, int, int, int] | None:
    """What a convolution, resolved, reads beyond its input (above, below, left, right); None if nothing."""
    layer = node.layer
    if not isinstance(layer, Windowed) or not open_taps(node, specs).any():
        return None
    size, out = specs[node.inputs[0]].dims, specs[node.outputs[0]].dims
    found = []
    for axis, kernel, stride, begin in (
        (2, layer.kernel_h, layer.stride_h, layer.pad_h), (3, layer.kernel_w, layer.stride_w, layer.pad_w)
    ):  # fmt: skip
        reach = (out[axis] - 1) * stride + layer.dilation_h * (kernel - 1) + 1  # TNN uses it for both axes
        found += [begin, max(reach - size[axis] - begin, 0)]
    return found[0], found[1], found[2], found[3]


def stored(
    graph: Graph, specs: Mapping[str, BlobSpec], codes: Mapping[str, BlobCodes], int8: Collection[str],
    quantized: Callable[[Node, np.ndarray, BlobCodes], Node],
) -> Stored:  # fmt: skip
    """Write the int8 layers, and what is needed between them and the others.

    Parameters
    ----------
    graph : Graph
        In fp32, resolved.
    specs : mapping of str to BlobSpec
    codes : mapping of str to BlobCodes
    int8 : collection of str
        The layers that become int8, by name.
    quantized : callable (node, zero, codes)
        The int8 form of a weighted layer whose input has the codes ``zero`` for 0 and whose output has these codes.
    """
    writer = _Writer(graph, specs, codes, int8, quantized)
    for name in graph.inputs:
        writer.made(name, name, _NOTHING)
    for node in graph.nodes:
        writer.write(node)
    writer.finish()
    return writer.result


class _Writer:
    """Writes nodes in order; each blob has a version for each shift that is asked for, made where it is."""

    def __init__(
        self, graph: Graph, specs: Mapping[str, BlobSpec], codes: Mapping[str, BlobCodes], int8: Collection[str],
        quantized: Callable[[Node, np.ndarray, BlobCodes], Node],
    ) -> None:  # fmt: skip
        self.graph, self.specs, self.codes, self.int8, self.quantized = graph, specs, codes, int8, quantized
        self.names, self.result = Names(graph), Stored()
        self.readers = graph.consumers()
        # Of each blob, what its maker makes, its shift, and the versions made of it.
        self.raw: dict[str, tuple[str, np.ndarray]] = {}
        self.versions: dict[tuple[str, bytes], str] = {}

    # --- versions of a blob ---

    def shift(self, blob: str) -> np.ndarray:
        """By how much the codes of the file, with zero point 0, are too high."""
        return self.codes[blob].zero * self.codes[blob].scale.astype(np.float64)

    def version(self, blob: str, shift: np.ndarray) -> str:
        """The name of the blob with that shift."""
        name, has = self.raw[blob]
        summand = np.asarray(shift - has, np.float32)
        if not summand.any():
            return name
        summand = summand[:1] if all_equal([summand]) else summand
        key = blob, summand.tobytes()
        if key not in self.versions:
            plain = not np.any(shift) and name != blob and blob not in self.graph.inputs
            target = blob if plain else self.names.new(f"{blob}_{'codes' if np.any(shift) else 'value'}")
            self.versions[key] = target
            self.result.nodes.append(added(name, target, summand, self.names))
        return self.versions[key]

    def coded(self, blob: str) -> str:
        """The blob as an int8 layer reads it; its scale is noted."""
        name = self.version(blob, self.shift(blob))
        self._scale(name, blob)
        if self.codes[blob].zero.any() and blob not in self.result.shifted:
            self.result.shifted.append(blob)
        return name

    def _scale(self, name: str, blob: str) -> None:
        scale = self.codes[blob].scale
        self.result.scales[name] = QuantParams(scale, np.zeros(scale.size, np.int8))
        self.result.of[name] = blob

    def with_border(self, blob: str, sizes: tuple[int, int, int, int]) -> str:
        """As :meth:`coded`, with a border that has the code for 0."""
        source = self.coded(blob)
        key = blob, np.array(sizes, np.int64).tobytes() + b"border"
        if key not in self.versions:
            target = self.versions[key] = self.names.new(f"{blob}_border")
            value = float(np.float32(self.shift(blob)[0]))
            self.result.nodes.append(bordered(source, target, sizes, value, self.names))
            self._scale(target, blob)
            del self.result.of[target]
            if blob not in self.result.bordered:
                self.result.bordered.append(blob)
        return self.versions[key]

    # --- layers ---

    def write(self, node: Node) -> None:
        """Append a layer, int8 or not, and what has to stand in front of it."""
        if node.name not in self.int8:
            self._write_float(node)
            return
        if node.layer.role == QuantRole.WEIGHTED:
            blob, out = node.inputs[0], node.outputs[0]
            sizes = borders(node, self.specs) if self.codes[blob].zero.any() else None
            source = self.coded(blob) if sizes is None else self.with_border(blob, sizes)
            node = self.quantized(node, self.codes[blob].zero, self.codes[out])
            if sizes is not None:
                layer = node.layer.expect(Windowed)
                node = node.replace(layer=replace(layer, pad_h=0, pad_w=0, pad_type=EXPLICIT))
            inputs = (source, *node.inputs[1:])
        else:
            node = node.replace(quantized=True)
            inputs = tuple(self.coded(blob) for blob in node.inputs)
        (out,) = node.outputs
        self._append(node.replace(inputs=inputs), [self.shift(out)])
        self._scale(self.raw[out][0], out)

    def _write_float(self, node: Node) -> None:
        known = [blob for blob in node.inputs if blob in self.raw]
        shift = self._carried(node) if known else _NOTHING
        if shift is None:
            shift = _NOTHING
            inputs = [self.version(blob, _NOTHING) if blob in self.raw else blob for blob in node.inputs]
        else:
            inputs = [self.raw[blob][0] if blob in self.raw else blob for blob in node.inputs]
        self._append(node.replace(inputs=tuple(inputs)), [shift] * len(node.outputs))

    def _append(self, node: Node, shifts: list[np.ndarray]) -> None:
        """A layer, its outputs with these shifts, and a rounding of those that the file rounds."""
        outputs = []
        for blob, shift in zip(node.outputs, shifts, strict=True):
            if not node.quantized and self._needs_rounding(blob):
                outputs.append(self.names.new(f"{blob}_exact"))
            elif blob in self.graph.outputs and np.any(shift):
                outputs.append(self.names.new(f"{blob}_codes"))  # the output itself has no shift
            else:
                outputs.append(blob)
        self.result.nodes.append(node.replace(outputs=tuple(outputs)))
        for blob, name, shift in zip(node.outputs, outputs, shifts, strict=True):
            self.made(blob, name, shift, is_int8=node.quantized)

    def made(self, blob: str, name: str, shift: np.ndarray, *, is_int8: bool = False) -> None:
        """Note what there is of a blob now; one that fp32 layers make and the file rounds is rounded."""
        self.raw[blob] = name, shift
        if is_int8 or not self._needs_rounding(blob):
            return
        source, goal = self.coded(blob), self.shift(blob)
        is_free = blob not in self.graph.inputs and not (blob in self.graph.outputs and np.any(goal))
        target = blob if is_free else self.names.new(f"{blob}_codes")
        self._scale(target, blob)
        node = rounded(source, target, self.specs[blob], self.codes[blob].scale, self.names)
        self.result.nodes.append(node)
        self.result.rounded.append(blob)
        self.raw[blob] = target, goal
        self.versions = {key: value for key, value in self.versions.items() if key[0] != blob}

    def _needs_rounding(self, blob: str) -> bool:
        """Whether an fp32 layer reads a blob that fp32 layers make: one of one pixel, as scores are, where a step
        shows, or one that is int8 anyway. Others stay as they are, closer to the network that the file was made of."""
        if blob not in self.codes:
            return False
        readers = self.readers.get(blob, ())
        in_fp32 = blob in self.graph.outputs or any(node.name not in self.int8 for node in readers)
        is_coded = any(node.name in self.int8 for node in readers)
        return in_fp32 and (is_coded or prod(self.specs[blob].dims[2:]) == 1)

    def _carried(self, node: Node) -> np.ndarray | None:
        """The shift of what an fp32 layer makes of shifted inputs; None if it is not one shift for all values."""
        shifts = [self.raw[blob][1] if blob in self.raw else _NOTHING for blob in node.inputs]
        if not any(shift.any() for shift in shifts):
            return _NOTHING
        layer = node.layer
        if isinstance(layer, Concat) and layer.axis == 1:
            dims = [self.specs[blob].dims for blob in node.inputs]
            return np.concatenate([np.broadcast_to(s, d[1]) for s, d in zip(shifts, dims, strict=True)])
        if isinstance(layer, Concat):
            return shifts[0] if all_equal(shifts) else None
        if isinstance(layer, Add) and len({self.specs[blob].dims for blob in (*node.inputs, *node.outputs)}) == 1:
            return sum(shifts, _NOTHING)
        if isinstance(layer, _MOVES) and len(node.inputs) == 1:
            return shifts[0] if isinstance(layer, _IN_CHANNELS) or all_equal(shifts) else None
        return None

    def finish(self) -> None:
        """Model outputs without shifts."""
        for blob in self.graph.outputs:
            if blob in self.raw:
                self.version(blob, _NOTHING)
