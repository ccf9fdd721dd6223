"""What ``--auto`` tries: what was asked for, the default, better recipes, the other configurations that TNN's tool is
used with, then layers in fp32.

That is the order of what a second is likely to gain. A recipe that chooses its steps gains most and takes long; it is
given what is left of the time, and skips what does not fit. Where that is too little, a quicker recipe is tried.
The other configurations seldom gain anything: not even their statistics are made before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

import numpy as np

from tnnquant import recipes
from tnnquant.base import interrupt
from tnnquant.config import MergeType, QuantizeConfig, SearchConfig
from tnnquant.engine.executor import Executor
from tnnquant.errors import TnnQuantError
from tnnquant.graph import Graph
from tnnquant.graph.patterns import fused_names
from tnnquant.inputs.split import Split
from tnnquant.quantization.borders import with_copies_at_borders
from tnnquant.quantization.plan import QuantPlan, make_plan
from tnnquant.quantization.quantize import Quantization, plan_graph, quantize_weights, spread_scales
from tnnquant.search.mixed import smallest_set
from tnnquant.search.mixer import Mixer
from tnnquant.search.state import State
from tnnquant.search.statistics import StatisticsPool, as_arrays, from_arrays
from tnnquant.search.trials import Trial, trial_of
from tnnquant.verdict.result import GOOD, SetVerdict
from tnnquant.verdict.verify import Verification

__all__ = ["Outcome", "Search"]

#: Blob method, weight method, merge type of the configurations that TNN's tool is used with; the first is its default.
ORIGINALS = (
    ("minmax", "minmax", MergeType.CHANNEL),
    ("kl", "admm", MergeType.CHANNEL),
    ("kl", "admm", MergeType.MIX),
    ("kl", "admm", MergeType.TENSOR),
)
#: Times the budget that may be used without a note.
_OVERRUN = 1.2
#: Of the time that a bounded recipe takes, it needs at least so much to come out better than a quicker one.
_ENOUGH = 0.75
Progress = Callable[[str, int, int], None]
Expect = Callable[[Executor, QuantPlan, QuantizeConfig, float, int], float | None]


@dataclass
class Outcome:
    """The best model, and what was tried.

    Attributes
    ----------
    result : Quantization
    trials : list of Trial
        In order; the best is among them.
    best : str
        Its name.
    config : QuantizeConfig
        Its methods.
    reached : bool or None
        Whether the target was reached; None without one.
    notes : list of str
    """

    result: Quantization
    trials: list[Trial]
    best: str
    config: QuantizeConfig
    reached: bool | None = None
    notes: list[str] = field(default_factory=list)


#: After the name of a model: the one that was made before the pictures held out were taken in.
_WITHOUT = ", without those held out"
#: The statistics of all pictures.
_ALL = "statistics of all"


def _shares_statistics(config: QuantizeConfig) -> bool:
    return recipes.find(config.recipe).starts_from_statistics


def _name_of(config: QuantizeConfig) -> str:
    if not _shares_statistics(config):
        return f"recipe {config.recipe}"
    return f"{config.blob_method}, {config.weight_method}, per {config.merge_type}"


def _layers(names: Sequence[str]) -> str:
    return f"{len(names)} layer{'' if len(names) == 1 else 's'}"


def plan_of(graph: Graph, base: QuantPlan, reasons: Mapping[str, str]) -> QuantPlan:
    """The plan that a finished int8 graph follows, with the reasons why layers are fp32, by name."""
    int8 = frozenset(position for position, node in enumerate(graph.nodes) if node.quantized)
    why = {p: reasons.get(node.name, "") for p, node in enumerate(graph.nodes) if p not in int8}
    known = (name for name in graph.scales if name in base.blobs)
    blobs = {name: replace(base.blobs[name], slots=graph.scales[name].scale.size) for name in known}
    return replace(base, int8=int8, reasons=why, blobs=blobs)


class Search:
    """One search.

    Parameters
    ----------
    graph : Graph
        The fp32 model.
    verification : Verification
        With the pictures for the statistics, and those for the comparison.
    config : QuantizeConfig
        What the user asked for; ``--auto`` tries it too.
    options : SearchConfig
    write : callable (Graph)
        Called with every model that is better than those before.
    state : State, optional
    progress : callable (stage, done, total), optional
    expect : callable (Executor, QuantPlan, QuantizeConfig, seconds, pictures) to float or None, optional
        Seconds that a trial of the configuration would take, by those that a pass of statistics over the pictures
        took; None where that is not known, and it is thought to be in time.
    """

    def __init__(
        self, graph: Graph, verification: Verification, config: QuantizeConfig, options: SearchConfig,
        write: Callable[[Graph], None], state: State | None = None, progress: Progress | None = None,
        expect: Expect | None = None,
    ):  # fmt: skip
        self._started = self._mix_started = time.perf_counter()
        self._graph, self._verification = graph, verification
        self._config, self._options = config, options
        self._write, self._state, self._progress, self._expect = write, state, progress, expect
        self._executor, self._plan = plan_graph(graph, config)
        self._fused = fused_names(graph, self._executor.graph)
        self._pool = StatisticsPool(self._executor, verification.split, progress)
        self._trials: list[Trial] = []
        self._best: tuple[Trial, Quantization] | None = None
        self._failure: TnnQuantError | None = None
        self._configs: dict[str, QuantizeConfig] = {}
        self.seconds: dict[str, float] = {"calibration": 0.0}
        self._passes = 0.0  # seconds of the first pass over the pictures
        if state:
            self._pool.states |= from_arrays(state.load_statistics())

    def run(self) -> Outcome:
        """Try, and return the best; it has been written.

        Raises
        ------
        TnnQuantError
            Nothing could be made.
        KeyboardInterrupt
            Before the first model was there; later, the best so far is returned.
        """
        notes: list[str] = []
        try:
            for name, config in self._configurations(notes):
                self._configs[name] = config
                self._try(name, partial(self._make, config))
            self._mix(notes)
            self._take_in_held_out(notes)
        except KeyboardInterrupt:
            interrupt.forget()
            if self._best is None:
                raise
            notes.append("interrupted: the model is the best of the trials so far")
        if self._best is None:
            assert self._failure is not None  # of every trial
            raise self._failure
        spent = self._elapsed()
        self.seconds["trials"] = spent - self.seconds["calibration"]
        if self._options.compares and spent > _OVERRUN * self._options.seconds + 1:
            notes.append(
                f"the search took {spent:.0f} s: a trial that was begun within the time budget of "
                f"{self._options.seconds:g} s is finished"
            )
        trial, result = self._best
        reached = self._is_enough(trial) if self._options.has_target else None
        return Outcome(result, self._trials, trial.name, self._configs[trial.name], reached, notes)

    # --- what is tried ---

    def _configurations(self, notes: list[str]) -> Iterator[tuple[str, QuantizeConfig]]:
        """What to try next, by name, as long as there is time; why no more is tried is added to the notes."""
        asked = _name_of(self._config)
        yield asked, self._config
        if not self._options.auto:
            return
        default, *others = (self._by_flags(*methods) for methods in ORIGINALS)
        if _name_of(default) != asked:
            # The default is tried at any rate: what is written is never worse.
            yield _name_of(default), default
        short: list[str] = []
        for config in (*self._better(short), *others):
            name = _name_of(config)
            if name in self._configs:
                continue
            if self._fits(self._expected(config) if _shares_statistics(config) else 0.0):
                yield name, config
            else:
                short.append(self._told(config))
        if short:
            notes.append(f"the time budget of {self._options.seconds:g} s was too short for: {'; '.join(short)}")

    def _better(self, short: list[str]) -> Iterator[QuantizeConfig]:
        """Recipes that come closer to fp32, as time allows: the best one, or a quicker one that fits instead of it."""
        every = [replace(self._config, recipe=entry.name) for entry in recipes.every() if entry.chooses_on_held_out]
        for config in every:
            if self._fits(_ENOUGH * self._expected(config)) or not self._in_time():
                yield config
                continue
            short.append(self._told(config))
            # Only those that choose layers for it take another share.
            share = 0.0 if config.fp32_share == 0 else None
            quicker = (
                replace(config, recipe=entry.name, fp32_share=share) for entry in recipes.every()
                if entry.needs_inputs and not entry.chooses_on_held_out and not entry.starts_from_statistics
            )
            yield from (other for other in quicker if self._expected(other) > 0 and self._fits(self._expected(other)))

    def _told(self, config: QuantizeConfig) -> str:
        """The name of a configuration, with the seconds that it takes."""
        seconds = self._expected(config)
        return f"{_name_of(config)} (about {max(seconds, 1):.0f} s)" if seconds else _name_of(config)

    def _expected(self, config: QuantizeConfig) -> float:
        """Seconds that a trial takes, 0 where they are not known; of statistics that were kept nothing is known."""
        spent, pictures = self.seconds["calibration"], len(self._verification.split.paths())
        if self._expect is None or not spent:
            return 0.0
        if not self._passes:
            self._passes = spent
        return self._expect(self._executor, self._plan, config, self._passes, pictures) or 0.0

    def _fits(self, seconds: float) -> bool:
        """Whether a trial of that length ends about in time."""
        return self._elapsed() + seconds <= _OVERRUN * self._options.seconds and self._in_time()

    def _by_flags(self, blob: str, weight: str, merge: MergeType) -> QuantizeConfig:
        """What is asked for with other methods of TNN's tool."""
        by_flags = QuantizeConfig().recipe
        return replace(self._config, recipe=by_flags, blob_method=blob, weight_method=weight, merge_type=merge)

    def _plan_of(self, config: QuantizeConfig) -> QuantPlan:
        return make_plan(self._executor.inference, config, self._fused)

    def _make_statistics(self, config: QuantizeConfig) -> None:
        """Those of a configuration, and of those that are tried along with it: one run of the network does for all."""
        started = time.perf_counter()
        default, *others = (self._by_flags(*methods) for methods in ORIGINALS)
        first = [self._config, default] if self._options.auto else [self._config]
        together = first if config in first else others
        if self._pool.gather([self._plan_of(c) for c in together if _shares_statistics(c)]) and self._state:
            self._state.save_statistics(as_arrays(self._pool.states))
        self.seconds["calibration"] += time.perf_counter() - started

    def _make(self, config: QuantizeConfig, pool: StatisticsPool | None = None) -> Quantization:
        """The model of a configuration; ``pool``: of other pictures than those of the trials."""
        if not _shares_statistics(config):
            return self._make_once(config)
        plan = self._plan_of(config)
        if pool is None:
            self._make_statistics(config)
        graph = self._executor.graph
        scales = spread_scales(plan, (pool or self._pool).params(plan))
        nodes, notes = quantize_weights(graph, plan, scales, config)
        quantized = graph.with_nodes(nodes).replace(scales=scales)
        result = Quantization(quantized, graph, plan, {}, notes, {}, executor=self._executor)
        return with_copies_at_borders(result, config)

    def _make_once(self, config: QuantizeConfig) -> Quantization:
        """The model of a recipe that takes long: made, or found in the state."""
        what = f"model of {_name_of(config)}{self._within()}"
        state = self._state
        rest = state.recall(what) if state else None
        graph = state.load_model(what) if state and rest else None
        without = state.load_model(what + _WITHOUT) if state and rest and rest["has_without"] else None
        if rest and graph is not None and (without is not None or not rest["has_without"]):
            zero = {blob: np.array(codes, np.int64) for blob, codes in rest["zero_codes"].items()}
            plan = plan_of(graph, self._plan, rest["reasons"])
            fp32 = self._executor.graph
            return Quantization(graph, fp32, plan, {}, rest["notes"], {}, zero, without, executor=self._executor)
        # The trials of a search share its time; a recipe alone has its own.
        left = self._options.seconds - self._elapsed() if self._options.compares else None
        budget = self._options.time_budget if left is None or self._best is None else max(left, 0.0)
        result = recipes.quantize(
            self._graph, self._verification.split, config, self._progress, budget, self._verification.goal
        )
        # Another run may have time for what this one skipped.
        is_whole = budget is None or self._elapsed() < self._options.seconds
        if self._state and is_whole:
            zero = {blob: np.asarray(codes).tolist() for blob, codes in result.zero_codes.items()}
            reasons = {result.graph.nodes[p].name: reason for p, reason in result.plan.reasons.items()}
            rest = {"zero_codes": zero, "notes": result.notes, "reasons": reasons}
            self._state.remember(what, lambda: {**rest, "has_without": result.unseen is not None})
            self._state.save_model(what, result.graph)
            if result.unseen is not None:
                self._state.save_model(what + _WITHOUT, result.unseen)
        return result

    # --- trials ---

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started

    def _in_time(self, share: float = 1.0) -> bool:
        now = time.perf_counter()
        since = self._mix_started if share < 1 else self._started
        return now - since < share * (self._options.seconds - (since - self._started))

    def _on_evaluation(self) -> bool:
        return self._options.has_target

    def _within(self) -> str:
        """What is after the name of a result that depends on the target of the user's own metric."""
        return "" if self._options.target is None else f" within {self._options.target!r}"

    def _judged(self, result: Quantization) -> Graph:
        """The model that knows nothing of the pictures it is judged on."""
        is_elsewhere = self._on_evaluation() and self._verification.has_evaluation
        return result.graph if is_elsewhere else result.unseen or result.graph

    def _judge(self, graph: Graph) -> SetVerdict:
        return self._verification.try_out(graph, self._executor, on_evaluation=self._on_evaluation())

    def _try(self, name: str, make: Callable[[], Quantization]) -> None:
        """Make a model and judge it; a recipe that fails is noted."""
        started = time.perf_counter()
        try:
            result = make()
        except TnnQuantError as error:
            self._failure = error
            self._trials.append(Trial(name, "failed", seconds=time.perf_counter() - started, note=str(error)))
            return
        self._enter(name, result, started, ())

    def _enter(self, name: str, result: Quantization, started: float, layers: tuple[str, ...]) -> None:
        def compute() -> Mapping:
            seconds = time.perf_counter() - started
            return trial_of(name, self._judge(self._judged(result)), seconds, layers).as_dict()

        if self._options.compares:
            stored = self._remember(f"trial {name} {','.join(layers)}", compute)
            trial = Trial(**{**stored, "fp32_layers": tuple(stored["fp32_layers"])})
        else:
            trial = Trial(name, GOOD, seconds=time.perf_counter() - started)
        self._trials.append(trial)
        if self._best is None or self._order(trial) > self._order(self._best[0]):
            self._best = trial, result
            self._write(result.graph)
        if self._progress:
            self._progress("trials", len(self._trials), max(len(self._trials), 2 + len(ORIGINALS)))

    def _remember(self, what: str, compute: Callable[[], Mapping]) -> dict:
        return self._state.remember(what + self._within(), compute) if self._state else dict(compute())

    # --- the pictures held out ---

    def _take_in_held_out(self, notes: list[str]) -> None:
        """Make the best model once more of all pictures, as the recipes that choose do by themselves.

        With methods of TNN's tool it is done at any rate: without, the model could be worse than that of a plain run.
        """
        split = self._verification.split
        if self._best is None or split.choose is None or not split.joins or not self._options.compares:
            return
        trial, before = self._best
        config = self._configs[trial.name]
        recipe = recipes.find(config.recipe)
        if recipe.chooses_on_held_out or not recipe.needs_inputs:
            return
        whole = Split(split.samples, references=split.references)
        if _shares_statistics(config):
            result = self._of_all(config, whole)
        elif self._in_time():
            make = recipes.mixable if trial.fp32_layers else recipes.quantize
            result = make(self._graph, whole, config, self._progress)
        else:
            notes.append(
                f"the time budget of {self._options.seconds:g} s was used up: the pictures that models were "
                "compared on stay out of the model"
            )
            return
        if trial.fp32_layers:
            mixer = Mixer(self._verification, result, trial.name, self._judge, self._remember)
            result = with_copies_at_borders(mixer.result(trial.fp32_layers), config)
        self._best = trial, replace(result, unseen=before.graph)
        self._write(result.graph)

    def _of_all(self, config: QuantizeConfig, whole: Split) -> Quantization:
        """The model by the statistics of all pictures."""
        pool = StatisticsPool(self._executor, whole, self._progress)
        if self._state:
            pool.states |= from_arrays(self._state.load_statistics(_ALL))
        if pool.gather([self._plan_of(config)]) and self._state:
            self._state.save_statistics(as_arrays(pool.states), _ALL)
        return self._make(config, pool)

    # --- mixed precision ---

    def _mix(self, notes: list[str]) -> None:
        """Layers in fp32 until the target is reached, or with ``--auto`` until the verdict is good."""
        if self._best is None or not self._options.compares or self._is_enough(self._best[0]):
            return
        self._mix_started = time.perf_counter()
        base, result = self._best
        if result.zero_codes:
            # Layers cannot go back to fp32 one by one where codes are shifted: they are mixed without that step.
            config = self._configs[base.name]
            result = recipes.mixable(self._graph, self._verification.split, config, self._progress)
        mixer = Mixer(self._verification, result, base.name, self._judge, self._remember)
        found = smallest_set(
            mixer.names(), mixer.costs(), mixer.noise_of,
            lambda layers: self._is_enough(mixer.trial(layers)), self._in_time, self._progress,
        )  # fmt: skip
        if not found.complete:
            notes.append(
                f"the time budget of {self._options.seconds:g} s was used up while layers were tried in fp32; "
                + ("fewer might do" if found.reached else "more might help")
            )
        if found.layers:
            mixed = with_copies_at_borders(mixer.result(found.layers), self._config)
            name = f"{base.name}, {_layers(found.layers)} fp32"
            self._configs[name] = self._configs[base.name]
            self._enter(name, mixed, mixer.started, found.layers)
        if not found.reached:
            target = self._options.target_agreement if self._options.target is None else self._options.target
            goal = "a good verdict" if target is None else f"the target of {target:g}"
            notes.append(f"{goal} was not reached with {_layers(found.layers)} in fp32")

    def _is_enough(self, trial: Trial) -> bool:
        options = self._options
        if options.target is not None:
            return trial.drop is not None and trial.drop <= options.target
        if options.target_agreement is not None:
            return trial.agreement >= options.target_agreement
        # No layer in fp32 makes up for too few pictures.
        return (trial.measured or trial.status) == GOOD

    def _order(self, trial: Trial) -> tuple:
        """What is best: with a target, to reach it with the fewest layers in fp32, or else to come close; without one,
        the verdict, and then int8 everywhere."""
        if not self._options.has_target:
            return trial.rank
        enough = self._is_enough(trial)
        close = trial.agreement if self._options.target is None else -inf if trial.drop is None else -trial.drop
        return enough, -len(trial.fp32_layers) if enough else close, *trial.rank
