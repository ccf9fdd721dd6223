"""An ONNX model as a TNN graph: inputs and their dims, the nodes, the outputs, and notes for the user."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.base.wording import dims_of, parameter
from tnnquant.errors import ConfigError, GraphError, ModelFormatError, TnnQuantError, UnsupportedLayerError
from tnnquant.format.files import PathLike
from tnnquant.format.proto import read_proto, write_proto
from tnnquant.graph import Graph
from tnnquant.onnx.builder import Builder
from tnnquant.onnx.interpret import Frame, Interpreter, Known
from tnnquant.onnx.qdq.apply import apply_codes, passed_on
from tnnquant.onnx.qdq.record import BlobCodes
from tnnquant.onnx.read import Weights, element_type, load
from tnnquant.onnx.refusal import Refusal, Refused, refusal_error
from tnnquant.onnx.simplify import simplify
from tnnquant.onnx.value import FLOAT, Value, data_type

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, ValueInfoProto

__all__ = ["ZERO_POINTS", "Conversion", "convert"]

#: The operator that turns pictures of bytes into floats. An input that nothing else reads may be one of floats.
_TO_FLOAT = "Cast"
#: What layers with zero points other than 0 may become.
ZERO_POINTS = ("int8", "fp32")
#: Bytes of repeated weights below which the user is not told of them.
_WORTH_A_NOTE = 8 << 20


@dataclass(frozen=True, eq=False)
class Conversion:
    """A converted model.

    Attributes
    ----------
    graph : Graph
        As a pair that is written and read again holds it.
    renamed : dict of str to str
        Names of the ONNX model that a .tnnproto cannot hold, with those that stand for them.
    notes : list of str
        What was assumed, for the user.
    input_dims : dict of str to tuple of int
        Dims of the ONNX model's inputs, by its own names.
    codes : dict of str to (str, BlobCodes)
        Of an int8 model: the tensor of the ONNX model that holds the codes of each blob that is int8 or holds their
        integers in fp32, and what they mean there.
    inexact : list of str
        int8 blobs whose zero point the layers around make up for, which is off by a code here and there.
    """

    graph: Graph
    renamed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    input_dims: dict[str, tuple[int, ...]] = field(default_factory=dict)
    codes: dict[str, tuple[str, BlobCodes]] = field(default_factory=dict)
    inexact: list[str] = field(default_factory=list)

    def without_weights(self) -> Conversion:
        """The same, but for the elements of weights and constants: what a comparison of the written pair needs."""
        nodes = tuple(node.replace(resource=None) for node in self.graph.nodes)
        return replace(self, graph=self.graph.replace(nodes=nodes, constants={}))


def convert(
    source: PathLike | bytes | ModelProto,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    half: bool = False,
    zero_points: str = ZERO_POINTS[0],
) -> Conversion:
    """Convert an ONNX model.

    Parameters
    ----------
    source : path, bytes or onnx.ModelProto
    input_shapes : mapping of str to sequence of int, optional
        Dims of inputs, by name, in place of those in the file.
    half : bool
        Store the weights as float16.
    zero_points : {"int8", "fp32"}
        What layers of an int8 model become whose zero points are not 0. "int8": int8, with the zero points in their
        biases, or rescaled to symmetric codes. "fp32": fp32, with the integers of the file.

    Raises
    ------
    ModelFormatError
        The file is missing, foreign, truncated or inconsistent.
    UnsupportedLayerError
        TNN cannot express some nodes; all of them are named.
    ConfigError
        Dims of an input that the model does not have, or dims that are not known.
    """
    conversion, refusals, name = attempt(source, input_shapes, half=half, zero_points=zero_points)
    if refusals:
        raise refusal_error(refusals, name)
    assert conversion is not None
    return conversion


def attempt(
    source: PathLike | bytes | ModelProto,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    half: bool = False,
    zero_points: str = ZERO_POINTS[0],
) -> tuple[Conversion | None, list[Refusal], str]:
    """As :func:`convert`, but with the nodes that TNN cannot express as a list; then there is no conversion."""
    if zero_points not in ZERO_POINTS:
        raise ConfigError(f"{parameter('zero_points')} is {zero_points!r}, expected {' or '.join(ZERO_POINTS)}")
    proto, weights, name = load(source)
    try:
        return _attempt(proto, weights, name, input_shapes or {}, half, zero_points == ZERO_POINTS[1])
    except TnnQuantError as error:
        # Names are the file's: they may hold anything.
        raise type(error)(" ".join(str(error).split())) from error
    except RecursionError:
        raise ModelFormatError(f"{name}: its graphs lie too deep within one another") from None
    except MemoryError:
        raise GraphError(f"{name}: there is not enough memory to convert it; check the dims of its inputs") from None
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, ArithmeticError) as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:140]}"
        raise ModelFormatError(f"{name}: it is inconsistent ({why}); export it again") from error


def _attempt(
    proto: ModelProto, weights: Weights, name: str, input_shapes: Mapping[str, Sequence[int]], half: bool,
    in_fp32: bool,
) -> tuple[Conversion | None, list[Refusal], str]:  # fmt: skip
    builder = Builder()
    graph = proto.graph
    initialized = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initialized]
    outputs = list(dict.fromkeys(value.name for value in graph.output))
    if not inputs:
        raise UnsupportedLayerError(f"{name}: it has no input, so its outputs are constants; TNN needs an input")
    if not outputs:
        raise ModelFormatError(f"{name}: it has no output, expected at least one")
    if len({value.name for value in inputs}) < len(inputs):
        raise ModelFormatError(f"{name}: two of its inputs have the same name")
    dims = _input_dims(inputs, input_shapes, name, builder.notes)
    builder.names.reserve([*dims, *outputs])
    scope: dict[str, Known] = {
        value.name: _input(builder, value, dims[value.name], graph, outputs, name) for value in inputs
    }
    functions = {(function.domain, function.name): function for function in proto.functions}
    opsets = {("" if e.domain == "ai.onnx" else e.domain): int(e.version) for e in proto.opset_import}
    interpreter = Interpreter(builder, weights, functions, name)
    try:
        values = interpreter.run_graph(graph, scope, Frame(opsets))
    except Refused as error:
        interpreter.refusals.append(Refusal("graph", opsets.get("", 1), "", outputs[0], str(error)))
        values = []
    if not interpreter.refusals:
        _finish(builder, outputs, values, interpreter)
    if interpreter.refusals:
        return None, interpreter.refusals, name
    built = Graph(
        {key: builder.inputs[key] for key in sorted(builder.inputs, key=_bytes)},
        tuple(sorted((builder.names.of(output) for output in outputs), key=_bytes)),
        tuple(builder.nodes),
        builder.constants,
    )
    has_codes = bool(builder.records.blobs and builder.records.weights)
    if has_codes:  # while layers that move codes are all there
        builder.records.blobs = passed_on(built, builder.records.blobs)
    simple = simplify(built, builder.dims(), half=half and not has_codes, keep_products=has_codes)
    applied = apply_codes(_as_written(simple, name), builder.records, in_fp32=in_fp32, half=half)
    builder.notes += [*applied.notes(), *_repeated(applied.graph)]
    inexact = [*applied.shifted, *applied.rescaled]
    return Conversion(applied.graph, builder.names.replaced, builder.notes, dims, applied.tensors, inexact), [], name


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


# --- inputs ---


def _input_dims(
    inputs: Sequence[ValueInfoProto], given: Mapping[str, Sequence[int]], name: str, notes: list[str]
) -> dict[str, tuple[int, ...]]:
    """Dims of every input; a batch that the model leaves open is 1.

    Raises
    ------
    ConfigError
        Dims for an input that is not there, or dims that nobody says.
    """
    names = [value.name for value in inputs]
    for wanted in given:
        if wanted not in names:
            close = difflib.get_close_matches(wanted, names, 3, 0.4) or names[:5]
            known = ", ".join(close) or "none"
            raise ConfigError(f"{parameter('input_dims')}: {name} has no input {wanted!r}; it has {known}")
    found: dict[str, tuple[int, ...]] = {}
    open_inputs: dict[str, str] = {}
    batches: list[str] = []
    for value in inputs:
        declared = _declared(value, name)
        if value.name in given:
            dims: Sequence[int | str] = tuple(int(d) for d in given[value.name])
            if declared is not None and len(dims) != len(declared):
                raise ConfigError(
                    f"{parameter('input_dims')}: the input {value.name!r} has {len(declared)} dims "
                    f"({_shown(declared)}), {len(dims)} are given"
                )
        elif declared is None:
            raise ConfigError(f"{name}: the input {value.name!r} has no dims at all; give {dims_of(value.name)}")
        else:
            dims = declared
        if len(dims) > 1 and isinstance(dims[0], str) and all(isinstance(d, int) for d in dims[1:]):
            batches.append(value.name)
            dims = (1, *dims[1:])
        if any(isinstance(d, str) for d in dims):
            open_inputs[value.name] = f"{value.name} ({_shown(dims)})"
            dims = tuple(_guess(d, k, len(dims)) for k, d in enumerate(dims))
        found[value.name] = tuple(int(d) for d in dims)
    if open_inputs:
        line = " ".join(dims_of(key, found[key]) for key in open_inputs)
        raise ConfigError(
            f"{name}: the dims of {', '.join(open_inputs.values())} are not fixed in the file; say them, for example: "
            f"{line}"
        )
    if batches:
        notes.append(f"the batch of {', '.join(map(repr, batches))} is left open in the file: 1 is assumed")
    return found


def _guess(dim: int | str, axis: int, rank: int) -> int:
    """A likely size for a dim that the file leaves open, for the line that the error shows."""
    if isinstance(dim, int):
        return dim
    return 1 if axis == 0 else 224 if rank == 4 and axis > 1 else 3 if rank == 4 else 128


def _shown(dims: Sequence[int | str]) -> str:
    return "x".join(map(str, dims))


def _declared(value: ValueInfoProto, name: str) -> tuple[int | str, ...] | None:
    """Dims as the file says them, open ones as their names; None: not even how many."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        found = "without a type" if kind is None else f"a {kind.removesuffix('_type')}"
        raise ModelFormatError(f"{name}: the input {value.name!r} is {found}, expected a tensor")
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    dims: list[int | str] = []
    for dim in tensor.shape.dim:
        fixed = dim.HasField("dim_value") and dim.dim_value > 0
        if dim.WhichOneof("value") == "dim_value" and dim.dim_value == 0:
            raise UnsupportedLayerError(
                f"{name}: the input {value.name!r} is an empty tensor (a dim of 0); TNN has none: export it with a size"
            )
        dims.append(int(dim.dim_value) if fixed else (dim.dim_param or "?"))
    return tuple(dims)


