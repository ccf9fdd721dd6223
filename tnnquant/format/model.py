"""The .tnnmodel: bytes to resources and back, by the fields each layer declares (docs/tnn-format.md, 2.2 to 2.5).

A resource is read by :func:`_read_body` and written by :func:`_write_body`, which walk the same ``Layer.RESOURCE``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, ModelFormatError
from tnnquant.format import constants as c
from tnnquant.format.foreign import BINARY, looks_like
from tnnquant.format.proto import stored_type
from tnnquant.format.wire import ByteReader, ByteWriter, shown
from tnnquant.graph import Graph, Node, QuantParams, Resource
from tnnquant.layers.base import Layer, find_layer, layer_types
from tnnquant.layers.fields import FlagField, ScaleField, TensorField, TextField

_Stored: TypeAlias = QuantParams | Mapping[str, Tensor]
"""What a resource comes down to: the scales of a blob, or the tensors of a layer."""

__all__ = ["Resources", "attach", "model_pieces", "read_resources"]


@dataclass
class Resources:
    """What a .tnnmodel holds.

    Attributes
    ----------
    layers : dict of str to (type of Layer, Resource)
        By layer name.
    scales : dict of str to QuantParams
        By blob name.
    constants : dict of str to Tensor
        By blob name.
    """

    layers: dict[str, tuple[type[Layer], Resource]] = field(default_factory=dict)
    scales: dict[str, QuantParams] = field(default_factory=dict)
    constants: dict[str, Tensor] = field(default_factory=dict)


# --- reading ---


def read_resources(data: bytes, name: str = "the model") -> Resources:
    """Resources, blob scales and constants.

    Parameters
    ----------
    data : bytes
        The content of a .tnnmodel.
    name : str
        The file, for messages.

    Raises
    ------
    ModelFormatError
        With file, byte offset, what was expected and what was found.
    """
    reader = ByteReader(data, name)
    result = Resources()
    if not data:
        reader.fail("a .tnnmodel", "an empty file")
    if reader.peek_uint32() in c.MAGICS:
        reader.offset += c.INT_BYTES
    count = _read_count(reader)
    for index in range(count):
        reader.context = f"resource {index + 1} of {count}"
        try:
            _read_resource(reader, result)
        except ModelFormatError as error:
            # A file without magic whose first resource makes no sense is likely none of ours.
            if index == 0:
                raise ModelFormatError(f"{error}{_guess(data)}") from None
            raise
    reader.context = ""
    if reader.left >= c.INT_BYTES:
        _read_constants(reader, result)
    if reader.left:
        reader.fail("the end of the file", f"{reader.left} more bytes")
    return result


def _read_count(reader: ByteReader) -> int:
    at = reader.offset
    count = reader.int32("the number of resources") & c.COUNT_MASK
    if count >= c.RESOURCE_LIMIT:
        reader.fail(f"a number of resources below {c.RESOURCE_LIMIT}", f"{count}{_guess(reader.data)}", at)
    if count * c.MIN_HEADER_BYTES > reader.left:
        reader.fail(
            f"a number of resources that fits into the {reader.left} bytes left", f"{count}{_guess(reader.data)}", at
        )
    return count


def _guess(data: bytes) -> str:
    if any(data.startswith(magic.to_bytes(c.INT_BYTES, "little")) for magic in c.MAGICS):
        return ""
    what = looks_like(data)
    return "" if what == BINARY else f"; it looks like {what}"


def _read_resource(reader: ByteReader, result: Resources) -> None:
    at = reader.offset
    kind, type_string, name = _read_layer_header(reader)
    reader.context = f"{reader.context}, {shown(name)} ({type_string})"
    if kind is None:
        params = _read_blob_scale(reader)
        if name.endswith(c.BLOB_SCALE_SUFFIX):
            blob = name[: -len(c.BLOB_SCALE_SUFFIX)]
            _refuse_second(reader, at, result.scales.get(blob), params)
            result.scales[blob] = params
        return
    resource = _read_body(reader, kind, type_string)
    earlier = result.layers.get(name)
    _refuse_second(reader, at, earlier[1].tensors if earlier else None, resource.tensors)
    result.layers[name] = (kind, resource)


def _read_layer_header(reader: ByteReader) -> tuple[type[Layer] | None, str, str]:
    """The layer type (None for a blob scale), its type string and the layer's name."""
    at = reader.offset
    number = reader.int32("a layer type number")
    if not c.MIN_TYPE_ID <= number <= c.MAX_TYPE_ID:
        reader.fail(f"a layer type number from {c.MIN_TYPE_ID} to {c.MAX_TYPE_ID}", str(number), at)
    text = reader.string("a type string or layer name")
    kind = find_layer(text)
    if text == c.BLOB_SCALE_TYPE:
        return None, text, reader.string("the name of a blob scale")
    if kind is not None:
        name, type_string = reader.string("a layer name"), text
    elif number == c.BLOB_SCALE_TYPE_ID:
        return None, c.BLOB_SCALE_TYPE, text
    else:
        # The legacy layout has no type string: the number decides.
        kind, name = _by_number().get(number), text
        if kind is None:
            reader.fail(
                "a type string or type number that TNN knows", f"number {number} and the name {shown(text)}", at
            )
        type_string = kind.TYPE_NAMES[0]
    if not _may_have_tensors(kind):
        reader.fail("a layer type that has tensors", f"{type_string}, which has none in TNN", at)
    return kind, type_string, name


