"""The recipe ``best``: every step that brings the int8 model closer to fp32, each kept only if it does.

One run of the fp32 network gathers all that is needed. A model with all steps is judged on samples that nothing was
made from, beside one without any: mostly it is so much better that the steps are not tried one by one. Otherwise models
are made with one more step each time. What helped is done once more with all samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.base.memory import release_freed
from tnnquant.base.progress import expect
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.graph import Graph, Node, QuantParams, Resource
from tnnquant.inputs.split import Split
from tnnquant.layers.base import QuantRole
from tnnquant.layers.weighted import FusesActivation, Weighted
from tnnquant.quantization.borders import moved, with_copies_at_borders
from tnnquant.quantization.plan import QuantPlan
from tnnquant.quantization.quantize import Quantization, Stopwatch, with_weights
from tnnquant.recipes.best.full_range import guards_of, zero_codes
from tnnquant.recipes.best.grids import grids_of
from tnnquant.recipes.best.guards import open_taps, shifted_floats, widened
from tnnquant.recipes.best.islands import BUDGET, COSTLY, choose_islands, layer_macs, useful_plan, without
from tnnquant.recipes.best.kept import keep_samples
from tnnquant.recipes.best.lanes import in_lanes
from tnnquant.recipes.best.layer_input import LayerInput
from tnnquant.recipes.best.layer_task import LayerTask
from tnnquant.recipes.best.layerwise import quantize_layers
from tnnquant.recipes.best.network import prepare, with_moved_products, with_useful_copies, with_useful_repeats
from tnnquant.recipes.best.ranges import EXPONENTS, HEADROOM, balanced_scales, gives_classes, peak_scales
from tnnquant.recipes.best.repeats import JUDGED
from tnnquant.recipes.best.rounding import CLIPS
from tnnquant.recipes.best.sensitivity import Disturbance, sensitivities
from tnnquant.recipes.best.shifted_copies import final_codes
from tnnquant.recipes.best.slots import ScaleSlots, scale_slots
from tnnquant.recipes.best.statistics import Statistics, gather
from tnnquant.recipes.best.unshift import REASON as UNSHIFTS
from tnnquant.recipes.best.unshift import with_shifts_undone
from tnnquant.recipes.best.wanted import Wanted
from tnnquant.verdict.own_metric import GatheredOutputs, Goal, MetricScore

if TYPE_CHECKING:
    from tnnquant.base.progress import Progress

__all__ = ["STEPS", "Effort", "Steps", "Workbench", "quantize_best", "quantize_with"]

#: One sample in so many is held out, and at most so many are.
_HELD_OUT_EVERY, _MOST_HELD_OUT = 4, 16
#: Samples that layers are made from, at least, however large their blobs are.
_LEAST_TOGETHER = 8
#: Bytes: of the samples that are kept; of the blobs of those that layers are made from, all at a time.
_MEMORY, _BLOB_MEMORY = 96 << 20, 96 << 20
#: Runs of the fp32 network, and multiplications, that looking for fp32 islands may take.
_ISLAND_RUNS, _ISLAND_MACS = 120, 60e9
#: But at least so many samples: of two, the largest error of a detector's boxes is two to three times as large.
_LEAST_SAMPLES = 4
#: Errors below this are as good as none.
_EXACT = 1e-12
#: How many times as long as a trial the last model takes.
_MORE = 1.4
#: Exponent of the power mean over samples.
_POWER = 0.25
#: All steps are taken, without a trial of each, if they leave this share of the held-out error, or less.
_PLAIN = 0.5


@dataclass(frozen=True)
class Effort:
    """How much is looked at.

    Attributes
    ----------
    together : int
        Samples that layers are made from, if their blobs fit into memory.
    windows : int
        Windows of all samples together that a layer's second moments are of, at least.
    grouped_windows : int
        The same for layers with groups, whose matrices are small.
    most_windows : int
    windows_per_weight : int
        Of each output.
    outputs : int
        Windows of all samples together that biases are judged by after the activation.
    clips : tuple of float
        Steps of the weights that are tried, as shares of the one that cuts nothing off.
    repeats : bool or None
        Whether channels may be repeated (:mod:`tnnquant.recipes.best.repeats`); None: if no layer is kept in fp32 for
        its accuracy, which costs more and does more.
    streams : bool
        Whether residual streams may be repeated too.
    moves : bool or None
        Whether the last inner product may be moved (:mod:`tnnquant.recipes.best.last_product`); None: as ``repeats``.
    copies : bool
        Whether blobs may be copied to be shifted; without the step ``full_range`` none is of use.
    grids : bool
        Whether inputs on a grid get its scale (:mod:`tnnquant.recipes.best.grids`), with the step ``balance``.
    judged : int
        Samples that channels to repeat are chosen by; blobs to copy by twice as many.
    places : int or None
        About how many values of a channel are counted of one sample, if it has more: evenly spread ones. Where no
        output is scores of classes, all are.
    exponents, headroom : tuple of float
        The scales that are tried (:func:`tnnquant.recipes.best.ranges.balanced_scales`).
    """

    together: int = 24
    windows: int = 3072
    grouped_windows: int = 1536
    most_windows: int = 16384
    windows_per_weight: int = 12
    outputs: int = 1024
    clips: tuple[float, ...] = CLIPS
    repeats: bool | None = None
    streams: bool = True
    moves: bool | None = None
    copies: bool = True
    grids: bool = True
    judged: int = JUDGED
    places: int | None = None
    exponents: tuple[float, ...] = EXPONENTS
    headroom: tuple[float, ...] = HEADROOM


@dataclass(frozen=True)
class Steps:
    """Which steps are taken, in the order they are tried.

    Attributes
    ----------
    balance : bool
        Scales between one per channel and one per blob (:mod:`tnnquant.recipes.best.ranges`); else one per channel,
        from its peak.
    full_range : bool
        All 256 codes after a ReLU (:mod:`tnnquant.recipes.best.full_range`).
    rounding : bool
        Second-order rounding of weights (:mod:`tnnquant.recipes.best.rounding`); else to the nearest.
    bias : bool
        Biases that undo the mean error.
    islands : bool
        A few layers in fp32 (:mod:`tnnquant.recipes.best.islands`).
    """

    balance: bool = False
    full_range: bool = False
    rounding: bool = False
    bias: bool = False
    islands: bool = False


#: Steps that are tried together, in order, and how much the held-out error may grow by chance for them to be kept: a
#: few samples are no proof against a step, and balanced scales need second-order rounding to show their effect.
_TRIALS = ((("balance",), 1.5), (("full_range",), 1.5), (("rounding", "bias"), 2.0), (("islands",), 1.1))

#: With fewer output values in all held-out samples (two classes, four pictures), which error is larger is chance: one
#: step or another would be dropped by luck.
_TELLING = 64

#: What is told of the step that looks for layers to keep in fp32.
_NO_SHARE = "dropped: no layer is to be kept in fp32"

STEPS = tuple(entry.name for entry in fields(Steps))


def quantize_best(
    graph: Graph, split: Split, config: QuantizeConfig, progress: Progress | None = None, budget: float | None = None,
    goal: Goal | None = None,
) -> Quantization:  # fmt: skip
    """The recipe: parameters and result are those of :func:`tnnquant.recipes.quantize`."""
    work = Workbench(graph, split, config, progress, budget=budget)
    steps, tried = work.choose()
    if goal is not None and steps.islands:
        tried["islands"] += work.fit_islands(goal, steps)
    result = chosen = work.candidate
    is_whole = False
    if work.has_time_again():
        if split.joins:
            work.take_in_held_out()
        again = work.quantize(steps)
        # If time ran out, its last layers are rounded without their inputs: what was judged is better.
        is_whole = not work.was_cut
        if is_whole:
            result = replace(again, unseen=chosen.graph if split.joins and work.apart else None)
    if not is_whole:
        tried["time"] = f"the budget of {budget:g} s is used up: made without the pictures that chose the steps"
    result = with_copies_at_borders(result, config)
    result.seconds.update(work.clock.laps)
    result.notes.update({f"recipe: {step}": note for step, note in tried.items()})
    return result


def quantize_with(
    graph: Graph, split: Split, config: QuantizeConfig, steps: Steps, progress: Progress | None = None,
    effort: Effort | None = None,
) -> Quantization:  # fmt: skip
    """Quantize with given steps and no check of whether they help, from all but the held-out samples."""
    work = Workbench(graph, split, config, progress, effort=effort)
    return with_copies_at_borders(work.quantize(steps), config)


@dataclass(frozen=True, eq=False)
class _Scaled:
    """Scales found for a plan."""

    plan: QuantPlan
    slots: ScaleSlots
    zero: np.ndarray
    scales: dict
    sets: list = field(default_factory=list)
    guards: dict[str, int] = field(default_factory=dict)
    halves: dict[str, np.ndarray] = field(default_factory=dict)

    def zero_of(self, blob: str) -> np.ndarray:
        """The codes that mean 0 in the channels of a blob, guards among them, int64 (1,) or (C,)."""
        codes = self.zero[self.slots.of[blob]]
        return np.append(codes, np.full(self.guards.get(blob, 0), codes[-1]))

    def shifted(self) -> dict[str, np.ndarray]:
        """:meth:`zero_of` of the blobs where it is not 0."""
        found = {blob: self.zero_of(blob) for blob in self.slots.of}
        return {blob: codes for blob, codes in found.items() if codes.any()}


class Workbench:
    """One model and its samples: what is gathered once and shared by all that is tried."""

    def __init__(
        self, graph: Graph, split: Split, config: QuantizeConfig, progress: Progress | None = None,
        fitted: Callable[[], list] | None = None, effort: Effort | None = None, budget: float | None = None,
    ):  # fmt: skip
        """``fitted``: gives the samples to make models from, if these are not to be judged; of the split by default."""
        self.clock = Stopwatch()
        self._progress, self._effort = progress, effort or Effort()
        self._until = time.perf_counter() + (inf if budget is None else budget)
        self._needed = 0.0
        #: Whether time ran out while the last model was made.
        self.was_cut = False
        self._searched = 0.0
        self._dims, self._share = config.input_dims, config.fp32_share
        #: Whether the user wants no layer in fp32 that int8 can hold; the share itself may be lowered on the way.
        self._keeps_none = config.fp32_share == 0
        self._names: list[str] = getattr(split.samples, "names", [])
        network = prepare(graph, config)
        expect(progress, network.executor, network.plan)
        self.fitted, self.held_out = _samples_of(split, progress) if fitted is None else (fitted(), [])
        self.apart = bool(self.held_out) and self.held_out[0] is not self.fitted[0]
        preparing = self._stage("preparing") or (lambda done, total: None)
        preparing(0, 1)
        repeats, moves = self._effort.repeats, self._effort.moves
        repeats = config.fp32_share == 0 if repeats is None else repeats
        if repeats if moves is None else moves:
            network = with_moved_products(network)
        if repeats:
            network = with_useful_repeats(network, self.fitted, self._effort.judged, self._effort.streams)
        self._grids = grids_of(self.fitted, network.executor.graph.inputs) if self._effort.grids else {}
        if self._effort.copies:
            network = with_useful_copies(network, self.fitted, self._grids, 2 * self._effort.judged)
        release_freed()
        self._offsets, self._joins, self._repeated = network.offsets, network.joins, network.repeated
        self.executor, self.plan, self._copies = network.executor, network.plan, network.copies
        self.graph, self.inference = self.executor.graph, self.executor.inference
        together = max(_LEAST_TOGETHER, min(self._effort.together, _BLOB_MEMORY // max(self.executor.blob_bytes, 1)))
        #: How many of the fitted samples, and of those held out, layers are made from.
        self._together = together - together // _HELD_OUT_EVERY, together // _HELD_OUT_EVERY
        preparing(1, 1)
        self._windows = self._window_counts(min(len(self.fitted), self._together[0]))
        self._outputs = -(-self._effort.outputs // min(len(self.fitted), self._together[0]))
        # Large values at few places are what boxes are made of: there all places count.
        self._places = self._effort.places if gives_classes(self.inference) else None
        chosen = _spread(len(self.fitted), self._together[0])
        self.statistics: Statistics = gather(
            self.executor, self.plan, self.fitted, self._windows, chosen, self._stage("ranges"), self._outputs,
            places=self._places, references=split.references,
        )  # fmt: skip
        wanted = self._run_held_out(self.executor)
        self._measure = Disturbance(self.inference, wanted) if wanted else None
        release_freed()
        self.clock.lap("statistics")
        self._known: dict = {}
        self._scaled: dict[tuple, _Scaled] = {}
        self._islands: dict[tuple, set[int]] = {}
        self._harm: dict[bool, tuple[np.ndarray, np.ndarray]] = {}
        #: What the steps chosen make of the fitted samples, or some of them.
        self.candidate: Quantization

    def _window_counts(self, samples: int) -> dict[str, int]:
        counts, effort = {}, self._effort
        for position in self.plan.int8:
            node = self.graph.nodes[position]
            if node.layer.role == QuantRole.WEIGHTED:
                length = int(np.prod(node.layer.expect(Weighted).weight_array(node.tensors).shape[1:]))
                least = effort.windows if node.layer.expect(Weighted).groups == 1 else effort.grouped_windows
                wanted = min(max(least, effort.windows_per_weight * length), effort.most_windows)
                counts[node.name] = -(-wanted // samples)
        return counts

    # --- which steps help ---

    @property
    def _judge(self) -> Disturbance:
        """What a candidate does to the outputs; for a bench with samples that are held out."""
        assert self._measure is not None
        return self._measure

    def choose(self) -> tuple[Steps, dict[str, str]]:
        """The steps that make the held-out samples come out closer, and what each did."""
        told = self._judge.values * len(self.held_out) >= _TELLING
        plain, whole = Steps(), replace(Steps(**dict.fromkeys(STEPS, True)), islands=not self._keeps_none)
        base = self.quantize(plain)
        error = self.error(base.graph)
        started = time.perf_counter()
        candidate = self.quantize(whole, "weights, trial")
        # Layers for fp32 are not looked for again; all samples are more than these.
        self._needed = _MORE * (time.perf_counter() - started - self._searched)
        again = self.error(candidate.graph)
        if again <= _PLAIN * error or not told:
            note = f"kept: held-out error {error:.3g} -> {again:.3g} with all steps"
            note += "" if told else ", from too few output values to judge"
            steps, notes = whole, dict.fromkeys(STEPS, note)
            notes |= {} if whole.islands else {"islands": _NO_SHARE}
        else:
            steps, notes, candidate = self._one_by_one(plain, base, error)
        self.candidate = candidate
        self.clock.lap("choosing steps")
        return steps, notes

    def _one_by_one(self, steps: Steps, best: Quantization, error: float) -> tuple[Steps, dict[str, str], Quantization]:
        """One step more each time, beginning with a model and its error."""
        notes: dict[str, str] = {}
        for names, most in _TRIALS:
            if names == ("islands",) and self._keeps_none:
                notes["islands"] = _NO_SHARE
                continue
            more = replace(steps, **dict.fromkeys(names, True))
            if self._is_late():
                notes |= dict.fromkeys(names, "dropped: no time was left")
                continue
            candidate = self.quantize(more, "weights, trial")
            again = self.error(candidate.graph)
            kept = again < most * error
            note = f"{'kept' if kept else 'dropped'}: held-out error {error:.3g} -> {again:.3g}"
            notes |= dict.fromkeys(names, note)
            if kept:
                steps, error, best = more, again, candidate
        return steps, notes, best

    def fit_islands(self, goal: Goal, steps: Steps) -> str:
        """Keep as small a share of the multiplications in fp32 as the user's own metric allows on held-out samples.

        Returns
        -------
        str
            What came of it; :attr:`candidate` is the model.
        """
        wanted = self._run_held_out(self.executor)
        score = self._score(goal, self.candidate.graph, wanted)
        if score.allowed is None:  # nothing says how much worse it may become
            return f"; {score.check().text}"
        if not score.is_reached:
            return f"; {score.check().text}: not reached with fewer layers in fp32"
        limit = BUDGET if self._share is None else self._share
        if not limit:
            return f"; {score.check().text}"
        for share in (0.0, limit / 2):
            if self._is_late():
                return f"; {score.check().text}; no time was left to try fewer layers in fp32"
            before, self._share = self._share, share
            candidate = self.quantize(steps, "weights, trial")
            again = self._score(goal, candidate.graph, wanted)
            if again.is_reached:
                self.candidate = candidate
                enough = f"at most {100 * share:g} % of the multiplications" if share else "none"
                return f"; by the metric {enough} in fp32 will do: {again.check().text}"
            self._share = before
        return f"; {score.check().text}, and not with fewer layers in fp32"

    def _run_held_out(self, executor: Executor) -> list[dict[str, np.ndarray]]:
        """The outputs for the held-out samples."""
        return in_lanes(executor, self.held_out, lambda mine, sample: mine.run_sample(sample))

    def _score(self, goal: Goal, graph: Graph, wanted: list[dict[str, np.ndarray]]) -> MetricScore:
        """The user's own metric on the held-out samples, of which fp32 gives ``wanted``."""
        gathered = GatheredOutputs(graph.outputs)
        outputs = self._run_held_out(Executor(graph, self._dims, exact=False))
        for sample, own, got in zip(self.held_out, wanted, outputs, strict=True):
            gathered.add(sample, own, got)
        return gathered.score(goal, gathered.by_number(goal.labels), self._names)

    def _is_late(self) -> bool:
        return time.perf_counter() > self._until

    def _cuts(self) -> bool:
        self.was_cut = self.was_cut or self._is_late()
        return self.was_cut

    def has_time_again(self) -> bool:
        """Whether what the last model is expected to take is left of the budget."""
        return time.perf_counter() + self._needed < self._until

    def _stage(self, name: str) -> Callable[[int, int], None] | None:
        """Progress of a stage."""
        return partial(self._progress, name) if self._progress else None

    def _stage_before(self, stage: str) -> str:
        """The stage in which the scales for weights are found: for a trial the first one, if none was for islands."""
        return "scales, all" if stage == "weights" else "scales" if self._keeps_none else "scales, trial"

    def take_in_held_out(self) -> None:
        """From here on models are made from the held-out samples too; layers for fp32, once found, stay the same."""
        if not self.apart:
            return
        self._scaled.clear()
        self._known.clear()
        chosen = _spread(len(self.held_out), self._together[1])
        progress = self._stage("ranges, others")
        self.statistics = gather(
            self.executor, self.plan, self.held_out, self._windows, chosen, progress, self._outputs, self.statistics,
            self._places,
        )  # fmt: skip
        release_freed()
        self.fitted = [*self.fitted, *self.held_out]
        self.clock.lap("held-out statistics")

    def error(self, graph: Graph) -> float:
        """Squared error of the outputs relative to their power: over held-out samples and parts."""
        return _overall(self.errors(graph))

    def errors(self, graph: Graph) -> np.ndarray:
        """Squared error of the outputs of every held-out sample relative to their power, float64 (samples, parts)."""
        executor = Executor(graph, self._dims, exact=False)
        jobs = list(enumerate(self.held_out))
        found = in_lanes(executor, jobs, lambda mine, job: self._judge.of(job[0], mine.run_sample(job[1])))
        del executor
        release_freed()
        return np.array(found)

    # --- one candidate ---

    def quantize(self, steps: Steps, stage: str = "weights") -> Quantization:
        """The int8 graph that the steps give, with weights from some of the fitted samples; ``stage`` for progress."""
        clock = Stopwatch()
        scaled = self._scales(steps, self._stage_before(stage))
        clock.lap("blob scales")
        flagged = self._flagged(scaled)
        self.was_cut = False
        notes: dict[str, str] = {}

        def decide(node: Node, seen: LayerInput | None) -> Resource:
            resource, note = self._weights(node.name, scaled, seen, steps)
            if note:
                notes[node.name] = note
            return resource

        if steps.rounding or steps.bias:
            arrays = (self.fitted[number].arrays for number in self.statistics.chosen)
            progress = self._stage(stage)
            options = progress, self._dims, self._cuts, self._outputs
            found = quantize_layers(flagged, arrays, self._windows, decide, *options)
        else:  # the samples do not matter
            names = [node.name for node in flagged.nodes if node.quantized and node.layer.role == QuantRole.WEIGHTED]
            found = {name: decide(flagged.node(name), None) for name in names}
        nodes = [node.replace(resource=found.get(node.name, node.resource)) for node in flagged.nodes]
        clock.lap("weights")
        int8 = flagged.with_nodes(nodes)
        plan = moved(scaled.plan, self.graph, int8, UNSHIFTS)
        # Copies that were not needed are gone: their readers read what was to be copied.
        named = {self._copies.sources.get(blob, blob) if blob not in int8.scales else blob: blob for blob in plan.blobs}
        plan = replace(plan, blobs={name: plan.blobs[blob] for name, blob in named.items() if name in int8.scales})
        return Quantization(int8, self.graph, plan, {}, notes, clock.laps, scaled.shifted(), executor=self.executor)

    def _scales(self, steps: Steps, stage: str = "scales") -> _Scaled:
        from tnnquant.kernels.program import one_thread

        key = steps.balance, steps.full_range, steps.islands, self._share if steps.islands else None
        if key not in self._scaled:
            plan = self.plan
            if steps.islands and not self._keeps_none:
                plan = without(self.inference, plan, self._find_islands(steps), COSTLY)
                plan = useful_plan(self.inference, plan) if plan.int8 else self.plan
            slots = scale_slots(self.graph, plan)
            zero = np.zeros(slots.count, np.int64)
            if steps.full_range:
                zero = zero_codes(self.inference, plan, slots, self._copies.sources)
                if not zero.any() and not steps.islands:  # else the same layers stay fp32
                    return self._scales(replace(steps, full_range=False), stage)
            low = self._lows(slots, zero)
            with one_thread():  # thousands of small programs
                found = self.inference, slots, self.statistics, zero, low
                if steps.balance:
                    tried = self._effort.exponents, self._effort.headroom
                    scales, choices = balanced_scales(*found, self._known, *tried, self._stage(stage))
                else:
                    scales, choices = peak_scales(*found)
            may_shift = zero != 0
            zero = final_codes(zero, low, _by_slot(slots, scales))
            halves: dict[str, np.ndarray] = {}
            if steps.balance:
                scales, zero, halves = self._on_grids(slots, scales, zero, may_shift)
            guards = guards_of(self.inference, plan, slots, zero, scales)
            self._scaled[key] = _Scaled(plan, slots, zero, scales, [choice.blobs for choice in choices], guards, halves)
        return self._scaled[key]

    def _on_grids(
        self, slots: ScaleSlots, scales: Mapping[str, QuantParams], zero: np.ndarray, may_shift: np.ndarray
    ) -> tuple[dict[str, QuantParams], np.ndarray, dict[str, np.ndarray]]:
        """Scales and codes for 0 with those that hold inputs exactly; what these are moved by, in steps."""
        scales, zero, halves = dict(scales), zero.copy(), {}
        uses = np.bincount(np.concatenate(list(slots.of.values())), minlength=slots.count)
        for blob, of in slots.of.items():
            grid = self._grids.get(self._copies.sources.get(blob, blob))
            if grid is None or grid.step.size != of.size or (uses[of] > 1).any():
                continue
            if not grid.is_shifted or may_shift[of].all():
                scales[blob] = QuantParams(grid.step.astype(np.float32), np.zeros(of.size, np.int8))
                zero[of] = grid.zero
                halves[blob] = grid.half
        return scales, zero, halves

    def _lows(self, slots: ScaleSlots, zero: np.ndarray) -> np.ndarray:
        """How far the values of shifted copies go below 0, float64 (slots.count,)."""
        low = np.zeros(slots.count)
        for blob in self._copies.sources:
            if blob in slots.of and zero[slots.of[blob]].any():
                seen = self.statistics.low[blob]
                dead = self.statistics.peak[blob].max(axis=0) <= 0
                low[slots.of[blob]] = np.where(dead, seen.max(), seen)
        return low

    def _find_islands(self, steps: Steps) -> set[int]:
        if self._is_late():
            return set()
        key = steps.full_range, self._share
        if key not in self._islands:
            scaled = self._scales(replace(steps, balance=True, islands=False))
            release_freed()
            macs, sets = max(sum(layer_macs(self.inference).values()), 1), max(len(scaled.sets), 1)
            count = max(_LEAST_SAMPLES, min(int(min(_ISLAND_RUNS, _ISLAND_MACS / macs) / sets), len(self.held_out)))
            zero = {blob: scaled.zero[of] for blob, of in scaled.slots.of.items()}
            chosen = np.linspace(0, len(self.fitted) - 1, count).astype(int)
            inputs = [self.fitted[i].arrays for i in chosen]
            stage = self._stage("fp32 layers")
            if steps.full_range not in self._harm:
                started = time.perf_counter()
                self._harm[steps.full_range] = sensitivities(
                    self.executor, scaled.sets, scaled.scales, zero, inputs, stage
                )
                self._searched += time.perf_counter() - started
                release_freed()
            harm, is_value = self._harm[steps.full_range]
            self._islands[key] = choose_islands(
                self.inference, scaled.plan, scaled.slots, scaled.sets, harm, harm.sum(axis=0),
                is_value, self._share,
            )  # fmt: skip
        return self._islands[key]

    def _flagged(self, scaled: _Scaled) -> Graph:
        """The graph with flags, scales and activations of the int8 model, and fp32 weights."""

        def flagged(position: int, node: Node) -> Node:
            makes_codes = node.layer.role == QuantRole.WEIGHTED and node.outputs[0] in scaled.slots.of
            zero = scaled.zero_of(node.outputs[0]) if makes_codes else np.zeros(1)
            if position not in scaled.plan.int8:
                if not zero.any():
                    return node
                blob = node.outputs[0]
                zero = zero + scaled.halves.get(blob, 0.0)
                return shifted_floats(node, zero, scaled.scales[blob].scale, scaled.guards.get(blob, 0))
            layer = node.layer.expect(FusesActivation).with_activation(0) if zero.any() else node.layer
            return node.replace(quantized=True, layer=layer)

        nodes = [flagged(position, node) for position, node in enumerate(self.graph.nodes)]
        graph = widened(self.graph.with_nodes(nodes).replace(scales=scaled.scales), scaled.guards)
        return self._copies.settled(with_shifts_undone(graph, scaled.shifted()), scaled.shifted())

    def _offset(self, blob: str, scales: Mapping[str, QuantParams]) -> np.ndarray | None:
        """By how much the outputs are moved that become a blob, in its unit."""

        def of(name: str) -> np.ndarray:
            moved: np.ndarray = self._offsets[name] * scales[name].scale.astype(np.float64)
            return moved

        if blob in self._joins:
            whole, before = self._joins[blob]
            moved: np.ndarray = of(whole) - of(before)
            return moved
        return of(blob) if blob in self._offsets else None

    def _weights(self, name: str, scaled: _Scaled, seen: LayerInput | None, steps: Steps) -> tuple[Resource, str]:
        node = self.graph.node(name)
        source, target = node.inputs[0], node.outputs[0]
        task = LayerTask(
            node, scaled.scales[source].scale, scaled.scales[target].scale, scaled.zero_of(source),
            scaled.zero[scaled.slots.of[target]], scaled.guards.get(source, 0), scaled.guards.get(target, 0),
            open_taps(node, self.inference.specs) if source in scaled.guards else None, self._effort.clips,
            self._offset(target, scaled.scales), self._repeated.get(name),
        )  # fmt: skip
        if seen is None:
            result = task.solve(None, False, None)
        else:
            mean = self.statistics.mean_window(name) if steps.bias else None
            wanted = Wanted.rows(self.statistics.wanted[name]) if steps.bias else None
            result = task.solve(seen, steps.rounding, mean, wanted)
        return with_weights(node, result), result.note


