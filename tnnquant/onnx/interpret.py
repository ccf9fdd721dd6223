"""An ONNX graph run on what is known of its values: constants are computed, everything else becomes TNN layers.

Nodes are taken in the order of their dependencies. A node whose inputs are all constants is computed (:mod:`.fold`).
The dims of a blob are always known, because every layer infers its own as soon as it is made; so Shape and Size are
constants, and with them all that is computed from dims. Functions, the branches of an If on a constant, and the passes
of a Loop of constant length are run in place (:mod:`.control`). What is left goes to the converters
(:mod:`.registry`). Declared shapes of outputs and inner values are never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tnnquant.errors import ModelFormatError, TnnQuantError
from tnnquant.onnx.attributes import attribute_values, without_references
from tnnquant.onnx.builder import Builder
from tnnquant.onnx.fold import evaluate, may_fold
from tnnquant.onnx.functions import schema_function
from tnnquant.onnx.qdq.record import MOVES_CODES, ORDERS_CODES, READS_CODES, as_values
from tnnquant.onnx.read import Weights
from tnnquant.onnx.refusal import Refusal, Refused
from tnnquant.onnx.registry import IGNORED, Converter, find_converter
from tnnquant.onnx.value import Missing, Sequence_, Value

if TYPE_CHECKING:
    from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto

__all__ = ["Frame", "Interpreter", "Known"]

#: What a name of the graph stands for.
Known = Value | Missing | Sequence_ | None  # None: an optional value that is absent

#: Operators that make dims, indices or tables, always of constants in the models that TNN can run.
ONLY_CONSTANT = frozenset(("Constant", "ConstantOfShape", "Range", "Unique", "CenterCropPad"))

#: Nodes that may be run in all; loops and functions multiply what a small file says.
MOST_NODES = 50_000
#: Functions within functions, branches within branches.
MOST_DEPTH = 40


@dataclass(frozen=True)
class Frame:
    """Where nodes are run: the main graph, a branch, a pass of a loop, the body of a function.

    Attributes
    ----------
    opsets : mapping of str to int
        Version of each domain.
    prefix : str
        Put before the names of layers; empty in the main graph, whose blobs alone keep ONNX's names.
    given : mapping of str to AttributeProto, or None
        Attributes of the call, within a function.
    depth : int
    """

    opsets: Mapping[str, int]
    prefix: str = ""
    given: Mapping[str, AttributeProto] | None = None
    depth: int = 0

    def inner(self, name: str) -> Frame:
        """A frame within this one.

        Raises
        ------
        Refused
            There are too many within one another.
        """
        if self.depth >= MOST_DEPTH:
            raise Refused(f"functions or branches lie {MOST_DEPTH} deep within one another")
        return replace(self, prefix=f"{self.prefix}{name}/", depth=self.depth + 1)


@dataclass
class Interpreter:
    """Runs the nodes of one model.

    Parameters
    ----------
    builder : Builder
    weights : Weights
    functions : mapping of (domain, name) to FunctionProto
        Those of the model itself.
    name : str
        The model, for messages.
    """

    builder: Builder
    weights: Weights
    functions: Mapping[tuple[str, str], FunctionProto]
    name: str
    refusals: list[Refusal] = field(default_factory=list)
    _count: int = 0

    # --- graphs ---

    def run_graph(self, graph: GraphProto, scope: dict[str, Known], frame: Frame) -> list[Known]:
        """Run a graph whose inputs are in ``scope`` already; the outputs."""
        initializers = {tensor.name: tensor for tensor in graph.initializer}
        outputs = [value.name for value in graph.output]
        nodes, read = self._needed(graph.node, outputs, {*scope, *initializers})
        for name, tensor in initializers.items():
            if name in read and name not in scope:
                scope[name] = Value.constant(self.weights.array(tensor))
        if graph.sparse_initializer:
            raise ModelFormatError(f"{self.name}: it holds sparse initializers; export it without")
        return self._run(nodes, scope, frame, outputs, read)

    def run_nodes(
        self, nodes: Sequence[NodeProto], scope: dict[str, Known], frame: Frame, outputs: Sequence[str]
    ) -> list[Known]:
        """Run the body of a function; the outputs."""
        needed, read = self._needed(nodes, outputs, set(scope))
        return self._run(needed, scope, frame, outputs, read)

    def _run(
        self, nodes: Sequence[NodeProto], scope: dict[str, Known], frame: Frame, outputs: Sequence[str], read: set[str]
    ) -> list[Known]:
        for node in nodes:
            self._count += 1
            if self._count > MOST_NODES:
                raise Refused(f"loops and functions unroll to more than {MOST_NODES} nodes")
            results = self._run_node(node, scope, frame, read)
            for name, result in zip(node.output, results, strict=False):
                if name:
                    scope[name] = result
        for name in outputs:
            if name not in scope:
                raise ModelFormatError(f"{self.name}: the output {name!r} is made by no node")
        return [scope[name] for name in outputs]

    def _needed(
        self, nodes: Sequence[NodeProto], outputs: Sequence[str], known: set[str]
    ) -> tuple[list[NodeProto], set[str]]:
        """The nodes that the outputs depend on, in an order in which they can run; and the names that are read.

        Raises
        ------
        ModelFormatError
            A value that nothing makes, or that depends on itself, or is made twice.
        """
        makers: dict[str, int] = {}
        for number, node in enumerate(nodes):
            for name in node.output:
                if name and name in makers:
                    raise ModelFormatError(f"{self.name}: {name!r} is made by two nodes, expected one")
                if name:
                    makers[name] = number
        reads = [_reads(node) for node in nodes]
        order: list[int] = []
        state = bytearray(len(nodes))  # 0 not seen, 1 its inputs are being looked at, 2 done
        read = set(outputs)
        for output in outputs:
            stack = [makers[output]] if output in makers else []
            while stack:
                number = stack[-1]
                if state[number] == 2:
                    stack.pop()
                    continue
                pending = []
                for name in reads[number]:
                    read.add(name)
                    if name in makers:
                        if (state[makers[name]] == 1 and state[number] == 0) or makers[name] == number:
                            raise ModelFormatError(f"{self.name}: {name!r} depends on itself: the graph has a cycle")
                        if state[makers[name]] == 0:
                            pending.append(makers[name])
                    elif name not in known:
                        where = nodes[number].name or nodes[number].op_type
                        raise ModelFormatError(
                            f"{self.name}: node {where!r} reads {name!r}, which no node, input or initializer makes"
                        )
                if state[number] == 1 or not pending:
                    state[number] = 2
                    order.append(number)
                    stack.pop()
                else:
                    state[number] = 1
                    stack += pending
        return [nodes[number] for number in sorted(order)] if _in_order(order, reads, makers) else [
            nodes[number] for number in order
        ], read

    # --- nodes ---

    def _run_node(self, node: NodeProto, scope: Mapping[str, Known], frame: Frame, read: set[str]) -> Sequence[Known]:
        domain = "" if node.domain == "ai.onnx" else node.domain
        inputs = [scope[name] if name else None for name in node.input]
        missing = next((value for value in inputs if isinstance(value, Missing)), None)
        opset = frame.opsets.get(domain, 1)
        builder, first = self.builder, len(self.builder.nodes)
        output = next((name for name in node.output if name), "")
        builder.scope = frame.prefix + (node.name or output or node.op_type)
        builder.opset = opset
        builder.outputs = len(node.output)
        builder.wanted = frozenset(k for k, name in enumerate(node.output) if name and name in read)
        try:
            if missing is not None:
                if missing.reason:
                    raise Refused(missing.reason)
                if not self._is_known(node, domain, opset):
                    raise Refused(_unknown(domain))
                return [Missing()] * len(node.output)
            results = self._converted(node, domain, opset, inputs, scope, frame)
        except (Refused, TnnQuantError, MemoryError) as error:
            if isinstance(error, ModelFormatError):
                raise
            del builder.nodes[first:]
            op = f"{domain}.{node.op_type}" if domain else node.op_type
            reason = " ".join(str(error).split()) or "there is not enough memory for it"
            self.refusals.append(Refusal(op, opset, node.name, output, reason))
            return [Missing()] * len(node.output)
        results = list(results)
        for number in range(len(results), len(node.output)):
            results.append(Missing(f"it reads output number {number + 1} of {node.op_type}, which TNN does not make"))
        self._name(node, frame, results, first)
        if not frame.prefix:
            self.builder.records.note_tensors(results, node.output)
        return results

    def _name(self, node: NodeProto, frame: Frame, results: list[Known], first: int) -> None:
        """Name the layers made for a node after it, and its blobs as ONNX does."""
        builder = self.builder
        if frame.prefix or len(builder.nodes) == first:
            return
        values = [value if isinstance(value, Value) and not value.is_constant else None for value in results]
        renamed = builder.renamed(values[: len(node.output)], list(node.output), first)
        for number, value in enumerate(renamed):
            if value is not None:
                results[number] = value
        made = {value.name for value in renamed if value is not None}
        last = next((k for k in range(len(builder.nodes) - 1, first - 1, -1) if made & {*builder.nodes[k].outputs}), -1)
        if last >= 0:
            name = builder.names.layer(node.name or next(iter(node.output)))
            builder.nodes[last] = builder.nodes[last].replace(name=name)

    def _is_known(self, node: NodeProto, domain: str, opset: int) -> bool:
        from tnnquant.onnx import control

        return (
            (domain, node.op_type) in self.functions
            or find_converter(domain, node.op_type, opset) is not None
            or (domain == "" and node.op_type in (*control.OPERATORS, *ONLY_CONSTANT))
            or schema_function(node, domain, opset, None) is not None
        )

    def _converted(
        self, node: NodeProto, domain: str, opset: int, inputs: Sequence[Any], scope: Mapping[str, Known], frame: Frame
    ) -> Sequence[Known]:
        from tnnquant.onnx import control

        node = without_references(node, frame.given)
        own = self.functions.get((domain, node.op_type))
        if own is not None:
            return self._call(own, node, inputs, frame)
        if domain == "" and node.op_type in control.OPERATORS:
            return control.OPERATORS[node.op_type](self, node, inputs, scope, frame)
        if any(isinstance(value, Sequence_) for value in inputs):
            raise Refused("it reads a sequence; TNN has none")
        if domain == "" and all(v is None or v.is_constant for v in inputs) and may_fold(node.op_type, domain):
            budget, operands = self.builder.budget, [None if v is None else v.array for v in inputs]
            budget.read = self.weights.bytes
            arrays = evaluate(node, operands, opset, budget.left)
            grown = sum(array.nbytes for array in arrays) - sum(array.nbytes for array in operands if array is not None)
            budget.spend(max(grown, 0))
            return [Value.constant(array) for array in arrays]
        converter = find_converter(domain, node.op_type, opset)
        if converter is None:
            body = schema_function(node, domain, opset, inputs)
            if body is None and domain == "" and node.op_type in ONLY_CONSTANT:
                raise Refused("its operands depend on the data; TNN's shapes are fixed")
            if body is None:
                raise Refused(_unknown(domain))
            return self._call(body, node, inputs, frame)
        first = len(self.builder.nodes)
        self.builder.budget.read = self.weights.bytes
        try:
            return self._apply(converter, node, inputs)
        except Refused:
            # Where the operator's own layer cannot do it, the definition by other operators may.
            body = schema_function(node, domain, opset, inputs)
            if body is None:
                raise
            del self.builder.nodes[first:]
            count = len(self.refusals)
            results = self._call(body, node, inputs, frame)
            if len(self.refusals) > count:
                del self.refusals[count:]
                raise
            return results

    def _apply(self, converter: Converter, node: NodeProto, inputs: Sequence[Value | None]) -> Sequence[Known]:
        attributes = attribute_values(node)
        unknown = sorted(set(attributes) - converter.attributes - IGNORED)
        if unknown:
            raise Refused(f"the operator has no attribute {unknown[0]!r}")
        values = list(inputs)
        while values and values[-1] is None:
            values.pop()
        least, most = converter.inputs
        if len(values) < least or (most >= 0 and len(values) > most) or any(v is None for v in values[:least]):
            raise Refused(f"it has {len(values)} inputs, expected {least}" + (f" to {most}" if most > least else ""))
        given = {name: value for name, value in attributes.items() if name in converter.attributes}
        codes = None
        if converter.op not in READS_CODES:
            values, codes = as_values(values)
            if codes is not None and converter.op in ORDERS_CODES:
                codes = None
            elif codes is not None and converter.op not in MOVES_CODES:
                raise Refused("it computes with codes of int8, not with their values")
        try:
            made = converter.function(self.builder, *values, **given)
        except (ValueError, IndexError, ZeroDivisionError, OverflowError, TypeError, AttributeError) as error:
            # Operands that do not fit together; a converter relies on what ONNX promises.
            raise Refused(f"its operands do not fit together ({' '.join(str(error).split())[:120]})") from error
        results = [made] if isinstance(made, Value) else list(made)
        return results if codes is None else [self.builder.records.moved(value, codes) for value in results]

    def _call(
        self, function: FunctionProto, node: NodeProto, inputs: Sequence[Known], frame: Frame
    ) -> list[Known]:
        """Run the body of a function in place."""
        builder = self.builder
        wanted, opset = builder.wanted, builder.opset
        name = builder.scope.removeprefix(frame.prefix)
        opsets = {("" if e.domain == "ai.onnx" else e.domain): e.version for e in function.opset_import}
        given = {attribute.name: attribute for attribute in function.attribute_proto}
        given |= {attribute.name: attribute for attribute in node.attribute}
        inner = replace(frame.inner(name), opsets={**frame.opsets, **opsets}, given=given)
        # Optional inputs at the end may be absent.
        values = [*inputs, *[None] * (len(function.input) - len(inputs))]
        scope: dict[str, Any] = {"": None}
        scope |= dict(zip(function.input, values, strict=False))
        count = min(len(node.output), len(function.output))
        outputs = [function.output[k] for k in range(count) if k in wanted]
        made = dict(zip(outputs, self.run_nodes(function.node, scope, inner, outputs), strict=True))
        builder.wanted, builder.opset = wanted, opset
        return [made.get(function.output[k], Missing("it reads an output that was not wanted")) for k in range(count)]


def _reads(node: NodeProto) -> list[str]:
    """Names that a node reads, those its subgraphs take from outside included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
        for graph in graphs:
            names += _captured(graph)
    return list(dict.fromkeys(names))


def _captured(graph: GraphProto) -> list[str]:
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    read = [name for node in graph.node for name in _reads(node)]
    read += [value.name for value in graph.output]
    return [name for name in read if name not in own]


def _in_order(order: Sequence[int], reads: Sequence[Sequence[str]], makers: Mapping[str, int]) -> bool:
    """Whether the file's own order is one in which the nodes can run; then it is kept."""
    return all(makers[name] < number for number in order for name in reads[number] if name in makers)


def _unknown(domain: str) -> str:
    if domain:
        return f"the operator is of the domain {domain!r}, which is not ONNX's own, and the model does not define it"
    return "TNN has no layer for it, and it cannot be made of others"


def array_of(value: Known) -> np.ndarray | None:
    """The elements of a constant; None of anything else."""
    return value.array if isinstance(value, Value) else None
