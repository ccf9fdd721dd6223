"""A kernel of one's own in a real network: are the outputs the same, and what does it win?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tnnquant.base.threads import set_threads
from tnnquant.bench.apart import Send
from tnnquant.bench.check import first_wrong, wrong_values
from tnnquant.bench.custom import CustomKernel, chosen_kernels
from tnnquant.bench.machine import describe
from tnnquant.bench.models import quantize_here, read_int8, samples_for
from tnnquant.bench.substitute import Place, Substitution, marks_of
from tnnquant.bench.timing import in_turns
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError
from tnnquant.graph import Graph
from tnnquant.graph.lower import lower
from tnnquant.pipeline.models import model_files, open_model

__all__ = ["LayerWith", "NetworkWith", "measure_in_network", "report_network"]

#: Of the largest value: how far outputs may be off where the operator itself may differ in its last bits.
_NEAR = 1e-3
_BUDGET = 8.0  # seconds of the timed runs
_SAMPLES = 4  # that outputs are compared on


@dataclass(frozen=True)
class LayerWith:
    """One place of the kernel; times are the fastest of several calls from Python."""

    layer: str
    type: str
    seconds: float
    builtin_seconds: float
    difference: str


@dataclass(frozen=True)
class NetworkWith:
    """A network with a kernel of one's own.

    Attributes
    ----------
    operator, model : str
        ``model`` is fp32 or int8.
    layers : list of LayerWith
    left : int
        Places that the kernel's arguments cannot express: the built-in one ran there.
    seconds, builtin_seconds : float
        Medians of the whole network, in turns.
    outputs : dict of str to float
        Largest difference of each output, of its largest value; 0: all bits are equal.
    problem : str
        What is wrong, in words; empty if nothing.
    """

    operator: str
    model: str
    layers: list[LayerWith]
    left: int
    seconds: float
    builtin_seconds: float
    outputs: dict[str, float]
    problem: str

    def as_dict(self) -> dict:
        """JSON types."""
        return asdict(self)


def measure_in_network(
    kernel: CustomKernel, graph: Graph, samples: Sequence[Mapping[str, np.ndarray]], model: str, *, repeats: int = 50,
    input_dims: Mapping[str, tuple[int, ...]] | None = None, doing: Callable[[str], None] | None = None,
) -> NetworkWith | None:  # fmt: skip
    """Put a kernel in the place of the built-in one, compare and time.

    Parameters
    ----------
    kernel : CustomKernel
    graph : Graph
        As it is executed: lowered.
    samples : sequence of mapping of str to ndarray
        Outputs are compared on all, times are of the first.
    model : str
        What the graph is called.
    repeats : int
        Timed runs at most.
    doing : callable (text), optional
        Told what runs.

    Returns
    -------
    NetworkWith or None
        None: the network does not call the operator.

    Raises
    ------
    ConfigError
        No network calls the operator.
    KernelError
        The kernel does not compile or raises an error.
    """
    say = doing or (lambda text: None)
    substitution = Substitution(kernel.operator, kernel.function)
    builtin = Executor(graph, input_dims, exact=False)
    with substitution.planned():
        executor = Executor(graph, input_dims, exact=False)
        executor.run(samples[0])  # what runs without anybody watching is planned at the first run
    names = _names(executor)
    say(f"{kernel.operator.name} in the {model} network, compared layer by layer")
    substitution.mode = "check"
    executor.run(samples[0])
    places = [(names.get(number, ("", "")), place) for number, place in substitution.places.items() if place.runs]
    if not places:
        return None
    wrong = [f"{name[0]} ({name[1]}): {place.difference}" for name, place in places if place.difference]
    substitution.mode = "yours"
    say(f"{kernel.operator.name} in the {model} network")
    outputs, differing = _outputs(builtin, executor, samples, kernel.operator.tolerance)
    seconds = builtin_seconds = float("nan")
    problem = differing
    if wrong:
        problem = f"{len(wrong)} of {len(places)} layers differ; {wrong[0]}" + (f"; {differing}" if differing else "")
    if not problem:
        seconds, builtin_seconds = _times(builtin, executor, substitution, samples[0], repeats)
    layers = [_layer(name, place) for name, place in places]
    return NetworkWith(
        kernel.operator.name, model, layers, substitution.left, seconds, builtin_seconds, outputs, problem
    )


def _names(executor: Executor) -> dict[int, tuple[str, str]]:
    found = {}
    for step in executor.unwatched().steps:
        for rows in (step.rows, step.fused):
            for mark in marks_of(rows):
                found[mark] = step.node.name, step.node.layer.TYPE_NAMES[0]
    return found


def _layer(name: tuple[str, str], place: Place) -> LayerWith:
    known = np.isfinite(place.seconds)
    return LayerWith(
        *name, place.seconds if known else float("nan"), place.builtin_seconds if known else float("nan"),
        place.difference,
    )  # fmt: skip


def _outputs(
    builtin: Executor, executor: Executor, samples: Sequence[Mapping[str, np.ndarray]], tolerance: float
) -> tuple[dict[str, float], str]:
    """The largest difference of each output, and what is wrong in words."""
    found: dict[str, float] = {}
    problem = ""
    for number, arrays in enumerate(samples, 1):
        want, got = builtin.run(arrays), executor.run(arrays)
        for name, array in want.items():
            a, b = np.asarray(array, np.float64), np.asarray(got[name], np.float64)
            wrong = wrong_values(array, got[name], _NEAR if tolerance else 0.0)
            with np.errstate(invalid="ignore"):
                gap = float(np.nan_to_num(np.abs(a - b), nan=np.inf)[a != b].max(initial=0))
            largest = float(np.abs(a[np.isfinite(a)]).max(initial=0)) or 1.0
            found[name] = max(found.get(name, 0.0), gap / largest)
            if wrong.any() and not problem:
                problem = f"output {name!r} of sample {number}: {first_wrong(wrong, array, got[name])}"
    return found, problem


def _times(
    builtin: Executor, executor: Executor, substitution: Substitution, arrays: Mapping[str, np.ndarray], repeats: int
) -> tuple[float, float]:
    fed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    start = time.perf_counter()
    executor.run(fed)
    once = time.perf_counter() - start
    count = max(3, min(repeats, int(_BUDGET / max(once, 1e-6))))
    ours, yours = in_turns([lambda: builtin.run(fed), lambda: executor.run(fed)], count, warm_up=1)
    substitution.mode = "time"
    for _ in range(max(2, min(7, count))):
        executor.run(fed)
    return yours.median, ours.median


def report_network(
    send: Send, path: str, source: tuple, int8_pair: tuple | None, input_path: str | None, config: QuantizeConfig,
    repeats: int, threads: int | None,
) -> None:  # fmt: skip
    """Measure a file's kernels in a model, for :func:`~tnnquant.bench.apart.run_apart`.

    Sends ("progress", (stage, done, total)), ("network", NetworkWith), ("machine", dict).
    """
    send("doing", path)
    set_threads(threads)
    kernels = chosen_kernels(path, ())
    for kernel in kernels:
        Substitution(kernel.operator, kernel.function)
    graph, config = open_model(model_files(*source), config)
    samples = samples_for(graph, input_path, config, threads)
    fp32, int8 = (None, graph) if graph.is_quantized else (graph, None)
    if int8_pair:
        int8 = read_int8(*int8_pair)
    elif int8 is None:
        int8 = quantize_here(graph, samples, config, lambda *state: send("progress", state))
    arrays = [dict(sample.arrays) for sample, _ in zip(samples, range(_SAMPLES), strict=False)]
    graphs = {"fp32": None if fp32 is None else lower(fp32), "int8": int8}
    found = 0
    for kernel in kernels:
        for name, made in graphs.items():
            if made is None:
                continue

            def doing(text: str) -> None:
                send("doing", f"{path}: {text}")
                send("progress", (text, 0, 0))

            result = measure_in_network(
                kernel, made, arrays, name, repeats=repeats, input_dims=config.input_dims, doing=doing
            )
            if result is not None:
                found += 1
                send("network", result)
    if not found:
        names = ", ".join(kernel.operator.name for kernel in kernels)
        hint = "`tnnquant bench latency --program` shows them"
        raise ConfigError(f"{path}: no program of the network calls {names} ({hint})")
    send("machine", describe())
