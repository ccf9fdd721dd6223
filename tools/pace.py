"""How long the stages of quantizing take: measure them, write the table, check what is told of the seconds left.

    python tools/pace.py run ../shared TRACES.json [--networks A,B] [--recipes A;B] [--threads 1,2] [--times 2]
        [--own NAME=MODEL:PICTURES:MEAN:SCALE ...]
    python tools/pace.py fit TRACES.json [...]      writes tnnquant/pipeline/costs.py
    python tools/pace.py check TRACES.json [...]    what the table would have told during these runs

Run it once more after a stage has become faster: two threads and one, nothing else running, takes about four minutes.
``run`` adds to the file; of the same run the one that took least counts. Networks: those of the shared folder, and
your own (files MODEL.tnnproto and MODEL.tnnmodel; a large one tells what the others do not). A run is a process of its
own, as of the command line. ``fit`` finds costs that are not negative and come closest, relatively, to
what the stages took with one thread, and from the runs with two how much of a stage runs side by side. ``check`` counts
for how much of the time in which something was told it was within 30 % (or half a second) of what was left.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from tnnquant import QuantizeConfig, quantize_model
from tnnquant.pipeline import pace
from tnnquant.pipeline.duration import END, START, Pictures, Work, amounts, stages_of
from tnnquant.quantization.quantize import working_seconds
from tnnquant.recipes.best import layerwise

TABLE = Path(__file__).parents[1] / "tnnquant" / "pipeline" / "costs.py"
#: Model, calibration pictures, how many of them, preprocessing.
NETWORKS: dict[str, tuple[str, str, tuple[int, ...], dict[str, Any]]] = {
    "squeezenet": (
        "squeezenet_v1.1", "calibration-227", (64, 16),
        {"mean": (104.006, 116.669, 122.679), "reverse_channel": True},
    ),
    "lite0": (
        "efficientnet_lite0", "calibration-224", (64, 24),
        {"mean": (127.0,), "scale": (0.0078125,), "resize": "crop"},
    ),
    "yolov8n": ("real/yolov8n", "real/yolov8n-pictures", (16,), {"scale": (0.00392156862,)}),
    "ppocr_det": ("real/ppocr_det", "real/ppocr_det-pictures", (16,), {"mean": (127.5,), "scale": (0.00784313725,)}),
    "ppocr_cls": ("real/ppocr_cls", "real/ppocr_cls-pictures", (16,), {"mean": (127.5,), "scale": (0.00784313725,)}),
}  # fmt: skip
#: Recipes by the names of their tables, and their other options.
RECIPES: dict[str, dict[str, Any]] = {
    "tnn": {}, "tnn, searching": {"blob_method": "kl", "weight_method": "admm"}, "fast": {"recipe": "fast"},
    "best": {"recipe": "best"},
}  # fmt: skip
#: A cost is judged by its share of the stage, but of a short stage by its share of so many seconds.
SHORT = 0.1
NEAR, NEAR_SECONDS = 0.3, 0.5


@dataclass
class Trace:
    """A run: working seconds of what was told, from its beginning; what there was to do."""

    network: str
    recipe: str
    threads: int
    pictures: dict[str, int]
    work: dict[str, Any]
    told: list[tuple[float, str, int, int]]
    layers: list[list[float]]
    begun: float
    end: float

    @property
    def key(self) -> tuple:
        return self.network, self.recipe, self.threads, self.pictures["made"]

    @property
    def config(self) -> QuantizeConfig:
        return QuantizeConfig(**RECIPES[self.recipe])

    def counted(self) -> tuple[Work, Pictures]:
        work = {**self.work, "places": tuple(map(tuple, self.work["places"]))}
        return Work(**work), Pictures(**self.pictures)

    def stages(self) -> dict[str, float]:
        """Seconds from the last that was told of the stage before to the last of this one."""
        found, before = {START: self.begun}, self.begun
        for now, stage, _, total in self.told:
            if total:
                found[stage] = found.get(stage, 0.0) + now - before
                before = now
        return {**found, END: self.end - before}


class Recorder:
    """Notes what is told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str, int, int]] = []
        self.began = working_seconds()

    def left(self, seconds: float) -> None:
        pass

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.told.append((working_seconds() - self.began, stage, done, total))


