"""Variants of one int8 model with layers in fp32, and what they are worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tnnquant.graph import Graph
from tnnquant.quantization.quantize import Quantization
from tnnquant.search.mixed import candidates, float_layers
from tnnquant.search.trials import Trial, likeness_of, trial_of
from tnnquant.verdict.layers import layer_noise
from tnnquant.verdict.result import SetVerdict
from tnnquant.verdict.verify import Verification

__all__ = ["Mixer"]

KEPT = "kept in fp32 for the verdict"

Remember = Callable[[str, Callable[[], Mapping]], dict]


class Mixer:
    """Variants of a model.

    Parameters
    ----------
    verification : Verification
    result : Quantization
        The int8 model.
    name : str
        Of its trial.
    judge : callable (Graph) to SetVerdict
        On the pictures that decide.
    remember : callable (what, compute)
        Gives a result that was kept, or computes it.
    """

    def __init__(
        self, verification: Verification, result: Quantization, name: str, judge: Callable[[Graph], SetVerdict],
        remember: Remember,
    ):  # fmt: skip
        self.started = time.perf_counter()
        self._verification, self._base, self._name = verification, result, name
        self._judge, self._remember = judge, remember
        self._seen: dict[tuple[str, ...], Trial] = {}

    def names(self) -> list[str]:
        """Candidates, those that add most noise first."""
        int8 = self._verification.executor(self._base.graph, self._base.executor)
        noisy = [noise.layer for noise in layer_noise(self._base.executor, int8, self._verification.tapped())]
        return candidates(self._base.graph, noisy)

    def costs(self) -> dict[str, float]:
        """Share of the model's multiply-adds by layer."""
        executor = self._base.executor
        macs = {
            node.name: node.layer.macs(*([executor.specs[b] for b in blobs] for blobs in (node.inputs, node.outputs)))
            for node in self._base.fp32.nodes
        }
        total = sum(macs.values())
        return {name: count / total if total else 0.0 for name, count in macs.items()}

    def noise_of(self, layer: str) -> float:
        """Distance of the outputs' cosine from 1 with this layer alone in int8, on a few pictures."""

        def compute() -> Mapping:
            others = [name for name in candidates(self._base.graph) if name != layer]
            found = self._verification.glance(self._graph(others), self._base.executor)
            return {"noise": 1 - likeness_of(found)}

        return float(self._remember(f"noise of {layer} in {self._name}", compute)["noise"])

    def trial(self, layers: Sequence[str]) -> Trial:
        """The model with these layers in fp32, judged."""
        key = tuple(sorted(layers))
        if key not in self._seen:
            started = time.perf_counter()

            def compute() -> Mapping:
                verdict = self._judge(self._graph(key))
                return trial_of(self._name, verdict, time.perf_counter() - started, key).as_dict()

            stored = self._remember(f"trial {self._name} without {','.join(key)}", compute)
            self._seen[key] = Trial(**{**stored, "fp32_layers": tuple(stored["fp32_layers"])})
        return self._seen[key]

    def result(self, layers: Sequence[str]) -> Quantization:
        """The model with these layers in fp32, with the plan that fits it."""
        graph, plan = self._graph(layers), self._base.plan
        chosen, reasons, int8 = set(layers), dict(plan.reasons), set()
        for position in plan.int8:
            if graph.nodes[position].quantized:
                int8.add(position)
            else:
                reasons[position] = KEPT if graph.nodes[position].name in chosen else "not after an int8 layer"
        blobs = {name: blob for name, blob in plan.blobs.items() if name in graph.scales}
        fitting = replace(plan, int8=frozenset(int8), reasons=reasons, blobs=blobs)
        return replace(self._base, graph=graph, plan=fitting)

    def _graph(self, layers: Sequence[str]) -> Graph:
        return float_layers(self._base.graph, self._base.fp32, layers)
