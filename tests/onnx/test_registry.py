"""The table of operators in docs/onnx.md is that of the registry."""

from __future__ import annotations

from pathlib import Path

from tnnquant.onnx.registry import converters, find_converter, operator_table

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "onnx.md"


def test_the_document_has_the_table():
    """To renew it, print the lines of ``tnnquant.onnx.registry.operator_table()``."""
    lines = DOCUMENT.read_text("utf-8").splitlines()
    assert [line for line in lines if line in operator_table()] == operator_table()


def test_versions():
    assert find_converter("", "Softmax", 12).since == 1
    assert find_converter("", "Softmax", 13).since == 13
    assert find_converter("", "Unique", 17) is None
    assert find_converter("", "GridSample", 15) is None


def test_attributes_have_defaults_in_the_signature():
    """Only those that ONNX has no default for are demanded."""
    import inspect

    demanded = {
        (entry.op, p.name)
        for entry in converters()
        for p in inspect.signature(entry.function).parameters.values()
        if p.kind == p.KEYWORD_ONLY and p.default is p.empty
    }
    assert demanded <= {
        ("BitShift", "direction"), ("Cast", "to"), ("DepthToSpace", "blocksize"), ("Einsum", "equation"),
        ("GroupNormalization", "num_groups"), ("LRN", "size"), ("LpPool", "kernel_shape"),
        ("MaxPool", "kernel_shape"), ("AveragePool", "kernel_shape"), ("SpaceToDepth", "blocksize"),
        ("QLinearAveragePool", "kernel_shape"),
    }  # fmt: skip
