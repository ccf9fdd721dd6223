"""The pipeline: an fp32 graph and samples in, an int8 graph out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.base.progress import Progress, expect, shown
from tnnquant.base.tensor import DataType, Tensor
from tnnquant.config import QuantizeConfig
from tnnquant.devices.rewrites import make_right
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError, GraphError, UnsupportedLayerError
from tnnquant.graph import Graph, Node, QuantParams, Resource
from tnnquant.graph.infer import located
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.graph.patterns import fused_names
from tnnquant.inputs.split import Split
from tnnquant.layers.base import QuantRole
from tnnquant.layers.weighted import Weighted
from tnnquant.quantization.borders import with_copies_at_borders
from tnnquant.quantization.calibrate import Unseen, calibrate, make_observers
from tnnquant.quantization.plan import QuantPlan, for_device, make_plan
from tnnquant.quantization.scales_file import read_scales, with_given_scales

if TYPE_CHECKING:
    from tnnquant.inputs.samples import SampleSource
    from tnnquant.weights.layer import LayerWeights

__all__ = ["Quantization", "Stopwatch", "quantize_graph", "quantize_split", "ready", "with_weights", "working_seconds"]


@dataclass
class Quantization:
    """An int8 graph and how it came about.

    Attributes
    ----------
    graph : Graph
        The int8 model.
    fp32 : Graph
        The same layers before: fused, parameters resolved, fp32.
    plan : QuantPlan
    observers : dict of str to Observer
        With the ranges and thresholds they settled on, by blob name.
    notes : dict of str to str
        What was special about a layer's weights, by layer name.
    seconds : dict of str to float
        Time of each stage.
    executor : Executor
        Of ``fp32``.
    zero_codes : dict of str to int64 (1,) or (C,)
        The code that means 0 in each channel of the blobs where it is another than the zero point; these stand for
        ``(code - zero code) * scale`` (:mod:`tnnquant.recipes.best.full_range`).
    unseen : Graph or None
        The int8 model that comes out without the samples in ``split.without`` or, if those that choose join the
        statistics, without ``split.choose``; else None. It knows nothing of them, except that thresholds which take
        long to find are those of all samples, cut at the others' peaks, or that its steps were chosen by them.
    """

    graph: Graph
    fp32: Graph
    plan: QuantPlan
    observers: Mapping
    notes: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    executor: Executor = field(kw_only=True)
    zero_codes: Mapping[str, np.ndarray] = field(default_factory=dict)
    unseen: Graph | None = None


def quantize_graph(
    graph: Graph, samples: SampleSource, config: QuantizeConfig | None = None, progress: Progress | bool | None = None
) -> Quantization:
    """Quantize a graph: passes, plan, statistics, blob scales, weights.

    Parameters
    ----------
    graph : Graph
        An fp32 model.
    samples : re-iterable of Sample
    config : QuantizeConfig, optional
    progress : callable (stage, done, total) or bool, optional
        True: a bar, in a terminal or a notebook.

    Raises
    ------
    TnnQuantError
        The model cannot be run or quantized, or the samples allow no statistics.
    """
    with shown(progress) as told:
        return quantize_split(graph, Split(samples), config or QuantizeConfig(), told)


def quantize_split(
    graph: Graph, split: Split, config: QuantizeConfig, progress: Progress | None = None
) -> Quantization:
    """:func:`quantize_graph` of the pictures that calibrate, and a second model without those that it must not see.

    Parameters
    ----------
    graph : Graph
        An fp32 model.
    split : Split
        Which pictures calibrate, and which the second model does without.
    config : QuantizeConfig
    progress : callable (stage, done, total), optional

    Raises
    ------
    TnnQuantError
        As :func:`quantize_graph`.
    """
    clock = Stopwatch()
    executor, plan = plan_graph(graph, config)
    clock.lap("preparing")
    expect(progress, executor, plan)
    observers = make_observers(plan)
    unseen = Unseen(split.without, make_observers(plan)) if split.without else None
    calibrate(executor, split.calibrating, observers, progress, references=split.references, unseen=unseen)
    clock.lap("calibration")
    result = quantize_observed(executor, plan, observers, config, progress)
    if unseen:
        clock = Stopwatch(clock.laps)
        result = with_second(result, executor, plan, unseen.without, config)
        clock.lap("model without some samples")
    return replace(result, seconds={**clock.laps, **result.seconds})


def with_second(
    result: Quantization, executor: Executor, plan: QuantPlan, others: Mapping, config: QuantizeConfig
) -> Quantization:
    """The result with the model that comes out of other observers, those of all samples but some, beside it.

    Without it, if these have seen nothing: all of their samples were unusable.
    """
    if any(np.isinf(observer.low).all() for observer in others.values()):
        return result
    for name, observer in others.items():
        observer.follow(result.observers[name])
    return replace(result, unseen=quantize_observed(executor, plan, others, config).graph)


def quantize_observed(
    executor: Executor, plan: QuantPlan, observers: Mapping, config: QuantizeConfig, progress: Progress | None = None
) -> Quantization:
    """The part of :func:`quantize_graph` after calibration: observers that have seen all samples give the scales."""
    clock = Stopwatch()
    scales = blob_scales(plan, observers, config)
    clock.lap("blob scales")
    nodes, notes = quantize_weights(executor.graph, plan, scales, config, progress)
    clock.lap("weights")
    quantized = executor.graph.with_nodes(nodes).replace(scales=scales)
    result = Quantization(quantized, executor.graph, plan, observers, notes, clock.laps, executor=executor)
    return with_copies_at_borders(result, config)


def ready(graph: Graph, config: QuantizeConfig) -> Graph:
    """The structure that is calibrated: after the passes that TNN applies, and with layers that the devices run.

    Raises
    ------
    UnsupportedLayerError
        The model is int8.
    """
    if graph.is_quantized:
        raise UnsupportedLayerError("the model is int8 already; give the fp32 model it was made from")
    return make_right(prepare_for_quantization(graph), config.device, config.input_dims, mixed=True).graph


def plan_graph(graph: Graph, config: QuantizeConfig) -> tuple[Executor, QuantPlan]:
    """The graph made ready to run, and what will be quantized in it; nothing has run yet."""
    prepared = ready(graph, config)
    executor = Executor(prepared, config.input_dims)
    plan = make_plan(executor.inference, config, fused_names(graph, prepared))
    if not plan.int8:
        raise ConfigError("no layer of the model can be int8: " + "; ".join(sorted(set(plan.reasons.values()))))
    for position in sorted(plan.int8):
        with located(executor.graph.nodes[position]):
            _refuse_nonfinite(executor.graph.nodes[position].tensors)
    return executor, plan


def _refuse_nonfinite(tensors: Mapping[str, Tensor]) -> None:
    """Before anything runs: the error after hours of statistics would be the same."""
    for name, tensor in tensors.items():
        if tensor.dtype in (DataType.FLOAT, DataType.HALF, DataType.BFP16):
            bad = int(np.count_nonzero(~np.isfinite(tensor.float32())))
            if bad:
                raise GraphError(f"{bad} of the {tensor.size} values of its {name} are NaN or infinite")


def blob_scales(plan: QuantPlan, observers: Mapping, config: QuantizeConfig) -> dict[str, QuantParams]:
    """Finish the observers; the scales of all int8 blobs, those of ``config.scales`` as that file says."""
    from tnnquant.observers import finish

    finish(observers.values())
    found = {name: QuantParams(*observer.params()) for name, observer in observers.items()}
    if config.scales is not None:
        found = with_given_scales(plan, found, read_scales(config.scales), config.scales)
    return spread_scales(plan, found)


def spread_scales(plan: QuantPlan, observed: Mapping[str, QuantParams]) -> dict[str, QuantParams]:
    """From the scales of the observed blobs to those of all: blobs before a ReLU or max pooling take the scales of the
    blob after it, a concat of channels has those of its inputs side by side."""
    scales = dict(observed)

    def side_by_side(name: str) -> QuantParams:
        if name not in scales:
            parts = [side_by_side(plan.takes_scale_of.get(part, part)) for part in plan.blobs[name].parts]
            scales[name] = QuantParams(
                np.concatenate([part.scale for part in parts]), np.concatenate([part.zero_point for part in parts])
            )
        return scales[name]

    return {name: side_by_side(plan.takes_scale_of.get(name, name)) for name in plan.blobs}


def quantize_weights(
    graph: Graph, plan: QuantPlan, scales: Mapping[str, QuantParams], config: QuantizeConfig,
    progress: Progress | None = None,
) -> tuple[list[Node], dict[str, str]]:  # fmt: skip
    """Give every int8 node its flag and every weighted one its int8 tensors.

    The scales are final: TNN merges scales afterwards, which leaves other readers of a merged blob with weights that
    were multiplied by its old scale (docs/tnn-format.md, 7.11, number 12).
    """
    config = for_device(config)
    notes: dict[str, str] = {}
    nodes = []
    weighted = sum(graph.nodes[p].layer.role == QuantRole.WEIGHTED for p in plan.int8)
    done = 0
    for position, node in enumerate(graph.nodes):
        if position not in plan.int8:
            nodes.append(node)
            continue
        resource = node.resource
        if node.layer.role == QuantRole.WEIGHTED:
            resource, note = _int8_resource(node, scales[node.inputs[0]], config)
            if note:
                notes[node.name] = note
            done += 1
            if progress:
                progress("weights", done, weighted)
        nodes.append(node.replace(quantized=True, resource=resource))
    return nodes, notes


def _int8_resource(node: Node, source: QuantParams, config: QuantizeConfig) -> tuple[Resource, str]:
    from tnnquant.weights import quantize_layer

    with located(node):
        layer = node.layer.expect(Weighted)
        weight, bias = layer.weight_array(node.tensors), layer.bias_array(node.tensors)
        result = quantize_layer(
            weight, bias, source.scale, method=config.weight_method, merge_type=config.merge_type,
            groups=layer.groups,
        )
    return with_weights(node, result), result.note


def with_weights(node: Node, result: LayerWeights) -> Resource:
    """The resource of an int8 node with quantized weights.

    Parameters
    ----------
    node : Node
    result : LayerWeights
    """
    name = node.layer.expect(Weighted).WEIGHTS
    tensors = {
        name: Tensor(result.weight.reshape(-1), (), DataType.INT8),
        "scale": Tensor(result.scale, (), DataType.FLOAT),
        "zero_point": Tensor(result.zero_point, (), DataType.INT8),
    }
    if result.bias is not None:
        tensors["bias"] = Tensor(result.bias, (), DataType.INT32)
    elif "bias" in node.tensors:
        tensors["bias"] = Tensor(np.empty(0, np.float32))
    assert node.resource is not None  # it holds the weights
    return replace(node.resource, tensors=tensors)


def working_seconds() -> float:
    """Of a clock that stands while kernels are compiled or loaded; differences alone mean something."""
    from tnnquant.kernels.jit import compiling_seconds

    return time.perf_counter() - compiling_seconds()


class Stopwatch:
    """Seconds between laps, by name; kernels that are compiled meanwhile do not count."""

    def __init__(self, laps: Mapping[str, float] | None = None) -> None:
        self.laps: dict[str, float] = dict(laps or {})
        self._last = working_seconds()

    def lap(self, name: str) -> None:
        now = working_seconds()
        self.laps[name] = now - self._last
        self._last = now
