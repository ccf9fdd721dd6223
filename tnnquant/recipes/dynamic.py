"""The recipe ``dynamic``: int8 weights alone, without data (TNN's dynamic-range layers; docs/tnn-format.md, 2.4, 2.5,
6.6).

The runtime widens the weights to fp32 when it loads the model: files of about a quarter of the size, the speed of fp32,
and the error of rounding weights only. The structure of the model stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Mapping, Sequence

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.base.wording import parameter
from tnnquant.config import QuantizeConfig
from tnnquant.devices.rewrites import make_right
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError, GraphError
from tnnquant.graph import Graph, Node
from tnnquant.graph.infer import located
from tnnquant.graph.passes import CONSTANT_SCALE
from tnnquant.graph.patterns import match_layers
from tnnquant.inputs.split import Split
from tnnquant.layers.base import Layer
from tnnquant.layers.convolution import Convolution
from tnnquant.layers.inner_product import InnerProduct
from tnnquant.layers.lstm import LSTMONNX
from tnnquant.layers.matmul import MatMul
from tnnquant.layers.weighted import Weighted
from tnnquant.quantization.plan import QuantPlan
from tnnquant.quantization.quantize import Quantization, Stopwatch
from tnnquant.recipes.base import recipe

__all__ = ["dynamic"]

#: Which tensor of a layer becomes int8, and whether it has a scale per row (an output channel) or one.
_WEIGHTS: dict[type[Layer], tuple[str, bool]] = {
    Convolution: ("filter", True), InnerProduct: ("weight", False), MatMul: ("weight", False),
}
#: Inputs of an LSTM whose constants become int8: the weights of the input and of the state.
_LSTM_WEIGHTS = (1, 2)
_PREFIX = "DynamicRangeQuantized"


@recipe(2, "dynamic", needs_inputs=False)
def dynamic(
    graph: Graph, split: Split | None = None, config: QuantizeConfig | None = None, progress: Callable | None = None
) -> Quantization:
    """Give the weights of convolutions, inner products, matrix products and LSTMs in int8; no sample is looked at."""
    config = config or QuantizeConfig()
    clock = Stopwatch()
    if graph.is_quantized or any(node.dynamic_range for node in graph.nodes):
        raise ConfigError("the model has int8 weights already; give the fp32 model it was made from")
    graph = make_right(graph, config.device, config.input_dims, mixed=False).graph
    if len(graph.nodes) < 2:
        raise ConfigError("TNN does not widen the weights of a model of one layer; it needs two or more")
    barred = _barred(graph, config)
    constants = dict(graph.constants)
    nodes: list[Node] = []
    notes: dict[str, str] = {}
    reasons: dict[int, str] = {}
    for position, node in enumerate(graph.nodes):
        with located(node):
            changed = None if position in barred else _with_int8_weights(node, constants, graph)
        if changed is None:
            reasons[position] = barred.get(position, "has no weights that TNN reads in int8 and widens")
        nodes.append(changed or node)
    if not any(node.dynamic_range for node in nodes):
        raise ConfigError("no layer of the model has weights that TNN reads in int8 and widens")
    clock.lap("weights")
    result = graph.with_nodes(nodes).replace(constants=constants)
    plan = QuantPlan(frozenset(), reasons, {}, {})
    return Quantization(result, graph, plan, {}, notes, clock.laps, executor=Executor(graph, config.input_dims))


def _barred(graph: Graph, config: QuantizeConfig) -> dict[int, str]:
    excluded = _matched(graph, config.exclude, "exclude")
    barred = {position: f"excluded by {parameter('exclude', pattern)}" for position, pattern in excluded}
    if config.include:
        included = dict(_matched(graph, config.include, "include"))
        barred |= {p: f"not among {parameter('include')}" for p in range(len(graph.nodes)) if p not in included}
    return barred


def _matched(graph: Graph, patterns: Sequence[str], name: str) -> ItemsView[int, str]:
    return match_layers(graph, patterns, name).items()


def _with_int8_weights(node: Node, constants: dict[str, Tensor], graph: Graph) -> Node | None:
    """The node with int8 weights; those of an LSTM are changed among the constants. None if it has none."""
    for kind, (field, by_row) in _WEIGHTS.items():
        if isinstance(node.layer, kind) and field in node.tensors and node.tensors[field].size:
            weight = node.tensors[field]
            shape = node.layer.expect(Weighted).weight_array(node.tensors).shape if by_row else ()
            codes, scale = _rounded(weight.float32(), shape[0] if by_row else 1)
            # TNN takes the number of rows from the dims, which files of version 1 lack.
            stored = Tensor(codes, weight.dims or shape, DataType.INT8)
            tensors = {**_ordered(node.tensors, field, stored), "scale": scale}
            type_string = _PREFIX + kind.TYPE_NAMES[0]
            return node.with_tensors(tensors).replace(dynamic_range=True, type_string=type_string)
    if isinstance(node.layer, LSTMONNX):
        blobs = [node.inputs[i] for i in _LSTM_WEIGHTS if i < len(node.inputs) and node.inputs[i] in constants]
        readers = graph.consumers()
        if len(blobs) == len(_LSTM_WEIGHTS) and all(len(readers[blob]) == 1 for blob in blobs):
            for blob in blobs:
                codes, scale = _rounded(constants[blob].float32(), 1)
                constants[blob + CONSTANT_SCALE] = scale
                constants[blob] = Tensor(codes, constants[blob].dims, DataType.INT8)
            return node.replace(dynamic_range=True, type_string=_PREFIX + LSTMONNX.TYPE_NAMES[0])
    return None


def _ordered(tensors: Mapping[str, Tensor], field: str, tensor: Tensor) -> dict[str, Tensor]:
    return {name: tensor if name == field else other for name, other in tensors.items()}


def _rounded(weight: np.ndarray, rows: int) -> tuple[np.ndarray, Tensor]:
    """Codes int8 (n,) and scales, by the largest magnitude of each row; a row of zeros has the scale 1."""
    if not np.isfinite(weight).all():
        raise GraphError(f"{int((~np.isfinite(weight)).sum())} weights are NaN or infinite")
    table = weight.reshape(rows, -1).astype(np.float32)
    scale = (np.abs(table).max(axis=1) / np.float32(127)).astype(np.float32)
    scale = np.where(scale > 0, scale, np.float32(1))
    steps = table / scale[:, None]
    codes = np.clip(np.trunc(steps + np.copysign(np.float32(0.5), steps)), -127, 127).astype(np.int8)
    return codes.reshape(-1), Tensor(scale, (), DataType.FLOAT)
