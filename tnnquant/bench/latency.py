"""How long a model takes in fp32 and in int8, whole and layer by layer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from tnnquant.base.threads import threads_in_use
from tnnquant.base.wording import parameter
from tnnquant.bench.machine import describe, fp32_peak, int8_peak
from tnnquant.bench.profile import LayerTime, layer_times, packed_bytes, scratch_bytes
from tnnquant.bench.timing import Times, in_turns
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError
from tnnquant.graph import Graph
from tnnquant.graph.lower import lower

__all__ = ["LatencyReport", "LayerRow", "ModelFigures", "measure_latency", "peak_rss", "whole_times"]

_UNCERTAIN = 0.5e-6  # seconds
#: Runs of a model whose median is taken, where that is all that is asked.
_FEWEST, _MOST = 3, 50
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ModelFigures:
    """One model as a whole.

    Attributes
    ----------
    times : Times
        Wall-clock times of runs, in turns with the other model.
    layers : list of LayerTime
    blob_bytes, packed_bytes, scratch_bytes : int
        Memory of the blobs, of packed weights, and of what compiled operations work in.
    """

    times: Times
    layers: list[LayerTime]
    macs: int
    blob_bytes: int
    packed_bytes: int
    scratch_bytes: int

    @property
    def border_seconds(self) -> float:
        """What conversions between float and int8 cost; of an fp32 model, bringing the inputs to their places."""
        return sum(layer.seconds for layer in self.layers if layer.is_border)

    @property
    def layer_seconds(self) -> float:
        """The sum over all layers, each measured alone."""
        return sum(layer.seconds for layer in self.layers)

    def as_dict(self) -> dict:
        """JSON types."""
        return {
            **self.times.as_dict(), "macs": self.macs, "border_ms": round(1e3 * self.border_seconds, 4),
            "layers_ms": round(1e3 * self.layer_seconds, 4), "blob_bytes": self.blob_bytes,
            "packed_bytes": self.packed_bytes, "scratch_bytes": self.scratch_bytes,
        }  # fmt: skip


@dataclass(frozen=True)
class LayerRow:
    """A layer in both models; either may lack it (an add that is fused, a conversion)."""

    name: str
    type: str
    macs: int
    fp32: LayerTime | None
    int8: LayerTime | None

    @property
    def is_slower(self) -> bool:
        """Whether int8 loses to fp32, by more than the clock's own uncertainty."""
        if self.fp32 is None or self.int8 is None or not self.int8.quantized or self.int8.is_border:
            return False
        return self.int8.seconds > 1.05 * self.fp32.seconds + _UNCERTAIN

    def rate(self, side: str) -> float | None:
        """Multiply-accumulates per second in ``fp32`` or ``int8``; None where there are none."""
        layer = getattr(self, side)
        return layer.macs / layer.seconds if layer is not None and layer.macs and layer.seconds else None

    def share(self, side: str) -> float | None:
        """Share of the peak of all cores in use."""
        rate = self.rate(side)
        if rate is None:
            return None
        return rate / ((int8_peak() if getattr(self, side).quantized else fp32_peak()) * threads_in_use())


@dataclass(frozen=True)
class LatencyReport:
    """What :func:`measure_latency` has found; ``models`` by "fp32" and "int8", of which one may be missing."""

    machine: dict
    models: dict[str, ModelFigures]
    rows: list[LayerRow]
    peak_rss: int | None

    @property
    def speedup(self) -> float | None:
        """Median of fp32 divided by that of int8."""
        if len(self.models) < 2:
            return None
        return self.models["fp32"].times.median / self.models["int8"].times.median

    def as_dict(self) -> dict:
        """JSON types."""
        return {
            "machine": self.machine,
            "models": {name: model.as_dict() for name, model in self.models.items()},
            "speedup": self.speedup and round(self.speedup, 3),
            "peak_rss_bytes": self.peak_rss,
            "layers": [_row_dict(row) for row in self.rows],
        }


