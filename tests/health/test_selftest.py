"""The self-test of the kernels finds what it should."""

import numpy as np
import pytest

from tnnquant.base.tensor import QuantParams
from tnnquant.health.selftest import FP32, case_graphs, int8_form, reference, run_selftest
from tnnquant.layers.int8 import quantized


def test_all_kernels_of_this_path_are_right():
    report = run_selftest()
    assert report["wrong"] == []
    assert len(report["digests"]) == 2 * len(case_graphs()) + 1
    assert FP32 in report["digests"]
    assert report["digests"] == run_selftest()["digests"]


def test_the_reference_is_a_convolution():
    """Against a plain loop, one output value at a time."""
    graph = int8_form(case_graphs()["convolution 5x5, stride 2"], asymmetric=True)
    node, (source, target) = graph.nodes[0], graph.scales.values()
    codes = np.random.default_rng(0).integers(-128, 128, graph.inputs["x"].dims).astype(np.int8)
    found = reference(node, codes, source, target)
    weight = node.tensors["filter"].data.reshape(18, 7, 5, 5)
    for o, y, x in ((0, 0, 0), (17, 8, 7), (5, 3, 2)):
        total = int(node.tensors["bias"].data[o])
        for c in range(7):
            for i in range(5):
                for j in range(5):
                    h, w = 2 * y + i - 2, 2 * x + j - 2
                    if 0 <= h < 17 and 0 <= w < 15:
                        zero_in, zero_w = int(source.zero_point[c]), int(node.tensors["zero_point"].data[o])
                        total += (int(codes[0, c, h, w]) - zero_in) * (int(weight[o, c, i, j]) - zero_w)
        value = np.float32(total) * (node.tensors["scale"].data[o] / target.scale[o])
        one = QuantParams(np.ones(1, np.float32), target.zero_point[o : o + 1])
        assert found[0, o, y, x] == quantized(np.full((1, 1), value, np.float32), one)[0, 0]


def test_a_wrong_kernel_is_named(monkeypatch):
    import tnnquant.health.selftest as module

    honest = module._int8_output

    def off_by_one(executor, codes):
        found = honest(executor, codes)
        return found + np.int8(1) if found.ndim == 2 else found

    monkeypatch.setattr(module, "_int8_output", off_by_one)
    assert run_selftest()["wrong"] == ["inner product", "inner product, asymmetric"]


@pytest.mark.parametrize("name", list(case_graphs()))
def test_outputs_are_neither_constant_nor_all_saturated(name):
    graph = int8_form(case_graphs()[name])
    node = graph.nodes[0]
    codes = np.random.default_rng(3).integers(-128, 128, graph.inputs["x"].dims).astype(np.int8)
    found = reference(node, codes, graph.scales["x"], graph.scales[node.outputs[0]])
    assert len(np.unique(found)) > 20
    assert np.mean(np.abs(found.astype(int)) >= 127) < 0.2