def _spread(count: int, most: int) -> list[int]:
    """Numbers of some of the samples, evenly spread."""
    numbers: list[int] = np.linspace(0, count - 1, min(most, count)).astype(int).tolist()
    return numbers


def _by_slot(slots: ScaleSlots, scales: Mapping[str, QuantParams]) -> np.ndarray:
    """The scale of each slot, float64 (slots.count,)."""
    scale = np.ones(slots.count)
    for blob, of in slots.of.items():
        scale[of] = scales[blob].scale
    return scale


def _overall(errors: np.ndarray) -> float:
    """One figure of the errors of samples (rows) and parts: geometric mean over parts of a power mean over samples.

    The arithmetic mean over samples would be that of the one or two that come out worst, by chance; the geometric one
    that of those whose scores are saturated, for any model.
    """
    samples = np.mean(np.maximum(errors, _EXACT) ** _POWER, axis=0) ** (1 / _POWER)
    return float(np.exp(np.mean(np.log(samples))))


def _samples_of(split: Split, progress: Progress | None) -> tuple[list, list]:
    """Samples to make the model from, and samples to judge it on; the same ones if there are too few for both."""
    most = len(split.calibrating)
    total = most + (len(split.choose) if split.choose is not None else 0)

    def told(before: int) -> Callable[[int], None] | None:
        return None if progress is None else lambda done: progress("reading", before + done, total)

    kept = keep_samples(split.calibrating, _MEMORY, progress=told(0))
    if split.choose is not None:
        return kept, keep_samples(split.choose, _MEMORY, progress=told(most))[:_MOST_HELD_OUT]
    if len(kept) < _HELD_OUT_EVERY:
        return kept, kept
    held_out = range(_HELD_OUT_EVERY - 1, len(kept), _HELD_OUT_EVERY)[:_MOST_HELD_OUT]
    return [sample for i, sample in enumerate(kept) if i not in held_out], [kept[i] for i in held_out]
