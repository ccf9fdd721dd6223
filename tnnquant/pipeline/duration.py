"""How long the stages of a run take: what there is to do in each, times what that costs.

What there is to do is counted (pictures, values, multiplications); what it costs is a table of seconds on one machine
(:mod:`tnnquant.pipeline.costs`), which ``tools/pace.py fit`` measures. Another machine, or the same one with other
programs beside, is so many times as fast or slow in all stages: that factor comes from what has been measured here, of
a few pictures for a run to come (:func:`time_pictures`), of a whole run for another recipe
(:func:`seconds_of_others`), of the stages that are over for one in progress (:mod:`tnnquant.pipeline.pace`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from tnnquant.base.threads import threads_in_use
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.engine.work import work_after
from tnnquant.inputs import Samples
from tnnquant.inputs.split import default_share
from tnnquant.layers.base import QuantRole
from tnnquant.layers.concat import Concat
from tnnquant.layers.weighted import Weighted
from tnnquant.pipeline.costs import COSTS, PROCESS
from tnnquant.quantization.calibrate import calibrate, make_observers
from tnnquant.quantization.plan import QuantPlan
from tnnquant.verdict.verify import SECOND

__all__ = [
    "BETTER", "END", "START", "TIMED", "VERDICT", "Pictures", "Work", "amounts", "expected_seconds", "factor_of",
    "seconds_of_others", "seconds_of_trial", "stages_of", "time_pictures", "work_of",
]  # fmt: skip

#: Pictures that are timed, after as many that are not: kernels are loaded, and caches filled, by these.
TIMED = 4
#: Recipes that come closer to fp32 than the default, the quicker one first.
BETTER = ("fast", "best")
#: The names of what is before the first stage that is told of, and after the last one.
START, END = "start", "end"
#: The stage in which the model is judged.
VERDICT = "verdict"
#: Bytes of samples that recipes keep, and those that layers are made from, windows of all of them that are looked at,
#: and windows whose outputs are: of :class:`tnnquant.recipes.best.workbench.Effort`, about.
_MEMORY = 96e6
_EFFORTS = {"best": (24, 3072, 1024), "fast": (12, 2048, 768)}
#: Samples that `fast` is made from, and samples that `best` holds out, at most.
_FAST, _HELD_OUT = 16, 16
#: Runs of the network to find layers that stay fp32, and pictures at least.
_RUNS, _LEAST = 120, 4
#: A picture of ``--eval`` is read and run in fp32 too.
_EVALUATED = 3.0


@dataclass(frozen=True)
class Work:
    """What there is to do for a model.

    Attributes
    ----------
    inputs, values : float
        Of the inputs, and of all int8 blobs, of a picture, in millions.
    run : float
        Of the fp32 network (:func:`tnnquant.engine.work.work_after`).
    sets, reruns : float
        Sets of channels whose scales are chosen together, in hundreds; what it takes to run the network once for each
        of them, from the layer on that makes it.
    nodes, layers : float
        Of the network, and those that are int8, in hundreds.
    scales : float
        Of all int8 blobs, in thousands.
    weights : float
        In millions.
    places : tuple of (int, float, float)
        For each layer with weights the windows of a picture, and multiplications, in thousands of millions, of the
        second moments of one window, and of its outputs.
    rounding, factors : float
        Multiplications, in thousands of millions, of a step of second-order rounding of all weights, and of the
        factors of the matrices.
    """

    inputs: float = 0.0
    values: float = 0.0
    run: float = 0.0
    sets: float = 0.0
    reruns: float = 0.0
    nodes: float = 0.0
    layers: float = 0.0
    scales: float = 0.0
    weights: float = 0.0
    places: tuple[tuple[int, float, float], ...] = ()
    rounding: float = 0.0
    factors: float = 0.0


@dataclass(frozen=True)
class Pictures:
    """How many there are: that the model is made from; of these, that judge it and a second one; others that do.

    Attributes
    ----------
    made, judged, apart, evaluated : int
    """

    made: int
    judged: int = 0
    apart: int = 0
    evaluated: int = 0

    @classmethod
    def of(cls, recipe: str, made: int, evaluated: int = 0) -> Pictures:
        """Those of a run that is not asked for anything else."""
        judged = min(16, made)
        if recipe == "best":
            judged = min(16, max(1, round(default_share(made) * made)))
            return cls(made, judged, judged, evaluated)
        share = 0.25 if recipe == "fast" else 0.5
        apart = 0 if made < 8 or evaluated else min(max(4, round(share * made)), 32)
        return cls(made, judged, apart, evaluated)


def work_of(executor: Executor, plan: QuantPlan) -> Work:
    """What there is to do for the fp32 model of ``executor``."""
    graph, specs = executor.graph, executor.specs
    values = sum(prod(specs[blob].dims) for blob in plan.blobs)
    inputs = sum(prod(specs[name].dims) for name in graph.inputs)
    after = work_after(executor)
    made = {blob: number for number, step in enumerate(executor.steps) for blob in step.node.outputs}
    chosen = _chosen(executor, plan)
    reruns = sum(after[made.get(blob, 0)] for blob in chosen)
    weights = rounding = factors = 0.0
    places: list[tuple[int, float, float]] = []
    for node in graph.nodes:
        if isinstance(node.layer, Weighted) and node.tensors:
            dims, groups = specs[node.outputs[0]].dims, node.layer.groups
            length = node.layer.weight_array(node.tensors)[0].size
            places.append((prod(dims[2:]), length**2 * groups / 1e9, length * dims[1] / 1e9))
            weights += length * dims[1]
            rounding += length**2 * dims[1]
            factors += length**3 * groups
    return Work(
        inputs / 1e6, values / 1e6, after[0], len(chosen) / 100, reruns, len(graph.nodes) / 100, len(plan.int8) / 100,
        sum(blob.slots for blob in plan.blobs.values()) / 1e3, weights / 1e6, tuple(places), rounding / 1e9,
        factors / 1e9,
    )  # fmt: skip


def _chosen(executor: Executor, plan: QuantPlan) -> set[str]:
    """The int8 blobs that something reads which does not just hand them on: scales are chosen for these."""
    passing = {
        blob for node in executor.graph.nodes for blob in node.inputs
        if node.layer.role == QuantRole.PASS or isinstance(node.layer, Concat)
    }  # fmt: skip
    read = {
        blob for node in executor.graph.nodes for blob in node.inputs
        if node.layer.role != QuantRole.PASS and not isinstance(node.layer, Concat)
    }  # fmt: skip
    return {blob for blob in plan.blobs if blob in read or blob not in passing}


def amounts(config: QuantizeConfig, work: Work, pictures: Pictures) -> dict[str, dict[str, float]]:
    """What there is to do in each stage of a run, in the order in which ``progress`` is told of them.

    Parameters
    ----------
    config : QuantizeConfig
    work : Work
    pictures : Pictures

    Returns
    -------
    dict of str to dict of str to float
        By stage, and by the name of what is counted; empty of a recipe that is not known here.
    """
    recipe, made = config.recipe, pictures.made
    model = {"model": 1.0, "layers": work.layers, "scales": work.scales, "weights": work.weights, "sets": work.sets}
    if recipe == QuantizeConfig().recipe:
        stages = {"ranges": _looked_at(work, made)}
        if config.blob_method != "minmax":
            stages["histograms"] = _looked_at(work, made)
        stages["weights"] = model
    elif recipe in BETTER:
        stages = _of_better(config, work, made, model)
    else:
        return {}
    judged, apart = pictures.judged + _EVALUATED * pictures.evaluated, pictures.apart
    return {START: model, **stages, VERDICT: _looked_at(work, judged), SECOND: _looked_at(work, apart), END: model}


def _of_better(config: QuantizeConfig, work: Work, made: int, model: Mapping[str, float]) -> dict:
    recipe = config.recipe
    kept = min(made, max(int(_MEMORY / max(4e6 * work.inputs, 1.0)), 1))
    reading = {"model": 1.0, "pictures": float(made), "inputs": made * work.inputs}
    together, windows, outputs = _EFFORTS[recipe]
    if recipe == "fast":
        count = min(kept, _FAST)
        return {
            "reading": reading,
            "preparing": {**model, "runs": work.run},
            "ranges": {**model, **_looked_at(work, count)},
            "scales, all": dict(model),
            "weights": _rounded(work, min(count, together), windows, outputs),
        }  # fmt: skip
    held = min(round(default_share(made) * made), _HELD_OUT)
    fitted = max(kept - held, 1)
    trial, both = min(fitted, 3 * together // 4), min(kept, together)
    sets = max(100 * work.sets, 1.0)
    runs = max(_LEAST, min(_RUNS // sets, held))
    islands = {"fp32 layers": {"model": 1.0, "runs": runs * work.reruns}, "scales, trial": dict(model)}
    return {
        "reading": reading,
        "preparing": {**model, "runs": work.run},
        "ranges": {**model, **_looked_at(work, fitted)},
        "scales": dict(model),
        **({} if config.fp32_share == 0 else islands),
        "weights, trial": _rounded(work, trial, windows, outputs),
        "ranges, others": {**model, **_looked_at(work, held)},
        "scales, all": dict(model),
        "weights": _rounded(work, both, windows, outputs),
    }


def _looked_at(work: Work, count: float) -> dict[str, float]:
    """The network is run on so many pictures."""
    return {
        "pictures": float(count), "values": count * work.values, "runs": count * work.run
    }  # fmt: skip


def _rounded(work: Work, count: int, windows: int, outputs: int) -> dict[str, float]:
    """Layers are rounded, one after another, on so many pictures."""
    moments = sum(min(windows, count * size) * once for size, once, _ in work.places)
    sums = sum(min(outputs, count * size) * once for size, _, once in work.places)
    return {
        "model": 1.0, "layers": work.layers, **_looked_at(work, count), "moments": moments, "sums": sums,
        "rounding": work.rounding, "factors": work.factors,
    }  # fmt: skip


def stages_of(config: QuantizeConfig, work: Work, pictures: Pictures, threads: int | None = None) -> dict[str, float]:
    """What the stages of a run take on the machine that the costs are of.

    Parameters
    ----------
    config, work, pictures
        As of :func:`amounts`.
    threads : int, optional
        Cores; default: as many as kernels use.

    Returns
    -------
    dict of str to float
        Seconds, by stage, in order; empty of a recipe that is not known here.
    """
    costs, cores = COSTS.get(_table(config), {}), threads or threads_in_use()
    counted = amounts(config, work, pictures)
    return {stage: _seconds(costs.get(stage, {}), counts, cores) for stage, counts in counted.items()}


def _seconds(cost: Mapping[str, float], counts: Mapping[str, float], cores: int) -> float:
    """Of a stage."""
    side_by_side = cost.get("parallel", 0.0)
    alone = sum(cost.get(name, 0.0) * count for name, count in counts.items())
    return alone * (1 - side_by_side + side_by_side / cores)


def time_pictures(executor: Executor, plan: QuantPlan, samples: Samples) -> float:
    """Seconds that a picture takes here and now: decoded, run in fp32 on all cores, and seen by min-max observers."""
    plan = replace(plan, blobs={name: replace(blob, method="minmax") for name, blob in plan.blobs.items()})
    count = min(TIMED * samples.batch, len(samples.numbers))
    chosen = samples.numbers[:count]
    spent = 0.0
    for _ in range(2):
        started = time.perf_counter()
        calibrate(executor, samples.subset(chosen), make_observers(plan))
        spent = time.perf_counter() - started
    return spent / count


def factor_of(work: Work, seconds: float) -> float:
    """How many times as long as on the machine of the costs everything takes here.

    Parameters
    ----------
    work : Work
    seconds : float
        Of a picture, as :func:`time_pictures` tells.
    """
    table = COSTS[QuantizeConfig().recipe]["ranges"]
    return seconds / max(_seconds(table, _looked_at(work, 1), threads_in_use()), 1e-9)


def expected_seconds(
    config: QuantizeConfig, work: Work, factor: float, made: int, evaluated: int = 0
) -> float | None:
    """Seconds that a run takes in all, its kernels compiled before; None of a recipe that is not known here.

    Parameters
    ----------
    config : QuantizeConfig
    work : Work
    factor : float
        As :func:`factor_of` tells.
    made : int
        Pictures that the model is made from.
    evaluated : int
        Other pictures that it is judged on.
    """
    stages = stages_of(config, work, Pictures.of(config.recipe, made, evaluated))
    return factor * (PROCESS + sum(stages.values())) if stages else None


def seconds_of_others(
    config: QuantizeConfig, work: Work, spent: float, made: int, evaluated: int = 0, statistics: float | None = None
) -> dict[str, float]:
    """Seconds that the same run would take by recipes that come closer to fp32, by what this one took.

    Parameters
    ----------
    config, work, made, evaluated
        As of :func:`expected_seconds`.
    spent : float
        Seconds that this run took, without the start of the process and the compiling of kernels.
    statistics : float, optional
        Those of them in which the default recipe made statistics: what it does beside may take very different times.

    Returns
    -------
    dict of str to float
        By the name of the recipe, in the order of :data:`BETTER`; empty where none is better, or nothing is known.
    """
    stages = stages_of(config, work, Pictures.of(config.recipe, made, evaluated))
    if not stages:
        return {}
    better = BETTER[BETTER.index(config.recipe) + 1 :] if config.recipe in BETTER else BETTER
    if statistics is None:
        factor = spent / sum(stages.values())
    else:
        factor = statistics / sum(stages.get(name, 0.0) for name in ("ranges", "histograms"))
    return {
        name: factor * sum(stages_of(replace(config, recipe=name), work, Pictures.of(name, made, evaluated)).values())
        for name in better
    }


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
    factor = factor_of(work, spent / max(pictures, 1))
    seconds = expected_seconds(config, work, factor, pictures)
    return None if seconds is None else seconds - factor * PROCESS


def _table(config: QuantizeConfig) -> str:
    """The name of the costs of a configuration."""
    if config.recipe != QuantizeConfig().recipe:
        return config.recipe
    searches = (config.blob_method, config.weight_method) != ("minmax", "minmax")
    return f"{config.recipe}, searching" if searches else config.recipe
