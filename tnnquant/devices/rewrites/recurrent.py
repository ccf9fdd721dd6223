"""LSTM, unrolled: one product for all steps of the input, one of the state and some gates for each."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tnnquant.devices.memory import LANES
from tnnquant.devices.rewrites.fragment import Fragment, rewrite
from tnnquant.layers.lstm import LSTMONNX

__all__: list[str] = []

#: Sequences of more steps, counted in each direction, are not unrolled.
_MOST_STEPS = 512
_REVERSE = 1


@rewrite("its steps one by one", "LSTMONNX")
def _unrolled(f: Fragment) -> list[str] | None:
    steps, batch, *rest = f.inputs[0].dims
    layer = f.layer.expect(LSTMONNX)
    hidden, directions, length = layer.hidden_size, layer.directions, prod(rest)
    weights = [f.value(number) for number in (1, 2, 3)]
    if any(value is None for value in weights) or steps * directions > _MOST_STEPS or (batch > 1 and hidden % LANES):
        return None
    w, r, b = (np.asarray(value, np.float32) for value in weights)
    w, r = w.reshape(directions, 4 * hidden, length), r.reshape(directions, 4 * hidden, hidden)
    b = b.reshape(directions, 2, 4 * hidden).sum(axis=1)
    x = f.add("Reshape", f.node.inputs[0], 0, 2, (steps * batch, length), 0)
    begun = [_begun(f, number, directions, batch) for number in (4, 5)]
    sequences, last_h, last_c = [], [], []
    for direction in range(directions):
        gates = f.add(
            "InnerProduct", x, tensors={"weight": w[direction], "bias": b[direction]}, may_be_int8=True,
            num_output=4 * hidden, has_bias=1, transpose=0, axis=1,
        )  # fmt: skip
        parts = [gates] if steps == 1 else f.add_many("SplitV", gates, 0, (batch,) * steps, outputs=steps)
        backward = direction == 1 or layer.direction == _REVERSE
        state = f.constant(r[direction].T)
        h, c = (first[direction] if first else "" for first in begun)
        made = []
        for part in reversed(parts) if backward else parts:
            h, c = _step(f, part, h, c, state, hidden)
            made.append(h)
        sequences.append(_joined(f, made[::-1] if backward else made, 0))
        last_h.append(h)
        last_c.append(c)
    y = f.reshape(_joined(f, sequences, 1), f.outputs[0].dims)
    results = [y]
    for blob, states in zip(f.node.outputs[1:], (last_h, last_c), strict=False):
        if blob in f.place.net.consumers or blob in f.place.net.graph.outputs:
            results.append(f.reshape(_joined(f, states, 0), (directions, batch, hidden)))
        else:
            break  # the blobs after it are read as little, or it is made for their sake
    unread = f.node.outputs[len(results) :]
    if any(blob in f.place.net.consumers or blob in f.place.net.graph.outputs for blob in unread):
        return None
    return results


def _begun(f: Fragment, number: int, directions: int, batch: int) -> Sequence[str]:
    """The state before the first step in each direction, (batch, hidden) each; empty: zeros."""
    if number >= len(f.inputs):
        return ()
    value, hidden = f.value(number), f.layer.expect(LSTMONNX).hidden_size
    if value is not None:
        if not np.any(value):
            return ()
        return [f.constant(state) for state in np.asarray(value).reshape(directions, batch, hidden)]
    blob = f.reshape(f.node.inputs[number], (directions * batch, hidden))
    return [blob] if directions == 1 else f.add_many("SplitV", blob, 0, (batch, batch), outputs=2)


def _step(f: Fragment, part: str, h: str, c: str, state: str, hidden: int) -> tuple[str, str]:
    """The next state, from the input's part of the gates in the order I, O, F, C."""
    gates = part
    if h in f.constants:  # TNN runs no layer whose inputs are all constants
        gates = f.add("Add", (part, f.constant(f.constants[h].array() @ f.constants[state].array())), -1)
    elif h:
        gates = f.add("Add", (f.add("MatMul", (h, state), -1), part), -1)
    doors, news = f.add_many("SplitV", gates, 1, (3 * hidden, hidden), outputs=2)
    enter, leave, keep = f.add_many("SplitV", f.add("Sigmoid", doors), 1, (hidden,) * 3, outputs=3)
    entered = f.add("Mul", (enter, f.add("Tanh", news)), -1)
    after = f.add("Add", (f.add("Mul", (keep, c), -1), entered), -1) if c else entered
    return f.add("Mul", (leave, f.add("Tanh", after)), -1), after


def _joined(f: Fragment, blobs: Sequence[str], axis: int) -> str:
    return blobs[0] if len(blobs) == 1 else f.add("Concat", list(blobs), axis)