def _input(
    builder: Builder, value: ValueInfoProto, dims: tuple[int, ...], graph: GraphProto, outputs: Collection[str],
    name: str,
) -> Value:  # fmt: skip
    dtype = element_type(value.type.tensor_type.elem_type, f"{name}: the input {value.name!r}")
    if any(d > 0x7FFFFFFF for d in dims) or len(dims) > 8:
        raise GraphError(f"{name}: the input {value.name!r} has dims {_shown(dims)}, more than TNN holds")
    blob = builder.names.of(value.name)
    if not dims:
        builder.notes.append(f"the input {value.name!r} has no dims; TNN gives it one of 1")
    as_float = dtype.kind in "iub" and _only_cast(graph, value.name) and value.name not in outputs
    if as_float:
        builder.notes.append(f"the input {value.name!r} of {dtype} becomes one of float32: it is only cast to floats")
    return builder.input(
        blob, dims, FLOAT if as_float else dtype, DataType.FLOAT if as_float else data_type(dtype)
    )


def _only_cast(graph: GraphProto, name: str) -> bool:
    """Whether all that reads the input are casts to floats."""
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    readers = [node for node in graph.node if name in node.input]
    captured = any(attribute.HasField("g") for node in graph.node for attribute in node.attribute)
    return (
        bool(readers)
        and not captured
        and all(
            node.op_type == _TO_FLOAT and any(a.name == "to" and a.i in floats for a in node.attribute)
            for node in readers
        )
    )


