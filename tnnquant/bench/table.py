"""The configurations of TNN's documentation, on the user's own model and pictures."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tnnquant import recipes
from tnnquant.base.metric import Metric
from tnnquant.bench.accuracy import AccuracyReport, Candidate, measure_accuracy
from tnnquant.config import QuantizeConfig
from tnnquant.errors import ConfigError
from tnnquant.format import write_model
from tnnquant.graph import Graph
from tnnquant.inputs.split import Split
from tnnquant.quantization.calibrate import calibrate, make_observers
from tnnquant.quantization.quantize import blob_scales, plan_graph, quantize_weights

if TYPE_CHECKING:
    from tnnquant.inputs.samples import Samples, SampleSource
    from tnnquant.observers.base import Observer

__all__ = ["CONFIGURATIONS", "Configuration", "TableReport", "TableRow", "measure_table"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Configuration:
    """A row: what it is called, and the methods, or a recipe that takes its own."""

    name: str
    blob_method: str = "minmax"
    weight_method: str = "minmax"
    merge_type: str = "channel"
    recipe: str = QuantizeConfig().recipe

    @property
    def flags(self) -> str:
        """What ``tnnquant quantize`` is given for it."""
        if not recipes.find(self.recipe).starts_from_statistics:
            return f"--recipe {self.recipe}"
        return f"-b {self.blob_method} -w {self.weight_method} -t {self.merge_type}"


#: What the documentation of TNN's tool compares, and our own recipe.
CONFIGURATIONS = (
    Configuration("KL + ADMM, per channel", "kl", "admm", "channel"),
    Configuration("KL + ADMM, per tensor", "kl", "admm", "tensor"),
    Configuration("KL + ADMM, mix", "kl", "admm", "mix"),
    Configuration("min-max, per channel", "minmax", "minmax", "channel"),
    Configuration("our recipe", recipe="best"),
)


@dataclass(frozen=True)
class TableRow:
    """One configuration: size of its files, time of its quantization, which earlier row it took the statistics from."""

    configuration: Configuration
    bytes: int
    seconds: float
    statistics_from: str


@dataclass(frozen=True)
class TableReport:
    """The rows, and the accuracy of fp32 (the first model) and of every row, in order."""

    rows: list[TableRow]
    accuracy: AccuracyReport
    fp32_bytes: int
    samples: int

    def as_dict(self) -> dict:
        """JSON types."""
        rows = [
            {
                "name": row.configuration.name, "flags": row.configuration.flags, "bytes": row.bytes,
                "seconds": round(row.seconds, 3), "statistics_from": row.statistics_from,
            }
            for row in self.rows
        ]  # fmt: skip
        return {"calibration_samples": self.samples, "fp32_bytes": self.fp32_bytes, "rows": rows,
                "accuracy": self.accuracy.as_dict()}  # fmt: skip


def measure_table(
    graph: Graph,
    samples: SampleSource,
    evaluation: Samples,
    labels: Mapping[str, int] | None,
    config: QuantizeConfig,
    *,
    configurations: Sequence[Configuration] = CONFIGURATIONS,
    from_names: bool = False,
    output: str | None = None,
    input_dims: Mapping[str, tuple[int, ...]] | None = None,
    progress: Progress | None = None,
    metric: Metric | None = None,
) -> TableReport:
    """Quantize a model in several ways and measure all on the same pictures.

    Parameters
    ----------
    graph : Graph
        An fp32 model.
    samples, evaluation : Samples
        For the statistics, and to be measured on.
    labels : mapping of str to int, or None
        Right class by name of the evaluation picture.
    config : QuantizeConfig
        What is not a method: preprocessing, dims of the inputs, layers kept in fp32.
    from_names, output, input_dims, metric
        As for :func:`~tnnquant.bench.accuracy.measure_accuracy`.
    progress : callable (stage, done, total), optional

    Raises
    ------
    ConfigError
        The model is int8.
    TnnQuantError
        It cannot be quantized, or the pictures cannot be used.
    """
    if graph.is_quantized:
        raise ConfigError("the model is int8 already; give the fp32 model it was made from")
    statistics: dict[frozenset, tuple[str, dict[str, Observer]]] = {}
    rows, candidates = [], [Candidate("fp32", graph)]
    for configuration in configurations:
        row, made = _quantized(graph, samples, config, configuration, statistics, progress)
        rows.append(row)
        candidates.append(Candidate(configuration.name, made))
    accuracy = measure_accuracy(
        candidates, evaluation, labels, from_names=from_names, output=output, input_dims=input_dims,
        progress=progress, metric=metric,
    )  # fmt: skip
    return TableReport(rows, accuracy, _file_bytes(graph), len(samples))


def _quantized(
    graph: Graph, samples: SampleSource, config: QuantizeConfig, configuration: Configuration,
    statistics: dict[frozenset, tuple[str, dict[str, Observer]]], progress: Progress | None,
) -> tuple[TableRow, Graph]:  # fmt: skip
    started = time.perf_counter()
    methods = {key: getattr(configuration, key) for key in ("blob_method", "weight_method", "merge_type", "recipe")}
    config = replace(config, **methods)

    def tell(stage: str, done: int, total: int) -> None:
        if progress:
            progress(f"{configuration.name}: {stage}", done, total)

    if not recipes.find(configuration.recipe).starts_from_statistics:
        made = recipes.quantize(graph, Split(samples), config, tell).graph
        return TableRow(configuration, _file_bytes(made), time.perf_counter() - started, ""), made
    executor, plan = plan_graph(graph, config)
    # The same methods with the same numbers of scales see the same statistics.
    key = frozenset((name, plan.blobs[name].method, plan.blobs[name].slots) for name in plan.observed())
    if key not in statistics:
        observers = make_observers(plan)
        calibrate(executor, samples, observers, tell)
        statistics[key] = configuration.name, observers
    source, observers = statistics[key]
    scales = blob_scales(plan, observers, config)
    nodes, _ = quantize_weights(executor.graph, plan, scales, config, tell)
    made = executor.graph.with_nodes(nodes).replace(scales=scales)
    seconds = time.perf_counter() - started
    reused = source if source != configuration.name else ""
    return TableRow(configuration, _file_bytes(made), seconds, reused), made


def _file_bytes(graph: Graph) -> int:
    with tempfile.TemporaryDirectory(prefix="tnnquant-table-") as folder:
        paths = [Path(folder, f"model.{suffix}") for suffix in ("tnnproto", "tnnmodel")]
        write_model(graph, *paths)
        return sum(path.stat().st_size for path in paths)
