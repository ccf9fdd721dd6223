"""Gather and GatherND: pick slices by index (docs/tnn-format.md, 4.4, 5.4, 6.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, layer
from tnnquant.layers.fields import FlagField, ScaleField, TensorField, param
from tnnquant.layers.movement import Movement, axis_of, copy_ops, text

__all__ = ["Gather", "GatherND", "stored_array", "wrapped"]

#: More slices than this are left to NumPy: each would be an operation of its own in a kernel program.
_COPIES = 16


def stored_array(tensor: Tensor) -> np.ndarray:
    """A tensor under its dims; one element without dims is a scalar, several without dims a vector."""
    return tensor.array().reshape(tensor.dims if prod(tensor.dims) == tensor.size else (tensor.size,))


def wrapped(indices: np.ndarray, size: int, what: str = "index") -> np.ndarray:
    """Indices with negative ones counted from the end.

    Parameters
    ----------
    indices : array of int
    size : int
        Of the axis.
    what : str
        What they are called in the message.

    Raises
    ------
    GraphError
        One lies outside the axis.
    """
    indices = indices.astype(np.intp, copy=False)
    if indices.size and not -size <= indices.min() <= indices.max() < size:
        worst = indices.min() if indices.min() < -size else indices.max()
        raise GraphError(f"{what} {worst} lies outside an axis of {size}")
    return np.where(indices < 0, indices + size, indices)


@layer(104, "Gather", "DynamicRangeQuantizedGather")
class Gather(Movement):
    """Slices of ``data`` along ``axis``, picked by ``indices``; either may lie in the model file.

    Otherwise ``data`` is the first input, ``indices`` the last.
    """

    ANY_LAYOUT = True

    RESOURCE = (
        FlagField("has_data", of="data"),
        TensorField("data", when="has_data"),
        FlagField("has_indices", of="indices"),
        TensorField("indices", when="has_indices"),
        ScaleField(of="data", zero_point=False),
    )

    axis: int = param(default=0)
    data_in_resource: bool = param("bool", default=False)
    indices_in_resource: bool = param("bool", default=True)

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        data, _ = self._specs(inputs, tensors)
        return replace(self, axis=axis_of(self.axis, len(data.dims)))

    def _specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> tuple[BlobSpec, BlobSpec]:
        specs = []
        for name, stored, position in (
            ("data", self.data_in_resource, 0),
            ("indices", self.indices_in_resource, -1),
        ):
            if not stored and inputs:
                specs.append(inputs[position])
            elif stored and name in tensors:
                array = stored_array(tensors[name])
                specs.append(BlobSpec(array.shape, DataType.of(array), array))
            else:
                where = "lie in the model file" if stored else "be an input"
                raise GraphError(f"its {name} should {where}, but there is none")
        return specs[0], specs[1]

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        data, indices = self._specs(inputs, tensors)
        if indices.dtype not in (DataType.INT32, DataType.INT64) and self.indices_in_resource:
            raise GraphError(f"its indices are {indices.dtype.name}, expected INT32")
        axis = axis_of(self.axis, len(data.dims))
        return [BlobSpec((*data.dims[:axis], *indices.dims, *data.dims[axis + 1 :]), data.dtype)]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> Any:
        data = stored_array(tensors["data"]) if self.data_in_resource else None
        if not self.indices_in_resource:
            return data, None
        axis_size = self._specs(inputs, tensors)[0].dims[self.axis]
        return data, wrapped(stored_array(tensors["indices"]), axis_size)

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        data, indices = state
        data = inputs[0] if data is None else data
        axis = axis_of(self.axis, data.ndim)
        if indices is None:
            indices = wrapped(inputs[-1], data.shape[axis])
        if indices.ndim == 0:
            return [np.asarray(data[(slice(None),) * axis + (int(indices),)])]
        return [data.take(indices, axis=axis)]

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> np.ndarray | None:
        data, indices = state
        if data is not None or indices is None or outputs[0].dtype != inputs[0].dtype:
            return None
        axis = axis_of(self.axis, inputs[0].ndim)
        # The axis in front: an index then is a view, with the ellipsis also where the result has no axes.
        source, target = np.moveaxis(inputs[0], axis, 0), outputs[0]
        for position in range(indices.ndim):
            target = np.moveaxis(target, axis + position, position)
        if indices.size > _COPIES:
            return None
        places = np.ndindex(indices.shape)
        return copy_ops([(source[int(indices[at]), ...], target[(*at, ...)]) for at in places])

    def widened(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Data of a dynamic-range layer: row ``i`` times ``scale[i]``."""
        data, scale = tensors.get("data"), tensors.get("scale")
        if data is None or data.dtype != DataType.INT8:
            return dict(tensors)
        rows = data.dims[0] if len(data.dims) > 1 else -1
        if scale is None or scale.size != rows or prod(data.dims) != data.size:
            found = 0 if scale is None else scale.size
            raise GraphError(
                f"its int8 data of dims {text(data.dims)} comes with {found} scales, expected rank 2 or more and "
                "one scale per row"
            )
        values = data.data.reshape(rows, -1).astype(np.float32) * scale.float32()[:, None]
        rest = {name: tensor for name, tensor in tensors.items() if name != "scale"}
        return {**rest, "data": Tensor(values.reshape(-1), data.dims, DataType.FLOAT)}


@layer(315, "GatherND")
class GatherND(Movement):
    """Slices picked by index vectors: ``out[b, p] = data[b, indices[b, p]]``, with ``batch_dims`` leading axes b.

    As ONNX defines it; TNN's kernel is right for single slices only.
    """

    LEAST_INPUTS = 2

    batch_dims: int = param(default=0)

    def _split(self, data: tuple[int, ...], indices: tuple[int, ...]) -> tuple[int, int]:
        batch = self.batch_dims
        depth = indices[-1] if indices else 0
        if not 0 <= batch < len(indices) or depth < 1 or batch + depth > len(data) or data[:batch] != indices[:batch]:
            raise GraphError(
                f"indices of dims {text(indices)} do not fit data of dims {text(data)}, "
                f"batch_dims {batch}"
            )
        return batch, depth

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        data, indices = inputs[0], inputs[-1]
        batch, depth = self._split(data.dims, indices.dims)
        return [BlobSpec((*indices.dims[:-1], *data.dims[batch + depth :]), data.dtype)]

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        data, indices = inputs[0], inputs[-1]
        batch, depth = self._split(data.shape, indices.shape)
        places = np.indices(indices.shape[:-1], sparse=True)[:batch]
        vectors = [wrapped(indices[..., i], data.shape[batch + i]) for i in range(depth)]
        return [np.asarray(data[(*places, *vectors)])]
