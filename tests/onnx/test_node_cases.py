"""ONNX's own test cases, which the package ``onnx`` brings along: converted, run by the Executor, and compared.

The cases feed everything as graph inputs. What an exporter would have written as a constant (dims, axes, pads, weights,
slopes) is made an initializer first. Counted are the cases whose inputs and outputs are float32, int32, int64, bool or
int8.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tnnquant.engine.executor import Executor
from tnnquant.errors import TnnQuantError
from tnnquant.onnx import convert

onnx = pytest.importorskip("onnx", minversion="1.16")

EXCEPTIONS = Path(__file__).parent / "node_case_exceptions.txt"
#: The list of exceptions was made with it.
KNOWN_VERSION = "1.23"

#: Inputs that are constants in what exporters write, by operator.
PARAMETERS = {
    "Tile": (1,), "Range": (0, 1, 2), "Expand": (1,), "Reshape": (1,), "Squeeze": (1,), "Unsqueeze": (1,),
    "Trilu": (1,), "CumSum": (1,), "TopK": (1,), "Pad": (1, 2, 3), "Dropout": (1, 2), "CenterCropPad": (1,),
    "OneHot": (1, 2), "Resize": (1, 2, 3), "Upsample": (1,), "Split": (1,), "Slice": (1, 2, 3, 4), "Clip": (1, 2),
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "BatchNormalization": (1, 2, 3, 4), "PRelu": (1,),
    "LSTM": (1, 2, 3, 4, 5, 6, 7), "GRU": (1, 2, 3, 4, 5), "RNN": (1, 2, 3, 4, 5), "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2), "LayerNormalization": (1, 2), "RMSNormalization": (1,), "Gather": (1,),
    "GatherND": (1,), "GatherElements": (1,), "Pow": (1,), "NonMaxSuppression": (2, 3, 4), "ReverseSequence": (1,),
    "Compress": (1,), "AffineGrid": (1,), "BitShift": (1,),
    **{"Reduce" + kind: (1,) for kind in "Max Min Sum Mean SumSquare Prod L1 L2 LogSum LogSumExp".split()},
}  # fmt: skip

#: Operators that TNN has a layer for, or that need none.
DIRECT = frozenset(
    """Add Sub Mul Div Max Min Pow Sqrt Exp Log Abs Neg Reciprocal Erf Floor Ceil Relu LeakyRelu PRelu Clip Sigmoid
    Tanh HardSigmoid HardSwish Softplus Elu Selu Gelu Softmax LogSoftmax Conv ConvTranspose Gemm MatMul
    BatchNormalization InstanceNormalization LayerNormalization GroupNormalization LpNormalization LRN MaxPool
    AveragePool GlobalAveragePool GlobalMaxPool Resize Upsample DepthToSpace SpaceToDepth GridSample Concat Split Slice
    Reshape Flatten Transpose Squeeze Unsqueeze Expand Tile Pad Gather Shape Size Cast Constant ConstantOfShape Range
    Identity Dropout ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceProd ReduceSumSquare ReduceLogSum
    ReduceLogSumExp ArgMax ArgMin Equal Greater Less And Not Where LSTM Einsum TopK NonMaxSuppression RoiAlign OneHot
    NonZero GatherND Scatter ScatterElements ScatterND Sign Sin Cos Tan Asin Acos Atan BitShift""".split()
)
#: Operators that are a few layers.
REWRITTEN = frozenset(
    """Sum Mean Mod Round Or Xor GreaterOrEqual LessOrEqual Mish Swish Celu ThresholdedRelu Softsign Shrink Hardmax
    RMSNormalization MeanVarianceNormalization CumSum Trilu EyeLike LpPool GRU RNN RotaryEmbedding Attention
    GatherElements Sinh Cosh Asinh Acosh Atanh ReverseSequence Compress CenterCropPad AffineGrid IsInf IsNaN""".split()
)


@dataclass(frozen=True)
class Case:
    """A model with what it is fed and what it must give."""

    name: str
    op: str
    model: object
    feeds: dict
    wanted: dict
    rtol: float
    atol: float


def node_cases():
    """Those of single nodes and of functions written out."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    taken = {onnx.TensorProto.FLOAT, onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL,
             onnx.TensorProto.INT8}  # fmt: skip
    for case in found:
        if case.model is None or not case.data_sets:
            continue
        model = onnx.ModelProto.FromString(case.model.SerializeToString())
        graph = model.graph
        types = [v.type.tensor_type.elem_type if v.type.HasField("tensor_type") else -1 for v in
                 [*graph.input, *graph.output]]  # fmt: skip
        if not taken.issuperset(types):
            continue
        inputs, outputs = (_arrays(values, data) for values, data in
                           zip((graph.input, graph.output), case.data_sets[0], strict=True))  # fmt: skip
        if inputs is None or outputs is None:
            continue
        single = graph.node[0] if len(graph.node) == 1 else None
        numbers = PARAMETERS.get(single.op_type, ()) if single else ()
        constant = {single.input[k] for k in numbers if k < len(single.input)} & set(inputs)
        for name in constant:
            graph.initializer.append(onnx.numpy_helper.from_array(inputs.pop(name), name))
        kept = [v for v in graph.input if v.name not in constant]
        del graph.input[:]
        graph.input.extend(kept)
        yield Case(case.name, single.op_type if single else "*", model, inputs, outputs, case.rtol, case.atol)


