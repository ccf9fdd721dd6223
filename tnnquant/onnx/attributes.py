"""Attributes of a node as Python values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tnnquant.onnx.refusal import Refused

if TYPE_CHECKING:
    from onnx import AttributeProto, NodeProto

__all__ = ["attribute_values", "without_references"]


def attribute_values(node: NodeProto) -> dict[str, Any]:
    """By name: int, float, str, tuples of them, ndarray (tensors), GraphProto (subgraphs).

    Raises
    ------
    Refused
        An attribute of a type that no operator has which TNN can express.
    """
    return {attribute.name: _value(attribute) for attribute in node.attribute}


def _value(attribute: AttributeProto) -> Any:
    from onnx import AttributeProto

    match attribute.type:
        case AttributeProto.FLOAT:
            return float(attribute.f)
        case AttributeProto.INT:
            return int(attribute.i)
        case AttributeProto.STRING:
            return attribute.s.decode("utf-8", "replace")
        case AttributeProto.TENSOR:
            from tnnquant.onnx.read import tensor_array

            return tensor_array(attribute.t, f"attribute {attribute.name!r}")
        case AttributeProto.GRAPH:
            return attribute.g
        case AttributeProto.FLOATS:
            return tuple(float(v) for v in attribute.floats)
        case AttributeProto.INTS:
            return tuple(int(v) for v in attribute.ints)
        case AttributeProto.STRINGS:
            return tuple(v.decode("utf-8", "replace") for v in attribute.strings)
    raise Refused(f"its attribute {attribute.name!r} is of a type that TNN has nothing for")


def without_references(node: NodeProto, given: Mapping[str, AttributeProto] | None) -> NodeProto:
    """The node of a function's body with the attributes that the call gives; those it does not give are dropped."""
    if given is None or not any(attribute.ref_attr_name for attribute in node.attribute):
        return node
    copy = type(node)()
    copy.CopyFrom(node)
    del copy.attribute[:]
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            copy.attribute.append(attribute)
        elif attribute.ref_attr_name in given:
            added = copy.attribute.add()
            added.CopyFrom(given[attribute.ref_attr_name])
            added.name = attribute.name
    return copy
