"""Damaged files: nothing but a TnnQuantError may come out, and what is still read can be written and read again."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError, TnnQuantError
from tnnquant.format import model_bytes, read_proto, read_resources, write_proto
from tnnquant.format.check import check_structure
from tnnquant.format.model import attach
from tnnquant.graph import QuantParams, Resource

EXAMPLES = settings(
    max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)

PROTO = b""""1 14 1 4206624772 ,"
"input 4 1 3 16 16 0 : b 1 4 3 ,"
" a1o c1o c4o cco e fco input mpo pd pro r3o sgo t u ,"
"fco u ,"
" 14 ,"
"QuantizedConvolution c1 1 1 input c1o 1 3 8 3 3 1 1 1 1 1 -1 1 1 1 ,"
"QuantizedAdd a1 2 1 c1o c1o a1o -1 ,"
"QuantizedReLU r3 1 1 a1o r3o ,"
"DynamicRangeQuantizedConvolution c4 1 1 r3o c4o 2 4 8 3 3 2 2 1 1 1 -1 1 1 0 ,"
"QuantizedConcat cc 2 1 c4o c4o cco 1 ,"
"QuantizedPooling mp 1 1 cco mpo 0 2 2 2 2 0 0 -1 -1 -1 0 0 0 0 ,"
"PReLU pr 1 1 mpo pro 0 1 ,"
"Upsample t 1 1 pro t 2 1.5 2 0 7 9 ,"
"PadV2 pd 1 1 t pd 4 0 0 1 1 0 0 1 1 0 0.5 ,"
"Gather g 2 1 pd b e 0 0 1 ,"
"Reshape u 1 1 e u 0 4 4 1 -1 0 2 0 ,"
"Sigmoid sg 1 1 mpo sgo ,"
"ReduceMean rm 1 1 sgo rmo 1 2 3 ,"
"InnerProduct fc 1 1 rmo fco 5 1 0 1 ,"
"""


def example_model() -> bytes:
    """A resource of every layout, a blob scale and two constants."""
    graph = read_proto(PROTO)
    int8 = {
        "filter": Tensor(np.arange(8, dtype=np.int8), (), DataType.INT8),
        "scale": Tensor(np.ones(2, np.float32)),
        "bias": Tensor(np.arange(2, dtype=np.int32), (), DataType.INT32),
    }
    resources = {
        "c1": {**int8, "zero_point": Tensor(np.zeros(2, np.int8), (), DataType.INT8)},
        "c4": int8,
        "pr": {"slope": Tensor(np.ones(4, np.float16), (4,), DataType.HALF)},
        "g": {"indices": Tensor(np.zeros(2, np.int32), (2,), DataType.INT32)},
        "fc": {"weight": Tensor(np.ones(4, np.float32), (2, 2))},
    }
    resources = {name: Resource(tensors) for name, tensors in resources.items()}
    nodes = [node.replace(resource=resources.get(node.name)) for node in graph.nodes]
    constants = {"k": Tensor(np.ones(2, np.float32), (2,)), "one": Tensor(np.ones(1, np.int64), (), DataType.INT64)}
    scales = {name: QuantParams(np.ones(3, np.float32), np.zeros(3, np.int8)) for name in ("input", "c1o", "mpo")}
    return model_bytes(graph.replace(nodes=tuple(nodes), constants=constants, scales=scales))


MODEL = example_model()

NUMBERS = (-(2**31), -10001, -1, 0, 1, 2, 3, 4, 5, 6, 7, 33, 255, 600, 9999, 10000, 2**24, 2**29, 2**31 - 1, -88342524)
WORDS = (
    b" -1 0 1 2 33 4095 2147483647 -2147483648 99999999999999999999 1e9 nan inf 1_0 0x10 \xd9\xa3 \xff : \t \x00 "
    b"Concat Pooling Einsum PriorBox Pad Upsample NonMaxSuppression LSTMONNX QuantizedPooling_nhwc Dropout BlobScale "
    b"input u k"
).split(b" ")


@st.composite
def damaged(draw, original: bytes, pieces: list[bytes]):
    """The bytes with one to four spots overwritten, cut out, inserted or doubled, and perhaps the end cut off."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 24))
        piece = draw(st.sampled_from(pieces) | st.binary(max_size=8))
        match draw(st.integers(0, 4)):
            case 0:
                data[at : at + len(piece)] = piece
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = piece
            case 3:
                data[at:at] = data[at : at + length]
            case 4 if draw(st.booleans()):
                del data[at:]
    return bytes(data)


