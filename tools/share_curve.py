"""What fp32 layers buy: accuracy of ``--recipe best`` over latency by ``--fp32-share``, as an SVG and a table.

    python tools/share_curve.py ../shared [NETWORK ...] [--to docs/images/share_curve.svg] [--points FILE.json]

Networks: squeezenet, efficientnet_lite0, yolov8n; all by default. Each model is made as ``tnnquant quantize --recipe
best --fp32-share S`` makes it, from the calibration pictures, and run on pictures of ``data/imagenet-dev``: share with
the same best class as fp32, or the mean error of boxes where fp32 scores above 0.1. All models of a network are timed
in turns, with one thread; a point is the least of the processor times. With ``--points`` what was measured is kept
there, and what is there already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tnnquant.base.threads import set_threads
from tnnquant.config import QuantizeConfig
from tnnquant.engine.executor import Executor
from tnnquant.format import read_model
from tnnquant.graph import Graph
from tnnquant.inputs import Samples, scan
from tnnquant.inputs.split import split_samples
from tnnquant.inspect.page.plots import ticks
from tnnquant.pipeline.settings import input_config
from tnnquant.quantization.quantize import quantize_graph
from tnnquant.recipes.best.workbench import quantize_best

SHARES = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6)
ROUNDS = 60
#: Boxes count where fp32 scores above this.
SCORE = 0.1


@dataclass(frozen=True)
class Network:
    """A network of the shared folder: files, calibration pictures, preprocessing, how many pictures judge."""

    title: str
    model: str
    calibration: str
    settings: dict[str, Any]
    resize: str
    pictures: int
    boxes: int = 0


NETWORKS = {
    "squeezenet": Network(
        "SqueezeNet v1.1", "squeezenet_v1.1", "calibration-227",
        {"mean": (104.006, 116.669, 122.679), "reverse_channel": True}, "stretch", 436,
    ),
    "efficientnet_lite0": Network(
        "EfficientNet-Lite0", "efficientnet_lite0", "calibration-224", {"mean": (127.0,), "scale": (0.0078125,)},
        "crop", 436,
    ),
    "yolov8n": Network(
        "YOLOv8n 320x320", "real/yolov8n", "real/yolov8n-pictures", {"scale": (0.00392156862,)}, "stretch", 96, 4
    ),
}  # fmt: skip


def main() -> None:
    """Measure what is not known yet, print the tables, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--to", type=Path, default=Path(__file__).parent.parent / "docs" / "images" / "share_curve.svg")
    parser.add_argument("--points", type=Path)
    options = parser.parse_args()
    unknown = set(options.networks) - NETWORKS.keys()
    if unknown:
        parser.error(f"no network {min(unknown)!r}; known: {', '.join(NETWORKS)}")
    points = json.loads(options.points.read_text()) if options.points and options.points.exists() else {}
    wanted = options.networks or list(NETWORKS)
    for name in wanted:
        if name not in points:
            points[name] = measured(NETWORKS[name], options.shared / "data")
            if options.points:
                options.points.write_text(json.dumps(points, indent=1))
        print(table(NETWORKS[name], points[name]), flush=True)
    options.to.write_text(drawn({name: points[name] for name in wanted}))


def measured(network: Network, data: Path) -> list[dict[str, Any]]:
    """What each model gives: its name, milliseconds, accuracy; fp32 and the default recipe among them."""
    graph = read_model(*(data / f"{network.model}.{suffix}" for suffix in ("tnnproto", "tnnmodel")))
    config = QuantizeConfig(recipe="best", **network.settings)
    samples = Samples(scan(data / network.calibration), graph.inputs, input_config(config))
    judged = pictures(graph, data / "imagenet-dev", replace(config, resize=network.resize), network.pictures)
    models: list[tuple[str, Graph]] = [
        ("fp32", graph), ("default", quantize_graph(graph, samples, replace(config, recipe="tnn")).graph)
    ]  # fmt: skip
    for share in SHARES:
        split = split_samples(samples, compares=True)
        models.append((f"{share:g}", quantize_best(graph, split, replace(config, fp32_share=share)).graph))
    reference = outputs(graph, judged)
    times = timed([model for _, model in models], judged[0])
    return [
        {"model": name, "ms": ms, "value": accuracy(network, reference, outputs(model, judged))}
        for (name, model), ms in zip(models, times, strict=True)
    ]


