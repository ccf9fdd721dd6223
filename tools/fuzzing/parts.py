"""Statistics files as a target: the header's JSON and the arrays are mutated, then put into an archive that is sound.

Mutations of an archive's bytes hardly get beyond its checksums; here those are made anew, that of the statistics too.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, cast

import numpy as np

from fuzzing.mutate import join_pair, split_pair

if TYPE_CHECKING:
    from tnnquant.inputs.samples import Sample, Samples
    from tnnquant.quantization.parts import Part
    from tnnquant.quantization.plan import QuantPlan

__all__ = ["made_parts", "part_words", "run_part"]

_ENTRY = struct.Struct("<HI")
_MOST_ENTRIES = 64


@cache
def _bench() -> tuple[QuantPlan, list[Part]]:
    """A small model made ready to calibrate, and statistics of two samples."""
    from fuzzing.nets import made_nets
    from tnnquant.config import QuantizeConfig
    from tnnquant.format import read_proto, read_resources
    from tnnquant.format.model import attach
    from tnnquant.quantization.parts import gather
    from tnnquant.quantization.quantize import plan_graph

    proto, model = split_pair(made_nets()[0])
    config = QuantizeConfig(blob_method="aciq-laplace")
    executor, plan = plan_graph(attach(read_proto(proto), read_resources(model)), config)
    rng = np.random.default_rng(1)
    samples = [_Samples(rng.standard_normal((1, 3, 8, 8)).astype(np.float32), str(n)) for n in range(2)]
    # As far as gathering looks at them they are like those of files.
    return plan, [gather(executor, plan, cast("Samples", sample), "0" * 8, config) for sample in samples]


class _Samples(list["Sample"]):
    """One sample, as :class:`tnnquant.inputs.Samples` has them."""

    repeated, skipped, numbers = 0, (), (0,)

    def __init__(self, array: np.ndarray, digest: str) -> None:
        from tnnquant.inputs.samples import Sample

        super().__init__([Sample("s", {"in": array})])
        self._digest = digest

    def fed_digests(self) -> list[str]:
        return [self._digest]

    def notes(self) -> list[str]:
        return []


def made_parts() -> list[bytes]:
    """Statistics of a small model, of one sample and of two: the header, then the arrays."""
    from tnnquant.quantization.parts import merge
    from tnnquant.quantization.parts_file import dump_part

    plan, parts = _bench()
    seeds = []
    for part in (parts[0], merge(parts, plan)):
        header, arrays = b"", []
        with zipfile.ZipFile(io.BytesIO(dump_part(part))) as archive:
            for name in archive.namelist():
                data = archive.read(name)
                if name == "header.npy":
                    header = np.load(io.BytesIO(data)).tobytes()
                else:
                    arrays.append(_ENTRY.pack(len(name), len(data)) + name.encode() + data)
        seeds.append(join_pair(header, b"".join(arrays)))
    return seeds


def part_words() -> list[bytes]:
    """Words of the header and of the arrays."""
    words = b'"number": |"passes": |"samples": |"blobs": |"settings": |"base": |[|]|{|}|null|-1|1e999|NaN|"\\ud800"'
    return [*words.split(b"|"), b"\x93NUMPY", b"'<f4'", b"'|O'", b"(99999999999,)", b"(-1,)", b"[" * 2000]


def _archive(header: bytes, entries: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        buffer = io.BytesIO()
        np.save(buffer, np.frombuffer(header, np.uint8))
        archive.writestr("header.npy", buffer.getvalue())
        for name, data in entries:
            archive.writestr(name, data)
    return file.getvalue()


def _entries(data: bytes) -> list[tuple[str, bytes]]:
    entries: dict[str, bytes] = {}
    at = 0
    while at + _ENTRY.size <= len(data) and len(entries) < _MOST_ENTRIES:
        name_length, length = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        name = data[at : at + name_length].decode("latin-1").partition("\0")[0].strip("/") or "empty"
        entries[name] = data[at + name_length : at + name_length + length]
        at += name_length + length
    return [*entries.items()]


def run_part(data: bytes) -> None:
    """Read the file; restore observers from it, and merge it with a sound one."""
    from tnnquant.quantization import parts_file
    from tnnquant.quantization.parts import merge, observers_of

    header, rest = split_pair(data)
    entries = _entries(rest)
    packed = _archive(header, entries)
    with suppress(Exception):  # a checksum that fits what is there, if that much can be read
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            read = parts_file._header(archive, len(packed), "p")
            part = parts_file._part(read, parts_file._states(archive, read["blobs"], len(packed)), "p")
        packed = _archive(json.dumps({**read, "digest": part.digest()}).encode(), entries)
    part = parts_file.load_part(packed, "p")
    plan, parts = _bench()
    observers_of(part, plan)
    merge([part, parts[1]], plan)
