"""Operators that ONNX itself defines by others: their bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from tnnquant.onnx.value import Value

if TYPE_CHECKING:
    from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto

__all__ = ["schema_function"]


class _Attribute(Protocol):
    default_value: AttributeProto


class _Schema(Protocol):
    """What is read of an operator's schema; onnx publishes no types for most of it."""

    has_function: bool
    has_context_dependent_function: bool
    function_body: FunctionProto
    attributes: Mapping[str, _Attribute]

    def get_context_dependent_function(self, node: bytes, types: list[bytes]) -> bytes: ...


def schema_function(
    node: NodeProto, domain: str, opset: int, inputs: Sequence[Value | None] | None
) -> FunctionProto | None:
    """The body of an operator by which ONNX defines it, for these inputs; None if it has none.

    Parameters
    ----------
    inputs : sequence of Value or None
        None instead of them: only whether there is a body counts.
    """
    from onnx import FunctionProto, defs

    try:
        schema = cast(_Schema, defs.get_schema(node.op_type, opset, domain))
    except Exception:  # of a type that is not public: the operator is unknown
        return None
    if not (schema.has_function or schema.has_context_dependent_function):
        return None
    if inputs is None:
        return FunctionProto()
    if schema.has_function:
        function = FunctionProto()
        function.CopyFrom(schema.function_body)
    else:
        types = [_type(value).SerializeToString() for value in inputs]
        try:
            data = schema.get_context_dependent_function(node.SerializeToString(), types)
        except Exception:  # the body exists for other types or attributes only
            return None
        function = FunctionProto.FromString(data)
        if not function.node:
            return None
    present = {attribute.name for attribute in function.attribute_proto}
    for name, attribute in schema.attributes.items():
        if name not in present and attribute.default_value.type:
            function.attribute_proto.append(attribute.default_value)
    if not function.opset_import:
        function.opset_import.add(domain="", version=opset)
    return function


def _type(value: Value | None) -> TypeProto:
    from onnx import TypeProto, helper

    if value is None:
        return TypeProto()
    code = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    return helper.make_tensor_type_proto(code, value.dims)
