"""How the tests of the export run what was written."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def onnxruntime_run():
    """A function ``run(model, inputs)``: the outputs of an ONNX model by name."""
    onnxruntime = pytest.importorskip("onnxruntime")

    def run(model, inputs):
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        wanted = {entry.name for entry in session.get_inputs()}
        fed = {name: np.asarray(x) for name, x in inputs.items() if name in wanted}
        return dict(zip([o.name for o in session.get_outputs()], session.run(None, fed), strict=True))

    return run
