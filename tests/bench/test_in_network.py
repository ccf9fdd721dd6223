"""A kernel in the place of the built-in one: for every operator with a seam, and with what may be wrong."""

import numpy as np
import pytest
from numba import njit

from tests.engine.test_executor_i8 import int8_graph
from tnnquant.bench.custom import CustomKernel
from tnnquant.bench.in_network import measure_in_network
from tnnquant.bench.operators import operators
from tnnquant.bench.seams import SEAMS
from tnnquant.engine.executor import Executor
from tnnquant.errors import ConfigError, KernelError
from tnnquant.graph.lower import lower


def float_net(net):
    """Layers of every fp32 operator that has a seam."""
    a = net.add("ReLU6", net.conv("input", 3, 12))
    b = net.add("ReLU", net.add("Add", [net.conv(a, 12, 12), a]))
    c = net.conv(b, 12, 12, groups=12)
    c = net.add("HardSwish", net.add("Add", [net.add("Sigmoid", c), b]), 1 / 6, 0.5)
    d = net.add("PReLU", net.pool(c), tensors={"slope": np.linspace(0.1, 0.5, 12, dtype=np.float32)})
    e = net.add("Upsample", d, 2, 2.0, 2.0, 0)
    f = net.inner_product(net.pool(net.pool(e, kind=1), kind=1, kernel=5, stride=5), 12, 7)
    return net.add("Softmax", f, axis=1), net.add("ReduceSum", d, 0, (1,))


def int8_net(net):
    a = net.add("ReLU", net.conv("input", 3, 12))
    b = net.add("Swish", net.conv(net.pool(a), 12, 12, groups=12))
    c = net.add("Add", [net.pool(a), net.conv(b, 12, 12)])
    d = net.add("Add", [c, net.pool(net.add("LRN", a, 1e-4, 0.75, 1.0, 5))])
    return net.inner_product(net.pool(d), 12 * 3 * 2, 5)


@pytest.fixture
def graphs(build, rng):
    one, other = build((1, 3, 12, 10)), build((1, 3, 12, 10))
    fp32 = one.graph(*float_net(one))
    int8, _ = int8_graph(other.graph(int8_net(other)), rng)
    return {"fp32": lower(fp32), "int8": int8}


@pytest.fixture
def fed(rng):
    return [{"input": rng.standard_normal((1, 3, 12, 10)).astype(np.float32)} for _ in range(2)]


ABSENT = {"deconv2d_f32", "matmul_f32", "layer_norm_f32"}


@pytest.mark.parametrize("name", sorted(set(SEAMS) - ABSENT))
def test_the_naive_twin_takes_every_place(name, graphs, fed):
    entry = operators()[name]
    results = [
        measure_in_network(CustomKernel(entry, entry.naive), graph, fed, which, repeats=3)
        for which, graph in graphs.items()
    ]
    found = [result for result in results if result is not None]
    assert found
    for result in found:
        assert result.problem == ""
        assert result.left == 0
        assert all(layer.layer and layer.seconds > 0 and layer.builtin_seconds > 0 for layer in result.layers)
        assert max(result.outputs.values()) <= (1e-5 if entry.tolerance or name == "reduce_f32" else 0)
        assert result.seconds > 0
        assert result.as_dict()["operator"] == name


def test_deconvolution(build, fed):
    net = build((1, 3, 12, 10))
    weight = net.rng.standard_normal((3, 6, 4, 4)).astype(np.float32)
    up = net.add(
        "Deconvolution", "input", tensors={"filter": weight}, group=1, input_channel=3, output_channel=6, kernel_h=4,
        kernel_w=4, stride_h=2, stride_w=2, pad_h=1, pad_w=1, bias=0, pad_type=-1,
    )  # fmt: skip
    entry = operators()["deconv2d_f32"]
    result = measure_in_network(CustomKernel(entry, entry.naive), lower(net.graph(up)), fed[:1], "fp32", repeats=3)
    assert result is not None
    assert result.problem == ""
    assert len(result.layers) == 1


def test_products_of_matrices(build, rng):
    net = build((3, 5, 5))
    graph = lower(net.graph(net.add("MatMul", [net.add("Sigmoid", "input"), "input"])))
    fed = [{"input": rng.standard_normal((3, 5, 5)).astype(np.float32)}]
    entry = operators()["matmul_f32"]
    result = measure_in_network(CustomKernel(entry, entry.naive), graph, fed, "fp32", repeats=3)
    assert result is not None
    assert result.problem == ""


@njit
def pool2d_i8(x, geometry, kind, out):
    out[...] = 1


@njit
def conv2d_i8(x, weight, quant, geometry, activation, fusion, added, out):
    return "a" + x


def test_a_kernel_that_is_wrong_is_named_with_its_layer_and_output(graphs, fed):
    entry = operators()["pool2d_i8"]
    result = measure_in_network(CustomKernel(entry, pool2d_i8), graphs["int8"], fed, "int8", repeats=3)
    assert result.problem.startswith(f"{len(result.layers)} of {len(result.layers)} layers differ; ")
    assert result.layers[0].layer in result.problem
    assert "output 'innerproduct" in result.problem
    assert "\n" not in result.problem
    assert np.isnan(result.seconds), "what is wrong is not timed"


def test_a_kernel_that_does_not_compile(graphs, fed):
    entry = operators()["conv2d_i8"]
    with pytest.raises(KernelError, match="TypingError"):
        measure_in_network(CustomKernel(entry, conv2d_i8), graphs["int8"], fed, "int8", repeats=3)


def test_an_operator_that_is_elsewhere(graphs, fed):
    admm, gemm = operators()["admm"], operators()["gemm_i8"]
    with pytest.raises(ConfigError, match="admm is no operation of a network's program"):
        measure_in_network(CustomKernel(admm, admm.naive), graphs["fp32"], fed, "fp32")
    assert measure_in_network(CustomKernel(gemm, gemm.naive), graphs["fp32"], fed, "fp32") is None


def test_nothing_stays_changed(graphs, fed):
    from tnnquant.kernels import conv_i8, pack_i8, program

    before = program.Program, conv_i8.conv2d_i8_op, pack_i8.pack_conv_i8
    want = Executor(graphs["int8"], exact=False).run(fed[0])
    entry = operators()["conv2d_i8"]
    measure_in_network(CustomKernel(entry, entry.naive), graphs["int8"], fed, "int8", repeats=3)
    assert before == (program.Program, conv_i8.conv2d_i8_op, pack_i8.pack_conv_i8)
    got = Executor(graphs["int8"], exact=False).run(fed[0])
    for name, array in want.items():
        np.testing.assert_array_equal(array, got[name])
