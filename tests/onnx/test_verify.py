"""The comparison with the ONNX model takes its memory in turns: what a large model adds to what a small one takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper = onnx.helper

#: Bytes that converting and comparing may take beside what is there after a small model, as a multiple of the file.
MOST = 4
_PEAK = Path("/proc/self/clear_refs")

#: Two conversions in one process; prints what the second took beyond what the first had left.
SCRIPT = """
import sys
from tnnquant.cli import main

def memory(what):
    for line in open("/proc/self/status"):
        if line.startswith(what):
            return int(line.split()[1]) << 10

def convert(name):
    try:
        main(["convert", name, "-o", name])
    except SystemExit as error:
        assert not error.code, error.code

convert(sys.argv[1])
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
convert(sys.argv[2])
print("GROWTH", memory("VmHWM") - before)
"""


def detector(width):
    """Convolutions as a detector has them, most of the weights in the deep ones."""
    rng = np.random.default_rng(1)
    nodes, constants, x, channels = [], [], "x", 3
    for k, out in enumerate((width // 8, width // 4, width // 2, width, width, width)):
        values = rng.standard_normal((out, channels, 3, 3)).astype(np.float32) / (3 * channels**0.5)
        constants.append(onnx.numpy_helper.from_array(values, f"w{k}"))
        stride = 2 if k < 4 else 1
        nodes.append(helper.make_node("Conv", [x, f"w{k}"], [f"c{k}"], pads=[1] * 4, strides=[stride] * 2))
        nodes.append(helper.make_node("Relu", [f"c{k}"], [f"y{k}"]))
        x, channels = f"y{k}", out
    return model(nodes, {"x": (1, 3, 64, 64)}, x, constants)


def recurrence(width):
    """Steps that share one matrix, and a large product behind them."""
    rng = np.random.default_rng(2)
    values = {"r": rng.standard_normal((width, width)) / width**0.5, "w": rng.standard_normal((width, 4 * width))}
    constants = [onnx.numpy_helper.from_array(v.astype(np.float32), name) for name, v in values.items()]
    nodes, h = [], "x"
    for k in range(12):
        nodes += [helper.make_node("MatMul", [h, "r"], [f"p{k}"]), helper.make_node("Tanh", [f"p{k}"], [f"h{k}"])]
        h = f"h{k}"
    nodes.append(helper.make_node("MatMul", [h, "w"], ["y"]))
    return model(nodes, {"x": (1, width)}, "y", constants)


def model(nodes, inputs, output, constants):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, d) for n, d in inputs.items()],
        [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.skipif(not _PEAK.exists(), reason="the system does not say a process's peak memory")
@pytest.mark.parametrize(("build", "width"), [(detector, 464), (recurrence, 1000)])
def test_converting_takes_at_most_four_times_the_file(build, width, tmp_path):
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    onnx.save(build(128), small)
    onnx.save(build(width), large)
    size = large.stat().st_size
    assert size > 19e6
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(small), str(large)], capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr
    growth = int(run.stdout.split("GROWTH")[1])
    assert growth <= MOST * size, f"{growth / size:.2f} times the file"
