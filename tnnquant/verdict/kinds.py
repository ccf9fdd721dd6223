"""What an output is, and so which figures make sense for it: classes, whole numbers, or values in rows and parts.

- *classes*: one score per class, (N, C) or (N, C, 1, 1), C >= 2: agreement of the best class, cosine.
- *integers*: an output of another type than float (the index of the best class, say): share of equal values.
- *values*: anything else: maps, boxes, landmarks. Rows are channels, or, at rank 3, the shorter axis (a detector's 4
  box and 80 score rows beside 8400 places). The inputs of a concat that makes the rows are parts with a unit of their
  own: pixels and scores must not be judged by one cosine, which sees the pixels alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.graph import Graph, Node
from tnnquant.graph.infer import Inference
from tnnquant.layers.activation import HardSigmoid, Sigmoid
from tnnquant.layers.base import BlobSpec
from tnnquant.layers.concat import Concat
from tnnquant.layers.movement import CopyLayer
from tnnquant.layers.softmax import Softmax

__all__ = ["CLASSES", "INTEGERS", "VALUES", "OutputKind", "Part", "judged_blobs", "judged_kinds",
           "magnitude_parts", "output_kind"]  # fmt: skip

CLASSES, INTEGERS, VALUES = "classes", "integers", "values"
#: A concat of more inputs is no sign of different units.
_MOST_PARTS = 16
#: Without a concat: rows are of different units where sorted peaks have a gap of that factor, unless the smaller ones
#: never leave the background.
_GAP, _BACKGROUND = 16.0, 0.02


@dataclass(frozen=True)
class Part:
    """Rows of an output that share a unit."""

    name: str
    rows: np.ndarray


@dataclass(frozen=True)
class OutputKind:
    """How an output is compared.

    Attributes
    ----------
    name : str
    kind : {"classes", "integers", "values"}
    axis : int
        Of the rows, counted without the batch; -1: the output is one row.
    rows : int
    parts : tuple of Part
        Empty: one part.
    batched : bool
        The first axis is the batch's.
    scores : tuple of int
        Of values, the rows that say how sure the model is of something: a sigmoid or a softmax makes them.
    """

    name: str
    kind: str
    axis: int
    rows: int
    parts: tuple[Part, ...] = ()
    batched: bool = True
    scores: tuple[int, ...] = ()

    def items(self, array: np.ndarray, count: int) -> list[np.ndarray]:
        """One array per picture, rows first; of the first ``count`` of the batch."""
        items = list(array[:count]) if self.batched else [array]
        return [np.moveaxis(item, self.axis, 0) if self.axis > 0 else item.reshape(self.rows, -1) for item in items]


def output_kind(inference: Inference, name: str, task: str = "auto") -> OutputKind:
    """The kind of a model output.

    Parameters
    ----------
    inference : Inference
        Of the fp32 model.
    name : str
        Of the output.
    task : {"auto", "classify", "regress"}
        What the user says: "classify" makes every map a choice among channels, "regress" takes (N, C) for numbers
        (landmarks, embeddings) instead of scores.
    """
    spec = inference.specs[name]
    batched = len(spec.dims) > 1 and spec.dims[0] == _batch(inference)
    dims = spec.dims[1:] if batched else spec.dims
    if spec.dtype != DataType.FLOAT:
        return OutputKind(name, INTEGERS, -1, 1, (), batched)
    if len(dims) == 0:
        return OutputKind(name, VALUES, -1, 1, (), batched)
    flat = all(d == 1 for d in dims[1:])
    if batched and dims[0] > 1 and (task == "classify" or (task == "auto" and flat)):
        return OutputKind(name, CLASSES, 0, dims[0], (), batched)
    if flat:
        return OutputKind(name, VALUES, -1, 1, (), batched, _scores(inference.graph, name, (), 1))
    axis = 1 if len(dims) == 2 and dims[1] < dims[0] else 0
    parts = _concat_parts(inference.graph, inference.specs, name, axis + batched)
    scores = _scores(inference.graph, name, parts, dims[axis])
    return OutputKind(name, VALUES, axis, dims[axis], parts, batched, scores)


def judged_blobs(inference: Inference) -> tuple[list[str], frozenset[str]]:
    """The blobs to compare, in name order, and those among them that stand in for outputs that cannot be compared.

    Outputs after a layer that selects or sorts (the boxes kept by non-maximum suppression) hold other things at the
    same place as soon as a score changes a little. What the first such layer reads is compared instead.
    """
    graph = inference.graph
    behind: dict[str, frozenset[str]] = {}  # what is after a selection, with the blobs that were read for it
    for node in graph.nodes:
        read = frozenset().union(*(behind.get(blob, frozenset()) for blob in node.inputs))
        if node.layer.SELECTS and not read:
            specs = inference.specs
            read = frozenset(b for b in node.inputs if specs[b].value is None and specs[b].dtype == DataType.FLOAT)
        if read:
            behind |= dict.fromkeys(node.outputs, read)
    plain = {name for name in graph.outputs if name not in behind}
    instead = frozenset().union(*(behind[name] for name in graph.outputs if name in behind)) - plain
    return sorted(plain | instead), instead


def judged_kinds(inference: Inference, task: str = "auto") -> list[OutputKind]:
    """What is judged of a model, and as what: its outputs, or the blobs that stand in for them.

    Parameters
    ----------
    inference : Inference
        Of the fp32 model.
    task : {"auto", "classify", "regress"}
        What the outputs are; what stands in for one is judged by its values.
    """
    judged, instead = judged_blobs(inference)
    return [output_kind(inference, name, "regress" if name in instead else task) for name in judged]


def _batch(inference: Inference) -> int | None:
    batches = {inference.specs[name].dims[0] for name in inference.graph.inputs}
    return batches.pop() if len(batches) == 1 else None


def _concat_parts(graph: Graph, specs: Mapping[str, BlobSpec], name: str, axis: int) -> tuple[Part, ...]:
    """The inputs of the concat that makes the output, if it joins the rows."""
    node = graph.producers().get(name)
    if node is None or not isinstance(node.layer, Concat) or not 1 < len(node.inputs) <= _MOST_PARTS:
        return ()
    if node.layer.axis % len(specs[name].dims) != axis:
        return ()
    ends = np.cumsum([specs[blob].dims[axis] for blob in node.inputs]).tolist()
    starts = [0, *ends[:-1]]
    return tuple(
        Part(f"rows {start}..{stop - 1} ({blob})", np.arange(start, stop))
        for start, stop, blob in zip(starts, ends, node.inputs, strict=True)
    )


def _scores(graph: Graph, name: str, parts: tuple[Part, ...], rows: int) -> tuple[int, ...]:
    """The rows of an output that a sigmoid or a softmax makes; of parts, those of each on its own."""
    producers = graph.producers()
    if not parts:
        return tuple(range(rows)) if _is_made_by_sigmoid(graph, producers, name) else ()
    inputs = producers[name].inputs
    found = [part.rows for part, blob in zip(parts, inputs, strict=True) if _is_made_by_sigmoid(graph, producers, blob)]
    return tuple(int(row) for rows_ in found for row in rows_)


def _is_made_by_sigmoid(graph: Graph, producers: Mapping[str, Node], blob: str) -> bool:
    """Whether a sigmoid or a softmax makes all of a blob, or what is copied into it."""
    node = producers.get(blob)
    if node is None or not isinstance(node.layer, CopyLayer):
        return node is not None and isinstance(node.layer, (Sigmoid, HardSigmoid, Softmax))
    read = [name for name in node.inputs if name in producers]
    return bool(read) and all(_is_made_by_sigmoid(graph, producers, name) for name in read)


def magnitude_parts(peaks: np.ndarray) -> tuple[Part, ...]:
    """Rows of two units, told by a gap between their peaks: the large and the small rows; empty if there is no gap.

    For outputs that no concat makes. Rows that stay in the background are no unit of their own: a class that does not
    occur looks like that.
    """
    order = np.argsort(-peaks, kind="stable")
    falling = peaks[order]
    upper, lower = falling[:-1], np.maximum(falling[1:], _BACKGROUND)
    if not upper.size or falling[0] <= _BACKGROUND:
        return ()
    ratio = np.where(falling[1:] >= _BACKGROUND, upper / lower, 0)
    at = int(np.argmax(ratio)) + 1
    if ratio[at - 1] <= _GAP:
        return ()
    large, small = np.sort(order[:at]), np.sort(order[at:])
    return tuple(Part(f"{rows.size} rows up to {peaks[rows].max():.3g}", rows) for rows in (large, small))
