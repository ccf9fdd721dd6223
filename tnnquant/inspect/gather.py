"""What the page shows beyond the table and the errors: ranges, weights, coverage, small pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.graph import Graph
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.graph.repeats import repeated_like
from tnnquant.inspect.classes import class_name
from tnnquant.inspect.compare import Errors, SampleError
from tnnquant.inspect.coverage import Coverage, measure_coverage
from tnnquant.inspect.page.material import Picture
from tnnquant.inspect.ranges import BlobRanges, gather_ranges
from tnnquant.inspect.run import Model
from tnnquant.inspect.weights import real_weights
from tnnquant.quantization.plan import make_plan

if TYPE_CHECKING:
    from tnnquant.base.progress import Progress
    from tnnquant.inputs.samples import Samples, SampleSource

__all__ = ["blob_ranges", "coverage_of", "small_pictures", "weight_pairs"]

WORST, SEEN, SIZE, SMALL = 8, 32, 128, 80


def blob_ranges(
    fp32: Model, quantized: Model | None, samples: SampleSource, config: QuantizeConfig,
    progress: Progress | None = None,
) -> dict[str, BlobRanges]:  # fmt: skip
    """The values of every blob that is int8, or would become so.

    Parameters
    ----------
    fp32 : Model
        What is run.
    quantized : Model or None
        Whose int8 blobs are meant; None: those that ``quantize`` would make int8.
    samples : re-iterable of Sample
    config : QuantizeConfig
        Says which blobs become int8, and the dims of the inputs.
    progress : callable (stage, done, total), optional

    Returns
    -------
    dict of str to BlobRanges
    """
    graph = prepare_for_quantization(fp32.graph)
    graph = graph if quantized is None else repeated_like(quantized.stored, graph)
    executor = Executor(graph, config.input_dims, exact=False)
    if quantized is None:
        names = list(make_plan(executor.inference, config).blobs)
    else:
        names = [name for name in quantized.graph.scales if name in executor.specs]
    found: dict[str, BlobRanges] = gather_ranges(executor, names, samples, progress)
    return found


def coverage_of(
    fp32: Model, samples: SampleSource, config: QuantizeConfig, progress: Progress | None = None
) -> Coverage:
    """How settled the scales of a model would be; see :func:`~tnnquant.inspect.coverage.measure_coverage`.

    Parameters
    ----------
    fp32 : Model
    samples : re-iterable of Sample
    config : QuantizeConfig
        The method, and how many scales a blob has.
    progress : callable (stage, done, total), optional
    """
    executor = Executor(prepare_for_quantization(fp32.graph), config.input_dims, exact=False)
    plan = make_plan(executor.inference, config)
    slots = {name: plan.blobs[name].slots for name in plan.observed()}
    return measure_coverage(executor, slots, config.blob_method, samples, progress)


def weight_pairs(quantized: Model | None, fp32: Model | None) -> dict[str, tuple]:
    """The weights of every layer as float32 (OC, n): before, after; None where there is no such model or layer."""
    after = _weights_of(quantized.graph, quantized) if quantized else {}
    before = _weights_of(fp32.graph, fp32) if fp32 else {}
    model = quantized or fp32
    names = [] if model is None else [row.name for row in model.summary.layers]
    pairs: dict[str, tuple[np.ndarray | None, np.ndarray | None]] = {}
    for name in names:
        pair = before.get(name), after.get(name)
        if pair[0] is not None and pair[1] is not None and pair[0].shape != pair[1].shape:
            pair = None, pair[1]
        if pair[0] is not None or pair[1] is not None:
            pairs[name] = pair
    return pairs


def _weights_of(graph: Graph, model: Model) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for node, row in zip(graph.nodes, model.summary.layers, strict=True):
        if row.weights is not None:
            weights = real_weights(node, row.weights.channels, graph.scales.get(node.inputs[0]))
            if weights is not None:
                found[node.name] = weights
    return found


def small_pictures(
    samples: Samples, errors: Errors | None, *, seen: bool, classes: tuple[str, ...] = ()
) -> list[Picture]:
    """The inputs with the worst outputs, and, if asked for, what else the model is fed, as small pictures.

    ``classes``: their names, for the captions.
    """
    from tnnquant.inputs.preview import thumbnail

    worst: Mapping[str, SampleError] = {}
    if errors is not None:
        ranked = sorted(errors.samples, key=lambda sample: (sample.sqnr_db, sample.name))
        worst = {sample.name: sample for sample in ranked[:WORST]}
    bad: list[tuple[float, Picture]] = []
    others: list[Picture] = []
    for sample in samples:
        inputs = samples.picture_inputs()
        if not inputs:
            return []
        name, picture_input = next(iter(inputs.items()))
        array = sample.arrays[name][:1]
        found = worst.get(sample.name)
        if found is not None:
            lines = [f"{found.sqnr_db:.1f} dB"]
            if found.top1:
                a, b = (class_name(classes, number) for number in found.top1)
                lines.append(f"best score: {a}" if a == b else f"best score: {a} in fp32, {b} in int8")
            bad.append((found.sqnr_db, Picture(sample.name, *thumbnail(array, picture_input, SIZE), tuple(lines))))
        if seen and len(others) < SEEN:
            others.append(Picture(sample.name, *thumbnail(array, picture_input, SMALL), kind="seen"))
    return [picture for _, picture in sorted(bad, key=lambda pair: (pair[0], pair[1].name))] + others
