"""Which int8 blobs must have the same scales, and which of them gives its own to the others.

TNN's int8 ReLU and max pooling move bytes: their input and output have one set of scales. TNN's tool lets the input
take those of the output (docs/tnn-format.md, 7.8), which suits a convolution that nothing else reads: negative values,
which the ReLU cuts off, need no codes. Where it would be wrong, the blob at the top gives its scales to all below it:

- other layers read a blob on the way, or it is a model output: values that the ReLU cuts off, or the pooling passes
  over, are needed there;
- the blob at the top is a concat of channels. Its bytes are copies of its inputs', under their scales; it cannot take
  others. Only after rectified inputs and with thresholds below the peak TNN's way is kept, for the same files: the
  scales then differ by little.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from tnnquant.graph import Graph
from tnnquant.layers.base import QuantRole
from tnnquant.layers.concat import Concat

__all__ = ["tied_blobs", "top_of", "who_takes_whose"]


def tied_blobs(graph: Graph, positions: Collection[int]) -> dict[str, list[str]]:
    """The blobs tied to each other by the ReLU and max pooling layers at these positions, by the one at the top."""
    top: dict[str, str] = {}
    groups: dict[str, list[str]] = {}
    for position in sorted(positions):
        node = graph.nodes[position]
        if node.layer.role == QuantRole.PASS:
            above = node.inputs[0]
            top[node.outputs[0]] = top.get(above, above)
            groups.setdefault(top[node.outputs[0]], [top[node.outputs[0]]]).append(node.outputs[0])
    return groups


def top_of(groups: Mapping[str, list[str]]) -> dict[str, str]:
    """The blob at the top for every tied blob."""
    return {blob: top for top, blobs in groups.items() for blob in blobs}


def who_takes_whose(
    graph: Graph, groups: Mapping[str, list[str]], is_copied: Callable[[str], bool], follows_peak: Callable[[str], bool]
) -> dict[str, str]:
    """The blob whose scales each blob takes.

    Parameters
    ----------
    graph : Graph
    groups : dict of str to list of str
        :func:`tied_blobs` of the int8 layers.
    is_copied : callable (blob) -> bool
        Whether the blob is a concat whose scales are those of its inputs side by side.
    follows_peak : callable (blob) -> bool
        Whether its observer's scale is a matter of the extremes alone, which a pooling does not change.
    """
    readers = {blob: len(nodes) for blob, nodes in graph.consumers().items()}
    takes: dict[str, str] = {}
    for top, blobs in groups.items():
        private = all(readers[blob] == 1 and blob not in graph.outputs for blob in blobs[:-1])
        copied = is_copied(top) and (follows_peak(blobs[-1]) or not _is_rectified(graph, top))
        source = blobs[-1] if private and not copied else top
        takes.update({blob: source for blob in blobs if blob != source})
    return takes


def _is_rectified(graph: Graph, blob: str) -> bool:
    """Whether the blob is known to hold no negative values."""
    maker = graph.producers().get(blob)
    if maker is None:
        return False
    if maker.layer.rectifies:
        return True
    moves = maker.layer.role == QuantRole.PASS or isinstance(maker.layer, Concat)
    return moves and all(_is_rectified(graph, source) for source in maker.inputs)
