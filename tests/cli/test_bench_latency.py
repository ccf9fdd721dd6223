"""``tnnquant bench latency``: what is printed, and bad input."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tnnquant.bench.models import RandomSamples, quantize_here
from tnnquant.cli import main
from tnnquant.config import QuantizeConfig
from tnnquant.format import write_model
from tnnquant.graph import QuantParams


def run(*args):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "latency", "--repeats", "2", *map(str, args)])
    return stop.value.code


@pytest.fixture
def graphs(build):
    net = build((1, 3, 16, 12))
    out = net.inner_product(net.pool(net.add("ReLU", net.conv("input", 3, 8, name="first"))), 8 * 8 * 6, 5, name="fc")
    fp32 = net.graph(out)
    return fp32, quantize_here(fp32, RandomSamples(fp32.inputs), QuantizeConfig())


def _write(folder, name, graph):
    paths = folder / f"{name}.tnnproto", folder / f"{name}.tnnmodel"
    write_model(graph, *paths)
    return paths


@pytest.fixture
def pairs(graphs, tmp_path):
    return _write(tmp_path, "fp32", graphs[0]), _write(tmp_path, "int8", graphs[1])


def test_a_pair_beside_its_int8_pair(pairs, capsys):
    (p, m), int8 = pairs
    assert run("-p", p, "-m", m, "--int8", *int8, "--threads", 1) == 0
    printed = capsys.readouterr().out
    for text in ("instruction path", "times as fast as fp32", "first", "of peak", "borders", "at most"):
        assert text in printed
    assert "on the fly" not in printed


def test_quantized_on_the_fly_as_json(pairs, capsys):
    (p, m), _ = pairs
    assert run("-p", p, "-m", m, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert set(values["models"]) == {"fp32", "int8"}
    assert values["models"]["int8"]["runs"] == 2
    first = next(row for row in values["layers"] if row["name"] == "first")
    assert first["int8"]["int8"]
    assert first["fp32"]["gmacs"] > 0


def test_tensors_of_a_folder_are_fed(pairs, tmp_path, capsys):
    (p, m), _ = pairs
    folder = tmp_path / "inputs"
    folder.mkdir()
    for i in range(3):
        np.save(folder / f"{i}.npy", np.random.default_rng(i).standard_normal((1, 3, 16, 12)).astype(np.float32))
    assert run("-p", p, "-m", m, "-i", folder, "--no-layers") == 0
    printed = capsys.readouterr().out
    assert f"on the fly from pictures of {folder}" in printed
    assert "of peak" not in printed


def test_an_int8_pair_alone(pairs, capsys):
    _, (p, m) = pairs
    assert run("-p", p, "-m", m, "--no-layers") == 0
    assert "times as fast" not in capsys.readouterr().out


def _broken(graph, **scales):
    return graph.replace(scales={name: params for name, params in {**graph.scales, **scales}.items() if params})


def _params(*values):
    return QuantParams(np.float32(values), np.zeros(len(values), np.int8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: _broken(g, input=None), "'input' has no scale"),
        (lambda g: _broken(g, input=_params(1, 1)), "'input' has 2 scales"),
        (lambda g: _broken(g, input=_params(1, np.nan, 1)), "scale 1 of the int8 blob 'input' is nan"),
        (lambda g: _broken(g, input=_params(0)), "the scale of the int8 blob 'input' is 0"),
    ],
)
def test_broken_scales_are_one_error_naming_blob_and_layer(graphs, tmp_path, change, message, capsys):
    p, m = _write(tmp_path, "broken", change(graphs[1]))
    assert run("-p", p, "-m", m) in (3, 4)
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def _with_weights(graph, change):
    node = next(n for n in graph.nodes if n.name == "first")
    tensors = {key: replace(t, data=change(key, t.data)) for key, t in node.resource.tensors.items()}
    resource = replace(node.resource, tensors=tensors)
    return graph.with_nodes([n.replace(resource=resource) if n is node else n for n in graph.nodes])


@pytest.mark.parametrize("name", ["filter", "scale", "bias"])
def test_tensors_of_the_wrong_length_are_one_error_naming_the_layer(graphs, tmp_path, name, capsys):
    graph = _with_weights(graphs[1], lambda key, data: data[:-3] if key == name else data)
    p, m = _write(tmp_path, "broken", graph)
    assert run("-p", p, "-m", m) in (3, 4)
    error = capsys.readouterr().err
    assert "first" in error
    assert "expected" in error
    assert len(error.strip().splitlines()) == 1


def test_a_dead_channel_is_no_error(graphs, tmp_path):
    scale = graphs[1].scales["input"].scale.copy()
    scale[1] = 0
    p, m = _write(tmp_path, "dead", _broken(graphs[1], input=_params(*scale)))
    assert run("-p", p, "-m", m, "--no-layers") == 0


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--threads", 0], 2, "--threads is 0"),
        (["--threads", 4096], 2, "the cores this process may use"),
        (["--repeats", 0], 2, "--repeats is 0"),
        (["--input-shape", "data:1,3,8,8"], 2, "--input-shape names 'data'; the model's inputs are input"),
        (["-i", "nowhere"], 5, "nowhere"),
    ],
)
def test_bad_options(pairs, args, code, message, capsys):
    (p, m), _ = pairs
    assert run("-p", p, "-m", m, *args) == code
    assert message in capsys.readouterr().err


def test_an_fp32_pair_as_int8(pairs, capsys):
    (p, m), _ = pairs
    assert run("-p", p, "-m", m, "--int8", p, m) == 2
    assert "is an fp32 model, expected an int8 one" in capsys.readouterr().err


def test_methods_need_a_model_that_is_made_here(pairs, capsys):
    (p, m), int8 = pairs
    assert run("-p", p, "-m", m, "--int8", *int8, "-b", "kl") == 2
    assert "--blob_method is for a model that is quantized on the fly" in capsys.readouterr().err
    assert run("-p", int8[0], "-m", int8[1], "--exclude", "fc") == 2
    assert "--exclude is for a model that is quantized on the fly" in capsys.readouterr().err


def test_the_recipe_makes_the_model(pairs, capsys):
    (p, m), _ = pairs
    assert run("-p", p, "-m", m, "--recipe", "dynamic", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["layers"]}
    assert rows["first"]["int8"]["int8"] is False  # widened weights, fp32 arithmetic


POOL = """
from numba import njit

