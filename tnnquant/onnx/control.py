"""Control flow and sequences that are known before the model runs: If, Loop, Scan, and lists of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tnnquant.onnx.attributes import attribute_values
from tnnquant.onnx.refusal import Refused
from tnnquant.onnx.value import BOOL, INT64, Missing, Sequence_, Value

if TYPE_CHECKING:
    from onnx import NodeProto

    from tnnquant.onnx.interpret import Frame, Interpreter, Known

    # An input is a value, a list or nothing: what its operator asks for. What it is not, the caller tells the user.
    _Operator: TypeAlias = Callable[
        [Interpreter, NodeProto, Sequence[Any], Mapping[str, Known], Frame], Sequence[Known]
    ]

__all__ = ["OPERATORS"]

#: Passes of one loop that are unrolled.
MOST_PASSES = 1000

OPERATORS: dict[str, _Operator] = {}


def _control(function: _Operator) -> _Operator:
    OPERATORS[function.__name__] = function
    return function


@_control
def If(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """The branch that a constant condition takes."""
    (condition,) = inputs
    if condition is None or not condition.is_constant or condition.size != 1:
        raise Refused("its condition depends on the data; TNN has no control flow")
    branches = attribute_values(node)
    taken = branches["then_branch" if bool(condition.array.reshape(-1)[0]) else "else_branch"]
    inner = frame.inner(node.name or node.output[0])
    return run.run_graph(taken, dict(scope), inner)


@_control
def Loop(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """Every pass of a loop whose length is constant."""
    body = attribute_values(node)["body"]
    count, going, *state = inputs
    if count is not None and not count.is_constant:
        raise Refused("the number of its passes depends on the data; TNN has no control flow")
    limit = MOST_PASSES + 1 if count is None else int(count.array.reshape(-1)[0])
    names = [value.name for value in body.input]
    if len(names) != 2 + len(state):
        raise Refused(f"its body takes {len(names)} inputs, expected {2 + len(state)}")
    scans: list[list[Known]] = [[] for _ in range(len(body.output) - 1 - len(state))]
    number = 0
    while number < limit and _goes_on(going):
        if number >= MOST_PASSES:
            raise Refused(f"it has more than {MOST_PASSES} passes, too many to be written out")
        inner = frame.inner(f"{node.name or node.output[0]}/{number}")
        values = [Value.constant(np.asarray(number, np.int64)), going or Value.constant(np.asarray(True)), *state]
        going, *rest = run.run_graph(body, {**scope, **dict(zip(names, values, strict=True))}, inner)
        state = rest[: len(state)]
        for made, value in zip(scans, rest[len(state) :], strict=True):
            made.append(value)
        number += 1
    return [*state, *(_stacked(run, made) for made in scans)]


def _goes_on(condition: Known) -> bool:
    if condition is None:
        return True
    if not isinstance(condition, Value) or not condition.is_constant:
        raise Refused("whether it goes on depends on the data; TNN has no control flow")
    return bool(condition.elements.reshape(-1)[0])


def _stacked(run: Interpreter, values: Sequence[Known], axis: int = 0) -> Known:
    """Values side by side along a new axis."""
    tensors = [value for value in values if isinstance(value, Value)]
    if len(tensors) != len(values):
        return Missing()
    if not tensors:
        raise Refused("it makes no pass, and an empty tensor; TNN has none")
    if all(value.is_constant for value in tensors):
        return Value.constant(np.stack([value.elements for value in tensors], axis))
    g = run.builder
    axis = axis % (tensors[0].rank + 1)
    parts = [g.reshape(v, (*v.dims[:axis], 1, *v.dims[axis:])) for v in tensors]
    return g.add("Concat", parts, axis) if len(parts) > 1 else parts[0]


@_control
def Scan(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """Every step of a scan: the lengths are dims, and so constant."""
    attributes = attribute_values(node)
    body, count = attributes["body"], attributes["num_scan_inputs"]
    if frame.opsets.get("", 1) < 9:
        raise Refused("Scan of opset 8 has another form; export with opset 9 or newer")
    state, scanned = list(inputs[: len(inputs) - count]), inputs[len(inputs) - count :]
    outputs = len(body.output) - len(state)
    axes = [a % v.rank for a, v in zip(attributes.get("scan_input_axes") or (0,) * count, scanned, strict=True)]
    backwards = attributes.get("scan_input_directions") or (0,) * count
    length = scanned[0].dims[axes[0]]
    if length > MOST_PASSES:
        raise Refused(f"it has {length} steps, too many to be written out")
    made: list[list[Known]] = [[] for _ in range(outputs)]
    names = [value.name for value in body.input]
    g = run.builder
    for step in range(length):
        inner = frame.inner(f"{node.name or node.output[0]}/{step}")
        pieces = [
            g.gather(v, np.asarray(length - 1 - step if back else step), axis)
            for v, axis, back in zip(scanned, axes, backwards, strict=True)
        ]
        results = run.run_graph(body, {**scope, **dict(zip(names, [*state, *pieces], strict=True))}, inner)
        state = results[: len(state)]
        for column, value in zip(made, results[len(state) :], strict=True):
            column.append(value)
    turned = attributes.get("scan_output_directions") or (0,) * outputs
    places = attributes.get("scan_output_axes") or (0,) * outputs
    columns = [m[::-1] if back else m for m, back in zip(made, turned, strict=True)]
    return [*state, *(_stacked(run, column, axis) for column, axis in zip(columns, places, strict=True))]


# --- sequences ---


def _items(value: Known) -> tuple[Value, ...]:
    if not isinstance(value, Sequence_):
        raise Refused("it reads a sequence that is not known before the model runs")
    return value.items


def _place(value: Value | None, count: int, *, end: int) -> int:
    if value is None:
        return end
    if not value.is_constant:
        raise Refused("the place in the sequence depends on the data")
    place = int(value.elements.reshape(-1)[0])
    return place + count if place < 0 else place


@_control
def SequenceConstruct(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """A list of tensors."""
    return [Sequence_(tuple(inputs))]


@_control
def SequenceEmpty(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """An empty list."""
    return [Sequence_(())]


@_control
def SequenceInsert(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """A list with one tensor more."""
    items = list(_items(inputs[0]))
    items.insert(_place(inputs[2] if len(inputs) > 2 else None, len(items), end=len(items)), inputs[1])
    return [Sequence_(tuple(items))]


@_control
def SequenceErase(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """A list with one tensor less."""
    items = list(_items(inputs[0]))
    del items[_place(inputs[1] if len(inputs) > 1 else None, len(items), end=len(items) - 1)]
    return [Sequence_(tuple(items))]


@_control
def SequenceAt(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """One tensor of a list."""
    items = _items(inputs[0])
    place = _place(inputs[1], len(items), end=0)
    if not 0 <= place < len(items):
        raise Refused(f"it takes number {place} of a sequence of {len(items)}")
    return [items[place]]


@_control
def SequenceLength(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """How many tensors a list has."""
    return [Value.constant(np.asarray(len(_items(inputs[0])), INT64))]


@_control
def ConcatFromSequence(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """The tensors of a list side by side."""
    attributes = attribute_values(node)
    items = _items(inputs[0])
    if attributes.get("new_axis", 0):
        return [_stacked(run, items, attributes["axis"])]
    if all(value.is_constant for value in items):
        return [Value.constant(np.concatenate([value.array for value in items], attributes["axis"]))]
    axis = attributes["axis"] % items[0].rank
    return [run.builder.add("Concat", items, axis) if len(items) > 1 else items[0]]


@_control
def SplitToSequence(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """A tensor as a list of slices."""
    attributes = attribute_values(node)
    x, split = inputs[0], inputs[1] if len(inputs) > 1 else None
    axis = attributes.get("axis", 0) % x.rank
    size = x.dims[axis]
    if split is not None and not split.is_constant:
        raise Refused("the sizes of its parts depend on the data")
    sizes = [1] * size if split is None else [int(v) for v in split.array.reshape(-1)]
    if split is not None and split.rank == 0:
        whole, rest = divmod(size, sizes[0])
        sizes = [sizes[0]] * whole + ([rest] if rest else [])
    g, items, begin = run.builder, [], 0
    for part in sizes:
        item = g.cut(x, axis, begin, begin + part)
        if split is None and not attributes.get("keepdims", 1):
            item = g.reshape(item, (*x.dims[:axis], *x.dims[axis + 1 :]))
        items.append(item)
        begin += part
    return [Sequence_(tuple(items))]


@_control
def Optional(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """What it holds."""
    return [inputs[0] if inputs else None]


@_control
def OptionalGetElement(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """What it holds."""
    if inputs[0] is None:
        raise Refused("it reads an optional value that is absent")
    return [inputs[0]]


@_control
def OptionalHasElement(
    run: Interpreter, node: NodeProto, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
) -> Sequence[Known]:
    """Whether there is something."""
    return [Value.constant(np.asarray(bool(inputs) and inputs[0] is not None, BOOL))]