def _may_have_tensors(kind: type[Layer]) -> bool:
    # Imported here: it registers as many types as all other modules together, and only reading a model needs them.
    from tnnquant.layers.unsupported import Unimplemented

    return kind.TYPE_ID not in c.TYPE_IDS_WITHOUT_BODY and not issubclass(kind, Unimplemented)


def _by_number() -> dict[int, type[Layer]]:
    return {kind.TYPE_ID: kind for kind in layer_types().values()}


def _refuse_second(reader: ByteReader, at: int, earlier: _Stored | None, later: _Stored) -> None:
    # TNN takes the last of several; here, several are fine only if it does not matter which.
    if earlier is not None and not _same(earlier, later):
        reader.fail("one resource per name", "a second one with other content", at)


def _same(a: _Stored, b: _Stored) -> bool:
    if isinstance(a, QuantParams) and isinstance(b, QuantParams):
        return _same_bytes(a.scale, b.scale) and _same_bytes(a.zero_point, b.zero_point)
    if isinstance(a, QuantParams) or isinstance(b, QuantParams):
        return False
    return a.keys() == b.keys() and all(
        a[key].dtype == b[key].dtype and a[key].dims == b[key].dims and _same_bytes(a[key].data, b[key].data)
        for key in a
    )


def _same_bytes(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a.view(np.uint8), b.view(np.uint8))


def _read_body(reader: ByteReader, kind: type[Layer], type_string: str) -> Resource:
    tensors: dict[str, Tensor] = {}
    extras: dict[str, str | int] = {}
    for entry in kind.RESOURCE:
        match entry:
            case TextField():
                text = reader.string(entry.name)
                if not entry.layer_name:
                    extras[entry.name] = text
            case FlagField():
                what = f"the flag {entry.name}"
                extras[entry.name] = reader.byte(what) if entry.width == 1 else reader.int32(what)
            case TensorField():
                if entry.when is None or extras[entry.when]:
                    tensors[entry.name] = reader.tensor(entry.name)
            case ScaleField():
                if entry.of in tensors and tensors[entry.of].dtype == DataType.INT8:
                    tensors.update(_read_scales(reader, zero_point=entry.zero_point))
    return Resource(tensors, extras, type_string)


def _read_scales(reader: ByteReader, *, zero_point: bool = True) -> dict[str, Tensor]:
    """The tensors ``zero_point`` (only in the new layout) and ``scale``."""
    at = reader.offset
    first = reader.tensor("the zero point or scale" if zero_point else "the scale")
    if first.dtype == DataType.FLOAT:
        return {"scale": first}
    if first.dtype != DataType.INT8 or not zero_point:
        expected = "zero points (INT8) or scales (FLOAT)" if zero_point else "scales (FLOAT)"
        reader.fail(expected, first.dtype.name, at)
    at = reader.offset
    scale = reader.tensor("the scale")
    if scale.dtype != DataType.FLOAT:
        reader.fail("scales (FLOAT)", scale.dtype.name, at)
    return {"zero_point": first, "scale": scale}