def _arrays(values, data):
    found = {}
    for value, item in zip(values, data, strict=False):
        array = onnx.numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else item
        if not isinstance(array, np.ndarray) and not np.isscalar(array):
            return None
        found[value.name] = np.asarray(array)
    return found


def outcome(case: Case) -> tuple[str, str]:
    """("right", ""), ("refused", why) or ("wrong", how)."""
    try:
        conversion = convert(case.model)
        executor = Executor(conversion.graph)
        feeds = {}
        for name, array in case.feeds.items():
            blob = conversion.renamed.get(name, name)
            spec = executor.specs[blob]
            feeds[blob] = array.astype(spec.dtype.numpy).reshape(spec.dims)
        made = executor.run(feeds)
    except TnnQuantError as error:
        return ("crash", "an error of several lines") if "\n" in str(error) else ("refused", str(error))
    except Exception as error:
        return "crash", f"{type(error).__name__}: {error}"
    for name, wanted in case.wanted.items():
        got = made[conversion.renamed.get(name, name)]
        if got.shape != wanted.shape and not (wanted.ndim == 0 and got.size == 1):
            return "wrong", f"{got.shape}, expected {wanted.shape}"
        a, b = got.reshape(wanted.shape).astype(np.float64), wanted.astype(np.float64)
        if not np.allclose(a, b, rtol=max(case.rtol, 1e-4), atol=max(case.atol, 1e-6), equal_nan=True):
            return "wrong", f"{name} differs"
    return "right", ""


@pytest.fixture(scope="module")
def outcomes():
    """What became of every case: {name: (operator, outcome, text)}."""
    return {case.name: (case.op, *outcome(case)) for case in node_cases()}


def share_right(outcomes, ops) -> float:
    states = [state for op, state, _ in outcomes.values() if op in ops]
    return states.count("right") / len(states)


def test_none_is_wrong(outcomes):
    """Right, or refused by name."""
    bad = {name: rest for name, (_, *rest) in outcomes.items() if rest[0] not in ("right", "refused")}
    assert bad == {}
    assert len(outcomes) >= 600


def test_most_are_right(outcomes):
    assert share_right(outcomes, DIRECT) >= 0.95
    assert share_right(outcomes, REWRITTEN) >= 0.75
    counts = Counter(state for _, state, _ in outcomes.values())
    assert counts["right"] >= 0.8 * len(outcomes)


def test_the_exceptions_are_known(outcomes):
    """Every refused case of an operator that should work stands in the list, with the reason; and no other does."""
    lines = [line for line in EXCEPTIONS.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    listed = dict(line.split(": ", 1) for line in lines)
    assert all(reason.strip() for reason in listed.values())
    refused = {n for n, (op, state, _) in outcomes.items() if state == "refused" and op in DIRECT | REWRITTEN}
    right = {name for name, (_, state, _) in outcomes.items() if state == "right"}
    assert not right & set(listed)
    if onnx.__version__.startswith(KNOWN_VERSION):
        assert refused == set(listed)


def test_refusals_name_the_node(outcomes):
    for name, (op, state, text) in outcomes.items():
        if state == "refused" and "cannot express" in text:
            assert "opset" in text, name
            assert "output" in text, name
            assert op == "*" or op in text or "graph" in text or "(opset" in text


# --- models that PyTorch exported, with data ---

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "pytorch-converted"


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the package onnx lies here without its test data")
def test_pytorch_converted():
    """All of them; the 3-D ones and those with data of other types included."""
    bad = {}
    folders = sorted(path for path in FOLDER.iterdir() if (path / "model.onnx").is_file())
    for path in folders:
        model = onnx.load(str(path / "model.onnx"))
        data = path / "test_data_set_0"
        read = lambda kind, k, data=data: onnx.numpy_helper.to_array(  # noqa: E731
            onnx.TensorProto.FromString((data / f"{kind}_{k}.pb").read_bytes())
        )
        initialized = {tensor.name for tensor in model.graph.initializer}
        names = [value.name for value in model.graph.input if value.name not in initialized]
        feeds = {name: read("input", k) for k, name in enumerate(names)}
        wanted = {value.name: read("output", k) for k, value in enumerate(model.graph.output)}
        state = outcome(Case(path.name, "*", model, feeds, wanted, 1e-3, 1e-6))
        if state[0] != "right":
            bad[path.name] = state
    assert bad == {}
    assert len(folders) >= 80
