"""The int8 kernels on fixed data: against plain NumPy, and as digests that every instruction path must share.

``python -m tnnquant.health.selftest`` prints the name of each case before it runs, and in the end the result as JSON:
the doctor runs it once for each path.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.base.tensor import DataType, QuantParams, Tensor
from tnnquant.graph import Graph, Node, Resource
from tnnquant.health.specimen import Specimen
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.weighted import fused_activation

if TYPE_CHECKING:
    from tnnquant.engine.executor import Executor

__all__ = ["case_graphs", "count_cases", "int8_form", "reference", "run_selftest"]

FP32 = "fp32 convolution"


def case_graphs() -> dict[str, Graph]:
    """One fp32 layer per case, with sizes that no block of a kernel divides."""
    cases: dict[str, Graph] = {}

    def case(name: str, dims: tuple[int, ...], build: Callable[[Specimen], str]) -> None:
        net = Specimen(dims, seed=len(cases) + 7)
        cases[name] = net.graph(build(net))

    case("convolution 3x3", (1, 19, 13, 11), lambda net: net.conv("x", 19, 33, activation_type=1))
    case("convolution 1x1", (2, 70, 9, 7), lambda net: net.conv("x", 70, 50, kernel=1))
    case("convolution 5x5, stride 2", (1, 7, 17, 15), lambda net: net.conv("x", 7, 18, kernel=5, stride=2))
    case("grouped convolution", (1, 24, 10, 9), lambda net: net.conv("x", 24, 36, group=3, activation_type=2))
    case("depthwise convolution", (1, 37, 12, 13), lambda net: net.conv("x", 37, 37, group=37, activation_type=1))
    case("depthwise, stride 2", (1, 40, 11, 12), lambda net: net.conv("x", 40, 40, kernel=5, group=40, stride=2))
    case("inner product", (3, 201), lambda net: net.dense("x", 201, 21))
    return cases


def int8_form(graph: Graph, *, asymmetric: bool = False) -> Graph:
    """The only layer of a graph with int8 weights and scales one per channel; not calibrated, but in range."""
    node = graph.nodes[0]
    rng = np.random.default_rng(len(node.name))
    name = next(key for key in node.tensors if key != "bias")
    weight, count = node.tensors[name].data, node.tensors["bias"].size
    channels = graph.inputs["x"].dims[1]
    codes = np.clip(np.rint(weight * (100 / np.abs(weight).max())), -127, 127).astype(np.int8)
    per_tensor = node.layer.PER_TENSOR_BLOBS
    source = _params(rng, 1 if per_tensor else channels, 0.02, asymmetric)
    relu6 = fused_activation(node.layer) == 2  # TNN's drops the zero point
    target = _params(rng, 1 if per_tensor else count, 0.06 if relu6 else 0.5, asymmetric and not relu6)
    scale = (rng.uniform(0.5, 1.5, count) * 1e-3).astype(np.float32)
    zero = rng.integers(-5, 6, count).astype(np.int8) if asymmetric else np.zeros(count, np.int8)
    tensors = {
        name: Tensor(codes, (), DataType.INT8), "scale": Tensor(scale), "zero_point": Tensor(zero, (), DataType.INT8),
        "bias": Tensor(rng.integers(-4000, 4000, count).astype(np.int32), (), DataType.INT32),
    }  # fmt: skip
    kind = "Quantized" + node.layer.TYPE_NAMES[0]
    extras = node.resource.extras if node.resource is not None else {}
    quantized = node.replace(type_string=kind, quantized=True, resource=Resource(tensors, extras, kind))
    return graph.replace(nodes=(quantized,), scales={"x": source, node.outputs[0]: target})


def _params(rng: np.random.Generator, count: int, size: float, asymmetric: bool) -> QuantParams:
    zero = rng.integers(-20, 21, count).astype(np.int8) if asymmetric else np.zeros(count, np.int8)
    return QuantParams((rng.uniform(0.8, 1.2, count) * size).astype(np.float32), zero)


def reference(node: Node, codes: np.ndarray, source: QuantParams, target: QuantParams) -> np.ndarray:
    """The layer in plain NumPy, with TNN's arithmetic (docs/tnn-format.md, 6.3 and 6.4).

    Parameters
    ----------
    node : Node
        A quantized convolution or inner product.
    codes : int8 (N, C, H, W) or (N, K)
    source, target : QuantParams
    """
    layer, tensors = node.layer, node.tensors
    name = next(key for key in tensors if key not in ("bias", "scale", "zero_point"))
    count = tensors["bias"].size
    weight = tensors[name].data.reshape(count, -1).astype(np.int64) - tensors["zero_point"].data.reshape(-1, 1)
    shape = (1, -1) + (1,) * (codes.ndim - 2)
    x = codes.astype(np.int64) - source.zero_point.astype(np.int64).reshape(shape)
    if x.ndim == 2:
        sums = x @ weight.T
        out_shape: tuple[int, ...] = (1, -1)
    else:
        sums, out_shape = _convolved(x, weight, layer.expect(Convolution)), (1, -1, 1, 1)
    sums = sums + tensors["bias"].data.astype(np.int64).reshape(out_shape)
    factor = (tensors["scale"].data / target.scale).astype(np.float32).reshape(out_shape)
    value = sums.astype(np.int32).astype(np.float32) * factor
    activation = fused_activation(layer)
    if activation == 1:
        value = np.maximum(value, np.float32(0))
    if activation == 2:
        top = _rounded((np.float32(6) / target.scale).astype(np.float32)).reshape(out_shape)
        cut: np.ndarray = np.maximum(0, np.minimum(_rounded(value), top)).astype(np.int8)
        return cut
    return _rounded(value + target.zero_point.astype(np.float32).reshape(out_shape))


def _convolved(x: np.ndarray, weight: np.ndarray, layer: Convolution) -> np.ndarray:
    pad, stride, kernel, groups = layer.pad_h, layer.stride_h, layer.kernel_h, layer.group
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
    n, c, h, w = windows.shape[:4]
    windows = windows.reshape(n, groups, c // groups, h, w, kernel, kernel)
    taps = weight.reshape(groups, -1, c // groups, kernel, kernel)
    sums: np.ndarray = np.einsum("ngchwij,gocij->ngohw", windows, taps).reshape(n, -1, h, w)
    return sums


def _rounded(value: np.ndarray) -> np.ndarray:
    """Halves away from zero, as TNN: add half, limit, cut off."""
    value = (value + np.where(value >= 0, np.float32(0.5), np.float32(-0.5))).astype(np.float32)
    codes: np.ndarray = np.trunc(np.clip(value, np.float32(-128), np.float32(127))).astype(np.int8)
    return codes


def count_cases() -> int:
    """How many cases :func:`run_selftest` tells of."""
    return 2 * len(case_graphs()) + 1


def run_selftest(tell: Callable[[str], None] | None = None) -> dict:
    """Run every case on the instruction path in use.

    Parameters
    ----------
    tell : callable (name), optional
        Told of each case before it runs.

    Returns
    -------
    dict
        ``path``; ``digests``: of each case's output, by name; ``wrong``: the cases that differ from plain NumPy;
        ``seconds``.
    """
    from tnnquant.engine.executor import Executor
    from tnnquant.kernels.amx import path_in_use

    started, tell = time.perf_counter(), tell or (lambda name: None)
    digests, wrong = {}, []
    for asymmetric in (False, True):
        for name, graph in case_graphs().items():
            label = f"{name}, asymmetric" if asymmetric else name
            tell(label)
            quantized = int8_form(graph, asymmetric=asymmetric)
            dims = graph.inputs["x"].dims
            codes = np.random.default_rng(3).integers(-128, 128, dims).astype(np.int8)
            found = _int8_output(Executor(quantized), codes)
            node = quantized.nodes[0]
            wanted = reference(node, codes, quantized.scales["x"], quantized.scales[node.outputs[0]])
            digests[label] = hashlib.sha256(np.ascontiguousarray(found).tobytes()).hexdigest()[:16]
            if not np.array_equal(found, wanted):
                wrong.append(label)
    tell(FP32)
    graph = case_graphs()["convolution 3x3"]
    x = np.random.default_rng(5).standard_normal(graph.inputs["x"].dims).astype(np.float32)
    result = Executor(graph, exact=True).run({"x": x})[graph.outputs[0]]
    digests[FP32] = hashlib.sha256(result.tobytes()).hexdigest()[:16]
    seconds = round(time.perf_counter() - started, 2)
    return {"path": path_in_use(), "digests": digests, "wrong": wrong, "seconds": seconds}


def _int8_output(executor: Executor, codes: np.ndarray) -> np.ndarray:
    blobs: dict[str, np.ndarray] = {}
    executor.run({"x": codes}, lambda name, array: blobs.__setitem__(name, array.copy()))
    return blobs[executor.graph.nodes[0].outputs[0]]


if __name__ == "__main__":
    json.dump(run_selftest(lambda name: print(name, flush=True)), sys.stdout)
