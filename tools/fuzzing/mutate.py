"""Structured mutations: of words, decimal numbers and lines in text, of little-endian integers in binaries."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

Line: TypeAlias = list[Any]
"""A layer's line, to be changed in place: type, name, inputs, outputs, parameters; bytes, and lists of bytes."""

__all__ = ["NUMBERS", "join_pair", "mutated", "mutated_pair", "relayered", "split_pair"]

#: Edges of the types and limits that readers compare with.
NUMBERS = (
    -(2**31), -88342524, -10001, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 31, 32, 33, 127, 128, 255, 256, 600, 4095, 4096,
    9999, 10000, 50000, 65535, 65536, 2**24, 2**29, 2**30, 2**31 - 1,
)  # fmt: skip
TEXT_NUMBERS = (
    *(str(number).encode() for number in NUMBERS),
    *b"4294967295 4294967296 99999999999999999999 -0 +1 1e9 1e-45 1e39 1e400 nan inf -inf 0x10 1_0 .5 5. 1e".split(),
    "\u0663".encode(), b"\xff", b"", b":", b"\t", b"\x00", b"\x1b",
)  # fmt: skip
_NUMBER = re.compile(rb"[-+]?\d+")


def mutated(
    data: bytes, rng: random.Random, *, words: Sequence[bytes], is_text: bool, other: bytes, most: int
) -> bytes:
    """``data`` with one to four changes, at most ``most`` bytes long.

    Parameters
    ----------
    data : bytes
    rng : Random
        The same state gives the same bytes.
    words : sequence of bytes
        Words that mean something to the reader.
    is_text : bool
        Words and decimal numbers are changed, too; otherwise 32-bit integers.
    other : bytes
        Another input of the kind, to take pieces from.
    most : int
    """
    changed = bytearray(data)
    changes = (*_COMMON, *(_TEXT if is_text else _BINARY))
    for _ in range(1 + int(rng.random() * rng.random() * 4)):
        rng.choice(changes)(changed, rng, words, other)
    return bytes(changed[:most])


def join_pair(proto: bytes, model: bytes) -> bytes:
    """A proto and a model as one input."""
    return struct.pack("<H", min(len(proto), 0xFFFF)) + proto[:0xFFFF] + model


def split_pair(data: bytes) -> tuple[bytes, bytes]:
    """The proto and the model of an input of any content."""
    if len(data) < 2:
        return data, b""
    length = struct.unpack_from("<H", data)[0]
    return data[2 : 2 + length], data[2 + length :]


def mutated_pair(data: bytes, rng: random.Random, *, words: Sequence[bytes], other: bytes, most: int) -> bytes:
    """Like :func:`mutated` for a pair; mostly the proto is changed, which has more to say, and often as a graph."""
    proto, model = split_pair(data)
    other_proto, other_model = split_pair(other)
    chance = rng.random()
    if chance < 0.4:
        for _ in range(rng.choice((1, 1, 2, 4))):
            proto = relayered(proto, rng, other_proto)
    elif chance < 0.85:
        proto = mutated(proto, rng, words=words, is_text=True, other=other_proto, most=most)
    else:
        model = mutated(model, rng, words=words, is_text=False, other=other_model, most=most)
    return join_pair(proto, model)[:most]


def relayered(proto: bytes, rng: random.Random, other: bytes) -> bytes:
    """A proto whose layers still hang together by name, one of them new, gone, of another type, or on other blobs.

    What bytes alone seldom reach: shapes, fusions and conversions between layers that were never seen side by side.
    """
    head, layers = _layers(proto)
    if not layers:
        return proto
    at = rng.randrange(len(layers) + 1)
    blobs = [*head[1].strip(b'" ').split(b" ")[:1], *(blob for layer in layers[:at] for blob in layer[3])]
    change = rng.choice((_add_layer, _add_layer, _drop_layer, _rewire, _retype))
    change(layers, min(at, len(layers) - 1) if change is not _add_layer else at, blobs, rng, _layers(other)[1])
    lines = [_line(layer) for layer in layers]
    made = list(dict.fromkeys(blob for layer in layers for blob in layer[3]))
    outputs = [blob for blob in head[3].strip(b'", ').split() if blob in made] or layers[-1][3]
    head[2:] = [b'" ' + b" ".join(made) + b' ,"', b'"' + b" ".join(outputs) + b' ,"', b'" %d ,"' % len(lines)]
    return b"\n".join((*head, *lines, b""))


def _layers(proto: bytes) -> tuple[list[bytes], list[Line]]:
    """The five lines of the head, and of each layer: type, name, inputs, outputs, parameters."""
    lines = proto.split(b"\n")
    layers = []
    for line in lines[5:]:
        words = line.strip(b'", ').split()
        if len(words) < 5 or not (words[2].isdigit() and words[3].isdigit()):
            continue
        reads, makes = int(words[2][:3]), int(words[3][:3])
        blobs = words[4 : 4 + reads + makes]
        layers.append([words[0], words[1], blobs[:reads], blobs[reads:], words[4 + reads + makes :]])
    return lines[:5], layers if len(lines) > 5 else []


def _line(layer: Line) -> bytes:
    kind, name, reads, makes, rest = layer
    words = (kind, name, b"%d" % len(reads), b"%d" % len(makes), *reads, *makes, *rest)
    return b'"' + b" ".join(words) + b' ,"'


