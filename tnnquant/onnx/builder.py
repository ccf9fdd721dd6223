"""The TNN graph under construction. Every layer's output dims are inferred at once, by the layer itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tnnquant.base.memory import refuse_giant
from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import TnnQuantError
from tnnquant.graph import InputSpec, Node, Resource
from tnnquant.layers.base import BlobSpec, find_layer
from tnnquant.onnx.budget import Budget
from tnnquant.onnx.names import Names
from tnnquant.onnx.qdq.record import Records
from tnnquant.onnx.refusal import Refused
from tnnquant.onnx.value import BOOL, FLOAT, INT64, Value, data_type, stored

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

__all__ = ["Builder"]

#: TNN takes fewer layers with tensors than 10000; a graph that unrolls to more than this is refused.
MOST_LAYERS = 20_000

_TYPES: dict[DataType, np.dtype] = {DataType.FLOAT: FLOAT, DataType.INT32: INT64, DataType.INT8: BOOL}


class Builder:
    """What converters build with.

    Attributes
    ----------
    nodes : list of Node
    constants : dict of str to Tensor
        Constant blobs.
    inputs : dict of str to InputSpec
    names : Names
        Names that are taken.
    opset : int
        Version of the operator set of the node being converted.
    records : Records
        What the model says of int8 codes.
    budget : Budget
        Of the constants that nodes make.
    outputs : int
        How many outputs that node has.
    wanted : frozenset of int
        Positions of the outputs of that node which something reads.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, Tensor] = {}
        self.inputs: dict[str, InputSpec] = {}
        self.names = Names()
        self.opset = 1
        self.wanted: frozenset[int] = frozenset((0,))
        self.outputs = 1
        self.scope = ""
        self.notes: list[str] = []
        self.records = Records()
        self.budget = Budget()
        self._specs: dict[str, BlobSpec] = {}
        self._stored: dict[tuple, tuple[np.ndarray, Value]] = {}
        self._matrices: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}

    # --- model inputs and constants ---

    def input(self, name: str, dims: tuple[int, ...], dtype: np.dtype, stored_as: DataType | None = None) -> Value:
        """A model input; ``name`` is the blob's. TNN's have one dim at least."""
        if not dims:
            return self.reshape(self.input(name, (1,), dtype, stored_as), ())
        kind = stored_as or data_type(dtype)
        refuse_giant(dims, 4, f"the model input {name!r}")
        self.inputs[name] = InputSpec(dims, kind)
        self._specs[name] = BlobSpec(dims, kind)
        return Value(dims, FLOAT if kind == DataType.FLOAT else dtype, name)

    def constant(self, array: ArrayLike, dtype: DTypeLike | None = None) -> Value:
        """A constant value of these elements."""
        return Value.constant(np.asarray(array, dtype))

    def blob(self, value: Value) -> Value:
        """The value as a blob: a constant enters the model's constants, once."""
        if not value.is_constant or value.name:
            return value
        array = np.ascontiguousarray(stored(value.elements)).reshape(value.dims)
        if not array.size:
            raise Refused("it reads an empty tensor; TNN has none")
        key = (id(value.array), array.dtype.str)
        if key not in self._stored:
            name = self.names.fresh(f"{self.scope}_const")
            # The array is kept, so that no later one can have its id.
            self._stored[key] = value.elements, Value(value.dims, value.dtype, name, value.elements)
            self.constants[name] = _tensor(array)
            self._specs[name] = BlobSpec(array.shape, DataType.of(array), array)
        return self._stored[key][1]

    def matrix(self, array: np.ndarray) -> np.ndarray:
        """A constant matrix as float32 with its rows one after another; the same array for the same elements in memory.

        Weights that many layers read are held once, and found again by their place.
        """
        place = array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str
        if place not in self._matrices:
            # The array is kept, so that no later one can lie at its place.
            self._matrices[place] = array, np.ascontiguousarray(array, np.float32)
        return self._matrices[place][1]

    # --- layers ---

    def add(
        self, kind: str, inputs: Sequence[Value], *params: Any, tensors: Mapping[str, ArrayLike] | None = None,
        dtype: DTypeLike | None = None,
    ) -> Value:  # fmt: skip
        """Append a layer of one output; as :meth:`add_many`."""
        return self.add_many(kind, inputs, *params, outputs=1, tensors=tensors, dtype=dtype)[0]

    def add_many(
        self, kind: str, inputs: Sequence[Value], *params: Any, outputs: int,
        tensors: Mapping[str, ArrayLike] | None = None, dtype: DTypeLike | None = None,
    ) -> list[Value]:  # fmt: skip
        """Append a layer.

        Parameters
        ----------
        kind : str
            TNN's type string.
        inputs : sequence of Value
            Constants among them become constant blobs.
        params
            The layer's parameters, in the order of the file.
        outputs : int
        tensors : mapping of str to array, optional
            Of the resource.
        dtype : dtype, optional
            ONNX's type of the outputs. Default: that of the first input where TNN holds both alike.

        Returns
        -------
        list of Value

        Raises
        ------
        Refused
            The layer cannot take these inputs or parameters.
        """
        if len(self.nodes) >= MOST_LAYERS:
            raise Refused(f"the model would have more than {MOST_LAYERS} layers")
        layer_type = find_layer(kind)
        assert layer_type is not None, kind
        blobs = [self.blob(value) for value in inputs]
        stored_tensors = {
            name: _tensor(stored(np.asarray(array)), with_dims=kind not in _WITHOUT_DIMS)
            for name, array in (tensors or {}).items()
        }
        self.budget.spend(sum(tensor.data.nbytes for tensor in stored_tensors.values()))
        specs = [self._specs[value.name] for value in blobs]
        try:
            layer = layer_type(*params).with_outputs(outputs)
            found = layer.resolved(specs, stored_tensors).output_specs(specs, stored_tensors)
            for spec in found:
                refuse_giant(spec.dims, spec.dtype.numpy.itemsize, "its output")
        except TnnQuantError as error:
            raise Refused(f"TNN's {kind} {error}") from None
        if outputs == 1 and 0 in found[0].dims:
            code = found[0].dtype
            # An empty tensor has no elements to compute: it is a constant.
            return [Value.constant(np.zeros(found[0].dims, self._type_of(code, inputs, dtype)))]
        if any(0 in spec.dims for spec in found):
            raise Refused("it makes an empty tensor; TNN has none")
        name = self.names.fresh(f"{self.scope}_{kind}")
        blobs_out = [name] if outputs == 1 else [self.names.fresh(f"{name}_{i}") for i in range(outputs)]
        resource = Resource(stored_tensors, type_string=kind) if tensors else None
        self.nodes.append(Node(name, kind, layer, tuple(v.name for v in blobs), tuple(blobs_out), resource))
        results = []
        for blob, spec in zip(blobs_out, found, strict=False):
            self._specs[blob] = BlobSpec(spec.dims, spec.dtype)
            results.append(Value(spec.dims, self._type_of(spec.dtype, inputs, dtype), blob))
        return results

    @staticmethod
    def _type_of(code: DataType, inputs: Sequence[Value], dtype: DTypeLike | None) -> np.dtype:
        if code == DataType.FLOAT:
            return FLOAT
        if dtype is not None:
            return np.dtype(dtype)
        like = next((v.dtype for v in inputs if data_type(v.dtype) == code), None)
        return like or _TYPES[code]

    # --- what many converters need ---

    def reshape(self, x: Value, dims: Sequence[int]) -> Value:
        """``x`` under other dims (no 0, no -1); itself where nothing changes."""
        dims = tuple(int(d) for d in dims)
        if x.dims == dims:
            return x
        if x.is_constant:
            return Value.constant(x.elements.reshape(dims))
        # TNN's Reshape knows no blobs without dims.
        if not dims:
            return self.add("Squeeze", [x], tuple(range(x.rank)))
        if not x.dims:
            return self.add("Unsqueeze", [x], tuple(range(len(dims))))
        return self.add("Reshape", [x], 0, len(dims), dims, 0)

    def permute(self, x: Value, order: Sequence[int]) -> Value:
        """``x`` with its axes in another order; a Reshape where only axes of one element move."""
        order = tuple(int(axis) for axis in order)
        if order == tuple(range(x.rank)):
            return x
        if x.is_constant:
            return Value.constant(x.elements.transpose(order))
        moved = [axis for axis in order if x.dims[axis] != 1]
        if moved == sorted(moved):
            return self.reshape(x, [x.dims[axis] for axis in order])
        return self.add("Permute", [x], order)

    def cast(self, x: Value, dtype: DTypeLike) -> Value:
        """``x`` as another type, by ONNX's rules."""
        dtype = np.dtype(dtype)
        if x.is_constant:
            with np.errstate(all="ignore"):
                return Value.constant(x.elements.astype(dtype))
        source, target = data_type(x.dtype), data_type(dtype)
        if dtype == BOOL and x.dtype != BOOL:
            zero = self.constant(np.zeros((1,) * max(x.rank, 1), x.dtype))
            return self.add("Not", [self.add("Equal", [x, zero], dtype=BOOL)], dtype=BOOL)
        if source == target:
            return Value(x.dims, FLOAT if target == DataType.FLOAT else dtype, x.name)
        return self.add("Cast", [x], int(target), dtype=dtype)

    def gather(self, x: Value, indices: ArrayLike, axis: int) -> Value:
        """Slices of ``x`` along ``axis`` at constant indices (>= 0)."""
        indices = np.asarray(indices)
        if x.is_constant:
            return Value.constant(x.elements.take(indices, axis=axis))
        table = indices.astype(np.int32)
        return self.add("Gather", [x], axis, False, True, tensors={"indices": table}, dtype=x.dtype)

    def cut(self, x: Value, axis: int, begin: int, end: int, step: int = 1) -> Value:
        """``x[begin:end:step]`` along ``axis``; 0 <= begin < end, step > 0."""
        if (begin, step) == (0, 1) and end >= x.dims[axis]:
            return x
        if x.is_constant:
            return Value.constant(x.elements[(slice(None),) * axis + (slice(begin, end, step),)])
        if begin >= end:
            return Value.constant(np.zeros((*x.dims[:axis], 0, *x.dims[axis + 1 :]), x.dtype))
        return self.add("StridedSliceV2", [x], (begin,), (end,), (axis,), (step,))

    def pad(self, x: Value, pads: Sequence[int], value: float = 0.0) -> Value:
        """A constant border: all begins, then all ends, none negative."""
        if not any(pads):
            return x
        if x.is_constant:
            count = len(pads) // 2
            borders = list(zip(pads[:count], pads[count:], strict=True))
            return Value.constant(np.pad(x.elements, borders, constant_values=value))
        if x.rank == 4 and not (pads[0] or pads[4]):
            _, c0, top, left, _, c1, bottom, right = pads
            return self.add("Pad", [x], 0, 0, top, bottom, left, right, c0, c1, 0, float(value))
        return self.add("PadV2", [x], tuple(pads), 0, float(value))

    def renamed(self, values: Sequence[Value | None], names: Sequence[str], first: int) -> list[Value | None]:
        """Give blobs that were made since layer number ``first`` the names of the ONNX values they are.

        Values that were there before, or come twice, keep the names they have.
        """
        made = {blob for node in self.nodes[first:] for blob in node.outputs}
        table: dict[str, str] = {}
        for value, name in zip(values, names, strict=True):
            if value is not None and name and value.name in made and value.name not in table:
                table[value.name] = self.names.of(name)
        self.rename(table, first)
        return [
            dataclasses.replace(v, name=table[v.name]) if v is not None and v.name in table else v for v in values
        ]

    def rename(self, table: Mapping[str, str], first: int = 0) -> None:
        """Other names for blobs, in the layers from number ``first``."""
        if not table:
            return
        for number in range(first, len(self.nodes)):
            node = self.nodes[number]
            inputs = tuple(table.get(blob, blob) for blob in node.inputs)
            outputs = tuple(table.get(blob, blob) for blob in node.outputs)
            if inputs != node.inputs or outputs != node.outputs:
                self.nodes[number] = node.replace(inputs=inputs, outputs=outputs)
        for old, new in table.items():
            self._specs[new] = self._specs[old]
            self.records.rename(old, new)

    def dims(self) -> dict[str, tuple[int, ...]]:
        """Dims of every blob."""
        return {blob: spec.dims for blob, spec in self._specs.items()}

    def spec(self, blob: str) -> BlobSpec:
        """Dims and type of a blob."""
        return self._specs[blob]


#: Layers whose tensors are stored without dims, as in TNN's own files.
_WITHOUT_DIMS = frozenset(("PReLU", "BatchNormCxx", "InstBatchNormCxx"))


def _tensor(array: np.ndarray, *, with_dims: bool = True) -> Tensor:
    """The array as it is stored; one without dims stays one."""
    return Tensor(np.ascontiguousarray(array).reshape(-1), array.shape if with_dims else (), DataType.of(array))


def finite(value: float) -> float:
    """A parameter of a layer line, which holds no infinities: the nearest float32."""
    limit = float(np.finfo(np.float32).max)
    return float(np.clip(value, -limit, limit)) if not math.isnan(value) else value