@st.composite
def reworded(draw, original: bytes):
    """The proto with words replaced, dropped or moved."""
    words = original.split(b" ")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(words) - 1))
        word = draw(st.sampled_from(WORDS) | st.sampled_from(words))
        words[at : at + draw(st.integers(0, 2))] = [word] * draw(st.integers(0, 2))
        words = words or [b""]
    return b" ".join(words)


def examine(proto: bytes, model: bytes) -> None:
    """Read, check, write, read again; the second round must give the bytes of the first."""
    try:
        graph = attach(read_proto(proto, "p"), read_resources(model, "m"), "m")
        check_structure(graph, "p")
    except TnnQuantError as error:
        assert_for_people(error, ("p: ", "m: "))
        return
    try:
        written = write_proto(graph), model_bytes(graph)
    except GraphError as error:
        assert_for_people(error, ("layer ", "the ", "two ", "constant "))
        return
    again = attach(read_proto(written[0]), read_resources(written[1]))
    check_structure(again)
    assert (write_proto(again), model_bytes(again)) == written


def assert_for_people(error: TnnQuantError, starts: tuple[str, ...]) -> None:
    message = str(error)
    assert "\n" not in message
    assert len(message) < 1000
    assert message.startswith(starts)


def test_the_undamaged_pair():
    graph = attach(read_proto(PROTO), read_resources(MODEL))
    assert write_proto(graph).splitlines()[5:] == PROTO.splitlines()[5:]
    assert model_bytes(graph) == MODEL
    assert {node.name for node in graph.nodes if node.resource} == {"c1", "c4", "pr", "g", "fc"}


@EXAMPLES
@given(damaged(MODEL, [struct.pack("<i", number) for number in NUMBERS]))
def test_damaged_models(model):
    examine(PROTO, model)


@EXAMPLES
@given(damaged(PROTO, WORDS))
def test_damaged_protos(proto):
    examine(proto, MODEL)


@EXAMPLES
@given(reworded(PROTO))
def test_reworded_protos(proto):
    examine(proto, MODEL)


@EXAMPLES
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_noise(proto, model):
    examine(proto, model)
    examine(b'"1 1 1 4206624772 ,"' + proto, b"\x04\x00\xbc\xfa\x01\x00\x00\x00" + model)


@pytest.mark.parametrize("name", ["squeezenet/b0w0t0", "efficientnet_lite0/b2w1t1", "real/yolov8n/b0w0t0"])
def test_damaged_real_pairs(shared, name, rng):
    """Bits flipped and numbers overwritten at random places of real files."""
    folder = shared / "golden" / name
    text = (folder / "model.quantized.tnnproto").read_bytes()
    # Headers, names and scales stand at the front; the weights of the last layers teach nothing more.
    data = (folder / "model.quantized.tnnmodel").read_bytes()[:60_000]
    for _ in range(60):
        damaged_text, damaged_data = bytearray(text), bytearray(data)
        damaged_text[rng.integers(len(text))] = rng.integers(256)
        at = rng.integers(len(data) - 4)
        damaged_data[at : at + 4] = struct.pack("<i", NUMBERS[rng.integers(len(NUMBERS))])
        examine(bytes(damaged_text), bytes(damaged_data))
