"""Matrix products: InnerProduct, MatMul, Einsum."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tnnquant.errors import UnsupportedLayerError
from tnnquant.graph import Node
from tnnquant.layers.einsum import Einsum
from tnnquant.layers.inner_product import InnerProduct
from tnnquant.layers.matmul import MatMul
from tnnquant.onnx.export.builder import Builder, Value
from tnnquant.onnx.export.registry import exports

__all__ = ["flattened"]


def flattened(b: Builder, x: str, dims: Sequence[int]) -> str:
    """``x`` as a matrix with a row for each image."""
    return x if len(dims) == 2 else b.op("Flatten", x, axis=1)


@exports("InnerProduct")
def inner_product(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Gemm of the flattened blob."""
    layer = node.layer.expect(InnerProduct)
    bias = layer.bias_array(node.tensors)
    operands = [b.constant(layer.weight_array(node.tensors), "weight")]
    operands += [] if bias is None else [b.constant(bias, "bias")]
    b.op("Gemm", flattened(b, x[0], b.dims(node.inputs[0])), *operands, to=y[0], transB=1)


@exports("MatMul")
def matmul(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """MatMul, one operand perhaps a constant."""
    layer = node.layer.expect(MatMul)
    operands: list[Value] = list(x)
    dims = [b.dims(blob) for blob in node.inputs]
    if len(x) == 1:
        weight = node.tensors["weight"].float32().reshape(node.tensors["weight"].dims)
        operands.insert(layer.weight_position, b.constant(weight, "weight"))
        dims.insert(layer.weight_position, weight.shape)
    if not _paired_as_in_onnx(dims[0][:-2], dims[1][:-2]):
        raise UnsupportedLayerError(f"TNN pairs the matrices of {dims[0]} and {dims[1]} otherwise than ONNX")
    b.op("MatMul", *operands, to=y[0])


def _paired_as_in_onnx(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether "number i modulo the count" is how batch dims are broadcast: the smaller ones are the last of the larger
    ones."""
    longer, shorter = (a, b) if prod(a) >= prod(b) else (b, a)
    core = list(shorter)
    while core and core[0] == 1:
        del core[0]
    return list(longer[len(longer) - len(core) :]) == core


@exports("Einsum")
def einsum(b: Builder, node: Node, x: Sequence[str], y: Sequence[str]) -> None:
    """Einsum; a full contraction has one element in TNN, rank 0 in ONNX."""
    layer = node.layer.expect(Einsum)
    equation = layer.equation.replace(";", ",")
    if len(b.dims(node.outputs[0])) == 1 and equation.partition("->")[2].strip() == "" and "->" in equation:
        b.reshape(b.op("Einsum", *x, equation=equation), b.dims(node.outputs[0]), to=y[0])
    else:
        b.op("Einsum", *x, to=y[0], equation=equation)