def record(shared: str, network: str, recipe: str, threads: int, count: int) -> Trace:
    """One run, in this process."""
    model, folder, _, settings = NETWORKS[network]
    data, counted = Path(shared) / "data", []
    layers: list[list[float]] = []

    def counting(
        config: QuantizeConfig, work: Work, pictures: Pictures, threads: int | None = None
    ) -> dict[str, float]:
        counted.append((asdict(work), asdict(pictures), working_seconds() - recorder.began))
        return stages_of(config, work, pictures)

    files = sorted((data / folder).iterdir())[:count]

    def of_layer(*given: Any) -> tuple[float, ...]:
        found = counts(*given)
        layers.append(list(found))
        return found

    counts = layerwise._counted
    # This process measures one run and ends: what it calls is listened to as a test would.
    setattr(layerwise, "_counted", of_layer)  # noqa: B010 - types would refuse the assignment
    setattr(pace, "stages_of", counting)  # noqa: B010 - as above
    with tempfile.TemporaryDirectory() as out:
        recorder = Recorder()
        config = QuantizeConfig(**settings, **RECIPES[recipe])
        pair = (data / f"{model}.tnnproto", data / f"{model}.tnnmodel")
        quantize_model(*pair, files, Path(out) / "out", config, threads=threads, progress=recorder)
    work, pictures, begun = counted[-1]
    end = working_seconds() - recorder.began
    return Trace(network, recipe, threads, pictures, work, recorder.told, layers, begun, end)


# --- the table ---


def fitted(
    rows: Sequence[Mapping[str, float]], seconds: Sequence[float], short: float = SHORT
) -> dict[str, float]:
    """Costs, 0 or more, with the least squares of relative errors: by descent on one cost after another."""
    names = sorted({name for row in rows for name in row})
    weight = 1 / (np.array(seconds) + short)
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows]) * weight[:, None]
    wanted = np.array(seconds) * weight
    norms = np.maximum(np.linalg.norm(matrix, axis=0), 1e-12)
    matrix = matrix / norms
    # A little of a penalty decides between what is counted alike.
    gram = matrix.T @ matrix + 1e-3 * len(rows) / len(names) * np.eye(len(names))
    target, found = matrix.T @ wanted, np.zeros(len(names))
    for _ in range(3000):
        for i in range(len(names)):
            found[i] = max(0.0, found[i] + (target[i] - gram[i] @ found) / gram[i, i])
    return {name: float(f"{cost:.3g}") for name, cost in zip(names, found / norms, strict=True) if cost > 1e-9}


def table_of(traces: Iterable[Trace]) -> dict[str, dict[str, dict[str, float]]]:
    """Costs by table, stage and what is counted."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    traces = list(traces)
    for recipe in dict.fromkeys(trace.recipe for trace in traces):
        mine = [trace for trace in traces if trace.recipe == recipe]
        counted = [amounts(trace.config, *trace.counted()) for trace in mine]
        seconds = [trace.stages() for trace in mine]
        for stage in counted[0]:
            took = [run.get(stage, 0.0) for run in seconds]
            pairs = list(zip([count[stage] for count in counted], took, mine, strict=True))
            alone = [(count, time) for count, time, trace in pairs if trace.threads == 1]
            cost = fitted([count for count, _ in alone], [time for _, time in alone])
            one = {trace.key: time for _, time, trace in pairs if trace.threads == 1}
            two = [(trace.key, time) for _, time, trace in pairs if trace.threads == 2]
            both = [(one[n, r, 1, c], time) for (n, r, _, c), time in two if (n, r, 1, c) in one]
            before, after = ([pair[which] for pair in both] for which in (0, 1))
            if sum(before) > SHORT:
                # Of all together: short stages are noise.
                cost["parallel"] = round(float(np.clip(2 * (1 - sum(after) / sum(before)), 0, 1)), 2)
            table.setdefault(recipe, {})[stage] = cost
    return table


def layer_costs(traces: Iterable[Trace]) -> list[float]:
    """For :data:`tnnquant.recipes.best.layerwise._COSTS`."""
    rows: list[dict[str, float]] = []
    seconds: list[float] = []
    for trace in traces:
        if trace.threads != 1:
            continue
        layers = iter(trace.layers)
        for (before, *_), (now, stage, *_) in pairwise(trace.told):
            if stage in ("weights", "weights, trial") and trace.layers:
                rows.append({str(i): count for i, count in enumerate(next(layers))})
                seconds.append(now - before)
    found = fitted(rows, seconds, 0.02)
    return [found.get(str(i), 0.0) for i in range(len(layerwise._COSTS))]


def write_table(table: Mapping[str, Mapping[str, Mapping[str, float]]], process: float, slower: float) -> None:
    """As a module, of a machine that is ``slower`` times as fast as the one that was measured."""
    lines = [
        '"""Seconds for a unit of what there is to do (:func:`tnnquant.pipeline.duration.amounts`), by recipe and',
        "stage, and the share of a stage that runs side by side on more cores.",
        "",
        "Written by ``python tools/pace.py fit``: measure again instead of editing.",
        '"""',
        "",
        "#: Seconds of a process before the run begins.",
        f"PROCESS = {process:g}",
        "COSTS: dict[str, dict[str, dict[str, float]]] = {",
    ]
    for recipe, stages in table.items():
        lines.append(f"    {json.dumps(recipe)}: {{")
        for stage, cost in stages.items():
            lines.append(f"        {json.dumps(stage)}: {{")
            shares = {"parallel"}
            scaled = {name: value if name in shares else float(f"{value / slower:.3g}") for name, value in cost.items()}
            entries = ", ".join(f"{json.dumps(name)}: {value}" for name, value in scaled.items())
            lines += [12 * " " + line for line in wrap(f"{entries},", 108)] if cost else []
            lines.append("        },")
        lines.append("    },")
    TABLE.write_text("\n".join([*lines, "}", ""]))


