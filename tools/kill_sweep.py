"""SIGKILL at any moment of `tnnquant quantize`: `python tools/kill_sweep.py [COUNT]`, default 50 runs.

A small model is quantized with other options each time, and killed after a time that sweeps the length of a run. After
each kill the pair on disk must be that of the run before or of this one, whole and readable.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

METHODS = ("minmax", "kl", "asymmetric", "aciq-gauss")


def main() -> int:
    """Sweep, and print how many runs ended with the old pair and how many with the new one."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with tempfile.TemporaryDirectory(prefix="tnnquant-kill-") as name:
        folder = Path(name)
        _make_inputs(folder)
        whole, length = {}, 0.0
        for method in METHODS:
            started = time.monotonic()
            assert _start(folder, method, method).wait() == 0
            length = time.monotonic() - started
            whole[method] = _pair(folder, method)
        current, counts = "minmax", {"old": 0, "new": 0}
        assert _start(folder, current, "out").wait() == 0
        for number in range(count):
            method = METHODS[(number + 1) % len(METHODS)]
            process = _start(folder, method, "out")
            try:
                process.wait(timeout=length * 1.05 * (number + 0.5) / count)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            pair = _pair(folder, "out")
            if pair == whole[method]:
                counts["new"] += 1
                current = method
            elif pair == whole[current]:
                counts["old"] += 1
            else:
                print(f"kill {number}: the pair is that of no run")
                return 1
        print(f"{count} kills over {length:.1f} s: {counts['old']} left the old pair, {counts['new']} the new one")
    return 0


def _make_inputs(folder: Path) -> None:
    from PIL import Image

    from tnnquant.base.tensor import Tensor
    from tnnquant.format import model_bytes, read_proto, write_proto
    from tnnquant.graph import Resource

    proto = b'"1 2 1 4206624772 ,""input 4 1 3 32 32 0 ,"" input out ,""out ,"" 1 ,"'
    proto += b'"Convolution c 1 1 input out 1 3 64 3 3 1 1 1 1 1 -1 1 1 0 ,"'
    rng = np.random.default_rng(1)
    tensors = {
        "filter": Tensor.from_array(rng.standard_normal((64, 3, 3, 3)).astype(np.float32), with_dims=False),
        "bias": Tensor.from_array(rng.standard_normal(64).astype(np.float32), with_dims=False),
    }
    graph = read_proto(proto)
    graph = graph.replace(nodes=tuple(node.replace(resource=Resource(tensors)) for node in graph.nodes))
    (folder / "m.tnnproto").write_bytes(write_proto(graph))
    (folder / "m.tnnmodel").write_bytes(model_bytes(graph))
    (folder / "pictures").mkdir()
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / "pictures" / f"{number}.png")


def _start(folder: Path, method: str, output: str) -> subprocess.Popen:
    command = [sys.executable, "-c", "from tnnquant.cli import main; main()", "quantize"]
    command += ["-p", "m.tnnproto", "-m", "m.tnnmodel", "-i", "pictures", "-b", method, "--no-verify", "-o", output]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _pair(folder: Path, name: str) -> tuple[bytes, ...]:
    return tuple((folder / f"{name}_quantized.{suffix}").read_bytes() for suffix in ("tnnproto", "tnnmodel"))


if __name__ == "__main__":
    sys.exit(main())
