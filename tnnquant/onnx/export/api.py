"""From a pair of files to an .onnx file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tnnquant.errors import ConfigError
from tnnquant.format import read_model
from tnnquant.format.files import PathLike, write_files
from tnnquant.format.locate import find_pair
from tnnquant.graph import Graph
from tnnquant.onnx.export.model import DEFAULT_OPSET, export_graph

__all__ = ["Exported", "export_onnx", "pair_of"]

#: What protobuf can hold in one file.
_MOST_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path : Path
    opset, nodes, int8_layers, layers, bytes : int
    """

    path: Path
    opset: int
    nodes: int
    layers: int
    int8_layers: int
    bytes: int


def pair_of(name: str | None, proto: str | None = None, model: str | None = None) -> tuple[Path, Path]:
    """The two files of a TNN model (:func:`tnnquant.format.locate.find_pair`).

    Raises
    ------
    ConfigError
        It is an ONNX model already.
    ModelFormatError
        There are no such files.
    """
    for given in (name, proto):
        if given and given.lower().endswith(".onnx"):
            raise ConfigError(f"{given!r} is an ONNX model already; export takes a TNN model")
    return find_pair(name, proto, model)


def export_onnx(
    model: Graph | PathLike | tuple[PathLike, PathLike],
    output: PathLike,
    *,
    opset: int = DEFAULT_OPSET,
    unsigned: bool = False,
    input_dims: Mapping[str, Sequence[int]] | None = None,
) -> Exported:
    """Write a TNN model, fp32 or int8, as an ONNX model.

    Parameters
    ----------
    model : Graph, path or (path, path)
        A graph; or ``net``, for ``net.tnnproto`` and ``net.tnnmodel``; or these two files.
    output : path
        The .onnx file.
    opset : int
        Version of ONNX's operators, 13 or later.
    unsigned : bool
        Codes of activations are uint8 with a zero point of 128 instead of int8.
    input_dims : mapping of str to sequence of int, optional
        Dims that replace those of the proto, by input name.

    Returns
    -------
    Exported

    Raises
    ------
    ModelFormatError, GraphError
        The model cannot be read.
    UnsupportedLayerError
        Layers that ONNX cannot express; all are named, and nothing is written.
    ConfigError
        An opset that cannot be written, or a model above 2 GB.
    OutputError
        The file cannot be written.
    """
    path = Path(output)
    name = path.stem
    if isinstance(model, Graph):
        graph = model
    elif isinstance(model, tuple):
        graph = read_model(*model)
    else:
        graph = read_model(*pair_of(os.fspath(model)))
    made = export_graph(graph, opset=opset, unsigned=unsigned, input_dims=input_dims, name=name)
    if made.ByteSize() > _MOST_BYTES:
        raise ConfigError(f"the model takes {made.ByteSize() >> 20} MB, an .onnx file holds less than 2048")
    data = made.SerializeToString(deterministic=True)
    write_files([(path, [data])])
    int8 = sum(node.quantized for node in graph.nodes)
    return Exported(path, opset, len(made.graph.node), len(graph.nodes), int8, len(data))
