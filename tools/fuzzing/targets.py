"""What is fuzzed: each target takes bytes; nothing but a TnnQuantError, for people, may come of them.

Files are handed to the readers in memory (``open_input`` is replaced while they run): a file on disk for every input
would take longer than reading it. The tests replay what was found from files on disk.
"""

from __future__ import annotations

import io
import math
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from fuzzing import seeds
from fuzzing.mutate import join_pair, mutated, mutated_pair, split_pair
from fuzzing.nets import made_nets
from fuzzing.onnx_models import made_onnx, onnx_words
from fuzzing.parts import made_parts, part_words, run_part

if TYPE_CHECKING:
    import numpy as np

    from tnnquant.config import QuantizeConfig
    from tnnquant.engine.executor import Executor
    from tnnquant.inputs.normalize import PictureInput
    from tnnquant.inputs.tensors import TensorTarget
    from tnnquant.layers.base import BlobSpec

__all__ = ["TARGETS", "Target"]

_PATH = Path("input")
_NAMES = (*b"input out k x y a : 0 1 -1 4206624770 4206624772 BlobScale _scale_data_ \xff ,".split(), b" ", b"\n")
_MAGICS = (b"\x04\x00\xbc\xfa", b"\x02\x00\xbc\xfa", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff")


@dataclass(frozen=True)
class Target:
    """One reader or builder.

    Attributes
    ----------
    name : str
    share : int
        Of the time, relative to the others.
    run : callable (bytes)
        Returns, or raises TnnQuantError; anything else is a finding.
    make_seeds : callable () -> list of bytes
    make_words : callable () -> sequence of bytes
        Words of the format.
    kind : {"text", "binary", "pair"}
    most : int
        Longest input.
    room : int
        Bytes of memory that a run may take beside three times its input: fixed tables, and what the model or the
        picture is allowed to have.
    asks : bool
        It may ask for more memory than there is, and be refused.
    """

    name: str
    share: int
    run: Callable[[bytes], None]
    make_seeds: Callable[[], list[bytes]]
    make_words: Callable[[], Sequence[bytes]]
    kind: str
    most: int = 4096
    room: int = 1 << 20
    asks: bool = False

    @cached_property
    def seeds(self) -> list[bytes]:
        """Where mutations start."""
        return [seed[: self.most] for seed in dict.fromkeys(self.make_seeds())]

    @cached_property
    def words(self) -> tuple[bytes, ...]:
        """Words of the format."""
        return tuple(self.make_words())

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """A changed input."""
        other = rng.choice(self.seeds)
        if self.kind == "pair":
            return mutated_pair(data, rng, words=self.words, other=other, most=self.most)
        is_text = self.kind == "text"
        return mutated(data, rng, words=self.words, is_text=is_text, other=other, most=self.most)


# --- the model's files ---


def _check_message(error: Exception) -> None:
    message = str(error)
    assert message, "an error without a message"
    assert len(message) < 2000, f"a message of {len(message)} characters"
    assert "\n" not in message, "a message of several lines"


def _run_proto(data: bytes) -> None:
    from tnnquant.errors import TnnQuantError
    from tnnquant.format import read_proto, write_proto
    from tnnquant.format.check import check_structure

    try:
        graph = read_proto(data, "p")
    except TnnQuantError as error:
        return _check_message(error)
    try:
        check_structure(graph, "p")
        written = write_proto(graph)
    except TnnQuantError as error:
        return _check_message(error)
    assert write_proto(read_proto(written)) == written, "what was written reads back as something else"
    return None


def _run_model(data: bytes) -> None:
    from tnnquant.errors import TnnQuantError
    from tnnquant.format import read_resources

    try:
        read_resources(data, "m")
    except TnnQuantError as error:
        _check_message(error)


def _run_pair(data: bytes) -> None:
    from tnnquant.errors import TnnQuantError
    from tnnquant.format import model_bytes, read_proto, read_resources, write_proto
    from tnnquant.format.model import attach

    proto, model = split_pair(data)
    try:
        graph = attach(read_proto(proto, "p"), read_resources(model, "m"), "m")
        written = write_proto(graph), model_bytes(graph)
    except TnnQuantError as error:
        return _check_message(error)
    again = attach(read_proto(written[0]), read_resources(written[1]))
    assert (write_proto(again), model_bytes(again)) == written, "what was written reads back as something else"
    return None


def _run_graph(data: bytes) -> None:
    from tnnquant.errors import TnnQuantError

    try:
        _built(data)
    except TnnQuantError as error:
        _check_message(error)


def _built(data: bytes) -> Executor:
    from tnnquant.engine.executor import Executor
    from tnnquant.format import read_proto, read_resources
    from tnnquant.format.check import check_structure
    from tnnquant.format.model import attach
    from tnnquant.graph.passes import prepare_for_quantization
    from tnnquant.quantization.plan import make_plan

    proto, model = split_pair(data)
    graph = read_proto(proto, "p")
    graph = attach(graph, read_resources(model, "m"), "m") if model else graph
    check_structure(graph, "p")
    if graph.is_quantized:
        return Executor(graph)
    executor = Executor(prepare_for_quantization(graph))
    make_plan(executor.inference, _config())
    return executor


#: Models beyond are built, not run: they only take long.
_RUN_BYTES, _RUN_MACS = 1 << 20, 1 << 22


def _values(rng: np.random.Generator, spec: BlobSpec) -> np.ndarray:
    """Values of an input: usual ones, often with some among them that no index and no sum is made for."""
    import numpy as np

    is_int = spec.dtype.numpy == np.int32
    array = rng.standard_normal(spec.dims) * rng.choice((1, 3, 1e3))
    if rng.random() < 0.5:
        odd: tuple[float, ...] = (-(2.0**31), 2.0**31 - 1, -1, 2.0**16)
        odd = odd if is_int else (*odd, np.nan, np.inf, -np.inf, 3e38, -1e30, 1e-40)
        array = np.where(rng.random(spec.dims) < rng.choice((0.1, 0.9)), rng.choice(odd, spec.dims), array)
    values: np.ndarray = array.astype(np.int32 if is_int else np.float32)
    return values


def _run_run(data: bytes) -> None:
    """Build, and run once: kernels are machine code, which nothing checks but what was checked before."""
    import numpy as np

    from tnnquant.errors import TnnQuantError

    try:
        executor = _built(data)
        specs = executor.specs
        macs = sum(
            node.layer.macs([specs[blob] for blob in node.inputs], [specs[blob] for blob in node.outputs])
            for node in executor.graph.nodes
        )
        # Not all blobs have a place of their own: an input that nothing reads has none.
        values = sum(math.prod(spec.dims) for spec in specs.values())
        if 4 * values > _RUN_BYTES or macs > _RUN_MACS:
            return
        rng = np.random.default_rng(zlib.crc32(data))
        arrays = {name: _values(rng, specs[name]) for name in executor.graph.inputs}
        with np.errstate(all="ignore"):
            executor.run(arrays)
    except TnnQuantError as error:
        _check_message(error)


@cache
def _config() -> QuantizeConfig:
    from tnnquant.config import QuantizeConfig

    return QuantizeConfig(blob_method="kl")


@cache
def _type_words() -> tuple[bytes, ...]:
    from tnnquant.layers.base import layer_types

    return tuple(name.encode() for name in sorted(layer_types()))


def _proto_words() -> Sequence[bytes]:
    return (*_NAMES, *_type_words())


def _model_words() -> Sequence[bytes]:
    return (*_MAGICS, *(len(name).to_bytes(4, "little") + name for name in _type_words()), b"_scale_data_")


# --- calibration files ---


@contextmanager
def _in_memory(data: bytes) -> Iterator[None]:
    from tnnquant.errors import InputError
    from tnnquant.inputs import picture, tensors

    def open_input(path: Path) -> tuple[io.BytesIO, int]:
        if not data:
            raise InputError(f"{path}: is empty (0 bytes)")
        return io.BytesIO(data), len(data)

    with patch.object(picture, "open_input", open_input), patch.object(tensors, "open_input", open_input):
        yield


def _run_input(data: bytes, read: Callable) -> None:
    from tnnquant.errors import TnnQuantError

    try:
        with _in_memory(data):
            read()
    except TnnQuantError as error:
        _check_message(error)


@cache
def _tensor_targets() -> tuple[TensorTarget, TensorTarget]:
    from tnnquant.base.tensor import DataType
    from tnnquant.inputs.tensors import TensorTarget

    return TensorTarget("input", (1, 3, 2, 2)), TensorTarget("input", (4, 12), DataType.INT32, rows=True)


def _run_text(data: bytes) -> None:
    from tnnquant.inputs.tensors import read_text

    as_integers = len(data) % 8 == 7
    _run_input(data, lambda: read_text(_PATH, _tensor_targets()[as_integers]))


def _run_npy(data: bytes) -> None:
    from tnnquant.inputs.tensors import read_npy

    as_integers = len(data) % 8 == 7
    _run_input(data, lambda: read_npy(_PATH, _tensor_targets()[as_integers]))


def _run_npz(data: bytes) -> None:
    from tnnquant.inputs.tensors import read_npz

    _run_input(data, lambda: read_npz(_PATH, {"input": _tensor_targets()[0]}))


_PIXELS = 1 << 16


@cache
def _picture_inputs() -> list[PictureInput]:
    from tnnquant.inputs import InputConfig
    from tnnquant.inputs.normalize import PictureInput

    modes = ("stretch", "crop", "letterbox", "stretch")
    return [
        PictureInput((1, channels, 5, 6), InputConfig(resize=mode, pixel_limit=_PIXELS))
        for channels, mode in enumerate(modes, 1)
    ]


def _run_picture(data: bytes) -> None:
    picture_input = _picture_inputs()[len(data) % 4]
    _run_input(data, lambda: picture_input.feed(picture_input.read(_PATH)))


def _picture_words() -> Sequence[bytes]:
    chunks = b"IHDR PLTE IDAT IEND tRNS fcTL acTL fdAT eXIf iCCP zTXt pHYs gAMA JFIF\0 Exif\0\0 II*\0 MM\0* BM GIF89a"
    markers = (b"\xff" + bytes([code]) for code in b"\xd8\xc0\xc2\xc4\xda\xdb\xdd\xe0\xe1\xee\xd9\xff")
    return (*chunks.split(b" "), *markers, b"\x21\xf9\x04", b"\x00\x00", b"\x01\x00", b"\x00\x01", b"\x80\x00")


def _run_vector(data: bytes) -> None:
    from tnnquant.cli.options import parse_input_shapes
    from tnnquant.errors import TnnQuantError
    from tnnquant.inputs import parse_vector

    text = data.decode("utf-8", "surrogateescape")
    for read in (lambda: parse_vector(text, "-n"), lambda: parse_input_shapes((text,))):
        try:
            read()
        except TnnQuantError as error:
            _check_message(error)


def _run_part(data: bytes) -> None:
    _run_input(data, lambda: run_part(data))


def _run_labels(data: bytes) -> None:
    from tnnquant.verdict.labels import parse_labels

    _run_input(data, lambda: parse_labels(data, "l", ["a.png", "b 2.png", "7_c.png"], 10))


def _npy_words() -> Sequence[bytes]:
    header = b"\x93NUMPY|'descr': |'<f4'|'|O'|'<U9'|[('a','<f4')]|'fortran_order': |True|'shape': |(12,)|(1, 3, 2, 2)"
    odd = b"(99999999999999999999,)|(-1,)|{|}|'|input.npy|\x08\x00|\x0c\x00|\x0e\x00"
    archive = b"PK\x03\x04|PK\x01\x02|PK\x05\x06|PK\x06\x06"
    return (*header.split(b"|"), *odd.split(b"|"), *archive.split(b"|"), b"(" * 90)


def _protos() -> list[bytes]:
    return [proto for proto, _ in seeds.real_pairs()] + seeds.made_protos()


def _models() -> list[bytes]:
    return [model for _, model in seeds.real_pairs() if model] + seeds.made_models()


def _pairs() -> list[bytes]:
    return [join_pair(*pair) for pair in seeds.real_pairs()] + seeds.made_pairs() + made_nets()


def _run_onnx(data: bytes) -> None:
    from tnnquant.errors import TnnQuantError
    from tnnquant.onnx import budget, convert

    before, budget.MADE_BYTES = budget.MADE_BYTES, _MADE
    try:
        convert(data)
    except TnnQuantError as error:
        _check_message(error)
    finally:
        budget.MADE_BYTES = before


#: What a model asks for, its dims being what they are, is bounded by the memory of the process alone.
_WIDE = 3 << 30
#: ONNX models: what their nodes may make of sizes alone here (1.6 GB for users), and memory beside three times the
#: file: some copies of that, and what the onnx package takes.
_MADE, _ONNX_ROOM = 4 << 20, 48 << 20
TARGETS = {
    target.name: target
    for target in (
        Target("proto", 5, _run_proto, _protos, _proto_words, "text"),
        Target("model", 6, _run_model, _models, _model_words, "binary"),
        Target("pair", 2, _run_pair, _pairs, _proto_words, "pair"),
        Target("graph", 3, _run_graph, _pairs, _proto_words, "pair", room=_WIDE, asks=True),
        Target("run", 3, _run_run, _pairs, _proto_words, "pair", room=_WIDE, asks=True),
        Target("onnx", 4, _run_onnx, made_onnx, onnx_words, "binary", 4096, room=64 << 20, asks=True),
        Target("text", 3, _run_text, seeds.made_texts, lambda: _NAMES, "text", 1024),
        Target("npy", 1, _run_npy, seeds.made_npy, _npy_words, "binary", 1024),
        Target("npz", 1, _run_npz, seeds.made_npz, _npy_words, "binary", 2048),
        Target("picture", 3, _run_picture, seeds.made_pictures, _picture_words, "binary", 2048, 64 * _PIXELS),
        Target("part", 1, _run_part, made_parts, part_words, "pair", 8192, room=8 << 20),
        Target("labels", 1, _run_labels, lambda: [b"a.png 3\nb 2.png,1\n", b"1\n2\n# x\n0\n", b"a\t7\n7_c 0"],
               lambda: _NAMES, "text", 400),
        Target("vector", 1, _run_vector, lambda: [b"104.006,116.669,122.679", b"1/255 -1e-2", b"in:1,3,8x8"],
               lambda: _NAMES, "text", 200),
    )
}  # fmt: skip