def pictures(graph: Graph, folder: Path, config: QuantizeConfig, most: int) -> list[dict[str, np.ndarray]]:
    """Some pictures of a folder, evenly spread, as the network is fed."""
    files = scan(folder)
    chosen = np.linspace(0, len(files) - 1, min(most, len(files))).astype(int)
    samples = Samples([files[i] for i in chosen], graph.inputs, input_config(config))
    return [{name: np.array(array) for name, array in sample.arrays.items()} for sample in samples]


def outputs(graph: Graph, judged: Sequence[dict[str, np.ndarray]]) -> list[np.ndarray]:
    """The first output for each picture, without its first axis."""
    executor = Executor(graph, exact=False)
    return [next(iter(executor.run(arrays).values()))[0].copy() for arrays in judged]


def accuracy(network: Network, wanted: list[np.ndarray], got: list[np.ndarray]) -> float:
    """Percent of pictures with the same best class, or the mean error of boxes in pixels."""
    if not network.boxes:
        return 100 * float(np.mean([a.argmax() == b.argmax() for a, b in zip(wanted, got, strict=True)]))
    errors = []
    for a, b in zip(wanted, got, strict=True):
        seen = a[network.boxes :].max(axis=0) > SCORE
        errors.append(np.abs(a[: network.boxes, seen] - b[: network.boxes, seen]).reshape(-1))
    return float(np.concatenate(errors).mean())


def timed(models: Sequence[Graph], arrays: dict[str, np.ndarray]) -> list[float]:
    """The least processor time of each of several models, run in turns with one thread, in milliseconds."""
    set_threads(1)
    executors = [Executor(model, exact=False) for model in models]
    least = [np.inf] * len(models)
    for _ in range(ROUNDS):
        for number, executor in enumerate(executors):
            started = time.thread_time()
            executor.run(arrays)
            least[number] = min(least[number], 1e3 * (time.thread_time() - started))
    set_threads(None)
    return [float(ms) for ms in least]


def table(network: Network, points: list[dict[str, Any]]) -> str:
    """As markdown."""
    unit = "boxes: mean error in pixels" if network.boxes else "same class as fp32"
    rows = [f"| {network.title} | ms | {unit} |", "|---|---|---|"]
    for point in points:
        value = f"{point['value']:.2f}" + ("" if network.boxes else " %")
        rows.append(f"| {point['model']} | {point['ms']:.2f} | {value} |")
    return "\n".join(rows) + "\n"


# --- the picture ---

WIDE, HIGH, LEFT, TOP, BOTTOM, GAP = 300, 250, 46, 40, 44, 20
STYLE = """
text { font: 11px system-ui, sans-serif; fill: #57606a } .title { font-size: 13px; font-weight: 600; fill: #24292f }
.axis { stroke: #8c959f; fill: none } .grid { stroke: #8c959f; opacity: .25 }
.line { stroke: #0969da; fill: none; stroke-width: 2 }
.best { fill: #0969da } .default { fill: #cf222e } .fp32 { stroke: #8c959f; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) { text { fill: #9198a1 } .title { fill: #f0f6fc } .line { stroke: #4493f8 }
.best { fill: #4493f8 } .default { fill: #f85149 } }
"""