def _read_blob_scale(reader: ByteReader) -> QuantParams:
    at = reader.offset
    tensors = _read_scales(reader)
    reader.tensor("the unused bias")
    scale = tensors["scale"].data
    zero_point = tensors["zero_point"].data if "zero_point" in tensors else np.zeros(scale.size, np.int8)
    if scale.size == 0 or scale.size != zero_point.size:
        reader.fail("as many zero points as scales, at least one", f"{zero_point.size} and {scale.size}", at)
    return QuantParams(scale, zero_point)


def _read_constants(reader: ByteReader, result: Resources) -> None:
    reader.int32("the magic number of the constants")
    count = reader.count("the number of constants", c.MIN_CONSTANT_BYTES, c.MAX_ITEMS)
    for index in range(count):
        reader.context = f"constant {index + 1} of {count}"
        at = reader.offset
        name = reader.string("a blob name")
        reader.context = f"{reader.context}, {shown(name)}"
        tensor = reader.tensor("its buffer")
        earlier = result.constants.get(name)
        _refuse_second(reader, at, {"": earlier} if earlier is not None else None, {"": tensor})
        result.constants[name] = tensor
    reader.context = ""


def attach(graph: Graph, resources: Resources, name: str = "the model") -> Graph:
    """The graph with its tensors; resources of layers that it does not have are ignored, as in TNN.

    Raises
    ------
    ModelFormatError
        A resource is of another layer type than the layer of its name.
    """
    nodes = tuple(_attached(node, resources, name) for node in graph.nodes)
    return graph.replace(nodes=nodes, constants=resources.constants, scales=resources.scales)


def _attached(node: Node, resources: Resources, name: str) -> Node:
    if node.name not in resources.layers:
        return node
    kind, resource = resources.layers[node.name]
    if kind is not type(node.layer) and kind.RESOURCE != node.layer.RESOURCE:
        raise ModelFormatError(
            f"{name}: layer {shown(node.name)} is {node.type_string} in the proto, its resource is for "
            f"{resource.type_string}: do the two files belong together?"
        )
    return node.replace(resource=_with_zero_points(resource, kind) if node.quantized else resource)


def _with_zero_points(resource: Resource, kind: type[Layer]) -> Resource:
    """The old layout of int8 weights has no zero points; they are 0."""
    tensors = resource.tensors
    for entry in kind.RESOURCE:
        if isinstance(entry, ScaleField) and entry.zero_point and "scale" in tensors and "zero_point" not in tensors:
            zeros = Tensor(np.zeros(tensors["scale"].size, np.int8), (), DataType.INT8)
            return replace(resource, tensors={**tensors, "zero_point": zeros})
    return resource


# --- writing ---


def model_pieces(graph: Graph) -> list[bytes | memoryview]:
    """The .tnnmodel in pieces, in TNN's order; joined they are the file. Tensors are not copied.

    Scales of blobs that no int8 layer touches are not written, as in TNN.

    Raises
    ------
    GraphError
        A tensor or a resource that the format cannot hold; the layer is named.
    """
    body = ByteWriter()
    count = 0
    pending = dict(graph.scales)
    written: dict[str, Node] = {}
    for node in graph.nodes:
        if node.quantized:
            count += _write_blob_scales(body, node.inputs, pending)
        if node.resource is not None:
            _refuse_clash(node, written)
            _write_resource(body, node)
            count += 1
        if node.quantized:
            count += _write_blob_scales(body, node.outputs, pending)
    if count >= c.RESOURCE_LIMIT:
        raise GraphError(f"the model has {count} resources, TNN reads fewer than {c.RESOURCE_LIMIT}")
    head = ByteWriter()
    head.uint32(c.MAGIC_V2)
    head.int32(count)
    if graph.constants:
        _write_constants(body, graph.constants)
    return head.pieces + body.pieces


def _refuse_clash(node: Node, written: dict[str, Node]) -> None:
    # Resources are found by layer name: two layers of one name share what TNN reads last.
    first = written.setdefault(node.name, node)
    if first is not node and not _same(first.tensors, node.tensors):
        raise GraphError(f"two layers are named {shown(node.name)} and have different tensors; rename one")
    if _header_type(first) != _header_type(node) or first.dynamic_range != node.dynamic_range:
        types = f"{first.type_string} and {node.type_string}"
        raise GraphError(f"two layers with tensors are named {shown(node.name)}, of the types {types}; rename one")
    if node.name.endswith(c.BLOB_SCALE_SUFFIX):
        raise GraphError(f"{node}: names ending with {c.BLOB_SCALE_SUFFIX} are kept for blob scales; rename it")


