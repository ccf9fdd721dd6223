"""An int8 model beside the fp32 one it was made from: the error of every layer, cumulative and isolated.

*Cumulative*: both networks run on the same inputs and every blob is compared. That is what reaches the output, but a
layer shows the errors of all layers before it, so the worst row need not be the layer at fault. *Isolated*: one layer
is int8, its inputs are those of the fp32 network (:mod:`~tnnquant.inspect.isolated`). That is what a layer adds by
itself, but not how much of it reaches the output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.base.metric import Metric
from tnnquant.devices.rules import arithmetic_of
from tnnquant.engine.executor import Executor
from tnnquant.graph import Graph
from tnnquant.graph.infer import infer
from tnnquant.graph.meaning import Meaning, base_name, meaning_of
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.graph.repeats import repeated_like
from tnnquant.inputs import Sample
from tnnquant.inspect.codes import CodeUsage, usage_of_counts
from tnnquant.inspect.isolated import Isolated, Requantizer, check_same_network
from tnnquant.inspect.measure import ErrorSums, as_rows
from tnnquant.layers.base import QuantRole
from tnnquant.layers.concat import Concat
from tnnquant.verdict import SetVerdict
from tnnquant.verdict.compare import Comparison
from tnnquant.verdict.kinds import judged_kinds
from tnnquant.verdict.labels import labels_of_names
from tnnquant.verdict.own_metric import Goal

if TYPE_CHECKING:
    from tnnquant.inputs.samples import SampleSource

__all__ = ["Errors", "Figures", "LayerError", "SampleError", "compare_graphs"]

Progress = Callable[[str, int, int], None]
#: A layer is proposed for --exclude if it is below this, or that far below the median layer, in dB; at most so many.
POOR_DB, OUTLIER_DB, MOST = 15.0, 8.0, 5


@dataclass(frozen=True, eq=False)
class Figures:
    """How far a blob is from its fp32 values.

    Attributes
    ----------
    sqnr_db : float
        Signal to quantization noise; 160 where nothing differs.
    cosine : float
    rmse_steps : float or None
        Root mean square of the error in units of the scale (0.29 is the best that rounding can do); None for a blob
        without a scale.
    channel_db : float64 (C,)
        SQNR by channel.
    """

    sqnr_db: float
    cosine: float
    rmse_steps: float | None
    channel_db: np.ndarray

    @classmethod
    def of(cls, sums: ErrorSums | None, scale: np.ndarray | None) -> Figures | None:
        """The figures of some sums; None for None."""
        if sums is None or not sums.rows:
            return None
        steps = None if scale is None else sums.rmse_steps(scale)
        return cls(sums.sqnr_db, sums.cosine, steps, sums.channel_db())

    def as_dict(self) -> dict:
        """As JSON types; without the channels."""
        steps = None if self.rmse_steps is None else round(self.rmse_steps, 4)
        return {"sqnr_db": round(self.sqnr_db, 2), "cosine": round(self.cosine, 7), "rmse_steps": steps}


@dataclass(frozen=True, eq=False)
class LayerError:
    """Errors of one layer of the int8 model.

    Attributes
    ----------
    name, type : str
    is_int8 : bool
        Also a layer of dynamic range, whose weights are int8.
    cumulative : Figures or None
        None if its output does not exist at run time (fused) or has no fp32 counterpart.
    isolated : Figures or None
        Only of int8 layers; likewise the next two.
    weights, activations : Figures or None
        The parts of ``isolated``. Without weights, all of it is activations.
    rank_isolated, rank_cumulative : int or None
        1 is the worst, by SQNR.
    """

    name: str
    type: str
    is_int8: bool
    cumulative: Figures | None
    isolated: Figures | None
    weights: Figures | None
    activations: Figures | None
    rank_isolated: int | None = None
    rank_cumulative: int | None = None

    def as_dict(self) -> dict:
        """As JSON types."""
        result = {"name": self.name, "type": self.type, "int8": self.is_int8,
                  "rank_isolated": self.rank_isolated, "rank_cumulative": self.rank_cumulative}  # fmt: skip
        for what in ("isolated", "weights", "activations", "cumulative"):
            figures = getattr(self, what)
            result[what] = figures.as_dict() if figures else None
        return result

    def columns(self) -> dict:
        """By the names of :data:`tnnquant.inspect.table.ERROR_COLUMNS`."""
        row = {"rank_isolated": self.rank_isolated, "rank_cumulative": self.rank_cumulative}
        for what in ("isolated", "weights", "activations", "cumulative"):
            figures = getattr(self, what)
            if figures:
                row[f"{what}_sqnr_db"] = round(figures.sqnr_db, 2)
                if what in ("isolated", "cumulative"):
                    row[f"{what}_cosine"] = round(figures.cosine, 7)
                    row[f"{what}_rmse_steps"] = None if figures.rmse_steps is None else round(figures.rmse_steps, 4)
        return row


@dataclass(frozen=True)
class SampleError:
    """One input: how far the outputs are apart.

    Attributes
    ----------
    name : str
    sqnr_db : float
        Of the worst model output.
    top1 : tuple of int or None
        The largest value's place in fp32 and in int8, where the model has one output of scores.
    """

    name: str
    sqnr_db: float
    top1: tuple[int, int] | None = None

    def as_dict(self) -> dict:
        """As JSON types."""
        top1 = list(self.top1) if self.top1 else None
        return {"name": self.name, "sqnr_db": round(self.sqnr_db, 2), "top1": top1}


@dataclass
class Errors:
    """All errors of a comparison.

    Attributes
    ----------
    layers : list of LayerError
        In the order of the file.
    inputs : dict of str to Figures
        Of the model inputs that int8 layers read: what quantizing them costs.
    outputs : dict of str to Figures
        Of the model outputs, or of what stands in for one that cannot be compared place by place.
    samples : list of SampleError
        In the order of the files.
    verdict : SetVerdict
        The one that quantize gives.
    usage : dict of str to CodeUsage
        How the codes of each int8 blob are used, by channel.
    """

    layers: list[LayerError]
    inputs: dict[str, Figures]
    outputs: dict[str, Figures]
    samples: list[SampleError]
    verdict: SetVerdict
    usage: dict[str, CodeUsage] = field(default_factory=dict)
    _adds: frozenset[str] = frozenset()

    def ranked(self, by: str = "isolated") -> list[LayerError]:
        """Layers from the worst to the best, ``by`` isolated or cumulative error."""
        rank = f"rank_{by}"
        return sorted((row for row in self.layers if getattr(row, rank)), key=lambda row: getattr(row, rank))

    @property
    def agreement(self) -> tuple[int, int] | None:
        """Samples whose largest score is at the same place, and all; None without scores."""
        pairs = [sample.top1 for sample in self.samples if sample.top1]
        return (sum(a == b for a, b in pairs), len(pairs)) if pairs else None

    def candidates(self) -> list[LayerError]:
        """The int8 layers with an arithmetic of their own, worst first: those that could be kept in fp32."""
        return [row for row in self.ranked() if row.weights is not None or row.type in self._adds]

    def guilty(self) -> list[LayerError]:
        """The candidates that stand out: what to keep in fp32 first."""
        errors = [(row, row.isolated.sqnr_db) for row in self.candidates() if row.isolated is not None]
        if not errors:
            return []
        limit = max(POOR_DB, float(np.median([db for _, db in errors])) - OUTLIER_DB)
        return [row for row, db in errors if db < limit][:MOST]

    def as_dict(self) -> dict:
        """As JSON types."""
        agreement = self.agreement
        return {
            "status": self.verdict.status,
            "checks": [asdict(check) for check in self.verdict.checks()],
            **({"metric": self.verdict.metric.as_dict()} if self.verdict.metric else {}),
            "samples": [sample.as_dict() for sample in self.samples],
            "top1_agreement": list(agreement) if agreement else None,
            "inputs": {name: figures.as_dict() for name, figures in self.inputs.items()},
            "outputs": {name: figures.as_dict() for name, figures in self.outputs.items()},
            "layers": [row.as_dict() for row in self.layers],
            "exclude": [row.name for row in self.guilty()],
            "usage": {name: usage.as_dict() for name, usage in self.usage.items()},
        }


def compare_graphs(
    quantized: Graph,
    fp32: Graph,
    samples: SampleSource,
    input_dims: Mapping | None = None,
    progress: Progress | None = None,
    meaning: Meaning | None = None,
    device: str | None = None,
    metric: Metric | None = None,
) -> Errors:
    """Run both models over samples and measure every layer.

    Parameters
    ----------
    quantized : Graph
        The int8 model, or one of dynamic range, as in its file.
    fp32 : Graph
        The model it was made from, as in its file.
    samples : iterable of Sample
    input_dims : mapping of str to sequence of int, optional
    progress : callable (stage, done, total), optional
    meaning : Meaning, optional
        Of the int8 model; by default it is found out.
    device : str, optional
        For ``arm``, the int8 model runs with its arithmetic.
    metric : Metric, optional
        Of the user's own, for the verdict.

    Raises
    ------
    MetricError
        The metric fails.
    GraphError, UnsupportedLayerError
        A model cannot be run, or the two are not the same network.
    """
    run = _Comparison(quantized, fp32, input_dims, meaning, arithmetic_of(device), metric)
    run.name_sources(getattr(samples, "names", ()))
    for count, sample in enumerate(samples, 1):
        run.add(sample)
        if progress:
            progress("comparing", count, max(count, len(samples)))
    return run.result()


class _Comparison:
    """Both models made ready, and what was gathered so far."""

    def __init__(
        self, quantized: Graph, fp32: Graph, input_dims: Mapping | None, meaning: Meaning | None, device: str,
        metric: Metric | None = None,
    ):  # fmt: skip
        prepared = prepare_for_quantization(fp32)
        check_same_network(quantized, prepared)
        prepared = repeated_like(quantized, prepared)
        kinds = judged_kinds(infer(prepared, input_dims))
        self._judged = Comparison(kinds, Goal(metric) if metric else None, prepared.outputs)
        self._outputs = tuple(kind.name for kind in kinds)
        # What stands in for an output that cannot be compared is asked for as if it were one.
        asked = tuple(sorted({*quantized.outputs, *self._outputs}))
        self._fp32 = Executor(prepared.replace(outputs=asked), input_dims, exact=False)
        self._int8 = Executor(quantized.replace(outputs=asked), input_dims, exact=False, device=device)
        self._meaning = meaning or meaning_of(quantized, prepared)
        meant = self._meaning.graph
        self._isolated = Isolated(meant, self._fp32.graph, self._fp32.specs)
        self._scales = meant.scales
        self._requantize = Requantizer(self._scales)
        self._cumulative: dict[str, ErrorSums] = {}
        self._counts: dict[str, np.ndarray] = {}
        self._samples: list[SampleError] = []

    def name_sources(self, names: Sequence[str]) -> None:
        """Tell the names of the files by number; numbers that begin them may be classes."""
        self._judged.sources = names

    def add(self, sample: Sample) -> None:
        blobs: dict[str, np.ndarray] = {}

        def keep(name: str, array: np.ndarray) -> None:
            blobs[name] = array.copy(order="K")

        wanted = self._fp32.run_sample(sample, keep)
        got = self._int8.run(sample.arrays, lambda name, array: self._compare(name, array, blobs))
        self._isolated.add(blobs)
        self._judged.add(sample, wanted, got)
        worst = min(s.per_sample[-1] for name in self._outputs if (s := self._output_sums(name)).per_sample)
        outputs = ({name: side[name] for name in self._meaning.graph.outputs} for side in (wanted, got))
        self._samples.append(SampleError(sample.name, worst, _top1(*outputs)))

    def _compare(self, name: str, array: np.ndarray, blobs: Mapping[str, np.ndarray]) -> None:
        from tnnquant.kernels.compare import count_codes

        made, is_int8 = name, array.dtype == np.int8
        viewed = self._meaning.view(base_name(name) if is_int8 else name, array)
        if viewed is None:
            return
        name, array = viewed
        # What fp32 layers make is compared before it becomes int8, unless its codes alone mean something.
        reference = blobs.get(name) if name == made or name in self._meaning.shifted_floats else None
        rows = as_rows(array)
        if is_int8 and name in self._scales:
            counts = self._counts.setdefault(name, np.zeros((rows.shape[1], 256), np.int64))
            count_codes(rows, counts)
            rows = self._requantize.real(name, rows)
        if reference is None or reference.shape != array.shape or rows.dtype != np.float32:
            return
        if reference.dtype == np.float32:
            self._output_sums(name, rows.shape[1]).add(as_rows(reference), rows)

    def _output_sums(self, name: str, channels: int = 1) -> ErrorSums:
        sums = self._cumulative.setdefault(name, ErrorSums(channels))
        if not sums.per_sample and not sums.rows and sums.sums.shape[1] != channels:
            sums = self._cumulative[name] = ErrorSums(channels)
        return sums

    def result(self) -> Errors:
        scales = self._scales
        rows = []
        for node in self._meaning.graph.nodes:
            blob = node.outputs[0]
            scale = scales[blob].scale if blob in scales and node.quantized else None
            isolated = Figures.of(self._isolated.total.get(node.name), scale)
            blobs = Figures.of(self._isolated.blobs.get(node.name), scale)
            activations = blobs if node.layer.role == QuantRole.WEIGHTED else isolated
            cumulative = Figures.of(self._cumulative.get(blob), scale)
            rows.append(LayerError(
                node.name, node.layer.TYPE_NAMES[0], node.quantized or node.dynamic_range, cumulative, isolated,
                Figures.of(self._isolated.weights.get(node.name), scale), activations,
            ))  # fmt: skip
        named = {
            kind: {name: figures for name in names if (figures := self._figures(name))}
            for kind, names in (("inputs", self._meaning.graph.inputs), ("outputs", self._outputs))
        }
        labels = labels_of_names(self._judged.sources)  # for a metric
        verdict = self._judged.verdict(f"{len(self._samples)} inputs", held_out=None, labels=labels, are_guessed=True)
        verdict = replace(verdict, labels=None)  # top-1 is for bench accuracy
        usage = {name: usage_of_counts(counts, scales[name].zero_point) for name, counts in self._counts.items()}
        adds = frozenset(node.layer.TYPE_NAMES[0] for node in self._meaning.graph.nodes
                          if node.layer.role == QuantRole.JOIN and not isinstance(node.layer, Concat))  # fmt: skip
        return Errors(_ranked(rows), named["inputs"], named["outputs"], self._samples, verdict, usage, adds)

    def _figures(self, name: str) -> Figures | None:
        params = self._scales.get(name)
        return Figures.of(self._cumulative.get(name), params.scale if params else None)


def _ranked(rows: list[LayerError]) -> list[LayerError]:
    for what in ("isolated", "cumulative"):
        order = sorted((i for i, row in enumerate(rows) if getattr(row, what)),
                       key=lambda i: (getattr(rows[i], what).sqnr_db, i))  # fmt: skip
        for rank, i in enumerate(order, 1):
            row = rows[i]
            rows[i] = replace(row, rank_isolated=rank) if what == "isolated" else replace(row, rank_cumulative=rank)
    return rows


def _top1(wanted: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> tuple[int, int] | None:
    """Where the largest score is, if the model has one output that is one row of scores."""
    if len(wanted) != 1:
        return None
    ((name, scores),) = wanted.items()
    if scores.ndim < 2 or scores.shape[0] != 1 or scores.size != scores.shape[1] or scores.size < 2 or name not in got:
        return None
    return int(scores.argmax()), int(got[name].argmax())
