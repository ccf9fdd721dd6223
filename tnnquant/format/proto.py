"""The .tnnproto: text to nodes and back, every line's reader beside its writer (docs/tnn-format.md, 1.1 to 1.4)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple, NoReturn

from tnnquant.base.memory import MAX_RANK
from tnnquant.base.tensor import DataType
from tnnquant.errors import GraphError, ModelFormatError, TnnQuantError
from tnnquant.format import constants as c
from tnnquant.format.foreign import TEXT, looks_like
from tnnquant.format.wire import shown
from tnnquant.graph import Graph, InputSpec, Node
from tnnquant.layers.base import find_layer, layer_types
from tnnquant.layers.fields import parse_int

__all__ = ["read_proto", "stored_type", "write_proto"]

_CONTROL = re.compile("[\x00-\x1f]")
_FORBIDDEN = re.compile('[\x00- ,"]')
_SOLID = re.compile(rb'[^\x00- ,"]')
_WORD = re.compile("[^ ]+")
_MAGIC = re.compile(r"[+-]?\d{1,19}(?!\d)", re.ASCII)


class _Segment(NamedTuple):
    """What stands between two commas, trimmed; ``line`` counts from 1, ``length`` is what TNN's splitter measures."""

    file: str
    line: int
    text: str
    length: int

    def fail(self, message: str) -> NoReturn:
        raise ModelFormatError(f"{self.file}: line {self.line}: {message}")

    def checked(self) -> _Segment:
        """Itself, if TNN would read the segment as it stands there."""
        if self.length > c.MAX_SEGMENT_BYTES:
            self.fail(
                f"{self.length} bytes up to the comma, expected at most {c.MAX_SEGMENT_BYTES}: TNN cuts off the rest "
                f"of the line that begins {shown(self.text)}"
            )
        if control := _CONTROL.search(self.text):
            self.fail(
                f"the control character {control.group()!r} inside the line, expected spaces between its words: "
                f"{shown(self.text)}"
            )
        return self

    def words(self) -> list[str]:
        """What the spaces separate; several in a row count as one."""
        return [word for word in self.text.split(" ") if word]


# --- the whole file ---


def read_proto(data: bytes, name: str = "the proto") -> Graph:
    """The structure of a model: inputs, outputs and nodes, without tensors.

    Parameters
    ----------
    data : bytes
        The content of a .tnnproto.
    name : str
        The file, for messages.

    Returns
    -------
    Graph
        Names that are not UTF-8 are kept through ``surrogateescape``. In a quantized model, blob names of the third
        line that no layer touches are kept as ``extra_blobs`` (fused away by the quantizer); in any other they are
        ignored, as in TNN.

    Raises
    ------
    ModelFormatError
        With file, line, what was expected and what was found.
    """
    if len(data) > c.MAX_PROTO_BYTES:
        raise ModelFormatError(
            f"{name}: {len(data)} bytes, expected a text of at most {c.MAX_PROTO_BYTES} bytes{_guess(data)}"
        )
    segments = _split(data, name)
    head = list(islice(segments, c.MIN_SEGMENTS))
    version = _read_header(head[c.HEADER_SEGMENT], data)
    if len(head) < c.MIN_SEGMENTS:
        raise ModelFormatError(
            f"{name}: the file ends after {len(head) - 1} commas, expected header, inputs, blobs, outputs and layer "
            f"count, each ending with a comma{_guess(data)}"
        )
    inputs = _read_inputs(head[c.INPUT_SEGMENT].checked(), version)
    outputs = _read_outputs(head[c.OUTPUT_SEGMENT].checked())
    layers = chain(head[c.FIRST_LAYER_SEGMENT :], segments)
    announced = _announced(head[c.COUNT_SEGMENT])
    graph = Graph(inputs, outputs, _all_nodes(layers, announced))
    missing = set(outputs) - graph.blob_names() - set(inputs)
    if missing and len(graph.nodes) < announced:
        raise ModelFormatError(
            f"{name}: no layer makes the model output {shown(min(missing))}; {_cut(announced, len(graph.nodes))}"
        )
    if not graph.is_quantized:
        return graph
    return graph.replace(extra_blobs=_read_blobs(head[c.BLOB_SEGMENT]) - graph.blob_names())