def _write_blob_scales(writer: ByteWriter, blobs: tuple[str, ...], pending: dict[str, QuantParams]) -> int:
    """Write the scales of the blobs that are still pending; how many."""
    count = 0
    for blob in blobs:
        params = pending.pop(blob, None)
        if params is None:
            continue
        what = f"the scale of blob {shown(blob)}"
        scale, zero_point = np.atleast_1d(params.scale), np.atleast_1d(params.zero_point)
        if scale.size != zero_point.size:
            raise GraphError(f"{what} has {scale.size} scales and {zero_point.size} zero points, expected as many")
        writer.int32(c.BLOB_SCALE_TYPE_ID)
        writer.string(c.BLOB_SCALE_TYPE)
        writer.string(blob + c.BLOB_SCALE_SUFFIX)
        writer.tensor(Tensor(zero_point, (), DataType.INT8), what)
        writer.tensor(Tensor(scale, (), DataType.FLOAT), what)
        writer.tensor(Tensor(np.zeros(scale.size, np.int32), (), DataType.INT32), what)
        count += 1
    return count


def _write_resource(writer: ByteWriter, node: Node) -> None:
    kind = type(node.layer)
    if not _may_have_tensors(kind):
        raise GraphError(f"{node} has tensors, but TNN has no room for any in its type")
    writer.int32(kind.TYPE_ID)
    writer.string(_header_type(node))
    writer.string(node.name)
    _write_body(writer, node)


def _header_type(node: Node) -> str:
    """The type string before a resource: what was read, unless the layer has become another since."""
    text = node.resource.type_string if node.resource else ""
    widened = text.startswith(c.DYNAMIC_RANGE_PREFIX) and not node.dynamic_range
    if find_layer(text) is type(node.layer) and not widened:
        return text
    return node.type_string if find_layer(node.type_string) is type(node.layer) else stored_type(node)


def _write_body(writer: ByteWriter, node: Node) -> None:
    tensors, extras = node.tensors, node.resource.extras if node.resource else {}
    for entry in node.layer.RESOURCE:
        match entry:
            case TextField():
                writer.string(node.name if entry.layer_name else str(extras.get(entry.name, node.name)))
            case FlagField():
                present = entry.of in tensors
                value = int(extras.get(entry.name, present))
                value = value if bool(value) == present else int(present)
                writer.byte(value) if entry.width == 1 else writer.int32(value)
            case TensorField():
                if entry.when is None or entry.name in tensors:
                    writer.tensor(tensors.get(entry.name, _EMPTY), f"{node}: tensor {entry.name}")
            case ScaleField():
                if entry.of in tensors and tensors[entry.of].dtype == DataType.INT8:
                    _write_scales(writer, node, entry)


_EMPTY = Tensor(np.empty(0, np.float32))


def _write_scales(writer: ByteWriter, node: Node, entry: ScaleField) -> None:
    scale = node.tensors.get("scale")
    if scale is None or scale.dtype != DataType.FLOAT:
        raise GraphError(f"{node}: the tensor {entry.of} is INT8, but there are no scales (FLOAT) for it")
    if entry.zero_point and not node.dynamic_range:
        zeros = Tensor(np.zeros(scale.size, np.int8), (), DataType.INT8)
        writer.tensor(node.tensors.get("zero_point", zeros), f"{node}: tensor zero_point")
    writer.tensor(scale, f"{node}: tensor scale")


def _write_constants(writer: ByteWriter, constants: Mapping[str, Tensor]) -> None:
    if len(constants) > c.MAX_ITEMS:
        raise GraphError(f"the model has {len(constants)} constants, expected at most {c.MAX_ITEMS}")
    writer.uint32(c.MAGIC_V2)
    writer.int32(len(constants))
    for name in sorted(constants, key=lambda name: name.encode("utf-8", "surrogateescape")):
        writer.string(name)
        writer.tensor(constants[name], f"constant {shown(name)}")
