"""What layers in fp32 buy: accuracy of the recipe best over latency, by the share of the work that stays in fp32.

The model of every share is made and run beside fp32 on pictures that it was not made from, and all of them are timed in
turns. The curve shows where more fp32 stops paying for its time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np

from tnnquant.base.progress import Progress
from tnnquant.base.wording import parameter
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError
from tnnquant.graph import Graph
from tnnquant.inputs import Samples
from tnnquant.inputs.references import References
from tnnquant.inputs.split import split_samples
from tnnquant.quantization.quantize import quantize_split
from tnnquant.verdict.compare import Comparison
from tnnquant.verdict.kinds import CLASSES, VALUES, OutputKind, Part, judged_blobs, judged_kinds

__all__ = ["DEFAULT", "FP32", "SHARES", "ShareCurve", "SharePoint", "measure_shares"]

#: Shares of the multiplications that may stay in fp32, by default.
SHARES = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6)
#: Names of the points beside the shares.
FP32, DEFAULT = "fp32", "default"
#: Boxes count where fp32 scores above this.
_SCORE = 0.1
#: Rows of a box.
_BOX = 4
#: Seconds that timing may take, about, and runs of each model at least and at most.
_ROOM, _FEWEST, _MOST = 3.0, 5, 60


@dataclass(frozen=True)
class SharePoint:
    """A model.

    Attributes
    ----------
    name : str
        ``fp32``, ``default`` (the default recipe), or the share.
    milliseconds : float
        The least of several runs.
    value : float
        In the unit of the curve.
    """

    name: str
    milliseconds: float
    value: float


@dataclass(frozen=True)
class ShareCurve:
    """The points, by growing share; fp32 and the default recipe first.

    Attributes
    ----------
    unit : str
        What the values are.
    higher_is_better : bool
    judged_on : str
        Which pictures, in words.
    points : list of SharePoint
    """

    unit: str
    higher_is_better: bool
    judged_on: str
    points: list[SharePoint] = field(default_factory=list)

    def as_dict(self) -> dict:
        """As JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [f"{parameter('fp32_share'):>12} {'ms':>8}  {self.unit} ({self.judged_on})"]
        rows += [f"{point.name:>12} {point.milliseconds:8.2f}  {point.value:.2f}" for point in self.points]
        return "\n".join(rows)


def measure_shares(
    graph: Graph, samples: Samples, config: QuantizeConfig, evaluation: Samples | None = None,
    shares: Sequence[float] = SHARES, progress: Progress | None = None,
) -> ShareCurve:  # fmt: skip
    """Make the model of every share, judge and time all.

    Parameters
    ----------
    graph : Graph
        The fp32 model.
    samples : Samples
        Calibration pictures. Without ``evaluation`` a quarter of them judges models that were made from the others.
    config : QuantizeConfig
        Its recipe, methods, share and file of scales are not looked at.
    evaluation : Samples, optional
        Other pictures to judge on.
    shares : sequence of float
        0 to 1 each.
    progress : callable (stage, done, total), optional
        The stage is "models by share".

    Raises
    ------
    ConfigError
        Too few pictures to hold some out, or no share.
    TnnQuantError
        As :func:`tnnquant.quantize_model`.
    """
    from tnnquant.recipes.best.workbench import quantize_best

    shares = _checked(shares)
    split = split_samples(samples, compares=True)
    if evaluation is None and split.choose is None:
        raise ConfigError("the curve needs pictures to judge on: give two different ones at least, or others to judge")
    judges = evaluation if evaluation is not None else split.choose
    assert judges is not None
    told, count = progress or (lambda *state: None), len(shares) + 1
    told("models by share", 0, count)
    methods = ("recipe", "blob_method", "weight_method", "merge_type", "fp32_share", "scales")
    plain = replace(config, **{name: getattr(QuantizeConfig(), name) for name in methods})
    kept = samples if evaluation is not None else split.calibrating
    models = {FP32: graph, DEFAULT: quantize_split(graph, replace(split, calibrate=kept, choose=None), plain).graph}
    shown = dict(models)
    for done, share in enumerate(shares, 1):
        told("models by share", done, count)
        # References keep nothing of the last model's outputs.
        made = quantize_best(
            graph, replace(split, references=References()), replace(plain, recipe="best", fp32_share=share)
        )
        shown[f"{share:g}"] = made.graph
        models[f"{share:g}"] = made.graph if evaluation is not None or made.unseen is None else made.unseen
    told("models by share", count, count)
    unit, higher, values = _values(models, judges, config)
    milliseconds = _timed(shown, dict(next(iter(judges)).arrays), config)
    where = f"{len(judges.names)} evaluation pictures" if evaluation is not None else (
        f"{len(judges.numbers)} calibration pictures, by models made without them"
    )  # fmt: skip
    points = [SharePoint(name, milliseconds[name], values[name]) for name in models]
    return ShareCurve(unit, higher, where, points)


