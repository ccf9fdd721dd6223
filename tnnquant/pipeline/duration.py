"""How long a run will take: a few pictures are timed on the way that all of them will go, the rest is counted.

What a recipe does beside looking at pictures is counted in the time that the first pass of min-max takes for a million
values of blobs. The counts were fitted to the processor time of 45 runs: five networks (SqueezeNet, EfficientNet-Lite0,
MobileNetV2, YOLOv8n, the text detector of PaddleOCR), 8 to 64 pictures. They were within 32 % of all, and within 20 %
of nine in ten.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from math import inf, prod

from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.inputs import Samples
from tnnquant.layers.weighted import Weighted
from tnnquant.quantization.calibrate import calibrate, make_observers
from tnnquant.quantization.plan import QuantPlan
from tnnquant.verdict.verify import SECOND

__all__ = [
    "BETTER", "Timing", "Work", "expected_seconds", "seconds_of_others", "seconds_of_trial", "stages_of",
    "time_pictures", "work_of",
]  # fmt: skip

#: Pictures that are timed, after as many that are not: kernels are loaded, and caches filled, by these.
TIMED = 4
#: Pictures and windows that layers are rounded on, about (:class:`tnnquant.recipes.best.workbench.Effort`).
_TOGETHER, _WINDOWS = 24, 2048


@dataclass(frozen=True)
class Work:
    """What there is to do for a model.

    Attributes
    ----------
    values : float
        Of the int8 blobs of a picture, in millions.
    scales : float
        Of all int8 blobs, in thousands.
    rounding : float
        Multiplications, in thousands of millions, of second-order rounding of all weights.
    layers : int
        That are int8.
    """

    values: float
    scales: float
    rounding: float
    layers: int = 0


@dataclass(frozen=True)
class Timing:
    """Of a picture.

    Attributes
    ----------
    seconds : float
    waiting : float
        Seconds for a second of processor time, 1 or more: what one thread waits for where other programs run.
    """

    seconds: float
    waiting: float = 1.0


@dataclass(frozen=True)
class _Cost:
    """Of a recipe: seconds that it takes at any rate, and units for a million values of a picture, for a thousand
    scales, and for a thousand million multiplications; ``most``: pictures that it looks at."""

    fixed: float
    picture: float
    scales: float
    rounding: float = 0.0
    most: int | None = None


_MINMAX = _Cost(1.1, 1.0, 12.0)
#: With methods that look twice at every picture, or search.
_SEARCHING = _Cost(0.8, 1.7, 33.0)
_COSTS = {"fast": _Cost(1.4, 3.7, 36.0, 3.0, 16), "best": _Cost(2.3, 3.9, 60.0, 43.0)}
#: Recipes that come closer to fp32 than the default, the quicker one first.
BETTER = tuple(_COSTS)


@dataclass(frozen=True)
class _Stage:
    """As of a recipe: units for a million values of a picture, or of the model, for a thousand scales, and for a
    thousand million multiplications; ``looked``: for each run of the network to find layers that stay fp32; ``share``:
    of the pictures, ``most``: of them at most."""

    picture: float = 0.0
    values: float = 0.0
    scales: float = 0.0
    rounding: float = 0.0
    looked: float = 0.0
    share: float = 1.0
    most: float = inf


_HELD_OUT = 0.25
#: Runs of the network to find layers that stay fp32, at least, and for each layer.
_RUNS, _RUNS_OF_LAYER = 120, 5.2
#: What recipes do, by the names of their stages, the verdict apart: as runs of SqueezeNet and YOLOv8n divide it. Of
#: "reading" and "scales" nothing is told: they are over when the next stage begins.
_STAGES = {
    "fast": {
        "reading": _Stage(0.35), "ranges": _Stage(1.2), "scales": _Stage(scales=21.0),
        "weights": _Stage(2.1, scales=10.0, rounding=13.0),
    },
    "best": {
        "reading": _Stage(0.35),
        "ranges": _Stage(1.6, share=1 - _HELD_OUT),
        "scales": _Stage(scales=27.0),
        "fp32 layers": _Stage(looked=0.25),
        "weights, trial": _Stage(6.1, rounding=0.5, share=1 - _HELD_OUT, most=0.75 * _TOGETHER),
        "ranges, others": _Stage(1.6, values=25.0, share=_HELD_OUT),
        "weights": _Stage(5.4, rounding=0.5, most=_TOGETHER),
    },
}  # fmt: skip
#: Of a picture that int8 alone is run on, as fp32 was before; of the comparison of all blobs after it.
_KNOWN, _LAYERS = 0.45, 8.0
#: Of what a recipe takes at any rate, the start of the process: all of what min-max takes so.
_START = _MINMAX.fixed
#: Comparing a picture beside fp32.
_JUDGING = 1.4


def work_of(executor: Executor, plan: QuantPlan) -> Work:
    """What there is to do for the fp32 model of ``executor``."""
    graph, specs = executor.graph, executor.specs
    values = sum(prod(specs[blob].dims) for blob in plan.blobs)
    rounding = 0.0
    for node in graph.nodes:
        if isinstance(node.layer, Weighted) and node.tensors:
            dims = specs[node.outputs[0]].dims
            macs = node.layer.macs([specs[blob] for blob in node.inputs], [specs[blob] for blob in node.outputs])
            length, windows = macs / prod(dims), min(_WINDOWS, _TOGETHER * prod(dims[2:]))
            # Second moments of the windows; six steps of rounding; the factor of a matrix.
            rounding += length**2 * (windows / 4 + 6 * dims[1] + length / 2)
    return Work(values / 1e6, sum(blob.slots for blob in plan.blobs.values()) / 1e3, rounding / 1e9, len(plan.int8))


def time_pictures(executor: Executor, plan: QuantPlan, samples: Samples) -> Timing:
    """How long a picture takes here and now: decoded, run in fp32 on all cores, and seen by min-max observers."""
    plan = replace(plan, blobs={name: replace(blob, method="minmax") for name, blob in plan.blobs.items()})
    count = min(TIMED * samples.batch, len(samples.numbers))
    chosen = samples.numbers[:count]
    spent = processor = 0.0
    for _ in range(2):
        started, used = time.perf_counter(), time.process_time()
        calibrate(executor, samples.subset(chosen), make_observers(plan))
        spent, processor = time.perf_counter() - started, time.process_time() - used
    return Timing(spent / count, max(1.0, spent / processor) if processor else 1.0)


def expected_seconds(
    config: QuantizeConfig, work: Work, timing: Timing, pictures: int, evaluated: int = 0
) -> float | None:
    """Seconds that a run takes in all, its kernels compiled before; None of a recipe that is not known here.

    Parameters
    ----------
    config : QuantizeConfig
    work : Work
    timing : Timing
    pictures : int
        That the model is made from.
    evaluated : int
        Other pictures that it is judged on.
    """
    cost = _cost(config)
    if cost is None:
        return None
    unit = timing.seconds / max(work.values, 1e-9)
    return cost.fixed * timing.waiting + unit * _units(cost, work, pictures, evaluated)


def seconds_of_others(
    config: QuantizeConfig, work: Work, spent: float, pictures: int, evaluated: int = 0
) -> dict[str, float]:
    """Seconds that the same run would take by recipes that come closer to fp32, by what this one took.

    Parameters
    ----------
    config, work, pictures, evaluated
        As of :func:`expected_seconds`.
    spent : float
        Seconds that this run took, without the start of the process and the compiling of kernels.

    Returns
    -------
    dict of str to float
        By the name of the recipe, in the order of :data:`BETTER`; empty where none is better, or nothing is known.
    """
    own = _cost(config)
    if own is None:
        return {}
    fixed = max(own.fixed - _START, 0.0)
    unit = max(spent - fixed, 0.0) / max(_units(own, work, pictures, evaluated), 1e-9)
    better = BETTER[BETTER.index(config.recipe) + 1 :] if config.recipe in BETTER else BETTER
    return {name: _COSTS[name].fixed + unit * _units(_COSTS[name], work, pictures, evaluated) for name in better}


def stages_of(
    config: QuantizeConfig, work: Work, pictures: int, judged: tuple[int, int], evaluated: int = 0
) -> dict[str, float]:
    """What there is to do in each stage of a run, in the order in which ``progress`` is told of them.

    Parameters
    ----------
    config, work, pictures, evaluated
        As of :func:`expected_seconds`.
    judged : (int, int)
        Of the pictures that the model is made from, those that judge it, and those that judge a second one.

    Returns
    -------
    dict of str to float
        In the time of a million values of a picture; empty of a recipe that is not known here.
    """
    stages = _STAGES.get(config.recipe, {})
    if config.recipe == QuantizeConfig().recipe:
        is_plain = (config.blob_method, config.weight_method) == ("minmax", "minmax")
        twice = {} if config.blob_method == "minmax" else {"histograms": _Stage(0.7)}
        stages = {"ranges": _Stage(1.0), **twice, "weights": _Stage(scales=6.0 if is_plain else 20.0)}
    most = _cost(config)
    looked_at = min(pictures, most.most or pictures) if most else pictures
    costs = {
        name: (stage.picture * min(stage.share * looked_at, stage.most) + stage.values) * work.values
        + stage.looked * work.values * max(_RUNS, _RUNS_OF_LAYER * work.layers)
        + stage.scales * work.scales + stage.rounding * work.rounding for name, stage in stages.items()
    }  # fmt: skip
    if costs:
        costs["verdict"] = (_KNOWN * judged[0] + _JUDGING * evaluated) * work.values
        costs[SECOND] = (_KNOWN * judged[1] + _LAYERS) * work.values
    return costs


def _cost(config: QuantizeConfig) -> _Cost | None:
    """What the recipe takes; None of one that is not known here."""
    if config.recipe != QuantizeConfig().recipe:
        return _COSTS.get(config.recipe)
    is_plain = (config.blob_method, config.weight_method) == ("minmax", "minmax")
    return _MINMAX if is_plain else _SEARCHING


def _units(cost: _Cost, work: Work, pictures: int, evaluated: int) -> float:
    """All that is counted of a run, in the time of a million values of a picture."""
    looked_at = min(pictures, cost.most or pictures)
    units = cost.picture * work.values * looked_at + cost.scales * work.scales + cost.rounding * work.rounding
    return units + _JUDGING * work.values * evaluated


def seconds_of_trial(config: QuantizeConfig, work: Work, spent: float, pictures: int) -> float | None:
    """Seconds that a model takes in a process that runs already; None of a recipe that is not known here.

    Parameters
    ----------
    config, work
        As of :func:`expected_seconds`.
    spent : float
        Seconds that one pass of statistics took over as many pictures.
    pictures : int
    """
    seconds = expected_seconds(config, work, Timing(spent / max(pictures, 1)), pictures)
    return None if seconds is None else max(seconds - _START, 0.0)