def _add_layer(layers: list[Line], at: int, blobs: list[bytes], rng: random.Random, others: list[Line]) -> None:
    """A copy of another layer, on blobs made before it; what read one of them may read its output now."""
    kind, name, reads, makes, rest = rng.choice(others or layers)
    new = b"n%d" % rng.randrange(1000)
    outputs = [b"%s_%d" % (new, i) for i in range(len(makes))]
    inputs = [rng.choice(blobs) for _ in reads]
    # Its weights are found by its name.
    layer = [kind, rng.choice((name, name, new)), inputs, outputs, rest]
    if inputs and outputs and rng.random() < 0.8:
        for later in layers[at:]:
            later[2] = [outputs[0] if blob == inputs[0] else blob for blob in later[2]]
    layers.insert(at, layer)


def _drop_layer(layers: list[Line], at: int, blobs: list[bytes], rng: random.Random, others: list[Line]) -> None:
    if len(layers) == 1:
        return
    _, _, reads, makes, _ = layers.pop(at)
    for later in layers[at:]:
        later[2] = [rng.choice(reads) if reads and blob in makes else blob for blob in later[2]]


def _rewire(layers: list[Line], at: int, blobs: list[bytes], rng: random.Random, others: list[Line]) -> None:
    reads = layers[at][2]
    if reads:
        reads[rng.randrange(len(reads))] = rng.choice(blobs)
    if rng.random() < 0.2:
        reads.append(rng.choice(blobs))


def _retype(layers: list[Line], at: int, blobs: list[bytes], rng: random.Random, others: list[Line]) -> None:
    kind = rng.choice(others or layers)[0]
    quantized = rng.random() < 0.3
    layers[at][0] = b"Quantized" + kind.removeprefix(b"Quantized") if quantized else kind


def _spot(data: bytearray, rng: random.Random) -> int:
    return rng.randrange(len(data) + 1)


def _overwrite(data: bytearray, rng: random.Random, words: Sequence[bytes], other: bytes) -> None:
    piece, at = rng.choice(words), _spot(data, rng)
    data[at : at + len(piece)] = piece


def _insert(data: bytearray, rng: random.Random, words: Sequence[bytes], other: bytes) -> None:
    at = _spot(data, rng)
    data[at:at] = rng.choice(words)


def _delete(data: bytearray, rng: random.Random, words: Sequence[bytes], other: bytes) -> None:
    at = _spot(data, rng)
    del data[at : at + rng.choice((1, 1, 2, 4, 8, 40))]


def _double(data: bytearray, rng: random.Random, words: Sequence[bytes], other: bytes) -> None:
    at = _spot(data, rng)
    data[at:at] = data[at : at + rng.choice((1, 4, 12, 60))]


def _flip(data: bytearray, rng: random.Random, words: Sequence[bytes], other: bytes) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(data: bytearray, rng: random.Random, words: Sequence[bytes], other: bytes) -> None:
    if rng.random() < 0.3:
        del data[_spot(data, rng) :]


def _splice(data: bytearray, rng: random.Random, words: Sequence[bytes], other: bytes) -> None:
    if other:
        start = rng.randrange(len(other))
        at = _spot(data, rng)
        piece = other[start : start + rng.choice((4, 16, 64, 256))]
        data[at : at + rng.choice((0, len(piece)))] = piece


def _renumber(data: bytearray, rng: random.Random, words: Sequence[bytes], other: bytes) -> None:
    found = list(_NUMBER.finditer(data))
    if found:
        match = rng.choice(found)
        if rng.random() < 0.3:
            piece = str(int(match.group()[:20]) + rng.choice((-1, 1, -2, 2))).encode()
        else:
            piece = rng.choice(TEXT_NUMBERS)
        data[match.start() : match.end()] = piece


def _reword(data: bytearray, rng: random.Random, words: Sequence[bytes], other: bytes) -> None:
    parts = bytes(data).split(b" ")
    at, to = rng.randrange(len(parts)), rng.randrange(len(parts))
    match rng.randrange(5):
        case 0:
            parts[at] = rng.choice(words)
        case 1:
            parts[at], parts[to] = parts[to], parts[at]
        case 2:
            parts[at] = parts[to]
        case 3:
            del parts[at]
        case 4:
            parts.insert(at, parts[to])
    data[:] = b" ".join(parts)


def _reline(data: bytearray, rng: random.Random, words: Sequence[bytes], other: bytes) -> None:
    lines = bytes(data).split(b"\n")
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(other.split(b"\n") if rng.random() < 0.5 else lines))
    if rng.random() < 0.5:
        del lines[rng.randrange(len(lines))]
    data[:] = b"\n".join(lines)


def _set_int(data: bytearray, rng: random.Random, words: Sequence[bytes], other: bytes) -> None:
    if len(data) >= 4:
        at = rng.randrange(len(data) - 3)
        data[at : at + 4] = struct.pack("<i", rng.choice(NUMBERS))


def _nudge_int(data: bytearray, rng: random.Random, words: Sequence[bytes], other: bytes) -> None:
    if len(data) >= 4:
        at = rng.randrange(len(data) - 3)
        value = struct.unpack_from("<I", data, at)[0] + rng.choice((-4, -1, 1, 4))
        data[at : at + 4] = struct.pack("<I", value & 0xFFFFFFFF)


_COMMON = (_overwrite, _insert, _delete, _double, _flip, _cut, _splice)
_TEXT = (_renumber, _renumber, _renumber, _reword, _reword, _reword, _reline)
_BINARY = (_set_int, _set_int, _set_int, _nudge_int, _nudge_int)