# --- outputs ---


def _finish(builder: Builder, outputs: Sequence[str], values: Sequence[Known], interpreter: Interpreter) -> None:
    """Give the model outputs their names; copies where a blob is two things at once, or a constant."""
    taken: set[str] = set()
    for output, value in zip(outputs, values, strict=True):
        wanted = builder.names.of(output)
        if not isinstance(value, Value):
            reason = "it is a sequence; TNN has none"
            interpreter.refusals.append(Refusal("output", builder.opset, "", output, reason))
            continue
        builder.scope = output
        is_made = any(value.name in node.outputs for node in builder.nodes)
        try:
            if value.is_constant or not is_made or value.name in taken:
                first = len(builder.nodes)
                copy = _copied(builder, value)
                builder.rename({copy.name: wanted}, first)
            elif value.name != wanted:
                builder.rename({value.name: wanted})
                values = [
                    Value(v.dims, v.dtype, wanted, v.array) if isinstance(v, Value) and v.name == value.name else v
                    for v in values
                ]
        except Refused as error:
            interpreter.refusals.append(Refusal("output", builder.opset, "", output, str(error)))
        taken.add(wanted)


def _copied(builder: Builder, value: Value) -> Value:
    blob = builder.blob(value)
    if not blob.dims:
        wide = builder.add("Unsqueeze", [blob], (0,), dtype=value.dtype)
        return builder.add("Squeeze", [wide], (0,), dtype=value.dtype)
    return builder.add("Reshape", [blob], 0, blob.rank, blob.dims, 0, dtype=value.dtype)


# --- the pair ---


def _as_written(graph: Graph, name: str) -> Graph:
    """The graph as a pair holds it: parameters with the digits that the text has.

    Raises
    ------
    GraphError
        A layer's line would be too long, or there are too many layers.
    """
    text = read_proto(write_proto(graph), name)
    nodes = tuple(read.replace(resource=made.resource) for read, made in zip(text.nodes, graph.nodes, strict=True))
    return text.replace(nodes=nodes, constants=_sorted(graph))


def _repeated(graph: Graph) -> list[str]:
    """A note, where most of the pair is weights that stand in it several times."""
    total, held = 0, {}
    for tensors in (*(node.tensors for node in graph.nodes), graph.constants):
        for tensor in tensors.values():
            total += tensor.data.nbytes
            held[tensor.data.__array_interface__["data"][0], tensor.data.nbytes] = tensor.data.nbytes
    repeated = total - sum(held.values())
    if repeated <= max(total / 2, _WORTH_A_NOTE):
        return []
    return [
        f"{repeated / 1e6:.0f} of {total / 1e6:.0f} MB are weights that several layers read: TNN's layers have weights "
        "of their own, so that each of them holds a copy"
    ]


def _sorted(graph: Graph) -> dict[str, Tensor]:
    return {name: graph.constants[name] for name in sorted(graph.constants, key=_bytes)}

