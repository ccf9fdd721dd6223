"""What mutations start from: real files in ../shared where it is there, and small ones of every kind made here."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fuzzing.mutate import join_pair

if TYPE_CHECKING:
    from tnnquant.layers.base import Layer

__all__ = [
    "made_models",
    "made_npy",
    "made_npz",
    "made_pairs",
    "made_pictures",
    "made_protos",
    "made_texts",
    "real_pairs",
]

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = ROOT.parent / "shared"
#: Longer ones teach little more and take long.
_LONGEST = 6000


def real_pairs() -> list[tuple[bytes, bytes]]:
    """Pairs of proto and model that TNN wrote, the short ones."""
    pairs = []
    for proto in sorted(SHARED.glob("golden/*/*/*.tnnproto")) + sorted(SHARED.glob("golden/*/*/*/*.tnnproto")):
        model = proto.with_suffix(".tnnmodel")
        data = model.read_bytes()[:_LONGEST] if model.is_file() else b""
        pairs.append((proto.read_bytes()[:_LONGEST], data))
    return pairs


def made_protos() -> list[bytes]:
    """A net of one layer for every type string, and one of many kinds."""
    from tnnquant.layers.base import layer_types

    protos = []
    for name, kind in sorted(layer_types().items()):
        words = " ".join(_tokens(kind))
        protos.append(
            b'"1 2 1 4206624772 ,"\n"input 4 1 3 8 8 0 ,"\n" input out ,"\n"out ,"\n" 1 ,"\n'
            + f'"{name} a 1 1 input out {words} ,"\n'.encode()
        )
    protos.append(b'"1 2 1 4206624770 ,"\n"x 1 3 8 8 : y 1 4 ,"\n" x y z ,"\n"z y ,"\n" 1 ,"\n"Add a 2 1 x y z -1 ,"\n')
    return protos


def _tokens(kind: type[Layer]) -> list[str]:
    import dataclasses

    tokens = []
    for entry in dataclasses.fields(kind):
        many = entry.metadata["kind"] in ("ints", "floats")
        tokens += {"str": ["word"], "rest": ["1", "2"]}.get(entry.metadata["kind"], ["1", "1"] if many else ["1"])
    return tokens


def made_models() -> list[bytes]:
    """A resource of every layout, in fp32 and int8."""
    return [model for _, model in _made()]


def made_pairs() -> list[bytes]:
    """The same with their protos."""
    return [join_pair(proto, model) for proto, model in _made()]


def _made() -> list[tuple[bytes, bytes]]:
    from tnnquant.base.tensor import DataType, Tensor
    from tnnquant.errors import TnnQuantError
    from tnnquant.format import model_bytes, write_proto
    from tnnquant.format.proto import read_proto
    from tnnquant.graph import QuantParams, Resource
    from tnnquant.layers.fields import ScaleField, TensorField

    pairs = []
    int8 = {
        "scale": Tensor(np.ones(2, np.float32)), "zero_point": Tensor(np.zeros(2, np.int8), (), DataType.INT8),
    }  # fmt: skip
    for proto in made_protos():
        graph = read_proto(proto)
        (node,) = graph.nodes
        names = [entry.name for entry in node.layer.RESOURCE if isinstance(entry, TensorField)]
        tensors = {name: Tensor(np.linspace(-1, 1, 9, dtype=np.float32), (3, 3)) for name in names}
        if any(isinstance(entry, ScaleField) for entry in node.layer.RESOURCE) and names:
            tensors |= int8 | {names[0]: Tensor(np.arange(8, dtype=np.int8), (), DataType.INT8)}
        params = QuantParams(np.ones(3, np.float32), np.zeros(3, np.int8))
        constants = {"k": Tensor(np.ones(2, np.int32), (2,), DataType.INT32)}
        node = node.replace(resource=Resource(tensors) if tensors else None)
        graph = graph.replace(nodes=(node,), constants=constants)
        try:
            pairs.append((write_proto(graph), model_bytes(graph.replace(scales={"input": params, "out": params}))))
        except TnnQuantError:
            pairs.append((proto, b""))
    return pairs


def made_texts() -> list[bytes]:
    """Twelve numbers, written in the ways people write them."""
    return [
        b"1 2 3 4 5 6 7 8 9 10 11 12\n",
        b"\xef\xbb\xbf-1.5\r\n+2e3\t0.0 -0 1e-45 3.4028235e38 .5 5. 1E+2 7 8 16777217",
        b"0.1 " * 12,
        b"3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803 " * 12,
    ]


def made_npy() -> list[bytes]:
    """Arrays of every accepted type, order and version."""
    files = []
    for dtype in ("f4", "f8", "f2", ">f4", "i1", "u1", "i4", "i8", "u2"):
        for array in (np.arange(12).reshape(1, 3, 2, 2), np.arange(12).reshape(3, 2, 2), np.arange(12)):
            files.append(_npy(array.astype(dtype)))
    files.append(_npy(np.asfortranarray(np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2))))
    files.append(_npy(np.arange(12, dtype=np.float32), version=(2, 0)))
    return files


def _npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def made_npz() -> list[bytes]:
    """Archives with the wanted array, stored and compressed, and with others beside it."""
    array = np.arange(12, dtype=np.float32)
    files = []
    for save, arrays in (
        (np.savez, {"input": array}),
        (np.savez_compressed, {"input": array.reshape(3, 2, 2)}),
        (np.savez, {"other": array, "input": array}),
    ):
        file = io.BytesIO()
        save(file, **arrays)
        files.append(file.getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("input.npy", _npy(array))
    return [*files, file.getvalue()]


def made_pictures() -> list[bytes]:
    """Small pictures of every kind that the reader knows."""
    from PIL import Image

    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    grey16 = Image.fromarray(rng.integers(0, 65536, (5, 4), dtype=np.uint16))
    palette = colour.quantize(7)
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (colour, "JPEG", {}), (colour, "JPEG", {"progressive": True, "subsampling": 0}),
        (colour.convert("L"), "JPEG", {}),
        (colour.convert("CMYK"), "JPEG", {}), (colour, "JPEG", {"exif": _exif()}), (colour, "PNG", {}),
        (colour.convert("RGBA"), "PNG", {}), (colour.convert("LA"), "PNG", {}), (colour.convert("1"), "PNG", {}),
        (grey16, "PNG", {}), (palette, "PNG", {"transparency": 3}), (colour.convert("L"), "PNG", {"transparency": 9}),
        (colour, "PNG", {"save_all": True, "append_images": [colour]}), (colour, "BMP", {}), (palette, "BMP", {}),
        (colour.convert("1"), "BMP", {}), (colour.convert("RGBA"), "BMP", {}), (palette, "GIF", {}),
        (palette, "GIF", {"save_all": True, "append_images": [palette], "transparency": 0}),
    ]  # fmt: skip
    files = []
    for image, kind, options in kinds:
        file = io.BytesIO()
        image.save(file, kind, **options)
        files.append(file.getvalue())
    return [*files, _interlaced_png(), _rle_bmp()]


def _exif() -> bytes:
    return b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)


def _interlaced_png() -> bytes:
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    # 2x2 grey, Adam7: passes 1, 6 and 7 hold (1, 1, 2) pixels.
    rows = b"\0\x10" + b"\0\x20" + b"\0\x30\x40"
    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _rle_bmp() -> bytes:
    body = bytes((4, 1, 0, 0, 4, 2, 0, 1))
    offset = 14 + 40 + 1024
    header = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + header + bytes(1024) + body