def write_proto(graph: Graph) -> bytes:
    """The bytes of the .tnnproto, as TNN writes them (always version 2).

    Raises
    ------
    GraphError
        A name, type or line that TNN's reader could not read back; the layer is named.
    """
    blobs = _in_byte_order(graph.blob_names())
    lines = [
        f"1 {len(blobs)} 1 {c.MAGIC_V2} ",
        _input_line(graph),
        " " + "".join(f"{_named(blob, 'blob')} " for blob in blobs),
        _output_line(graph),
        f" {len(graph.nodes)} ",
        *(_node_line(node) for node in graph.nodes),
    ]
    return "".join(f'"{line},"\n' for line in lines).encode("utf-8", "surrogateescape")


def _split(data: bytes, name: str) -> Iterator[_Segment]:
    # One segment at a time: the list of all segments of a hostile file would take many times its size.
    start, line, count = 0, 1, 0
    while start <= len(data):
        if count >= c.MIN_SEGMENTS:
            # Empty segments are skipped, all at once: a file may consist of them.
            solid = _SOLID.search(data, start)
            if solid is None:
                return
            blank_end = max(start, data.rfind(c.SEPARATOR, start, solid.start()) + 1)
            line += data.count(b"\n", start, blank_end)
            start = blank_end
        count += 1
        end = data.find(c.SEPARATOR, start)
        end = len(data) if end < 0 else end
        raw = data[start:end]
        kept = raw.translate(None, c.IGNORED_BYTES).rstrip(c.TRIMMED_BYTES)
        text = kept.lstrip(c.TRIMMED_BYTES)
        blank = len(raw) - len(raw.lstrip(c.TRIMMED_BYTES + c.IGNORED_BYTES))
        yield _Segment(name, line + raw.count(b"\n", 0, blank), text.decode("utf-8", "surrogateescape"), len(kept))
        line += raw.count(b"\n")
        start = end + 1


def _guess(data: bytes) -> str:
    what = looks_like(data)
    return "" if what == TEXT or data.startswith(c.PROTO_START) else f"; it looks like {what}"


