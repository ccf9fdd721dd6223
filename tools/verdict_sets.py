"""What the verdict says of models made from bad and from good calibration sets, beside what is true on other pictures.

    python tools/verdict_sets.py ../shared [squeezenet | efficientnet_lite0] [--recipe NAME] [--good] [--json FILE]
    python tools/verdict_sets.py ../shared --files NET.tnnproto [-n MEAN] [-s SCALE] [-r]

The second form is for a classifier of your own that is fed 224x224 or less: from ``data/calibration-224``.

40 sets are bad (preprocessing, noise, dark, blurred, one picture, one class, few ...), 20 are good. Of each a model is
made, and asked on ``data/imagenet-dev``: the share of pictures with the same best class as fp32. The table counts
verdicts by that share; the lines name the sets where the two do not fit together.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np

from tnnquant import QuantizeConfig, quantize_model
from tnnquant.engine.executor import Executor
from tnnquant.format import read_model
from tnnquant.inputs import Samples, scan
from tnnquant.pipeline.settings import input_config

#: Model, calibration pictures, how evaluation pictures are made to fit, preprocessing.
NETWORKS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "squeezenet": (
        "squeezenet_v1.1", "calibration-227", "stretch",
        {"mean": (104.006, 116.669, 122.679), "scale": (1.0,), "reverse_channel": True},
    ),
    "efficientnet_lite0": (
        "efficientnet_lite0", "calibration-224", "crop", {"mean": (127.0,), "scale": (0.0078125,)},
    ),
}  # fmt: skip
#: Classes of dogs among those of ImageNet.
_DOGS = range(151, 269)
#: From this share of agreement on other pictures on, a model is good.
GOOD_FROM = 0.90
_SEED = 20261129

Pictures = list[np.ndarray]


@dataclass(frozen=True)
class CalibrationSet:
    """Pictures and preprocessing that a model is made from.

    Attributes
    ----------
    name : str
    is_bad : bool
    make : callable (pictures, names) -> pictures
        uint8 (H, W, 3) each, from the calibration pictures.
    settings : dict
        What is wrong about the preprocessing, by field of the configuration; callables are given the right value.
    """

    name: str
    is_bad: bool
    make: Callable[[Pictures, list[str]], Pictures]
    settings: dict[str, Any] = field(default_factory=dict)


def calibration_sets() -> Iterator[CalibrationSet]:
    """The 40 bad sets, then the 20 good ones."""

    def all_of(pictures: Pictures, names: list[str]) -> Pictures:
        return pictures

    def preprocessed(name: str, **settings: Any) -> CalibrationSet:
        return CalibrationSet(name, True, all_of, settings)

    def pictures(name: str, make: Callable[[Pictures], Pictures]) -> CalibrationSet:
        return CalibrationSet(name, True, lambda all_, names: make(all_))

    def each(name: str, change: Callable[[np.ndarray], np.ndarray]) -> CalibrationSet:
        return pictures(name, lambda all_: [_clipped(change(p.astype(np.float64))) for p in all_])

    def noisy(sigma: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda p: p + rng.normal(0, sigma, p.shape)

    def blurred(sigma: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda p: _blurred(p, sigma)

    def times(factor: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda p: p * factor

    def multiplied(factor: float) -> Callable[[tuple[float, ...]], tuple[float, ...]]:
        return lambda right: tuple(factor * number for number in right)

    for factor in (0.5, 0.25, 0.1, 2, 4, 1 / 255):
        yield preprocessed(f"scale x {factor:.3g}", scale=multiplied(factor))
    for factor in (0, 0.5, 1.6):
        yield preprocessed(f"mean x {factor:g}", mean=multiplied(factor))
    yield preprocessed("mean 0, scale x 0.5", mean=(0.0,), scale=multiplied(0.5))
    yield preprocessed("mean 0, scale 1/255", mean=(0.0,), scale=(1 / 255,))
    yield preprocessed("channel order", reverse_channel=lambda right: not right)
    rng = np.random.default_rng(_SEED)
    yield pictures("uniform noise", lambda all_: [rng.integers(0, 256, p.shape).astype(np.uint8) for p in all_])
    for sigma in (40, 80):
        yield each(f"noise of {sigma} added", noisy(sigma))
    yield pictures("plain colours", lambda all_: [np.full_like(p, rng.integers(0, 256, 3)) for p in all_])
    for factor in (0.05, 0.15, 0.3):
        yield each(f"dark x {factor:g}", times(factor))
    yield each("bright", lambda p: 200 + p * 0.21)
    yield each("overexposed", lambda p: p * 3)
    yield each("low contrast", lambda p: 127 + (p - 127) * 0.2)
    yield each("negative", lambda p: 255 - p)
    yield each("grey", lambda p: np.repeat(p.mean(axis=2, keepdims=True), 3, axis=2))
    for sigma in (3, 8, 20):
        yield each(f"blurred by {sigma}", blurred(sigma))
    yield pictures("one picture", lambda all_: all_[:1])
    yield pictures("16 crops of one picture", lambda all_: _crops(all_[7], 16, rng))
    yield pictures("32 crops of one picture", lambda all_: _crops(all_[40], 32, rng))
    yield pictures("one picture, 16 brightnesses", lambda all_: [
        _clipped(all_[20].astype(np.float64) * f) for f in np.linspace(0.4, 1.4, 16)
    ])  # fmt: skip
    yield CalibrationSet("dogs alone", True, lambda all_, names: [
        p for p, name in zip(all_, names, strict=True) if int(name[:3]) in _DOGS
    ])  # fmt: skip
    yield pictures("upside down", lambda all_: [np.ascontiguousarray(p[::-1]) for p in all_])
    yield pictures("crops of two pictures", lambda all_: _crops(all_[3], 12, rng) + _crops(all_[50], 12, rng))
    yield pictures("crops of 10 %", lambda all_: [_crop(p, 0.1, rng) for p in all_])
    for count in (1, 2, 3, 4, 6):
        yield CalibrationSet(f"{count} pictures", True, _some(count, 99))
    for seed in range(5):
        for count in (16, 24, 32, 48):
            yield CalibrationSet(f"{count} of 64, {seed}", False, _some(count, seed))


def _some(count: int, seed: int) -> Callable[[Pictures, list[str]], Pictures]:
    """Some of the calibration pictures, by chance."""

    def make(pictures: Pictures, names: list[str]) -> Pictures:
        order = np.random.default_rng([_SEED, seed, count]).permutation(len(pictures))
        return [pictures[i] for i in sorted(order[:count])]

    return make


def _clipped(picture: np.ndarray) -> np.ndarray:
    pixels: np.ndarray = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return pixels


def _blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur, by the Fourier transform (the borders wrap around)."""
    frequencies = [np.fft.fftfreq(n) for n in picture.shape[:2]]
    squared = np.square(frequencies[0])[:, None] + np.square(frequencies[1])[None]
    filter_ = np.exp(-2 * np.square(np.pi * sigma) * squared)
    blurred: np.ndarray = np.fft.ifft2(np.fft.fft2(picture, axes=(0, 1)) * filter_[..., None], axes=(0, 1)).real
    return blurred


