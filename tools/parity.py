"""Compare what tnnquant makes of the golden pictures with what TNN's own tool made of them.

    python tools/parity.py ../shared [squeezenet/b0w0t0 ...]

One row a golden configuration: proto bytes equal or not, share of blob scales and weight scales within 1e-5, share of
equal int8 weights and the largest difference, largest distance of a bias from the exact quotient (in steps).
"""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tnnquant
from tnnquant.format import read_model
from tnnquant.passes import prepare_for_quantization

SETTINGS = {
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
    blob_scales, weight_scales : float
        Share within 1e-5 relative.
    weights : float
        Share of equal int8 weights, among layers' channels whose input scales agree.
    weights_off : int
        Largest difference of an int8 weight, among the same.
    bias_off : float
        Largest distance of our bias from bias / weight scale, in steps.
    """

    same_proto: bool
    blob_scales: float
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
    blob, weight, merge = re.fullmatch(r"b(\d)w(\d)t(\d)", codes).groups()
    source = [shared / "data" / f"{settings['files']}.{suffix}" for suffix in ("tnnproto", "tnnmodel")]
    config = tnnquant.QuantizeConfig(blob, weight, merge, **settings["config"])
    report = tnnquant.quantize_model(
        *source, shared / "data" / settings["pictures"][prefix], folder / name, config
    )
    golden = shared / "golden" / network / name
    theirs = sorted(golden.glob("*.tnnproto"))[0], sorted(golden.glob("*.tnnmodel"))[0]
    return compare(read_model(*source), (Path(report.proto), Path(report.model)), theirs)


def compare(fp32, ours: tuple[Path, Path], theirs: tuple[Path, Path]) -> Parity:
    """Compare two quantized pairs made of the same fp32 graph."""
    mine, tnn = read_model(*ours), read_model(*theirs)
    blob_ok = [_close(mine.scales[b].scale, tnn.scales[b].scale) for b in tnn.scales if b in mine.scales]
    plain = {node.name: node for node in prepare_for_quantization(fp32).nodes}
    scale_ok, equal, off, bias_off = [], [], [0], [0.0]
    for node, other in zip(mine.nodes, tnn.nodes, strict=True):
        if "scale" not in node.tensors:
            continue
        field = "filter" if "filter" in node.tensors else "weight"
        scales, golden = node.tensors["scale"].data, other.tensors["scale"].data
        ok = _close(scales, golden)
        scale_ok.append(ok)
        if _close(mine.scales[node.inputs[0]].scale, tnn.scales[node.inputs[0]].scale).all():
            delta = node.tensors[field].data.astype(int) - other.tensors[field].data
            equal.append(delta == 0)
            off.append(np.abs(delta).max())
        bias = node.tensors.get("bias")
        if bias is not None and bias.size:
            exact = plain[node.name].tensors["bias"].float32().astype(np.float64) / scales
            bias_off.append(np.abs(bias.data - exact).max())
    return Parity(
        ours[0].read_bytes() == theirs[0].read_bytes(),
        float(np.concatenate(blob_ok).mean()),
        float(np.concatenate(scale_ok).mean()),
        float(np.concatenate(equal).mean()),
        int(max(off)),
        float(max(bias_off)),
    )


def _close(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return np.abs(ours - theirs) <= 1e-5 * np.abs(theirs)


def main(shared: str, *wanted: str) -> None:
    """Print the table."""
    folder = Path(shared)
    print("| configuration | proto | blob scales | weight scales | weights equal | off by | bias |")
    print("|---|---|---|---|---|---|---|")
    for configuration in wanted or configurations(folder):
        with tempfile.TemporaryDirectory() as target:
            p = measure(folder, configuration, Path(target))
        print(
            f"| {configuration} | {'same' if p.same_proto else 'DIFFERS'} | {100 * p.blob_scales:.2f} % | "
            f"{100 * p.weight_scales:.2f} % | {100 * p.weights:.4f} % | {p.weights_off} | {p.bias_off:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
