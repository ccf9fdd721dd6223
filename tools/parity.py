"""Compare what tnnquant makes of the golden pictures with what TNN's own tool made of them.

    python tools/parity.py ../shared [squeezenet/b0w0t0 ...]

One row a golden configuration: proto bytes equal or not, share of blob scales within 1e-5 (and how much worse, in KL
divergence, the others are), share of weight scales within 1e-5, share of equal int8 weights and the largest
difference, largest distance of a bias from the exact quotient (in steps).
"""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tnnquant.config import QuantizeConfig
from tnnquant.format import read_model, write_model
from tnnquant.inputs import Samples, scan
from tnnquant.kernels.kl import kl_curve
from tnnquant.pipeline.settings import input_config
from tnnquant.quantization.quantize import Quantization, quantize_graph

SETTINGS: dict[str, dict[str, Any]] = {
    "squeezenet": {
        "files": "squeezenet_v1.1",
        "pictures": {"": "calibration-227", "jpeg": "calibration-jpeg", "sizes": "calibration-sizes"},
        "config": {"mean": (104.006, 116.669, 122.679), "reverse_channel": True},
    },
    "efficientnet_lite0": {
        "files": "efficientnet_lite0",
        "pictures": {"": "calibration-224"},
        "config": {"mean": (127.0,), "scale": (0.0078125,)},
    },
}


@dataclass(frozen=True)
class Parity:
    """How close a model of ours is to TNN's.

    Attributes
    ----------
    same_proto : bool
    blob_scales : float
        Share within 1e-5 relative.
    divergence : float
        Where blob scales differ: how much larger our KL divergence is than that of TNN's threshold, relative, at worst.
    weight_scales : float
        Share within 1e-5 relative, in layers whose input scales agree.
    weights : float
        Share of equal int8 weights, in output channels whose weight scales agree too.
    weights_off : int
        Largest difference of an int8 weight, among the same.
    bias_off : float
        Largest distance of our bias from bias / weight scale, in steps.
    """

    same_proto: bool
    blob_scales: float
    divergence: float
    weight_scales: float
    weights: float
    weights_off: int
    bias_off: float


def configurations(shared: Path) -> list[str]:
    """The golden configurations that can be repeated, as ``network/name``."""
    return [
        f"{network}/{folder.name}"
        for network in SETTINGS
        for folder in sorted((shared / "golden" / network).iterdir())
        if re.search(r"b\dw\dt\d$", folder.name)
    ]


def measure(shared: Path, configuration: str, folder: Path) -> Parity:
    """Quantize as a golden configuration was made, into ``folder``, and compare."""
    network, name = configuration.split("/")
    settings = SETTINGS[network]
    prefix, _, codes = name.rpartition("-")
    blob, weight, merge = re.findall(r"\d", codes)
    # Zero points are kept for the naive device alone; without them the default gives the same bytes.
    device = "naive" if "3" in (blob, weight) else "any"
    config = QuantizeConfig(blob, weight, merge, device=device, **settings["config"])
    fp32 = read_model(*(shared / "data" / f"{settings['files']}.{suffix}" for suffix in ("tnnproto", "tnnmodel")))
    samples = Samples(scan(shared / "data" / settings["pictures"][prefix]), fp32.inputs, input_config(config))
    result = quantize_graph(fp32, samples, config)
    ours = folder / "model.tnnproto", folder / "model.tnnmodel"
    write_model(result.graph, *ours)
    golden = shared / "golden" / network / name
    return compare(result, ours[0], sorted(golden.glob("*.tnnproto"))[0], sorted(golden.glob("*.tnnmodel"))[0])


def compare(result: Quantization, our_proto: Path, proto: Path, model: Path) -> Parity:
    """Compare our int8 graph with the pair TNN's tool made of the same pictures."""
    mine, tnn = result.graph, read_model(proto, model)
    blob_ok = {b: _close(mine.scales[b].scale, tnn.scales[b].scale) for b in tnn.scales}
    excess = [_excess(result, blob, tnn.scales[blob].scale, ~ok) for blob, ok in blob_ok.items() if not ok.all()]
    scale_ok, equal, off, bias_off = [], [], [0], [0.0]
    for node, other in zip(mine.nodes, tnn.nodes, strict=True):
        if "scale" not in node.tensors:
            continue
        field = "filter" if "filter" in node.tensors else "weight"
        scales, golden = node.tensors["scale"].data, other.tensors["scale"].data
        if blob_ok[node.inputs[0]].all():
            # Not repeated: channels without products get the scale 0 and lose their bias; a bias beyond int32 wraps (we
            # raise the scale from 2**30 steps on).
            wrapped = "bias" in other.tensors and np.abs(other.tensors["bias"].data.astype(np.int64)) >= 2**30
            ok = _close(scales, golden)
            scale_ok.append(ok | (golden == 0) | (wrapped & (scales > golden)))
            shape = (scales.size, -1)
            delta = node.tensors[field].data.reshape(shape).astype(int) - other.tensors[field].data.reshape(shape)
            equal.append((delta[ok] == 0).ravel())
            off.append(np.abs(delta[ok]).max(initial=0))
        bias = node.tensors.get("bias")
        if bias is not None and bias.size:
            exact = result.fp32.node(node.name).tensors["bias"].float32().astype(np.float64) / scales
            bias_off.append(np.abs(bias.data - exact).max())
    return Parity(
        our_proto.read_bytes() == proto.read_bytes(),
        float(np.concatenate(list(blob_ok.values())).mean()),
        float(max(excess, default=0.0)),
        float(np.concatenate(scale_ok).mean()),
        float(np.concatenate(equal).mean()),
        int(max(off)),
        float(max(bias_off)),
    )


def _excess(result: Quantization, blob: str, theirs: np.ndarray, differs: np.ndarray) -> float:
    """How much larger our divergence is than that of TNN's threshold, relative, where the scales differ."""
    source = result.plan.takes_scale_of.get(blob, blob)
    if result.plan.blobs[source].parts:
        return 0.0  # judged where the parts are
    observer = result.observers[source]
    if not hasattr(observer, "counts"):
        return float("inf")
    worst = 0.0
    curve = np.empty(2048, np.float32)
    for slot in np.flatnonzero(differs):
        kl_curve(observer.counts[slot], curve)
        other = round(float(theirs[slot]) * 127 * float(observer.interval()[slot]) - 0.5)
        ours = int(observer.bins[slot])
        worst = max(worst, float(curve[ours] / curve[min(max(other, 128), 2047)]) - 1)
    return worst


def _close(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    close: np.ndarray = np.abs(ours - theirs) <= 1e-5 * np.abs(theirs)
    return close


def main(shared: str, *wanted: str) -> None:
    """Print the table."""
    folder = Path(shared)
    print("| configuration | proto | blob scales | KL excess | weight scales | weights equal | off by | bias |")
    print("|---|---|---|---|---|---|---|---|")
    for configuration in wanted or configurations(folder):
        with tempfile.TemporaryDirectory() as target:
            p = measure(folder, configuration, Path(target))
        cells = (
            configuration, "same" if p.same_proto else "DIFFERS", f"{100 * p.blob_scales:.2f} %",
            f"{100 * p.divergence:.3f} %", f"{100 * p.weight_scales:.2f} %", f"{100 * p.weights:.4f} %",
            p.weights_off, f"{p.bias_off:.3f}",
        )  # fmt: skip
        print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
