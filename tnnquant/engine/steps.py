"""One node made ready to run, in its fp32 or its int8 form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, is_dataclass

import numpy as np

from tnnquant.base.tensor import DataType, QuantParams
from tnnquant.errors import GraphError
from tnnquant.graph import Graph, Node
from tnnquant.graph.infer import located
from tnnquant.layers.base import BlobScales, BlobSpec, Layer
from tnnquant.layers.halves import Half

__all__ = ["Step", "checked_scales", "make_step"]


@dataclass
class Step:
    """One node made ready.

    Attributes
    ----------
    node : Node
    half : Half
        The form of its layer.
    outputs : list of BlobSpec
    state
        What :meth:`Half.prepare` returned.
    rows : int64 (ops, WORDS) or None
        The kernel program of the node, or None if it runs through ``forward``.
    keep : list
        Arrays that the rows read.
    fused : int64 (ops, WORDS) or None
        What runs in place of ``rows`` where nobody looks at single layers: an op for several steps stands at the last
        one, nothing at the others. None: ``rows``.
    staged : list of str
        Inputs that must be copied to their fixed place first, because a ``forward`` made them elsewhere.
    forgotten : tuple of str
        Blobs that nothing reads any more.
    """

    node: Node
    half: Half[Layer]
    outputs: list[BlobSpec]
    state: object
    rows: np.ndarray | None = None
    fused: np.ndarray | None = None
    keep: list = field(default_factory=list)
    staged: list[str] = field(default_factory=list)
    forgotten: tuple[str, ...] = ()

    @property
    def may_emit(self) -> bool:
        """Whether the node may become rows of a program."""
        return self.half.may_emit

    @property
    def joins_in_place(self) -> bool:
        """Whether inputs may be made where they lie in the output."""
        return self.half.joins_in_place(self.state)

    def twin(self) -> Step:
        """The step before its program was made, with the same weights."""
        # A state may hold memory of the layer's program beside the weights.
        state = copy(self.state) if is_dataclass(self.state) else self.state
        return Step(self.node, self.half, self.outputs, state)

    def emit(self, places: Mapping[str, np.ndarray]) -> None:
        """Make :attr:`rows`, if the layer can."""
        node = self.node
        inputs, outputs = ([places[blob] for blob in blobs] for blobs in (node.inputs, node.outputs))
        with located(node):
            self.rows = self.half.emit(inputs, outputs, self.state, self.keep)

    def forward(self, blobs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute the outputs by name."""
        results = self.half.forward([blobs[blob] for blob in self.node.inputs], self.outputs, self.state)
        return dict(zip(self.node.outputs, results, strict=False))


def make_step(node: Node, graph: Graph, specs: Mapping[str, BlobSpec]) -> Step:
    """Prepare a node: its weights are packed, its scales checked.

    Parameters
    ----------
    node : Node
        Resolved.
    graph : Graph
        It holds the scales of int8 blobs.
    specs : mapping of str to BlobSpec
        Of the blobs that the node reads and makes.

    Raises
    ------
    GraphError, UnsupportedLayerError
        Tensors or scales are missing or do not fit; the layer is named.
    """
    inputs, outputs = ([specs[blob] for blob in blobs] for blobs in (node.inputs, node.outputs))
    half = node.half
    with located(node):
        scales = _scales_of(node, graph, specs) if half.NEEDS_SCALES else None
        return Step(node, half, outputs, half.prepare(node.tensors, inputs, outputs, scales))


def _scales_of(node: Node, graph: Graph, specs: Mapping[str, BlobSpec]) -> BlobScales:
    fed = [blob for blob in node.inputs if specs[blob].dtype == DataType.FLOAT]
    if fed and not node.layer.CONVERTS:
        raise GraphError(f"reads {fed[0]!r}, a float constant; TNN's int8 layers take int8 blobs only")
    sides = ([checked_scales(blob, graph, specs[blob]) for blob in side] for side in (node.inputs, node.outputs))
    return BlobScales(*map(tuple, sides))


def checked_scales(blob: str, graph: Graph, spec: BlobSpec) -> QuantParams | None:
    """The scales of an int8 blob; None for a blob of another type.

    Raises
    ------
    GraphError
        It has none, or not one or one per channel, or one is not a number >= 0, or its only one is 0.
    """
    if spec.dtype != DataType.INT8:
        return None
    params = graph.scales.get(blob)
    if params is None:
        raise GraphError(f"the int8 blob {blob!r} has no scale in the model file")
    scale, channels = params.scale, _channels(spec.dims)
    if scale.size not in (1, channels) or params.zero_point.size != scale.size:
        raise GraphError(
            f"the int8 blob {blob!r} has {scale.size} scales and {params.zero_point.size} zero points, expected 1 or "
            f"one per channel: {channels}"
        )
    wrong = np.flatnonzero(~(np.isfinite(scale) & (scale >= 0)))
    if wrong.size:
        raise GraphError(f"scale {wrong[0]} of the int8 blob {blob!r} is {scale[wrong[0]]}, expected a number >= 0")
    if scale.size == 1 < channels and scale[0] == 0:
        raise GraphError(f"the scale of the int8 blob {blob!r} is 0, expected a number above 0")
    return params


def _channels(dims: Sequence[int]) -> int:
    return dims[1] if len(dims) > 1 else 1
