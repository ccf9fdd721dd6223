"""What the devices that a model is made for ask of its quantization, and what the report says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tnnquant import recipes
from tnnquant.base.wording import parameter
from tnnquant.config import QuantizeConfig
from tnnquant.devices import Finding, device_names, examine
from tnnquant.devices.rewrites import make_right
from tnnquant.devices.rules import ANY, NAIVE
from tnnquant.graph import Graph
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.pipeline.split import after, has_int8_candidates, split_graph
from tnnquant.quantization.plan import for_device
from tnnquant.verdict.result import Verdict, broken_there

if TYPE_CHECKING:
    from tnnquant.pipeline.report import Report

__all__ = ["broken_on", "fitting_recipe", "rewritten_lines", "tell_of_devices", "warnings_of"]

_SHOWN = 3


def fitting_recipe(graph: Graph, config: QuantizeConfig, *, compares: bool) -> tuple[QuantizeConfig, list[str]]:
    """The configuration, with a recipe that makes no int8 layers where the devices allow none in the model, or with
    the layers that go into a second model; and what to tell the user of it.

    ``compares``: recipes beside that of the configuration would be tried.
    """
    if config.device == NAIVE or graph.is_quantized or not (compares or recipes.find(config.recipe).needs_inputs):
        return config, []
    made = make_right(prepare_for_quantization(graph), config.device, config.input_dims, mixed=True)
    found = [finding for finding in made.left if finding.mixed]
    if not found:
        note = f"{parameter('split')}: no layer needs a model of its own, one is written"
        return config, [note] if config.split else []
    first = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    what = (
        f"layer {first.layer!r} ({first.type}){more} is {first.outcome} on {first.device} in a model with an int8 "
        "layer, and no other way to write it is known: "
    )
    tail = after(made.graph, {finding.layer for finding in found})
    if config.split and has_int8_candidates(made.graph, tail):
        reason = f"in the second model: it is or follows {first.layer!r}"
        return replace(config, fp32_layers=dict.fromkeys(tail, reason)), [
            f"{what}two models are written, with int8 layers before it and in fp32 from there on ({parameter('split')})"
        ]
    other = next(entry.name for entry in recipes.every() if not entry.needs_inputs)
    return replace(config, recipe=other), [
        what + f"the whole model is made by the recipe {other} instead of {config.recipe}; for int8 layers up to "
        f"there, give {parameter('split', True)}, or for TNN's naive device alone {parameter('device', NAIVE)}"
    ]


def tell_of_devices(report: Report, graph: Graph, config: QuantizeConfig) -> None:
    """What was written in another way, and what a device still gets wrong, into a report and its verdict.

    A model with a layer that goes wrong on the device is *broken* for it. Without a verdict there are warnings.

    Parameters
    ----------
    report : Report
    graph : Graph
        As it was written.
    config : QuantizeConfig
    """
    changes: dict[str, dict[str, Any]] = {}
    for other in graph.stand_ins.values():
        changes.setdefault(other.layer, {
            "layer": other.layer, "type": other.type, "how": other.how, "rule": other.rule,
            "devices": list(other.devices),
        })  # fmt: skip
    report.rewritten = list(changes.values())
    models = split_graph(graph, config.fp32_layers) if config.fp32_layers else (graph,)
    dims = config.input_dims
    report.findings = [
        finding
        for model in models
        for finding in examine(model, config.device, {name: dims[name] for name in model.inputs if name in dims})
    ]
    report.warnings += _zero_points(config)
    broken = [finding for finding in report.findings if finding.outcome.breaks]
    if report.verdict is None:
        report.warnings += warnings_of(broken)
    else:
        report.verdict = _verdict_there(report.verdict, broken, config.device)


def _verdict_there(verdict: Verdict, broken: Sequence[Finding], device: str) -> Verdict:
    """The verdict on a model of which these layers go wrong: broken, with the layers and the rules."""
    if not broken:
        return verdict
    hit = {finding.device for finding in broken}
    others = [name for name in device_names() if name != ANY and name not in hit] if device == ANY else []
    where = " and ".join(others)
    notes = []
    if others:
        chosen = parameter("device", others[0])
        notes = [f"nothing is known to go wrong on {where}: {chosen} judges it for that one"]
    first, *more = verdict.sets
    first = broken_there(first, warnings_of(broken), device, notes)
    return replace(verdict, status=first.status, sets=[first, *more])


def _zero_points(config: QuantizeConfig) -> list[str]:
    fitted = for_device(config)
    if fitted == config or "blob_method" not in recipes.find(config.recipe).settings:
        return []
    names = [
        f"{parameter(name, getattr(fitted, name))} instead of {getattr(config, name)}"
        for name in ("blob_method", "weight_method")
        if getattr(fitted, name) != getattr(config, name)
    ]
    used = ", ".join(names)
    kept = parameter("device", NAIVE)
    return [f"no device but the naive one computes zero points: {used} was used ({kept} keeps them)"]


def broken_on(graph: Graph, device: str, input_dims: Mapping[str, Sequence[int]] | None = None) -> list[str]:
    """Why a model cannot be used on a device, a line for each rule; empty if it can.

    Parameters
    ----------
    graph : Graph
        As it was read, of any origin.
    device : str
        ``any``: on one of them.
    input_dims : mapping of str to sequence of int, optional

    Raises
    ------
    TnnQuantError
        There is no such device, or the shapes of the model do not fit.
    """
    return warnings_of([finding for finding in examine(graph, device, input_dims) if finding.outcome.breaks])


def warnings_of(found: Sequence[Finding]) -> list[str]:
    """A line for each rule that is broken, with the first of the layers that do."""
    layers: dict[tuple, dict[str, None]] = {}
    devices: dict[tuple, dict[str, None]] = {}
    for finding in found:
        key = finding.type, finding.rule, finding.outcome, finding.reason, finding.advice
        layers.setdefault(key, {})[finding.layer] = None
        devices.setdefault(key, {})[finding.device] = None
    lines = []
    for key, names in layers.items():
        kind, _, outcome, reason, advice = key
        shown = ", ".join(repr(name) for name in list(names)[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        count = f"{len(names)} layers" if len(names) > 1 else "layer"
        where = " and ".join(devices[key])
        lines.append(f"{count} {shown} ({kind}) on {where}: {outcome}, it {reason}; {advice}")
    return lines


def rewritten_lines(rewritten: Sequence[dict]) -> list[str]:
    """What was written in another way: a line for each type and way."""
    counts = Counter((change["type"], change["how"], change["rule"], tuple(change["devices"])) for change in rewritten)
    return [
        f"{count} {kind} written as {how}, for {' and '.join(devices)} ({rule})"
        for (kind, how, rule, devices), count in counts.items()
    ]
