"""Run a graph: one loop over the nodes that knows no layer by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tnnquant.errors import InputError, UnsupportedLayerError
from tnnquant.graph import Graph
from tnnquant.infer import infer, located

__all__ = ["Executor"]

Tap = Callable[[str, np.ndarray], None]


class Executor:
    """A graph made ready to run in fp32: shapes inferred, weights widened and packed once.

    Parameters
    ----------
    graph : Graph
    input_dims : mapping of str to sequence of int, optional
        Dims that replace those of the proto.

    Raises
    ------
    GraphError, UnsupportedLayerError
        The model does not fit together, or a layer cannot be run; all layers that cannot are named.
    """

    def __init__(self, graph: Graph, input_dims: Mapping[str, Sequence[int]] | None = None):
        refuse_unrunnable(graph)
        self.inference = infer(graph, input_dims)
        self.graph = self.inference.graph
        self.specs = self.inference.specs
        self._constants = {name: tensor.array() for name, tensor in self.graph.constants.items()}
        self._steps = [
            (node, self._prepare(node)) for i, node in enumerate(self.graph.nodes) if i not in self.inference.folded
        ]
        self._last_use = self._find_last_uses()

    def _prepare(self, node):
        with located(node):
            return node.layer.prepare(node.tensors, [self.specs[blob] for blob in node.inputs])

    def _find_last_uses(self) -> list[tuple[str, ...]]:
        # After which step each blob can be forgotten; model outputs and constants stay.
        kept = set(self.graph.outputs) | set(self._constants)
        last: dict[str, int] = {}
        for step, (node, _) in enumerate(self._steps):
            for blob in (*node.inputs, *node.outputs):
                last[blob] = step
        table: list[list[str]] = [[] for _ in self._steps]
        for blob, step in last.items():
            if blob not in kept:
                table[step].append(blob)
        return [tuple(blobs) for blobs in table]

    def run(self, inputs: Mapping[str, np.ndarray], tap: Tap | None = None) -> dict[str, np.ndarray]:
        """Compute the model outputs.

        Parameters
        ----------
        inputs : mapping of str to ndarray
            One array for each model input, of its dims; float32, or int32 / int8 where the model says so.
        tap : callable (name, array), optional
            Shown every blob once: the inputs, then each blob right after the layer that makes it. Must not keep or
            change the array.

        Returns
        -------
        dict of str to ndarray
            By output name, in C order.

        Raises
        ------
        InputError
            An input is missing, unknown, or of other dims.
        """
        blobs = {**self._constants, **self._checked(inputs)}
        if tap:
            for name in self.graph.inputs:
                tap(name, blobs[name])
        for (node, state), forgotten in zip(self._steps, self._last_use, strict=True):
            with located(node):
                results = node.layer.forward([blobs[blob] for blob in node.inputs], state)
            for blob, result in zip(node.outputs, results, strict=False):
                blobs[blob] = result
                if tap:
                    tap(blob, result)
            for blob in forgotten:
                del blobs[blob]
        return {name: np.ascontiguousarray(blobs[name]) for name in self.graph.outputs}

    def _checked(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        checked = {}
        for name in self.graph.inputs:
            spec = self.specs[name]
            if name not in inputs:
                raise InputError(f"no array for the model input {name!r} ({'x'.join(map(str, spec.dims))})")
            array = np.asarray(inputs[name])
            if array.shape != spec.dims:
                got = "x".join(map(str, array.shape))
                raise InputError(f"the array for input {name!r} is {got}, expected {'x'.join(map(str, spec.dims))}")
            checked[name] = array.astype(spec.dtype.numpy, copy=False)
        unknown = sorted(set(inputs) - set(checked))
        if unknown:
            raise InputError(f"the model has no input {unknown[0]!r}; its inputs are {', '.join(checked)}")
        return checked


def refuse_unrunnable(graph: Graph) -> None:
    """Raise UnsupportedLayerError if any layer cannot be run, naming all of them (at most eight)."""
    if any(node.quantized for node in graph.nodes):
        raise UnsupportedLayerError("the model is int8 already; give the fp32 model it was made from")
    stuck = [node for node in graph.nodes if not node.layer.runnable()]
    if stuck:
        why = stuck[0].layer.WHY_NOT or "tnnquant has no kernel for it"
        names = ", ".join(str(node) for node in stuck[:8]) + (", ..." if len(stuck) > 8 else "")
        raise UnsupportedLayerError(
            f"{len(stuck)} of {len(graph.nodes)} layers cannot be run: {names}; {why}; "
            "replace or remove the layer in the model, or report the type"
        )


def total_macs(executor: Executor) -> int:
    """Multiply-accumulates of one run of the model."""
    specs = executor.specs
    return sum(
        node.layer.macs([specs[b] for b in node.inputs], [specs[b] for b in node.outputs])
        for node in executor.graph.nodes
        if all(b in specs for b in (*node.inputs, *node.outputs))
    )