@njit
def pool2d_i8(x, geometry, kind, out):
    for n in range(out.shape[0]):
        for y in range(out.shape[1]):
            for ox in range(out.shape[2]):
                for c in range(out.shape[3]):
                    best = -127
                    for kh in range(geometry.kernel_h):
                        for kw in range(geometry.kernel_w):
                            best = max(best, x[n, y * geometry.stride_h + kh, ox * geometry.stride_w + kw, c])
                    out[n, y, ox, c] = best
"""


def test_a_kernel_of_ones_own_in_the_network(pairs, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(POOL)
    (p, m), int8 = pairs
    assert run("-p", p, "-m", m, "--int8", *int8, "--kernel", path, "--threads", 1) == 0
    printed = capsys.readouterr().out
    assert "pool2d_i8 in the int8 network: yours runs in 1 layer" in printed
    assert "all outputs are equal" in printed
    assert run("-p", int8[0], "-m", int8[1], "--kernel", path, "--json") == 0
    (result,) = json.loads(capsys.readouterr().out)["networks"]
    assert result["problem"] == ""
    assert set(result["outputs"].values()) == {0.0}
    path.write_text(POOL.replace("= best", "= best + 1"))
    assert run("-p", p, "-m", m, "--int8", *int8, "--kernel", path) == 1
    captured = capsys.readouterr()
    assert "1 of 1 layers differ; pooling" in captured.err
    assert "output 'fc_out'" in captured.err
    assert len(captured.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (POOL.replace("pool2d_i8", "softmax_f32").replace("geometry, kind, ", ""), "no program of the network"),
        (POOL.replace("pool2d_i8", "admm").replace("geometry, kind", "codes"), "admm is no operation of a network"),
        ("def f(:", "mine.py:1: SyntaxError"),
    ],
)
def test_kernels_that_cannot_be_used(pairs, tmp_path, capsys, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    (p, m), int8 = pairs
    assert run("-p", p, "-m", m, "--int8", *int8, "--kernel", path) != 0
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_program(pairs, capsys, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    (p, m), int8 = pairs
    assert run("-p", p, "-m", m, "--int8", *int8, "--program") == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= max(int(columns), 120)
    assert "first" in printed
    assert "pool_i8._pool_task" in printed
    assert "int8: " in printed
    assert run("-p", p, "-m", m, "--int8", *int8, "--program", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert [op["layer"] for op in values["int8"]["operations"]][:2] == ["input", "first"]
    assert run("-p", p, "-m", m, "--program", "--kernel", "mine.py") == 2
    assert run("-p", p, "-m", m, "--program", "--no-layers") == 2
