"""A ViT-S/16 for 224x224 with random weights, in the nodes that PyTorch exports, read through the ONNX import."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tnnquant import Graph, read_model

__all__ = ["vit_small"]

WIDTH, HEADS, DEPTH, TOKENS, CLASSES = 384, 6, 12, 197, 1000


def vit_small() -> Graph:
    """Dosovitskiy et al. 2021, with the sizes of DeiT-S: 12 blocks, 6 heads of 64, a class token, GELU by Erf."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vit_small.onnx"
        onnx.save(_model(), str(path))
        return read_model(path)


def _model():
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def constant(array: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(array, f"w{len(weights)}"))
        return weights[-1].name

    def normal(*dims: int, scale: float) -> str:
        return constant((rng.standard_normal(dims) * scale).astype(np.float32))

    def node(kind: str, *inputs: str, count: int = 1, **attributes) -> str:
        outputs = [f"{kind.lower()}{len(nodes)}_{i}" for i in range(count)]
        nodes.append(helper.make_node(kind, list(inputs), outputs, name=f"{kind}_{len(nodes)}", **attributes))
        return outputs[0] if count == 1 else outputs

    def dims(*values: int) -> str:
        return constant(np.array(values, np.int64))

    def norm(x: str) -> str:
        gamma, beta = constant(np.ones(WIDTH, np.float32)), constant(np.zeros(WIDTH, np.float32))
        return node("LayerNormalization", x, gamma, beta, axis=-1, epsilon=1e-6)

    def linear(x: str, given: int, count: int) -> str:
        return node("Add", node("MatMul", x, normal(given, count, scale=given**-0.5)), normal(count, scale=0.02))

    def attention(x: str) -> str:
        split = node("Reshape", linear(x, WIDTH, 3 * WIDTH), dims(1, TOKENS, 3, HEADS, WIDTH // HEADS))
        moved = node("Transpose", split, perm=[2, 0, 3, 1, 4])
        query, key, value = (node("Gather", moved, constant(np.array(i, np.int64)), axis=0) for i in range(3))
        scale = constant(np.array((WIDTH // HEADS) ** -0.5, np.float32))
        scores = node("MatMul", node("Mul", query, scale), node("Transpose", key, perm=[0, 1, 3, 2]))
        heads = node("MatMul", node("Softmax", scores, axis=-1), value)
        joined = node("Reshape", node("Transpose", heads, perm=[0, 2, 1, 3]), dims(1, TOKENS, WIDTH))
        return linear(joined, WIDTH, WIDTH)

    def gelu(x: str) -> str:
        error = node("Erf", node("Div", x, constant(np.array(2**0.5, np.float32))))
        product = node("Mul", x, node("Add", error, constant(np.array(1.0, np.float32))))
        return node("Mul", product, constant(np.array(0.5, np.float32)))

    patches = node(
        "Conv", "input", normal(WIDTH, 3, 16, 16, scale=768**-0.5), normal(WIDTH, scale=0.02),
        kernel_shape=[16, 16], strides=[16, 16],
    )  # fmt: skip
    rows = node("Transpose", node("Reshape", patches, dims(1, WIDTH, TOKENS - 1)), perm=[0, 2, 1])
    x = node("Concat", normal(1, 1, WIDTH, scale=0.02), rows, axis=1)
    x = node("Add", x, normal(1, TOKENS, WIDTH, scale=0.02))
    for _ in range(DEPTH):
        x = node("Add", x, attention(norm(x)))
        x = node("Add", x, linear(gelu(linear(norm(x), WIDTH, 4 * WIDTH)), 4 * WIDTH, WIDTH))
    token = node("Gather", norm(x), constant(np.array(0, np.int64)), axis=1)
    head = [normal(CLASSES, WIDTH, scale=WIDTH**-0.5), normal(CLASSES, scale=0.02)]
    nodes.append(helper.make_node("Gemm", [token, *head], ["logits"], transB=1))
    graph = helper.make_graph(
        nodes, "vit_small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])], weights,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