def _checked(shares: Any) -> list[float]:
    """What a caller gave, as numbers."""
    numbers: list[Any] = list(shares) if isinstance(shares, Iterable) and not isinstance(shares, str) else []
    are_numbers = all(isinstance(number, Real) for number in numbers) and bool not in map(type, numbers)
    if not numbers or not are_numbers or not all(0 <= number <= 1 for number in numbers):
        raise ConfigError(f"{parameter('shares')} is {shares!r}, expected a list of numbers, 0 to 1 each")
    return [float(number) for number in numbers]


def _values(
    models: Mapping[str, Graph], judges: Samples, config: QuantizeConfig
) -> tuple[str, bool, dict[str, float]]:
    """Unit, whether more is better, and what each model is worth on the pictures."""
    whole = Executor(models[FP32], config.input_dims)
    judged, _ = judged_blobs(whole.inference)
    kinds = judged_kinds(whole.inference, "auto")
    kind = kinds[0]
    fp32 = Executor(models[FP32].replace(outputs=tuple(judged)), config.input_dims)
    others = {name: Executor(model.replace(outputs=tuple(judged)), config.input_dims)
              for name, model in models.items() if name != FP32}  # fmt: skip
    seen = {name: Comparison([kind]) for name in others}
    boxes: dict[str, list[np.ndarray]] = {name: [] for name in others}
    parts = _boxes(kind)
    for sample in judges:
        wanted = fp32.run_sample(sample)
        for name, executor in others.items():
            got = executor.run(sample.arrays)
            seen[name].add(sample, wanted, got)
            if parts:
                pairs = zip(*(kind.items(x[kind.name], sample.fresh) for x in (wanted, got)), strict=True)
                boxes[name] += [_box_errors(a, b, *parts) for a, b in pairs]
    if parts and all(errors and np.concatenate(errors).size for errors in boxes.values()):
        means = {name: float(np.concatenate(errors).mean()) for name, errors in boxes.items()}
        return f"mean error of boxes where fp32 scores above {_SCORE:g}", False, {FP32: 0.0, **means}
    if kind.kind == VALUES:
        cosines = {name: _worst_cosine(found, kind) for name, found in seen.items()}
        return "cosine of the output's worst part", True, {FP32: 1.0, **cosines}
    what = "same class as fp32, %" if kind.kind == CLASSES else "equal values, %"
    return what, True, {FP32: 100.0, **{name: 100 * found.agreed[kind.name].expected for name, found in seen.items()}}


def _boxes(kind: OutputKind) -> tuple[Part, Part] | None:
    """The parts of an output that is boxes beside scores."""
    if kind.kind == VALUES and len(kind.parts) == 2 and kind.parts[0].rows.size == _BOX:
        return kind.parts[0], kind.parts[1]
    return None


def _box_errors(wanted: np.ndarray, got: np.ndarray, boxes: Part, scores: Part) -> np.ndarray:
    """Of the boxes (rows, places) that fp32 sees."""
    seen = wanted[scores.rows].max(axis=0) > _SCORE
    errors: np.ndarray = np.abs(wanted[boxes.rows][:, seen] - got[boxes.rows][:, seen]).ravel().astype(np.float64)
    return errors


def _worst_cosine(found: Comparison, kind: OutputKind) -> float:
    sums = found.sums[kind.name]
    parts = kind.parts or (Part("", np.arange(kind.rows)),)
    return min(sums.figures(part.rows).cosine for part in parts)


def _timed(models: Mapping[str, Graph], inputs: dict[str, np.ndarray], config: QuantizeConfig) -> dict[str, float]:
    """The least milliseconds of a run of each model, run in turns."""
    executors = {name: Executor(model, config.input_dims, exact=False) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    began = time.perf_counter()
    for turn in range(_MOST + 1):
        if turn > _FEWEST and time.perf_counter() - began > _ROOM:
            break
        for name, executor in executors.items():
            started = time.perf_counter()
            executor.run({blob: array.copy() for blob, array in inputs.items()})
            times[name].append(1e3 * (time.perf_counter() - started))
    return {name: min(found) for name, found in times.items()}
