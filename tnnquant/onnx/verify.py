"""The written pair run beside the ONNX model that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tnnquant.errors import InputError, TnnQuantError
from tnnquant.format import read_model
from tnnquant.format.files import PathLike
from tnnquant.onnx.convert import Conversion
from tnnquant.onnx.qdq.record import BlobCodes

if TYPE_CHECKING:
    from onnx import ModelProto

    from tnnquant.engine.executor import Executor

__all__ = ["Comparison", "compare"]

#: Two outputs agree that differ by at most this share of the largest magnitude, and a little.
RELATIVE, ABSOLUTE = 1e-4, 1e-6
#: Where layers of an int8 model cannot be looked at one by one, its outputs agree if their cosine is at least this: the
#: lowest of 24 models of onnxruntime's quantize_static was 0.987.
COSINE = 0.95
#: ... and those that layers compute of the same codes.
_EXACT = 0.999
_SEED = 20261129


@dataclass
class Comparison:
    """How far the outputs of the two models lie apart.

    Attributes
    ----------
    peer : str
        What ran the ONNX model.
    errors : dict of str to float
        By input that was fed, "random" and "real": the largest difference over the outputs, as a share of the largest
        magnitude of its output.
    agrees : bool
    first : str
        The first blob that differs, in the order of the layers; empty if none does.
    why_not : str
        Why nothing was compared; empty if something was.
    cosine : float
        Of int8 models, the lowest over outputs and inputs.
    layers : int
        Of int8 models: blobs that were compared with the ONNX model's codes, each layer given its codes; these judge.
    codes_differ : float
        The largest share of codes that differed then, over the inputs.
    """

    peer: str
    errors: dict[str, float] = field(default_factory=dict)
    agrees: bool = True
    first: str = ""
    why_not: str = ""
    cosine: float = 1.0
    layers: int = 0
    codes_differ: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        if self.why_not:
            return [f"not compared with the ONNX model: {self.why_not}"]
        shown = ", ".join(f"{error:.2g} on a {name} input" for name, error in self.errors.items())
        lines = [f"compared with {self.peer}: largest difference {shown} (of the largest magnitude)"]
        if self.layers:
            lines[0] += f"; int8, lowest cosine {self.cosine:.5f}"
            lines.append(
                f"given the ONNX model's codes, {self.layers} int8 blobs have its codes after them, "
                f"{self.codes_differ:.2g} of the codes being off by a step or so"
            )
        elif self.cosine < 1:
            lines[0] += f"; int8, lowest cosine {self.cosine:.5f}"
        if not self.agrees:
            lines.append(f"the outputs DIFFER; the first blob that does is {self.first!r}. Please report the model")
        return lines


def compare(
    source: PathLike, pair: Sequence[PathLike], conversion: Conversion, input_path: PathLike | None = None
) -> Comparison:
    """Run both models on one random and, if there is one, one real input.

    Parameters
    ----------
    source : path
        The ONNX model.
    pair : sequence of path
        The written .tnnproto and .tnnmodel.
    conversion : Conversion
        How they came about: names that were replaced.
    input_path : path, optional
        A picture or tensor.
    """
    from tnnquant.engine.executor import Executor

    graph = read_model(*pair)
    peer = _peer(source)
    result = Comparison(peer.name)
    executor = Executor(graph)
    feeds = {"random": _random(peer, conversion, executor)}
    if input_path is not None:
        feeds["real"] = _real(peer, conversion, executor, input_path)
    names = {conversion.renamed.get(name, name): name for name in peer.outputs}
    for what, (blobs, arrays) in feeds.items():
        got = executor.run(blobs)
        try:
            wanted = peer.run(arrays, [names[name] for name in got])
        except TnnQuantError as error:
            return Comparison(peer.name, why_not=str(error))
        worst = 0.0
        for (name, mine), theirs in zip(got.items(), wanted, strict=True):
            distance, is_same = difference(mine, theirs)
            if graph.is_quantized:
                cosine = _cosine(mine, theirs)
                is_same, result.cosine = bool(conversion.codes) or cosine >= COSINE, min(result.cosine, cosine)
            worst = max(worst, distance)
            if not is_same:
                result.agrees = False
                result.first = result.first or name
        result.errors[what] = worst
        if conversion.codes:
            _judge_layers(source, conversion, executor, blobs, arrays, result)
        if not result.agrees and not graph.is_quantized:
            result.first = _first_difference(source, conversion, executor, blobs, arrays) or result.first
            break
    return result


def _judge_layers(
    source: PathLike, conversion: Conversion, executor: Executor, blobs: Mapping[str, np.ndarray],
    arrays: Mapping[str, np.ndarray], result: Comparison,
) -> None:  # fmt: skip
    """Compare layer by layer; where the ONNX model does not show its codes, by the cosine alone."""
    from tnnquant.onnx.verify_codes import against_codes

    wanted = sorted({tensor for tensor, _ in conversion.codes.values()} & _made_in(source))
    peer = _peer(source, wanted)
    names = {conversion.renamed.get(name, name): name for name in peer.outputs}
    outputs = [names[blob] for blob in executor.graph.outputs]
    try:
        made = peer.run(arrays, [*wanted, *outputs])
    except TnnQuantError:
        result.agrees = result.agrees and result.cosine >= COSINE
        return
    check, mine = against_codes(executor, blobs, conversion, dict(zip(wanted, made, strict=False)))
    result.layers, result.codes_differ = check.blobs, max(result.codes_differ, check.differing)
    wrong = check.wrong
    for blob, theirs in zip(executor.graph.outputs, made[len(wanted) :], strict=True):
        if not wrong and blob not in conversion.codes and _cosine(mine[blob], theirs) < _EXACT:
            wrong = blob
    if wrong:
        result.agrees, result.first = False, result.first or wrong


def _cosine(mine: np.ndarray, theirs: np.ndarray) -> float:
    a, b = np.asarray(mine, np.float64).reshape(-1), np.asarray(theirs, np.float64).reshape(-1)
    if a.size != b.size:
        return 0.0
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else float(np.array_equal(a, b))


def difference(mine: np.ndarray, theirs: np.ndarray) -> tuple[float, bool]:
    """The largest difference as a share of the largest magnitude; whether that is small enough."""
    a, b = np.asarray(mine, np.float64).reshape(-1), np.asarray(theirs, np.float64).reshape(-1)
    if a.size != b.size:
        return np.inf, False
    if not a.size:
        return 0.0, True
    with np.errstate(all="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        apart = np.where(same, 0.0, np.abs(a - b))
        peak = float(np.max(np.abs(b), where=np.isfinite(b), initial=0.0))
    worst = float(np.max(apart)) if not np.isnan(apart).any() else np.inf
    return worst / peak if peak else worst, worst <= RELATIVE * peak + ABSOLUTE


# --- what runs the ONNX model ---


class _Peer:
    """The ONNX model, run by another library."""

    def __init__(
        self, name: str, outputs: Sequence[str], types: Mapping[str, np.dtype],
        run: Callable[[list[str], dict[str, np.ndarray]], Sequence[np.ndarray]],
    ):  # fmt: skip
        self.name, self.outputs, self.types, self._run = name, list(outputs), types, run

    def run(self, arrays: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """The outputs of these names."""
        try:
            return [np.asarray(array) for array in self._run(list(outputs), dict(arrays))]
        except Exception as error:  # whatever the other library raises
            raise InputError(f"{self.name} cannot run it ({' '.join(str(error).split())[:160]})") from None


def _peer(source: PathLike, extra: Sequence[str] = ()) -> _Peer:
    import onnx

    from tnnquant.onnx.read import load

    proto, _, _ = load(source)
    initialized = {tensor.name for tensor in proto.graph.initializer}
    types = {
        value.name: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        for value in proto.graph.input
        if value.name not in initialized
    }
    outputs = [value.name for value in proto.graph.output]
    if extra:
        for name in extra:
            if name not in outputs:
                proto.graph.output.add(name=name)
        outputs = [value.name for value in proto.graph.output]
    try:
        return _onnxruntime(source, proto, extra, outputs, types)
    except ImportError:
        return _reference(source, proto, outputs, types)


def _onnxruntime(
    source: PathLike, proto: ModelProto, extra: Sequence[str], outputs: Sequence[str], types: Mapping[str, np.dtype]
) -> _Peer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if extra:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = proto.SerializeToString() if extra else str(source)
    state: list = []

    def run(names: list[str], arrays: dict[str, np.ndarray]) -> Sequence[np.ndarray]:
        if not state:
            state.append(onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
        return state[0].run(names, arrays)

    return _Peer(f"onnxruntime {onnxruntime.__version__}", outputs, types, run)


def _reference(source: PathLike, proto: ModelProto, outputs: Sequence[str], types: Mapping[str, np.dtype]) -> _Peer:
    import onnx
    from onnx.reference import ReferenceEvaluator

    state: list = []

    def run(names: list[str], arrays: dict[str, np.ndarray]) -> Sequence[np.ndarray]:
        if not state:
            onnx.load_external_data_for_model(proto, str(Path(source).parent))
            state.append(ReferenceEvaluator(proto))
        return state[0].run(names, arrays)

    return _Peer(f"onnx.reference {onnx.__version__}", outputs, types, run)


# --- what they are fed ---


def _random(peer: _Peer, conversion: Conversion, executor: Executor) -> tuple[dict, dict]:
    rng = np.random.default_rng(_SEED)
    blobs, arrays = {}, {}
    for name, dims in conversion.input_dims.items():
        blob = conversion.renamed.get(name, name)
        dtype = peer.types[name]
        if dtype.kind == "b":
            array = rng.integers(0, 2, dims).astype(bool)
        elif dtype.kind in "iu":
            array = rng.integers(0, 2 if dtype.itemsize > 1 else 100, dims).astype(dtype)
        else:
            array = _values(rng, dims, conversion.codes.get(blob) or conversion.codes.get(f"{blob}_codes"))
            array = array.astype(dtype)
        arrays[name] = array
        if blob in executor.specs:
            # An int8 blob is fed with values.
            kind = np.float32 if blob in executor.graph.scales else executor.specs[blob].dtype.numpy
            blobs[blob] = array.astype(kind).reshape(executor.specs[blob].dims)
    return blobs, arrays


def _values(rng: np.random.Generator, dims: tuple[int, ...], codes: tuple[str, BlobCodes] | None) -> np.ndarray:
    """Random values, float32; those of an int8 input fill its codes, and are ones that every rounding leaves alone."""
    values = rng.standard_normal(dims)
    if codes is not None and codes[1].scale.size == 1:
        scale, zero = codes[1].scale[0], codes[1].zero[0]
        values = (np.clip(np.rint(values * 127 / 3 + zero), -128, 127) - zero) * scale
    return values.astype(np.float32)


def _real(peer: _Peer, conversion: Conversion, executor: Executor, input_path: PathLike) -> tuple[dict, dict]:
    from tnnquant.inputs import Samples, scan

    samples = Samples(scan(input_path)[:1] if Path(input_path).is_dir() else scan([input_path]), executor.graph.inputs)
    sample = next(iter(samples)).arrays
    blobs = {name: np.asarray(array) for name, array in sample.items()}
    arrays = {
        name: blobs[conversion.renamed.get(name, name)].astype(peer.types[name]).reshape(dims)
        for name, dims in conversion.input_dims.items()
    }
    return blobs, arrays


# --- where they part ---


def _first_difference(
    source: PathLike, conversion: Conversion, executor: Executor, blobs: Mapping[str, np.ndarray],
    arrays: Mapping[str, np.ndarray],
) -> str:  # fmt: skip
    """The first blob, in the order of the layers, that is not what the ONNX model has under its name."""
    known = {new: old for old, new in conversion.renamed.items()}
    names = [known.get(blob, blob) for node in executor.graph.nodes for blob in node.outputs]
    made = _made_in(source)
    wanted = [name for name in names if name in made]
    try:
        peer = _peer(source, wanted)
        theirs = dict(zip(wanted, peer.run(arrays, wanted), strict=True))
    except TnnQuantError:
        return ""
    found: list[str] = []

    def look(blob: str, array: np.ndarray) -> None:
        name = known.get(blob, blob)
        if not found and name in theirs and not difference(array, theirs[name])[1]:
            found.append(name)

    executor.run(blobs, look)
    return found[0] if found else ""


def _made_in(source: PathLike) -> set[str]:
    from tnnquant.onnx.read import load

    return {name for node in load(source)[0].graph.node for name in node.output}
