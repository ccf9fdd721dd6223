"""What the QuantizeLinear and DequantizeLinear of a model say, noted while its graph is converted.

The graph is converted as one of floats: a QuantizeLinear and the DequantizeLinear after it change no layer, they are
notes on the blob between them. Weights become floats too, and are found again by their values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tnnquant.onnx.value import FLOAT, Value

__all__ = [
    "MOVES_CODES",
    "ORDERS_CODES",
    "READS_CODES",
    "BlobCodes",
    "CodesValue",
    "Records",
    "WeightCodes",
    "as_values",
]

_UNSIGNED_SHIFT = 128
#: Operators that read codes as codes; operators that move codes, and so their values.
READS_CODES = frozenset((
    "DequantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm", "QLinearAdd", "QLinearMul", "QLinearSigmoid",
    "QLinearConcat", "QLinearGlobalAveragePool", "QLinearAveragePool", "QLinearLeakyRelu", "QLinearReduceMean",
    "QLinearSoftmax", "QLinearWhere",
))  # fmt: skip
MOVES_CODES = frozenset((
    "Concat", "Flatten", "Gather", "Identity", "MaxPool", "GlobalMaxPool", "Reshape", "Slice", "Split", "Squeeze",
    "Transpose", "Unsqueeze", "DepthToSpace", "SpaceToDepth", "Expand", "Tile", "Dropout", "Pad", "Resize", "Upsample",
))  # fmt: skip
#: Operators whose result is the same for codes and for their values.
ORDERS_CODES = frozenset(("ArgMax", "ArgMin", "Shape", "Size"))


@dataclass(frozen=True, eq=False)
class BlobCodes:
    """How a blob is stored: ``scale * (code - zero)``.

    Attributes
    ----------
    scale : float32 (1,) or (C,)
    zero : int64 (1,) or (C,)
        For int8 codes; 128 less than a zero point of uint8.
    is_unsigned : bool
        Whether the file has them as uint8.
    """

    scale: np.ndarray
    zero: np.ndarray
    is_unsigned: bool = False

    @classmethod
    def of(cls, scale: np.ndarray, zero_point: np.ndarray) -> BlobCodes:
        """Of the operands of a QuantizeLinear."""
        zero = zero_point.astype(np.int64).reshape(-1)
        if zero_point.dtype == np.uint8:
            zero = zero - _UNSIGNED_SHIFT
        return cls(scale.astype(np.float32).reshape(-1), zero, zero_point.dtype == np.uint8)

    @property
    def stored_zero(self) -> int:
        """The zero point of codes that have one, as the file says it."""
        return int(self.zero[0]) + (_UNSIGNED_SHIFT if self.is_unsigned else 0)

    def same(self, other: BlobCodes) -> bool:
        """Whether both say the same."""
        return np.array_equal(self.scale, other.scale) and np.array_equal(self.zero, other.zero)


@dataclass(frozen=True, eq=False)
class WeightCodes:
    """Weights as the file holds them.

    Attributes
    ----------
    codes : int8 (n,)
        In the order of the floats.
    scale : float32 (1,) or (outputs,)
    zero : int64 (1,) or (outputs,)
    """

    codes: np.ndarray
    scale: np.ndarray
    zero: np.ndarray


@dataclass(frozen=True, eq=False)
class CodesValue(Value):
    """The codes of a blob: its name is that of the blob of their values."""

    params: BlobCodes | None = None


def as_values(inputs: Sequence[Value | None]) -> tuple[list[Value | None], CodesValue | None]:
    """Operands with codes as their values; the first codes among them."""
    codes = next((x for x in inputs if isinstance(x, CodesValue)), None)
    if codes is None or codes.params is None:
        return list(inputs), codes
    return [_as_value(x, codes.params, codes.dtype) for x in inputs], codes


def _as_value(x: Value | None, params: BlobCodes, dtype: np.dtype) -> Value | None:
    if isinstance(x, CodesValue):
        return Value(x.dims, FLOAT, x.name)
    if x is not None and x.array is not None and x.dtype == dtype and params.scale.size == 1:
        # A constant beside codes of a blob is one, too: what a Pad fills in.
        signed = x.array.astype(np.int64) - (_UNSIGNED_SHIFT if dtype == np.uint8 else 0)
        values = np.asarray((signed - params.zero[0]) * params.scale[0].astype(np.float64), np.float32)
        return Value(x.dims, FLOAT, x.name, values.reshape(x.array.shape))
    return x


@dataclass
class Records:
    """The notes.

    Attributes
    ----------
    blobs : dict of str to BlobCodes
        By the name of the blob.
    weights : dict of bytes to WeightCodes
        By :meth:`key` of the floats.
    tensors : dict of str to str
        Under which name the ONNX model has the codes of a blob.
    """

    blobs: dict[str, BlobCodes] = field(default_factory=dict)
    weights: dict[bytes, WeightCodes] = field(default_factory=dict)
    tensors: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def key(values: np.ndarray) -> bytes:
        """Names weights by their float32 values in order."""
        return hashlib.sha256(np.ascontiguousarray(values, np.float32).tobytes()).digest()

    def weight(self, values: np.ndarray, codes: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int) -> None:
        """Note weights, as they lie and transposed, where there is one scale or one per output."""
        if codes.dtype == np.uint8:
            codes, zero = codes.astype(np.int16) - _UNSIGNED_SHIFT, zero.astype(np.int64) - _UNSIGNED_SHIFT
        scale, zero = scale.astype(np.float32).reshape(-1), zero.astype(np.int64).reshape(-1)
        for order in self._orders(values.ndim, scale.size, axis):
            stored = np.ascontiguousarray(codes.transpose(order)).astype(np.int8).reshape(-1)
            self.weights[self.key(values.transpose(order))] = WeightCodes(stored, scale, zero)

    @staticmethod
    def _orders(rank: int, scales: int, axis: int) -> Iterable[tuple[int, ...]]:
        plain = tuple(range(rank))
        if scales == 1 or axis == 0:
            yield plain
        if rank == 2 and (scales == 1 or axis == 1):
            yield (1, 0)

    def moved(self, value: Value, codes: CodesValue) -> Value:
        """What an operator that moves codes made of the values: codes again."""
        if codes.params is not None and value.name:
            self.blobs.setdefault(value.name, codes.params)
        return CodesValue(value.dims, codes.dtype, value.name, value.array, codes.params)

    def rename(self, old: str, new: str) -> None:
        """A blob got another name."""
        if old in self.blobs:
            self.blobs[new] = self.blobs[old]
        if old in self.tensors:
            self.tensors[new] = self.tensors[old]

    def note_tensors(self, values: Sequence[object], outputs: Sequence[str]) -> None:
        """The outputs of a node of the model itself: the first that holds a blob's codes is where they are found."""
        for value, output in zip(values, outputs, strict=False):
            if isinstance(value, CodesValue) and value.name and value.params is not None:
                self.tensors.setdefault(value.name, output)
