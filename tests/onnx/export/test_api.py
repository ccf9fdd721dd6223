"""Files in, a file out."""

from __future__ import annotations

import onnx
import pytest

import tnnquant
from tnnquant.errors import ModelFormatError, OutputError, UnsupportedLayerError
from tnnquant.format import write_model


@pytest.fixture
def pair(build, tmp_path):
    """The files of a small model."""
    net = build((1, 3, 6, 6))
    paths = tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel"
    write_model(net.graph(net.conv("input", 3, 4, name="c")), *paths)
    return paths


def test_a_name_a_pair_and_a_graph_give_the_same_file(pair, tmp_path):
    targets = [tmp_path / f"{i}" / "model.onnx" for i in range(3)]
    for target, model in zip(targets, (tmp_path / "net", pair, tnnquant.read_model(*pair)), strict=True):
        target.parent.mkdir()
        made = tnnquant.export_onnx(model, target)
        assert (made.path, made.opset, made.nodes, made.layers, made.int8_layers) == (target, 17, 1, 1, 0)
        assert made.bytes == target.stat().st_size
    assert len({target.read_bytes() for target in targets}) == 1
    assert onnx.load(targets[0]).graph.node[0].op_type == "Conv"


def test_nothing_is_written_where_a_layer_cannot_be_expressed(build, tmp_path):
    net = build((1, 3, 2, 2))
    target = tmp_path / "model.onnx"
    with pytest.raises(UnsupportedLayerError):
        tnnquant.export_onnx(net.graph(net.add("Inverse", "input")), target)
    assert not target.exists()


def test_a_missing_model_and_a_missing_folder_are_said(pair, tmp_path):
    with pytest.raises(ModelFormatError, match="there is no"):
        tnnquant.export_onnx(tmp_path / "other", tmp_path / "model.onnx")
    with pytest.raises(OutputError, match="cannot write"):
        tnnquant.export_onnx(pair, tmp_path / "nowhere" / "model.onnx")