def _crop(picture: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    sizes = [max(1, int(n * np.sqrt(share))) for n in picture.shape[:2]]
    top, left = (int(rng.integers(0, n - size + 1)) for n, size in zip(picture.shape[:2], sizes, strict=True))
    part = picture[top : top + sizes[0], left : left + sizes[1]]
    rows, columns = (np.arange(n) * size // n for n, size in zip(picture.shape[:2], sizes, strict=True))
    crop: np.ndarray = part[rows][:, columns]
    return crop


def _crops(picture: np.ndarray, count: int, rng: np.random.Generator) -> Pictures:
    return [_crop(picture, float(rng.uniform(0.3, 0.9)), rng) for _ in range(count)]


class Bench:
    """A network, its pictures, and what fp32 makes of those of the evaluation."""

    def __init__(self, shared: Path, network: tuple[str, str, str, dict[str, Any]], recipe: str):
        name, folder, resize, preprocessing = network
        # Files elsewhere are named by their whole path.
        self._model = [shared / "data" / f"{name}{suffix}" for suffix in (".tnnproto", ".tnnmodel")]
        paths = sorted((shared / "data" / folder).iterdir())
        self._pictures = [imageio.imread(path)[..., :3] for path in paths]
        self._names = [path.name for path in paths]
        self._config = QuantizeConfig(**preprocessing, recipe=recipe)
        graph = read_model(*self._model)
        config = replace(self._config, resize=resize)
        samples = Samples(scan(shared / "data" / "imagenet-dev"), graph.inputs, input_config(config))
        executor = Executor(graph, exact=False)
        self._arrays = [dict(sample.arrays) for sample in samples]
        self._wanted = np.array([_scores(executor, arrays) for arrays in self._arrays])

    def measure(self, entry: CalibrationSet) -> dict[str, Any]:
        """The verdict on the model of a calibration set, and its agreement and cosine on other pictures."""
        right = {key: getattr(self._config, key) for key in entry.settings}
        changed = {key: value(right[key]) if callable(value) else value for key, value in entry.settings.items()}
        with tempfile.TemporaryDirectory(prefix="tnnquant-sets-") as folder:
            pictures = Path(folder, "pictures")
            pictures.mkdir()
            for number, picture in enumerate(entry.make(self._pictures, self._names)):
                imageio.imwrite(pictures / f"p{number:03}.png", picture)
            output = Path(folder, "net")
            proto, model = self._model
            report = quantize_model(proto, model, pictures, output, replace(self._config, **changed))
            graph = read_model(report.proto, report.model)
        verdict = report.verdict
        assert verdict is not None
        executor = Executor(graph)
        got = np.array([_scores(executor, arrays) for arrays in self._arrays])
        cosine = (got * self._wanted).sum(1) / np.maximum(
            np.linalg.norm(got, axis=1) * np.linalg.norm(self._wanted, axis=1), 1e-30
        )
        reasons = [check.text for found in verdict.sets for check in found.checks() if check.status != "good"]
        return {
            "set": entry.name, "is_bad": entry.is_bad, "status": verdict.status,
            "agreement": float(np.mean(got.argmax(1) == self._wanted.argmax(1))), "cosine": float(cosine.mean()),
            "reasons": reasons,
        }  # fmt: skip


def _scores(executor: Executor, arrays: dict[str, np.ndarray]) -> np.ndarray:
    (scores,) = executor.run({name: array.copy() for name, array in arrays.items()}).values()
    return np.asarray(scores, np.float64).ravel()


def print_table(rows: list[dict[str, Any]]) -> None:
    """Verdicts by what is true, and the sets where they do not fit together."""
    print(f"{'agreement on other pictures':30}{'good':>6}{'doubtful':>10}{'broken':>8}")
    kinds: tuple[tuple[str, Callable[[dict], bool]], ...] = (
        ("bad sets, below 90 %", lambda row: row["is_bad"] and row["agreement"] < GOOD_FROM),
        ("bad sets, 90 % or more", lambda row: row["is_bad"] and row["agreement"] >= GOOD_FROM),
        ("good sets, below 90 %", lambda row: not row["is_bad"] and row["agreement"] < GOOD_FROM),
        ("good sets, 90 % or more", lambda row: not row["is_bad"] and row["agreement"] >= GOOD_FROM),
    )
    for title, belongs in kinds:
        counts = [sum(belongs(row) and row["status"] == s for row in rows) for s in ("good", "doubtful", "broken")]
        print(f"{title:30}{counts[0]:6}{counts[1]:10}{counts[2]:8}")
    for row in rows:
        is_kind = row["status"] == "good" and row["agreement"] < GOOD_FROM
        is_harsh = not row["is_bad"] and row["status"] != "good" and row["agreement"] >= GOOD_FROM
        if is_kind or is_harsh:
            line = f"{row['network']}: {row['set']}: {row['status']} at {100 * row['agreement']:.1f} %"
            print(f"too {'kind ' if is_kind else 'harsh'}  {line}  {'; '.join(row['reasons'])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("network", nargs="?", choices=NETWORKS)
    parser.add_argument("--recipe", default="tnn")
    parser.add_argument("--good", action="store_true", help="the 20 good sets alone")
    parser.add_argument("--json", type=Path, help="write every row there as it is measured")
    parser.add_argument("--files", type=Path, metavar="NET.tnnproto", help="a network of your own")
    parser.add_argument("-n", "--mean", type=float, default=127.5)
    parser.add_argument("-s", "--scale", type=float, default=1 / 127.5)
    parser.add_argument("-r", "--reverse_channel", action="store_true")
    options = parser.parse_args()
    networks = {name: NETWORKS[name] for name in ([options.network] if options.network else NETWORKS)}
    if options.files:
        fed = {"mean": (options.mean,), "scale": (options.scale,), "reverse_channel": options.reverse_channel}
        stem = options.files.resolve().with_suffix("")
        networks = {stem.name: (str(stem), "calibration-224", "crop", fed)}
    rows = []
    for network, entry_of in networks.items():
        bench = Bench(options.shared, entry_of, options.recipe)
        for entry in calibration_sets():
            if options.good and entry.is_bad:
                continue
            rows.append({"network": network, **bench.measure(entry)})
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1))
    print_table(rows)


if __name__ == "__main__":
    main()
