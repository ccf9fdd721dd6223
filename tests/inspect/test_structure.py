"""A .tnnproto alone: what follows from it, and what is not known."""

import numpy as np
import pytest

from tnnquant.errors import ConfigError, TnnQuantError
from tnnquant.format import write_model
from tnnquant.inspect.api import inspect_model
from tnnquant.inspect.structure import ALONE


@pytest.fixture
def alone(inspected_files, tmp_path):
    """The .tnnproto of a model in a folder of its own, and the summary of the whole model."""
    whole = inspect_model(inspected_files)
    folder = tmp_path / "alone"
    folder.mkdir()
    (folder / "net.tnnproto").write_bytes((tmp_path / "net.tnnproto").read_bytes())
    return folder / "net.tnnproto", whole


def test_shapes_and_arithmetic_are_those_of_the_whole_model(alone):
    path, whole = alone
    for name in (path, path.with_suffix(""), path.parent):
        summary = inspect_model(name)
        assert summary.is_structure
        assert not whole.is_structure
        assert [(row.name, row.type, row.dims, row.macs) for row in summary.layers] == [
            (row.name, row.type, row.dims, row.macs) for row in whole.layers
        ]
        assert summary.inputs == whole.inputs
        assert summary.outputs == whole.outputs
        assert summary.problems == [ALONE]


def test_what_lies_in_the_other_file_is_unknown(alone):
    path, whole = alone
    summary = inspect_model(path)
    for row, full in zip(summary.layers, whole.layers, strict=True):
        assert row.parameters == (None if full.parameters else 0)
        assert row.precision.planned == ""
    assert summary.totals()["parameters"] is None
    assert summary.totals()["macs"] == whole.totals()["macs"]
    assert summary.as_dict()["layers"][0]["bytes"] is None


def test_int8_layers_have_no_fault(quantized, tmp_path):
    write_model(quantized, tmp_path / "small.tnnproto", tmp_path / "small.tnnmodel")
    (tmp_path / "small.tnnmodel").unlink()
    summary = inspect_model(tmp_path / "small")
    assert summary.precision == "int8"
    assert not any(row.precision.problem for row in summary.layers)


def test_other_dims(alone):
    path, _ = alone
    (name, dims), *_ = inspect_model(path).inputs.items()
    wider = (*dims[:3], 2 * dims[3])
    assert inspect_model(path, {name: wider}).layers[0].dims[3] == 2 * inspect_model(path).layers[0].dims[3]
    with pytest.raises(ConfigError, match="no input 'other'"):
        inspect_model(path, {"other": (1, 2)})


def test_a_stored_operand_is_supposed_to_be_no_larger(build, tmp_path):
    net = build((1, 4, 6, 6))
    scaled = net.add("Mul", "input", tensors={"element": np.ones((1, 4, 1, 1), np.float32)}, name="scaled")
    table = np.ones((5, 4), np.float32)
    looked = net.add("Gather", scaled, 0, 1, 0, name="looked", tensors={"data": table})
    graph = net.graph(net.conv(scaled, 4, 2, name="conv"), looked)
    write_model(graph, tmp_path / "a.tnnproto", tmp_path / "a.tnnmodel")
    (tmp_path / "a.tnnmodel").unlink()
    summary = inspect_model(tmp_path / "a")
    dims = {row.name: row.dims for row in summary.layers}
    assert dims["conv"] == (1, 2, 6, 6)
    assert dims["looked"] == (), "its table lies in the other file"
    assert summary.problems[1].startswith("shapes after scaled suppose that the stored operand")


def test_nothing_else_takes_it(alone):
    from tnnquant import bench_latency, compare, read_model

    path, _ = alone
    with pytest.raises(TnnQuantError, match=r"there is no .*net.tnnmodel"):
        compare(path, path, path.parent)
    with pytest.raises(TnnQuantError, match=r"there is no .*net.tnnmodel"):
        bench_latency(path)
    assert read_model(path).nodes, "Python may ask for the structure"