def drawn(points: dict[str, list[dict[str, Any]]]) -> str:
    """The picture, a panel for each network."""
    width, height = len(points) * (WIDE + GAP) + GAP, HIGH + TOP + BOTTOM
    panels = [
        f'<g transform="translate({GAP + number * (WIDE + GAP)},0)">{panel(NETWORKS[name], mine)}</g>'
        for number, (name, mine) in enumerate(points.items())
    ]
    label = "Accuracy of --recipe best over latency, for several --fp32-share"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{label}"><style>{STYLE}</style>\n' + "\n".join(panels) + "\n</svg>\n"
    )


def panel(network: Network, points: list[dict[str, Any]]) -> str:
    """One network: its points, the default recipe, a line where fp32 is."""
    by_name = {point["model"]: point for point in points}
    shares = [point for point in points if point["model"] not in ("fp32", "default")]
    fp32, default = by_name["fp32"], by_name["default"]
    # A default far off would flatten the curve; it is told in words then.
    values = [point["value"] for point in shares]
    spread = max(max(values) - min(values), 0.1)
    near = abs(default["value"] - np.mean(values)) < 4 * spread
    values += [default["value"]] if near else []
    low, high = (0.0, max(values) * 1.1) if network.boxes else (np.floor(min(values)), 100.0)
    right = 1.05 * fp32["ms"]

    def x(ms: float) -> float:
        return float(LEFT + (WIDE - LEFT) * ms / right)

    def y(value: float) -> float:
        return float(TOP + HIGH * (1 - (value - low) / (high - low)))

    unit = "box error, pixels" if network.boxes else "same class as fp32, %"
    parts = [f'<text class="title" x="{LEFT}" y="16">{network.title}</text><text x="{LEFT}" y="31">{unit}</text>']
    for value in ticks(low, high):
        parts.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{WIDE}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for ms in ticks(0, right):
        parts.append(f'<text x="{x(ms):.1f}" y="{TOP + HIGH + 16}" text-anchor="middle">{ms:g}</text>')
    parts.append(f'<text x="{WIDE}" y="{TOP + HIGH + 32}" text-anchor="end">ms, one thread</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{TOP + HIGH}H{WIDE}"/>')
    parts.append(f'<path class="fp32" d="M{x(fp32["ms"]):.1f} {TOP}V{TOP + HIGH}"/>')
    parts.append(f'<text x="{x(fp32["ms"]) - 4:.1f}" y="{TOP + HIGH - 6}" text-anchor="end">fp32</text>')
    line = "L".join(f"{x(point['ms']):.1f} {y(point['value']):.1f}" for point in shares)
    parts.append(f'<path class="line" d="M{line}"/>')
    places = [(x(point["ms"]), y(point["value"])) for point in shares]
    taken = [(a - 4, b - 4, a + 4, b + 4) for a, b in places]
    for point, at in zip(shares, places, strict=True):
        parts.append(f'<circle class="best" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3.5"/>')
        parts.append(label(point["model"], at, taken))
    if near:
        at = x(default["ms"]), y(default["value"])
        parts.append(f'<circle class="default" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3.5"/>')
        parts.append(f'<text x="{at[0]:.1f}" y="{at[1] - 8:.1f}" text-anchor="middle">default</text>')
    else:
        parts.append(f'<text x="{LEFT + 6}" y="{TOP + HIGH - 6}">default: {default["value"]:.3g}</text>')
    return "".join(parts)


def label(name: str, at: tuple[float, float], taken: list[tuple[float, float, float, float]]) -> str:
    """The name of a point, right of it, above, below or left, where it covers nothing that is there; it is then too."""
    wide, high = 6.5 * len(name), 10
    corners = [(8, 4), (-wide / 2, -8), (-wide / 2, 17), (-8 - wide, 4), (4, -10), (4, 19)]
    boxes = [(at[0] + a, at[1] + b - high, at[0] + a + wide, at[1] + b) for a, b in corners]
    free = [box for box in boxes if not any(
        box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in taken
    )]  # fmt: skip
    box = free[0] if free else boxes[0]
    taken.append(box)
    return f'<text x="{box[0]:.1f}" y="{box[3]:.1f}">{name}</text>'


if __name__ == "__main__":
    main()
