"""``tnnquant export``: what it writes and prints."""

from __future__ import annotations

import onnx
import pytest
from click.testing import CliRunner

from tnnquant.cli import group
from tnnquant.errors import ConfigError, ModelFormatError
from tnnquant.format import write_model


@pytest.fixture
def pair(build, tmp_path):
    """The name of a small model."""
    net = build((1, 3, 6, 6))
    write_model(net.graph(net.conv("input", 3, 4)), tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel")
    return tmp_path / "net"


def invoke(*args):
    return CliRunner().invoke(group, ["export", *map(str, args)], standalone_mode=False)


def test_the_file_has_the_name_of_the_model(pair):
    result = invoke(pair)
    assert result.exception is None
    assert result.output.splitlines() == [f"{pair}.onnx: 1 layers; opset 17, 1 nodes, 0.0 MB"]
    assert onnx.load(f"{pair}.onnx").opset_import[0].version == 17


def test_output_opset_and_dims_are_options(pair, tmp_path):
    target = tmp_path / "other.onnx"
    files = "-p", f"{pair}.tnnproto", "-m", f"{pair}.tnnmodel"
    result = invoke(*files, "-o", target, "--opset", 13, "--input-shape", "input:2,3,8,8")
    assert result.exception is None
    model = onnx.load(target)
    assert model.opset_import[0].version == 13
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 8, 8]


def test_what_cannot_be_done_is_an_error_of_the_tool(pair, tmp_path):
    assert isinstance(invoke(tmp_path / "nothing").exception, ModelFormatError)
    assert "is an ONNX model already" in str(invoke(tmp_path / "net.onnx").exception)
    assert isinstance(invoke(pair, "--opset", 5).exception, ConfigError)
    assert not (tmp_path / "net.onnx").exists()
