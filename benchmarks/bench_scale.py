"""Memory and time of ``tnnquant quantize`` on SqueezeNet as the number of pictures grows: 64, 1000, 5000.

    python -m pytest benchmarks/bench_scale.py -o python_files="bench_*.py"

Needs ``../shared``, and 0.5 GB of temporary files: copies of its 64 calibration pictures, each with a few bytes of its
own behind the end of the PNG, so that no two files have the same content. Each case is one process with the verdict, as
people run it, with compiled kernels. ``extra_info`` holds the peak memory in MB, and its ratio to that of 64
pictures (promised: at most 1.1); the processor time, and what each picture beyond 64 takes of it: the same for 1000 and
5000 where time is linear.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_quantize import DATA, command, run  # noqa: F401 - a fixture

COUNTS = (64, 1000, 5000)
SETTINGS = {
    "min-max": ("minmax", "minmax", []),
    "KL + ADMM per channel": ("kl", "admm", []),
    "recipe best": ("minmax", "minmax", ["--recipe", "best"]),
}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs {DATA}")
#: What the run over 64 pictures took, by setting.
_seen: dict[str, dict[str, float]] = {}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A function that gives a folder of so many pictures."""
    made: dict[int, Path] = {}
    pictures = sorted((DATA / "calibration-227").glob("*.png"))

    def folder(count: int) -> Path:
        if count not in made:
            made[count] = tmp_path_factory.mktemp(f"pictures-{count}")
            for number in range(count):
                data = pictures[number % len(pictures)].read_bytes()
                (made[count] / f"{number:05}.png").write_bytes(data + b"%d" % number)
        return made[count]

    return folder


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("count", COUNTS)
def test_pictures(benchmark, run, folders, tmp_path, setting, count):  # noqa: F811
    def line(count: int) -> list[str]:
        return [*command(folders(count), blob, weight, tmp_path / "out"), *more]

    blob, weight, more = SETTINGS[setting]
    if setting not in _seen:
        run(line(64))
        _seen[setting] = run(line(64))
    few = _seen[setting]
    found = benchmark.pedantic(run, args=(line(count),), rounds=1)
    benchmark.extra_info.update(found)
    if count > 64:
        milliseconds = 1000 * (found["cpu s"] - few["cpu s"]) / (count - 64)
        ratio = found["peak MB"] / few["peak MB"]
        benchmark.extra_info.update({"memory / 64": round(ratio, 3), "cpu ms a picture": round(milliseconds, 2)})