def measure_latency(
    fp32: Graph | None,
    int8: Graph | None,
    inputs: Mapping[str, np.ndarray],
    *,
    repeats: int = 50,
    input_dims: Mapping[str, tuple[int, ...]] | None = None,
    progress: Progress | None = None,
) -> LatencyReport:
    """Measure one or both forms of a model, run in turns.

    Both are executed as TNN's runtime would, with fused activations; fp32 sums as fast as possible.

    Parameters
    ----------
    fp32, int8 : Graph or None
    inputs : mapping of str to ndarray
        Fed to both.
    repeats : int
        Timed runs of each.
    input_dims : mapping, optional
        As for :class:`Executor`.
    progress : callable (stage, done, total), optional
        The stage is "layers".

    Raises
    ------
    ConfigError
        The models have different inputs, or ``repeats`` is below 1.
    """
    if repeats < 1:
        raise ConfigError(f"{parameter('repeats')} is {repeats}, expected 1 or more")
    if fp32 is not None and int8 is not None:
        _check_inputs(fp32, int8)
    graphs = {"fp32": None if fp32 is None else lower(fp32), "int8": int8}
    executors = {
        name: Executor(graph, input_dims, exact=False) for name, graph in graphs.items() if graph is not None
    }
    fed = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
    times = in_turns([partial(executor.run, fed) for executor in executors.values()], repeats)
    models = {}
    for done, (name, executor) in enumerate(executors.items()):
        if progress:
            progress("layers", done, len(executors))
        layers = layer_times(executor, fed)
        models[name] = ModelFigures(
            times[done], layers, executor.macs(), executor.blob_bytes, packed_bytes(executor), scratch_bytes(executor)
        )
    rows = _rows(*(models[name].layers if name in models else [] for name in ("fp32", "int8")))
    machine = describe()
    return LatencyReport(machine, models, rows, peak_rss())


def whole_times(
    graphs: Mapping[str, Graph], inputs: Mapping[str, np.ndarray], room: float,
    input_dims: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Median seconds of a run of each of several models, run in turns; the layers are not looked at.

    Parameters
    ----------
    graphs : dict of str to Graph
        fp32 ones fuse activations first, as TNN's runtime does.
    inputs : mapping of str to ndarray
        Fed to all.
    room : float
        Seconds that all runs may take, about; at least three of each.
    input_dims : mapping, optional
        As for :class:`Executor`.
    """
    executors = [
        Executor(graph if graph.is_quantized else lower(graph), input_dims, exact=False) for graph in graphs.values()
    ]
    fed = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
    runs = [partial(executor.run, fed) for executor in executors]
    first = sum(times.minimum for times in in_turns(runs, 1, warm_up=1))
    repeats = int(np.clip(room / max(first, 1e-6), _FEWEST, _MOST))
    return {name: times.median for name, times in zip(graphs, in_turns(runs, repeats, 0), strict=True)}


def _check_inputs(fp32: Graph, int8: Graph) -> None:
    for name, spec in fp32.inputs.items():
        other = int8.inputs.get(name)
        if other is None or tuple(other.dims) != tuple(spec.dims):
            found = f"has {'x'.join(map(str, other.dims))}" if other else f"has the inputs {', '.join(int8.inputs)}"
            shown = "x".join(map(str, spec.dims))
            raise ConfigError(f"the fp32 model's input {name!r} is {shown}, the int8 model {found}: not the same model")


def _rows(fp32: list[LayerTime], int8: list[LayerTime]) -> list[LayerRow]:
    """Both lists as one, in the order of int8; what only fp32 has comes after the layer it follows there."""
    floats = {layer.name: layer for layer in fp32}
    names = {layer.name for layer in int8}
    rows = []
    waiting = list(fp32)

    def take_until(name: str | None) -> None:
        while waiting and waiting[0].name != name and (name is None or waiting[0].name not in names):
            layer = waiting.pop(0)
            rows.append(LayerRow(layer.name, layer.type, layer.macs, layer, None))
        if waiting and waiting[0].name == name:
            waiting.pop(0)

    for layer in int8:
        other = floats.get(layer.name)
        if other is not None:
            take_until(layer.name)
        rows.append(LayerRow(layer.name, layer.type, layer.macs, other, layer))
    waiting[:] = [layer for layer in waiting if layer.name not in names]
    take_until(None)
    return rows


def _row_dict(row: LayerRow) -> dict:
    values: dict = {"name": row.name, "type": row.type, "macs": row.macs, "int8_is_slower": row.is_slower}
    for side in ("fp32", "int8"):
        layer, rate, share = getattr(row, side), row.rate(side), row.share(side)
        values[side] = layer and {
            "us": round(1e6 * layer.seconds, 3), "int8": layer.quantized, "border": layer.is_border,
            "compiled": layer.is_program, "gmacs": rate and round(rate / 1e9, 2), "of_peak": share and round(share, 4),
        }  # fmt: skip
    return values


def peak_rss() -> int | None:
    """Most memory that this process has held, in bytes; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    factor = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor
