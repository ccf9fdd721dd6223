"""``tnnquant convert``, and an .onnx in the place of a pair in every command."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tnnquant
from tnnquant.cli import main

onnx = pytest.importorskip("onnx")


@pytest.fixture
def net(tmp_path):
    """A small net of a convolution, an activation and a classifier; and four inputs."""
    rng = np.random.default_rng(5)
    helper, f = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["d"]),
        helper.make_node("Gemm", ["d", "m"], ["y"], transB=1),
    ]
    constants = {"w": rng.standard_normal((8, 3, 3, 3)), "m": rng.standard_normal((5, 8))}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", f, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", f, None)],
        [onnx.numpy_helper.from_array(a.astype(np.float32), k) for k, a in constants.items()],
    )  # fmt: skip
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    folder = tmp_path / "inputs"
    folder.mkdir()
    for k in range(4):
        np.save(folder / f"{k}.npy", rng.standard_normal((1, 3, 16, 16)).astype(np.float32))
    return path


def run(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_convert_and_verify(capsys, net):
    code, out, err = run(capsys, "convert", net, "-o", net.parent / "made", "-i", net.parent / "inputs" / "0.npy")
    assert code == 0
    assert "6 layers" in out or "5 layers" in out or "4 layers" in out
    assert "compared with onnx" in out
    assert "real input" in out
    assert "1 is assumed" in err
    graph = tnnquant.read_model(net.parent / "made.tnnproto", net.parent / "made.tnnmodel")
    assert [n.type_string for n in graph.nodes] == ["Convolution", "ReLU", "Pooling", "InnerProduct"]
    assert [n.name for n in tnnquant.read_model(net).nodes] == [n.name for n in graph.nodes]


def test_quantizing_an_onnx_gives_the_bytes_of_its_pair(capsys, net):
    folder = net.parent
    assert run(capsys, "convert", net, "-o", folder / "pair", "--no-verify")[0] == 0
    pair = ["-p", folder / "pair.tnnproto", "-m", folder / "pair.tnnmodel"]
    for name, source in (("a", [net]), ("b", ["-p", net]), ("c", pair)):
        code, _, err = run(capsys, "quantize", *source, "-i", folder / "inputs", "-o", folder / name, "--no-verify")
        assert code == 0, err
    for suffix in ("tnnproto", "tnnmodel"):
        made = {(folder / f"{name}_quantized.{suffix}").read_bytes() for name in "abc"}
        assert len(made) == 1


#: Every command that takes a model, with an .onnx in its place.
COMMANDS = {
    "inspect": "inspect NET",
    "inspect -p": "inspect -p NET",
    "inspect, one layer": "inspect NET --layer c",
    "inspect, samples": "inspect NET --samples -i INPUTS",
    "inspect, device": "inspect NET --device arm",
    "inspect --diff": "inspect --diff NET PAIR",
    "inspect --against": "inspect PAIR_quantized --against NET -i INPUTS",
    "bench latency": "bench latency NET --repeats 1",
    "bench accuracy": "bench accuracy NET PAIR_quantized -i INPUTS",
    "bench table": "bench table NET -i INPUTS",
    "dry run": "quantize NET -i INPUTS --dry-run",
    "dynamic": "quantize NET -o OUT --recipe dynamic --no-verify",
    "statistics": "quantize NET -i INPUTS -o STATS --stats-only",
    "--auto": "quantize NET -i INPUTS -o OUT --auto --state STATE",
    "target": "quantize -p NET -i INPUTS -o OUT --target-agreement 0.1",
}


@pytest.mark.parametrize("shape", ["fixed", "open"])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_it(capsys, net, name, shape):
    folder = net.parent
    for arguments in (["convert", net, "-o", folder / "pair", "--no-verify"],
                      ["quantize", folder / "pair", "-i", folder / "inputs", "-o", folder / "pair", "--no-verify"]):
        assert run(capsys, *arguments)[0] == 0
    extra = []
    if shape == "open":
        model = onnx.load(net)
        for axis in (2, 3):
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"d{axis}"
        onnx.save(model, net)
        extra = ["--input-shape", "x:1,3,16,16"]
    places = {
        "NET": net, "PAIR": folder / "pair", "INPUTS": folder / "inputs", "OUT": folder / "out",
        "STATS": folder / "s.npz", "STATE": folder / "state", "PAIR_quantized": folder / "pair_quantized",
    }  # fmt: skip
    code, _, err = run(capsys, *[places.get(word, word) for word in COMMANDS[name].split()], *extra)
    # A net of random weights may well be broken; what counts is that it ran.
    assert code in (0, 8), err
    assert not err.startswith("error"), err


def test_list(capsys, net):
    code, out, _ = run(capsys, "convert", net, "--list")
    assert code == 0
    assert "GlobalAveragePool" in out
    assert not (net.parent / "net.tnnproto").exists()
    assert json.loads(run(capsys, "convert", net, "--list", "--json")[1])["refused"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["convert", "none.onnx"], 3, "cannot read"),
        (["convert", "NET", "--input-shape", "xx:1,3,8,8"], 2, "no input 'xx'; it has x"),
        (["convert", "net.tnnproto"], 2, "TNN model already"),
        (["quantize", "NET", "-p", "a.tnnproto", "-i", "."], 2, "one model too many"),
        (["quantize", "-p", "NET", "-m", "a.tnnmodel", "-i", "."], 2, "has no .tnnmodel"),
        (["quantize", "-i", "."], 2, "-p"),
    ],
)
def test_bad_input_is_one_clear_line(capsys, net, arguments, code, message):
    got, _, err = run(capsys, *[net if a == "NET" else a for a in arguments])
    lines = err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert got == code


def test_a_difference_is_named(capsys, net, monkeypatch):
    """A pair that is not what the ONNX model computes: exit code 10, and the blob."""
    from tnnquant.layers.clip import Relu
    from tnnquant.layers.convolution import Convolution

    monkeypatch.setattr(Convolution, "absorbed", lambda self, following, state: None)
    monkeypatch.setattr(Relu, "function", lambda self: ("BOUND", -1.0, np.inf))
    code, out, _ = run(capsys, "convert", net, "-o", net.parent / "made")
    assert code == 10
    assert "first blob that does is 'r'" in out


@pytest.fixture
def with_zero_points(tmp_path):
    """A chain of int8 convolutions whose blobs have zero points."""
    from tests.onnx.qdq.test_apply import Qdq

    net = Qdq(np.random.default_rng(6), (1, 4, 12, 12), np.uint8)
    x = net.pair("x", 0.02, 100)
    for _ in range(4):
        x = net.pair(net.op("Relu", net.conv(x, 4, 4, 3, 1)), 0.01, 0)
        x = net.pair(net.op("Relu", net.depthwise(x, 4, 3, 1)), 0.005, 0)
    path = tmp_path / "net.onnx"
    onnx.save(net.model(x), path)
    return path


def test_zero_points_in_fp32_are_offered_and_made(capsys, with_zero_points, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("tnnquant.cli.convert._CLOSE", 1.0)  # small nets drift apart less than large ones
    made = with_zero_points.parent / "made"
    code, out, _ = run(capsys, "convert", with_zero_points, "-o", made)
    assert code == 0
    assert "closer to the ONNX model: --zero-points fp32" in out
    code, out, err = run(capsys, "convert", with_zero_points, "-o", made, "--zero-points", "fp32")
    assert code == 0
    assert "lowest cosine 1.00000" in out
    assert "closer to" not in out
    assert "8 layers are kept in fp32" in err
    graph = tnnquant.read_model(with_zero_points, zero_points="fp32")
    assert [node.name for node in graph.nodes] == [
        node.name for node in tnnquant.read_model(f"{made}.tnnproto", f"{made}.tnnmodel").nodes
    ]


def test_compiling_for_the_comparison_is_said(capsys, net, monkeypatch):
    from tnnquant.kernels import jit
    from tnnquant.onnx import verify

    told, compare = [], verify.compare
    monkeypatch.setattr(jit, "before_compiling", told.append)

    def compared(*arguments):
        told[-1]()  # as when the first kernel has to be compiled
        return compare(*arguments)

    monkeypatch.setattr(verify, "compare", compared)
    code, _, err = run(capsys, "convert", net, "-o", net.parent / "made")
    assert code == 0
    assert "compiling kernels (first use only" in err