# --- what is told ---


def told_right(trace: Trace) -> tuple[float, float, list[str]]:
    """Seconds in which something was told, those in which it was right, and some of it."""
    costs = stages_of(trace.config, *trace.counted(), trace.threads)
    costs.pop(START, None)
    course, said = pace.Course(costs, trace.begun), []
    for now, stage, done, total in trace.told:
        left = course.left(stage, done / total, now) if total else None
        if left is not None:
            said.append((now, left, stage))
    told = right = 0.0
    shown: list[tuple[float, str]] = []
    for (now, left, stage), (until, *_) in zip(said, [*said[1:], (trace.end, 0, "")], strict=bool(said)):
        # The bar counts down by itself; every tenth of a second is looked at.
        for moment in np.arange(now, until, 0.1):
            step = min(0.1, until - moment)
            rest = trace.end - moment
            told += step
            right += step * (abs(max(left - (moment - now), 0.0) - rest) <= max(NEAR * rest, NEAR_SECONDS))
        if not shown or now - shown[-1][0] > trace.end / 9:
            shown.append((now, f"{stage} {left:.1f}/{trace.end - now:.1f}"))
    return told, right, [text for _, text in shown]


def check(traces: Iterable[Trace], verbose: bool) -> None:
    for trace in traces:
        told, right, shown = told_right(trace)
        expected = sum(stages_of(trace.config, *trace.counted(), trace.threads).values())
        print(
            f"{trace.network:11} {trace.recipe:14} {trace.threads} threads {trace.pictures['made']:3} pictures: "
            f"{trace.end:5.1f} s (table {expected:5.1f}); told for {100 * told / trace.end:3.0f} %, of which right "
            f"{100 * right / max(told, 1e-9):3.0f} %"
        )
        if verbose:
            print("   said/left:", "; ".join(shown))
            costs, took = stages_of(trace.config, *trace.counted(), trace.threads), trace.stages()
            print("   table/took:", "; ".join(f"{s} {costs[s]:.2f}/{took.get(s, 0):.2f}" for s in costs))


# --- the command ---


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "fit", "check", "one"))
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--networks", default="")
    parser.add_argument("--recipes", default=";".join(RECIPES))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--process", type=float, default=0.5, help="seconds of a process before the run begins")
    parser.add_argument("--slower", type=float, default=1, help="times as long as usual that it took")
    parser.add_argument("--own", action="append", default=[])
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    for own in options.own:
        name, _, rest = own.partition("=")
        model, folder, mean, scale = rest.split(":")
        NETWORKS[name] = (model, folder, (64,), {"mean": (float(mean),), "scale": (float(scale),)})
    if options.command == "one":
        shared, network, recipe, threads, count = options.paths
        print(json.dumps(asdict(record(shared, network, recipe, int(threads), int(count)))))
    elif options.command == "run":
        shared, path = options.paths
        run(shared, path, options)
    else:
        traces = list(kept(options.paths).values())
        if options.command == "fit":
            write_table(table_of(traces), options.process, options.slower)
            print("layerwise._COSTS:", layer_costs(traces))
        else:
            check(traces, options.v)


def kept(paths: Iterable[str]) -> dict[tuple, Trace]:
    """Of the same run the quickest."""
    found: dict[tuple, Trace] = {}
    for path in paths:
        for line in Path(path).read_text().splitlines():
            trace = Trace(**json.loads(line))
            if trace.key not in found or trace.end < found[trace.key].end:
                found[trace.key] = trace
    return found


def run(shared: str, path: str, options: argparse.Namespace) -> None:
    for _ in range(options.times):
        for network in options.networks.split(",") if options.networks else NETWORKS:
            for recipe in options.recipes.split(";"):
                for threads in options.threads.split(","):
                    for count in NETWORKS[network][2]:
                        command = [sys.executable, __file__, "one", shared, network, recipe, threads, str(count)]
                        own = [f"--own={own}" for own in options.own]
                        done = subprocess.run([*command, *own], check=True, capture_output=True, text=True)
                        with open(path, "a") as file:
                            file.write(done.stdout.splitlines()[-1] + "\n")


if __name__ == "__main__":
    main()
