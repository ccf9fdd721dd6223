"""The rules against what TNN's x86 device made of every fp32 layer case, in a model with an int8 layer."""

from __future__ import annotations

import json
from pathlib import Path

from tnnquant.devices import findings
from tnnquant.devices.findings import shapes_of
from tnnquant.format import read_model

#: Cases that are not right: "wrong", "fails", "crashes", "refused", or "nan" where finite values alone are right.
MEASURED = json.loads((Path(__file__).parent / "data" / "x86.json").read_text("utf-8"))


def test_rules_say_what_was_measured(shared, tmp_path):
    empty = tmp_path / "empty.tnnmodel"
    empty.write_bytes(0xFABC0004.to_bytes(4, "little") + bytes(4))
    manifest = json.loads((shared / "golden/layers/manifest.json").read_text("utf-8"))
    cases = [case for case in manifest["cases"] if case["kind"] == "fp32"]
    assert len(cases) == MEASURED["cases"]
    missed, strict = [], []
    for case in cases:
        folder = shared / "golden" / "layers" / case["name"]
        model = folder / "model.tnnmodel"
        inference = shapes_of(read_model(folder / "model.tnnproto", model if model.exists() else empty))
        found = [f for f in findings(inference.graph, inference.specs, "x86", mixed=True) if f.outcome.breaks]
        outcome = MEASURED["outcomes"].get(case["name"], "right")
        if outcome in ("right", "nan") and found:
            strict.append(case["name"])
        elif outcome not in ("right", "nan") and not found:
            missed.append(case["name"])
    # An activation code that does not exist, infinities, an operand of lower rank in five dims.
    assert len(missed) <= 3, missed
    assert len(strict) <= 10, strict
