"""The two files of a TNN model: what is in them, and how to read and write them.

A model is a pair: the *proto* (``.tnnproto``, text) holds the structure, the *model* (``.tnnmodel``, binary) the
tensors.

The proto
---------
Every double quote and every line feed is deleted; what remains is split at commas into *segments*, which lose blanks
and control characters at both ends. Inside a segment, words are separated by spaces. TNN writes one segment per line,
as ``"<words> ,"`` and a line feed, but only the commas count. A segment has at most 4095 bytes. Names are raw bytes
without comma, space, double quote and control characters (those of model inputs also without colon).

=======  ==============================================================================================================
segment  words
=======  ==============================================================================================================
0        ``1``, number of blobs, ``1``, magic (decimal; version 1: 4206624770, version 2: 4206624772). Only the magic
         counts
1        model inputs, separated by ``:``. Version 2: name, rank, as many dims, data type. Version 1: name, dims
2        every blob name, in byte order. Ignored on reading, except that in a quantized model the names which no layer
         touches are kept (blobs that the quantizer fused away), because TNN writes them
3        names of the model outputs, in byte order
4        number of layers; ignored
5 ...    one layer each: type string, layer name, number of inputs, number of outputs, input names, output names,
         parameters. Empty segments are skipped, superfluous words ignored
=======  ==============================================================================================================

Parameters are integers, floats (printed with 6 significant digits), booleans (0, 1) or words, in the order in which
the layer class declares them (:func:`tnnquant.layers.fields.param`). A type string that begins with ``Quantized`` is a
layer in int8; with ``DynamicRangeQuantized``, one with int8 weights that are widened on loading.

The model
---------
All numbers are little-endian; ``int`` is signed, of 4 bytes.

============  =========================================================================================================
string        int length, bytes
raw buffer    version 2: int magic of version 2, int data type, int length in bytes; if that is not 0: int rank, as
              many int dims, the elements. Version 1 (any other number as magic): int, int data type, int length, the
              elements
the file      [unsigned magic of version 1 or 2], int number of resources (in the lower 29 bits), the resources; then,
              if at least 4 bytes are left, the constants
resource      int layer type number, string type string, string layer name, body. Legacy: int layer type number, string
              layer name (which is no type string), body
body          the fields that the layer class declares (``Layer.RESOURCE``): strings, flags, raw buffers, scales
scales        after int8 weights. New: raw buffer of zero points (INT8), raw buffer of scales (FLOAT). Old, and in
              dynamic-range layers: scales alone
blob scale    a resource of type 600, ``BlobScale``, whose name is the blob's with ``_scale_data_`` after it: zero
              points and scales as above, then a raw buffer of as many INT32 zeros, which nobody uses
constants     int magic (ignored), int count, then for each a string blob name and a raw buffer
============  =========================================================================================================

Data types: 0 FLOAT, 1 HALF, 2 INT8, 3 INT32, 4 BFP16, 5 INT64, 6 UINT32 (:class:`tnnquant.base.tensor.DataType`). Dims
may be absent although there is data.

Resources stand in the order of the layers: for an int8 layer first the scales of its inputs, then its own, then the
scales of its outputs, each blob's once; scales of blobs that no int8 layer touches are not written. Constants stand in
byte order of their names; without any, nothing stands in their place.

What this reader refuses although TNN does not
----------------------------------------------
Truncated files and files with more bytes than they announce; negative lengths, and lengths that are no multiple of the
element size; negative dims, or more than 32; a second resource, constant or scale of a name with other content; a model
input without data type (TNN takes the last dim for it); words with control characters inside; layer lines with too few
words, or longer than the limit; a blob that is made twice, or read before it is made.

Always written: version 2, new layouts, type strings that TNN's reader knows (TNN itself writes ``QuantizedRelu``, which
it cannot read), adaptive pooling sizes in the order in which they are read.
"""

from __future__ import annotations

import os

from tnnquant.errors import ModelFormatError
from tnnquant.format.check import check_structure
from tnnquant.format.files import PathLike, read_file, refuse_mixed, write_files
from tnnquant.format.model import Resources, attach, model_pieces, read_resources
from tnnquant.format.proto import read_proto, write_proto
from tnnquant.format.wire import shown
from tnnquant.graph import Graph

__all__ = [
    "Resources",
    "model_bytes",
    "read_model",
    "read_proto",
    "read_resources",
    "write_model",
    "write_proto",
]


def read_model(proto_path: PathLike, model_path: PathLike | None = None) -> Graph:
    """Read a TNN model.

    Parameters
    ----------
    proto_path : path
        The .tnnproto.
    model_path : path, optional
        The .tnnmodel; none is needed for a model without tensors.

    Returns
    -------
    Graph
        Arrays are copies: aligned, C-contiguous, writeable. Whether every layer has the tensors it needs is not checked
        here but when the graph is made ready to run.

    Raises
    ------
    ModelFormatError
        A file is missing, foreign, truncated or inconsistent; the message names file and line, or file and byte offset.
    GraphError
        The layers do not fit together by name.
    """
    proto_name = os.fsdecode(proto_path)
    if model_path is not None:
        refuse_mixed([proto_path, model_path])
    graph = read_proto(read_file(proto_path), proto_name)
    if model_path is not None:
        model_name = os.fsdecode(model_path)
        resources = read_resources(read_file(model_path), model_name)
        graph = attach(graph, resources, model_name)
        _require_common_layers(graph, resources, proto_name, model_name)
    check_structure(graph, proto_name)
    return graph


def _require_common_layers(graph: Graph, resources: Resources, proto_name: str, model_name: str) -> None:
    """Refuse a .tnnmodel of another network: TNN would ignore all that it holds and miss all that it needs."""
    wanted = [node.name for node in graph.nodes if node.layer.RESOURCE]
    if resources.layers and wanted and all(node.resource is None for node in graph.nodes):
        raise ModelFormatError(
            f"{proto_name} and {model_name} are of different networks: the .tnnmodel holds tensors of "
            f"{shown(next(iter(resources.layers)))} and others, none of which is a layer of the .tnnproto "
            f"({shown(wanted[0])}, ...); give the two files of one model"
        )


def write_model(graph: Graph, proto_path: PathLike, model_path: PathLike) -> None:
    """Write a TNN model; both files are replaced, or none.

    Both are written under temporary names into the target folder, forced to the disk, and then renamed one right after
    the other. A process that is killed leaves at most files named ``.tnnquant-*`` behind; only a kill between the two
    renames, some microseconds, leaves a new proto with an old model, which :func:`read_model` refuses with advice.

    Parameters
    ----------
    graph : Graph
    proto_path, model_path : path
        The .tnnproto and the .tnnmodel; their folders exist.

    Raises
    ------
    GraphError
        A name, type or tensor that the files cannot hold. Nothing has been written.
    OutputError
        No such folder, no permission, disk full. The files are what they were.
    """
    write_files([(proto_path, [write_proto(graph)]), (model_path, model_pieces(graph))])


def model_bytes(graph: Graph) -> bytes:
    """The bytes of the .tnnmodel.

    Raises
    ------
    GraphError
        A tensor or resource that the format cannot hold.
    """
    return b"".join(model_pieces(graph))
