"""The written pair run beside the ONNX model that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tnnquant.base.memory import release_freed
from tnnquant.base.tensor import DataType
from tnnquant.errors import InputError, TnnQuantError
from tnnquant.format import read_model
from tnnquant.format.files import PathLike
from tnnquant.onnx.convert import Conversion
from tnnquant.onnx.qdq.record import BlobCodes

if TYPE_CHECKING:
    from onnx import ModelProto

    from tnnquant.engine.executor import Executor

__all__ = ["Comparison", "compare"]

#: Runs a model: the outputs of these names, of arrays by input.
_Run = Callable[[list[str], dict[str, np.ndarray]], Sequence[np.ndarray]]

#: Outputs agree if they differ by at most RELATIVE times the largest magnitude plus ABSOLUTE.
RELATIVE, ABSOLUTE = 1e-4, 1e-6
#: Where layers of an int8 model cannot be looked at one by one, its outputs agree if their cosine is at least this: the
#: lowest of 24 models of onnxruntime's quantize_static was 0.987.
COSINE = 0.95
#: The same for outputs that layers compute from the ONNX model's own codes.
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
                f"each layer given the ONNX model's codes: {self.layers} int8 blobs compared, at most a share of "
                f"{self.codes_differ:.2g} of their codes differs"
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

    peer, made_in = _peer(source, as_usual=bool(conversion.codes))
    result = Comparison(peer.name)
    release_freed()  # what converting took, before the ONNX model is loaded
    feeds = {"random": _random(peer, conversion)}
    if input_path is not None:
        feeds["real"] = _real(peer, conversion, input_path)
    tensors = sorted({tensor for tensor, _ in conversion.codes.values()} & made_in)
    try:
        wanted = {what: _wanted(source, peer, arrays, tensors) for what, (_, arrays) in feeds.items()}
    except TnnQuantError as error:
        return Comparison(peer.name, why_not=str(error))
    peer.close()
    release_freed()  # before the pair takes the memory
    graph = read_model(*pair)
    release_freed()
    executor = Executor(graph)
    for what, (blobs, arrays) in feeds.items():
        theirs, worst = wanted.pop(what), 0.0
        for name, mine in executor.run(blobs).items():
            array = theirs.outputs[_told(conversion, name)]
            distance, is_same = difference(mine, array)
            if graph.is_quantized or conversion.codes:
                cosine = _cosine(mine, array)
                is_same, result.cosine = bool(conversion.codes) or cosine >= COSINE, min(result.cosine, cosine)
            worst = max(worst, distance)
            if not is_same:
                result.agrees = False
                result.first = result.first or name
        result.errors[what] = worst
        if conversion.codes:
            _judge_layers(conversion, executor, blobs, theirs, result)
        if not result.agrees and not graph.is_quantized and not conversion.codes:
            result.first = _first_difference(source, made_in, conversion, executor, blobs, arrays) or result.first
            break
    return result


@dataclass
class _Wanted:
    """What the ONNX model makes of one input, by its own names; of an int8 model also its codes and the outputs that
    go with them, as its nodes say, without an optimizer; None where those cannot be had."""

    outputs: dict[str, np.ndarray]
    codes: dict[str, np.ndarray] | None = None
    plain: dict[str, np.ndarray] | None = None


def _wanted(source: PathLike, peer: _Peer, arrays: Mapping[str, np.ndarray], tensors: Sequence[str]) -> _Wanted:
    result = _Wanted(dict(zip(peer.outputs, peer.run(arrays, peer.outputs), strict=True)))
    if tensors:
        plain, _ = _peer(source, tensors)
        try:
            made = plain.run(arrays, [*tensors, *peer.outputs])
        except TnnQuantError:
            return result
        result.codes = dict(zip(tensors, made, strict=False))
        result.plain = dict(zip(peer.outputs, made[len(tensors) :], strict=True))
    return result


def _told(conversion: Conversion, blob: str) -> str:
    """The ONNX model's name of an output."""
    return next((old for old, new in conversion.renamed.items() if new == blob), blob)


