"""What a quantization did, for a person and for a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from tnnquant.devices import Finding
from tnnquant.pipeline.estimate import Estimate
from tnnquant.quantization.quantize import Quantization
from tnnquant.verdict import Verdict

if TYPE_CHECKING:
    from tnnquant.graph import Graph
    from tnnquant.quantization.plan import QuantPlan

__all__ = ["LayerReport", "Report", "layer_reports"]

ENOUGH_SAMPLES = 50


@dataclass(frozen=True)
class LayerReport:
    """One layer of the written model.

    Attributes
    ----------
    name, type : str
    precision : str
        ``int8``, ``fp32``, or ``dynamic``: int8 weights that are widened on loading.
    reason : str
        Why it is fp32; empty for int8.
    note : str
        What was special about its weights; often empty.
    """

    name: str
    type: str
    precision: str
    reason: str = ""
    note: str = ""


@dataclass(repr=False)
class Report:
    """The summary of one run of ``quantize``.

    Attributes
    ----------
    proto, model : str
        The files written (with ``dry_run``: that would be written).
    bytes_before, bytes_after : int
        Size of proto and model together; ``bytes_after`` is 0 in a dry run.
    samples : int
        How many inputs the statistics are made of.
    held_out : int
        How many others of the calibration inputs were kept for the verdict.
    skipped : list of str
        Files that could not be used, under ``skip_bad``.
    settings : dict
    layers : list of LayerReport
    blobs : dict
        Method, number of scales, range and threshold of each int8 blob.
    inputs : dict
        Lowest, mean and highest value fed, per input and channel.
    warnings : list of str
    seconds : dict of str to float
        Time of each stage.
    dry_run : bool
    verdict : Verdict or None
        What the written model is worth; None if it was not run.
    trials : list of dict
        Models that were compared, in order (:class:`tnnquant.search.Trial`); ``best`` is true of the one written.
    steps : dict of str to str
        Of ``--recipe best``: what each step did to the error on inputs held out, and whether it was kept.
    target : dict or None
        ``agreement`` that was asked for, or the ``metric`` and by how much it may ``drop``; whether it was ``reached``.
    rewritten : list of dict
        Layers of the fp32 model that are written in another way for the devices: ``layer``, ``type``, ``how``, the
        ``rule`` that they break, and on which ``devices``.
    findings : list of Finding
        What a device still gets wrong.
    tail : dict or None
        The second model, with ``split``: its files ``proto`` and ``model``, and the blobs ``inputs`` that it reads from
        the first.
    estimate : Estimate or None
        In a dry run of a recipe with statistics: size, int8 share and seconds of what would be made.
    others : dict of str to float
        Seconds that the same run would take by recipes that come closer to fp32, estimated from this one.
    """

    proto: str
    model: str
    bytes_before: int
    bytes_after: int = 0
    samples: int = 0
    held_out: int = 0
    skipped: list[str] = field(default_factory=list)
    settings: dict = field(default_factory=dict)
    layers: list[LayerReport] = field(default_factory=list)
    blobs: dict[str, dict] = field(default_factory=dict)
    inputs: dict[str, dict] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    dry_run: bool = False
    verdict: Verdict | None = None
    trials: list[dict] = field(default_factory=list)
    steps: dict[str, str] = field(default_factory=dict)
    target: dict | None = None
    rewritten: list[dict] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    tail: dict | None = None
    estimate: Estimate | None = None
    others: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        verdict = f", {self.verdict.status}" if self.verdict else ""
        return f"Report({self.model!r}, {self.count('int8')} int8 and {self.count('fp32')} fp32 layers{verdict})"

    def __str__(self) -> str:
        from tnnquant.pipeline.summary import summary_text

        return summary_text(self)

    def _repr_html_(self) -> str:
        from tnnquant.pipeline.summary import summary_html

        return summary_html(self)

    def fp32_reasons(self) -> Counter:
        """How many layers stay fp32, by type and reason."""
        return Counter((layer.type, layer.reason) for layer in self.layers if layer.precision == "fp32")

    def count(self, precision: str) -> int:
        """Number of layers of that precision."""
        return sum(layer.precision == precision for layer in self.layers)

    def as_dict(self) -> dict:
        """Everything, as JSON types."""
        return asdict(self)


def layer_reports(graph: Graph, plan: QuantPlan, notes: Mapping[str, str] | None = None) -> list[LayerReport]:
    """One entry per layer, in execution order.

    Parameters
    ----------
    graph : Graph
        The model that was made, or, in a dry run, the fp32 one as it is planned.
    plan : QuantPlan
        Which of its layers are int8, and why others are not.
    notes : mapping of str to str, optional
        By layer name.
    """
    notes = notes or {}
    return [
        LayerReport(
            node.name,
            node.layer.TYPE_NAMES[0],
            "dynamic" if node.dynamic_range else "int8" if position in plan.int8 else "fp32",
            plan.reasons.get(position, ""),
            notes.get(node.name, ""),
        )
        for position, node in enumerate(graph.nodes)
    ]


def blob_reports(result: Quantization) -> dict[str, dict]:
    """Method, number of scales and range of every int8 blob."""
    reports = {}
    for name, plan in result.plan.blobs.items():
        params = result.graph.scales[name]
        reports[name] = {
            "method": plan.method,
            "scales": int(params.scale.size),
            "smallest_scale": float(params.scale.min()),
            "largest_scale": float(params.scale.max()),
            "dead_channels": int((params.scale == 0).sum()),
        }
        if name in result.plan.takes_scale_of:
            reports[name]["takes_scale_of"] = result.plan.takes_scale_of[name]
    return reports
