"""What a notebook shows of the objects of the package: one short line each, whatever they hold."""

import numpy as np

from tnnquant import Executor
from tnnquant.base.tensor import QuantParams, Tensor


def test_a_tensor():
    assert repr(Tensor.from_array(np.zeros((2, 3), np.float32))) == "Tensor(FLOAT 2x3)"
    assert repr(Tensor.from_array(np.zeros((2, 3), np.int8), with_dims=False)) == "Tensor(INT8 6 elements)"


def test_scales():
    one = QuantParams(np.array([0.5], np.float32), np.array([3], np.int8))
    assert repr(one) == "QuantParams(scale 0.5, zero point 3)"
    many = QuantParams(np.array([0.5, 2], np.float32), np.zeros(2, np.int8))
    assert repr(many) == "QuantParams(2 scales, 0.5 to 2)"
    assert repr(QuantParams(np.empty(0, np.float32), np.empty(0, np.int8))).startswith("QuantParams(0 scales")


def test_a_graph_and_its_nodes(inspected, quantized):
    assert repr(inspected) == "Graph(8 layers, fp32; inputs input 1x3x16x12; outputs fc_out)"
    assert "int8" in repr(quantized)
    assert repr(inspected.nodes[0]) == "Node('stem', Convolution, input -> stem_out)"
    assert len(repr(quantized)) < 200


def test_an_executor(inspected):
    text = repr(Executor(inspected))
    assert text.startswith("Executor(Graph(")
    assert "steps in" in text
    assert len(text) < 200


def test_a_report(inspected_files, pictures, tmp_path):
    from tnnquant import QuantizeConfig, quantize_model

    config = QuantizeConfig(mean=(127.5,), scale=(1 / 127.5,))
    pair = inspected_files + ".tnnproto", inspected_files + ".tnnmodel"
    report = quantize_model(*pair, str(pictures), tmp_path / "out", config)
    assert repr(report).startswith(f"Report('{tmp_path}/out_quantized.tnnmodel', ")
    assert repr(report).endswith(f"layers, {report.verdict.status})")
    lines = str(report).splitlines()
    assert lines[0] == "samples      6"
    assert any(line.startswith(f"verdict      {report.verdict.status.upper()}") for line in lines)
    assert any(line.startswith("warning: only 6 samples") for line in lines)
    page = report._repr_html_()
    assert page.startswith("<table><tr><th")
    assert f">{report.verdict.status.upper()}</b>" in page