def _in_byte_order(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape"))


def _named(name: str, what: str) -> str:
    """The name, if a proto can hold it."""
    if not name or _FORBIDDEN.search(name):
        raise GraphError(
            f"the {what} name {shown(name)} cannot be written: a proto has no room for "
            + ("an empty name" if not name else "commas, spaces, double quotes and control characters")
        )
    return name


# --- first line: magic ---


def _read_header(segment: _Segment, data: bytes) -> int:
    words = segment.text.split(" ")
    magic = _MAGIC.match(words[c.HEADER_MAGIC_TOKEN]) if len(words) > c.HEADER_MAGIC_TOKEN else None
    version = int(magic.group()) & c.MAGIC_MASK if magic else None
    if version not in c.MAGICS:
        segment.fail(
            f"expected the header `1 <blobs> 1 {c.MAGIC_V2}` (or {c.MAGIC_V1}), found {shown(segment.text)}"
            + _guess(data)
        )
    return version


# --- second line: inputs ---


def _read_inputs(segment: _Segment, version: int) -> dict[str, InputSpec]:
    inputs: dict[str, InputSpec] = {}
    for part in segment.text.split(":"):
        words = part.strip(" ").split(" ")
        if len(words) < 2:
            segment.fail(
                f"expected the model inputs, each a name, rank, dims and data type, found {shown(part.strip(' '))}"
            )
        name = words[0]
        if "" in words:
            segment.fail(f"two spaces in a row in the line of model input {shown(name)}: TNN misreads what follows")
        if name in inputs:
            segment.fail(f"the model input {shown(name)} is listed twice")
        try:
            read = _read_input_v2 if version == c.MAGIC_V2 else _read_input_v1
            inputs[name] = read(words[1:])
        except ModelFormatError as error:
            segment.fail(f"model input {shown(name)}: {error}")
    return {name: inputs[name] for name in _in_byte_order(inputs)}


def _read_input_v1(words: list[str]) -> InputSpec:
    if len(words) > MAX_RANK:
        raise ModelFormatError(f"{len(words)} dims, expected at most {MAX_RANK}")
    return InputSpec(tuple(_read_dim(word) for word in words), None)


def _read_input_v2(words: list[str]) -> InputSpec:
    rank = parse_int(words[0], "the rank")
    if not 0 <= rank <= MAX_RANK:
        raise ModelFormatError(f"the rank is {rank}, expected 0 to {MAX_RANK}")
    if len(words) < rank + 2:
        raise ModelFormatError(
            f"expected {rank} dims and a data type (0 for FLOAT) after the rank, found {len(words) - 1} words"
        )
    code = parse_int(words[-1], "the data type")
    if code not in set(DataType):
        raise ModelFormatError(f"the data type is {code}, expected {min(DataType):d} to {max(DataType):d}")
    return InputSpec(tuple(_read_dim(word) for word in words[1 : rank + 1]), DataType(code))


def _read_dim(word: str) -> int:
    dim = parse_int(word, "a dim")
    if abs(dim) > c.MAX_DIM:
        raise ModelFormatError(f"a dim is {dim}, expected a number of 32 bits")
    return dim


def _input_line(graph: Graph) -> str:
    if not graph.inputs:
        raise GraphError("the model has no input; TNN cannot read a proto without one")
    parts = []
    for name in _in_byte_order(graph.inputs):
        if ":" in _named(name, "model input"):
            raise GraphError(f"the model input name {shown(name)} cannot be written: colons separate inputs in a proto")
        spec = graph.inputs[name]
        words = [name, len(spec.dims), *spec.dims, int(spec.dtype or DataType.FLOAT)]
        parts.append("".join(f"{word} " for word in words))
    return _fitting(": ".join(parts), "the line of the model inputs")


# --- third line: blobs ---


def _read_blobs(segment: _Segment) -> frozenset[str]:
    names: set[str] = set()
    for word in _WORD.finditer(segment.text):
        if not _FORBIDDEN.search(word.group()):
            names.add(word.group())
        if len(names) > c.MAX_ITEMS:
            segment.fail(f"more than {c.MAX_ITEMS} blob names")
    return frozenset(names)


# --- fourth line: outputs ---


def _read_outputs(segment: _Segment) -> tuple[str, ...]:
    words = segment.words()
    if not words:
        segment.fail("expected the names of the model outputs, found an empty line")
    return tuple(_in_byte_order(set(words)))


def _output_line(graph: Graph) -> str:
    if not graph.outputs:
        raise GraphError("the model has no output; expected at least one")
    line = "".join(f"{_named(name, 'model output')} " for name in _in_byte_order(set(graph.outputs)))
    return _fitting(line, "the line of the model outputs")


# --- every line from the sixth: a layer ---


def _announced(segment: _Segment) -> int:
    """The number of layers that the fifth line gives; TNN does not look at it. 0: it is no number."""
    return int(segment.text) if segment.text.isascii() and segment.text.isdigit() and len(segment.text) < 10 else 0


def _cut(announced: int, found: int) -> str:
    return f"the fifth line announces {announced} layers, {found} were found: is the file cut short?"


def _all_nodes(segments: Iterable[_Segment], announced: int) -> tuple[Node, ...]:
    """Every layer; an error in the last one, where there should be more, says so."""
    nodes: list[Node] = []
    left = iter(segments)
    try:
        nodes.extend(_read_nodes(left))
    except ModelFormatError as error:
        # extend() has kept what was read before.
        if len(nodes) < announced and next(left, None) is None:
            raise ModelFormatError(f"{error}; {_cut(announced, len(nodes))}") from None
        raise
    return tuple(nodes)


def _read_nodes(segments: Iterable[_Segment]) -> Iterator[Node]:
    count = 0
    for segment in segments:
        if segment.text:
            count += 1
            if count > c.MAX_ITEMS:
                segment.fail(f"more than {c.MAX_ITEMS} layers")
            yield _read_node(segment.checked())


def _read_node(segment: _Segment) -> Node:
    words = segment.words()
    if len(words) < 4:
        segment.fail(f"expected a layer's type, name, numbers of inputs and outputs, found {shown(segment.text)}")
    type_string, name, *rest = words
    kind = find_layer(type_string)
    if kind is None:
        near = _nearest(type_string)
        segment.fail(f"layer {shown(name)} has the type {shown(type_string)}, which TNN does not know{near}")
    try:
        inputs, outputs, parameters = _split_blobs(rest)
        layer = kind.parse(parameters)
    except TnnQuantError as error:
        segment.fail(f"layer {shown(name)} ({type_string}): {error}")
    return Node(
        name,
        type_string,
        layer,
        inputs,
        outputs,
        quantized=type_string.startswith(c.QUANTIZED_PREFIX),
        dynamic_range=type_string.startswith(c.DYNAMIC_RANGE_PREFIX),
    )


def _split_blobs(words: list[str]) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    n_in = parse_int(words[0], "the number of inputs")
    n_out = parse_int(words[1], "the number of outputs")
    names = words[2:]
    if n_in < 0 or n_out < 0 or n_in + n_out > len(names):
        raise ModelFormatError(f"announces {n_in} inputs and {n_out} outputs, {len(names)} words are left on the line")
    return tuple(names[:n_in]), tuple(names[n_in : n_in + n_out]), names[n_in + n_out :]


def _nearest(type_string: str) -> str:
    if type_string.startswith(("#", "//")):
        return ": a proto has no comments"
    by_lower = {known.lower(): known for known in layer_types()}
    near = difflib.get_close_matches(type_string[:80].lower(), by_lower, 3)
    return f"; the nearest it knows: {', '.join(by_lower[known] for known in near)}" if near else ""


def _node_line(node: Node) -> str:
    try:
        words = [stored_type(node), _named(node.name, "layer"), str(len(node.inputs)), str(len(node.outputs))]
        words += [_named(blob, "blob") for blob in (*node.inputs, *node.outputs)]
        words += [_named(word, "parameter") for word in node.layer.tokens()]
    except GraphError as error:
        raise GraphError(f"{_shown_node(node)}: {error}") from None
    return _fitting("".join(f"{word} " for word in words), _shown_node(node))


def _shown_node(node: Node) -> str:
    return f"layer {shown(node.name)} ({node.type_string})"


def _fitting(line: str, what: str) -> str:
    length = len(line.encode("utf-8", "surrogateescape"))
    if length > c.MAX_SEGMENT_BYTES:
        raise GraphError(
            f"{what} takes {length} bytes in the proto, TNN reads at most {c.MAX_SEGMENT_BYTES}: use shorter names "
            "or fewer blobs"
        )
    return line


def stored_type(node: Node) -> str:
    """The type string that a proto has for the node: with the prefix its flags ask for, and known to TNN's reader.

    TNN itself puts the prefix before whatever the float model said, and then cannot read ``QuantizedRelu`` or
    ``QuantizedPooling_nhwc`` back; here an alias becomes the canonical spelling.

    Raises
    ------
    GraphError
        TNN has no such form of the layer type.
    """
    plain = node.type_string
    for prefix in (c.DYNAMIC_RANGE_PREFIX, c.QUANTIZED_PREFIX):
        plain = plain.removeprefix(prefix)
    wanted = c.QUANTIZED_PREFIX if node.quantized else c.DYNAMIC_RANGE_PREFIX if node.dynamic_range else ""
    names = type(node.layer).TYPE_NAMES
    fitting = [name for name in names if _prefix(name) == wanted]
    for candidate in (node.type_string, wanted + plain, wanted + names[0], *fitting):
        if candidate in fitting:
            return candidate
    form = {c.QUANTIZED_PREFIX: "int8", c.DYNAMIC_RANGE_PREFIX: "dynamic-range", "": "fp32"}[wanted]
    raise GraphError(f"TNN knows no {form} form of the layer type {names[0]}; it knows {', '.join(names)}")


def _prefix(type_string: str) -> str:
    prefixes = (c.QUANTIZED_PREFIX, c.DYNAMIC_RANGE_PREFIX)
    return next((prefix for prefix in prefixes if type_string.startswith(prefix)), "")