def _judge_layers(
    conversion: Conversion, executor: Executor, blobs: Mapping[str, np.ndarray], theirs: _Wanted, result: Comparison
) -> None:
    """Compare layer by layer; where the ONNX model does not show its codes, by the cosine alone."""
    from tnnquant.onnx.verify_codes import against_codes

    if theirs.codes is None or theirs.plain is None:
        result.agrees = result.agrees and result.cosine >= COSINE
        return
    check, mine = against_codes(executor, blobs, conversion, theirs.codes)
    result.layers, result.codes_differ = check.blobs, max(result.codes_differ, check.differing)
    wrong = check.wrong
    for blob in executor.graph.outputs:
        array = theirs.plain[_told(conversion, blob)]
        if not wrong and blob not in conversion.codes and _cosine(mine[blob], array) < _EXACT:
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
    """The ONNX model, run by another library.

    Parameters
    ----------
    name : str
    outputs : sequence of str
    types : mapping of str to dtype
        Of the inputs.
    make : callable
        Makes what runs the model.
    """

    def __init__(self, name: str, outputs: Sequence[str], types: Mapping[str, np.dtype], make: Callable[[], _Run]):
        self.name, self.outputs, self.types, self._make = name, list(outputs), types, make
        self._run: _Run | None = None

    def run(self, arrays: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """The outputs of these names."""
        try:
            if self._run is None:
                self._run = self._make()
            return [np.asarray(array) for array in self._run(list(outputs), dict(arrays))]
        except Exception as error:  # whatever the other library raises
            raise InputError(f"{self.name} cannot run it ({' '.join(str(error).split())[:160]})") from None

    def close(self) -> None:
        """Give the model's memory back."""
        self._run = None


def _peer(source: PathLike, extra: Sequence[str] = (), *, as_usual: bool = False) -> tuple[_Peer, set[str]]:
    """What runs the model, with more outputs; and the names of all that its nodes make."""
    import onnx

    from tnnquant.onnx.read import load

    proto, _, _ = load(source)
    initialized = {tensor.name for tensor in proto.graph.initializer}
    types = {
        value.name: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        for value in proto.graph.input
        if value.name not in initialized
    }
    made = {name for node in proto.graph.node for name in node.output}
    outputs = [value.name for value in proto.graph.output]
    for name in extra:
        if name not in outputs:
            proto.graph.output.add(name=name)
    try:
        return _onnxruntime(source, proto if extra else None, outputs, types, as_usual=as_usual), made
    except ImportError:
        return _reference(source, proto, outputs, types), made


def _onnxruntime(
    source: PathLike, proto: ModelProto | None, outputs: Sequence[str], types: Mapping[str, np.dtype], *, as_usual: bool
) -> _Peer:
    """``proto``: the model with outputs that the file has not, to be run as it stands. ``as_usual``: as users run it,
    whatever it takes."""
    import onnxruntime

    model = str(source) if proto is None else proto.SerializeToString()

    def make() -> _Run:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False  # memory for runs to come, and there are none
        levels = onnxruntime.GraphOptimizationLevel
        if proto is not None:
            options.graph_optimization_level = levels.ORT_DISABLE_ALL
        elif not as_usual:
            # All but layouts for its convolutions, which take twice the weights more.
            options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED
        run: _Run = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run
        return run

    return _Peer(f"onnxruntime {onnxruntime.__version__}", outputs, types, make)


def _reference(source: PathLike, proto: ModelProto, outputs: Sequence[str], types: Mapping[str, np.dtype]) -> _Peer:
    import onnx
    from onnx.reference import ReferenceEvaluator

    def make() -> _Run:
        onnx.load_external_data_for_model(proto, str(Path(source).parent))
        evaluator: Any = ReferenceEvaluator(proto)
        run: _Run = evaluator.run
        return run

    return _Peer(f"onnx.reference {onnx.__version__}", outputs, types, make)


# --- what they are fed ---


def _random(peer: _Peer, conversion: Conversion) -> tuple[dict, dict]:
    rng = np.random.default_rng(_SEED)
    blobs, arrays = {}, {}
    graph = conversion.graph
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
        if blob in graph.inputs:
            # An int8 blob is fed with values.
            kind = DataType.FLOAT if blob in graph.scales else graph.inputs[blob].dtype or DataType.FLOAT
            blobs[blob] = array.astype(kind.numpy).reshape(graph.inputs[blob].dims)
    return blobs, arrays


def _values(rng: np.random.Generator, dims: tuple[int, ...], codes: tuple[str, BlobCodes] | None) -> np.ndarray:
    """Random values, float32; those of an int8 input fill its codes, and are ones that every rounding leaves alone."""
    values = rng.standard_normal(dims)
    if codes is not None and codes[1].scale.size == 1:
        scale, zero = codes[1].scale[0], codes[1].zero[0]
        values = (np.clip(np.rint(values * 127 / 3 + zero), -128, 127) - zero) * scale
    return values.astype(np.float32)


def _real(peer: _Peer, conversion: Conversion, input_path: PathLike) -> tuple[dict, dict]:
    from tnnquant.inputs import Samples, scan

    found = scan(input_path)[:1] if Path(input_path).is_dir() else scan([input_path])
    samples = Samples(found, conversion.graph.inputs)
    sample = next(iter(samples)).arrays
    blobs = {name: np.asarray(array) for name, array in sample.items()}
    arrays = {
        name: blobs[conversion.renamed.get(name, name)].astype(peer.types[name]).reshape(dims)
        for name, dims in conversion.input_dims.items()
    }
    return blobs, arrays


# --- where they part ---


def _first_difference(
    source: PathLike, made_in: Collection[str], conversion: Conversion, executor: Executor,
    blobs: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray],
) -> str:  # fmt: skip
    """The first blob, in the order of the layers, that is not what the ONNX model has under its name."""
    known = {new: old for old, new in conversion.renamed.items()}
    names = [known.get(blob, blob) for node in executor.graph.nodes for blob in node.outputs]
    wanted = [name for name in names if name in made_in]
    try:
        theirs = dict(zip(wanted, _peer(source, wanted)[0].run(arrays, wanted), strict=True))
    except TnnQuantError:
        return ""
    found: list[str] = []

    def look(blob: str, array: np.ndarray) -> None:
        name = known.get(blob, blob)
        if not found and name in theirs and not difference(array, theirs[name])[1]:
            found.append(name)

    executor.run(blobs, look)
    return found[0] if found else ""
