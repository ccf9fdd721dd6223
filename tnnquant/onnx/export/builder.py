"""An ONNX graph in the making: nodes, initializers and names that are not taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tnnquant.base.names import unused_name
from tnnquant.base.tensor import DataType
from tnnquant.layers.base import BlobSpec

if TYPE_CHECKING:
    import onnx

__all__ = ["INT64_MAX", "Builder", "Value", "element_type"]

INT64_MAX = 2**63 - 1
#: The name of a tensor, or an array that becomes an initializer.
Value = str | np.ndarray


class Builder:
    """Collects what an ONNX graph is made of.

    Parameters
    ----------
    opset : int
        Version of the operator set that nodes are written for.
    specs : mapping of str to BlobSpec
        Dims and data type of every blob of the TNN model.
    taken : set of str
        Names of tensors that must keep their meaning.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
        In the order in which they run.
    initializers : list of onnx.TensorProto
    known : dict of str to ndarray
        The values of the blobs that are constants.
    scope : str
        The layer whose nodes are being made: their names begin with it.
    """

    def __init__(self, opset: int, specs: Mapping[str, BlobSpec], taken: set[str]):
        self.opset = opset
        self.specs = specs
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.known: dict[str, np.ndarray] = {}
        self.scope = ""
        self._taken = set(taken)
        self._node_names: set[str] = set()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def op(self, kind: str, *inputs: Value | None, to: str | None = None, **attributes: Any) -> str:
        """Add a node with one output, whose name is returned.

        Parameters
        ----------
        kind : str
            Operator.
        *inputs : str, ndarray or None
            None: an optional input that is absent.
        to : str, optional
            Name of the output; else one is made.
        **attributes
            None: absent.
        """
        return self.ops(kind, inputs, [to if to is not None else self.unused(f"{self.scope}/{kind}")], **attributes)[0]

    def ops(self, kind: str, inputs: Sequence[Value | None], to: Sequence[str], **attributes: Any) -> list[str]:
        """Add a node with the outputs ``to``; as :meth:`op`."""
        from onnx import helper

        names = ["" if x is None else x if isinstance(x, str) else self.constant(x) for x in inputs]
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(kind, names, list(to), name=self._node_name(kind), **given))
        return list(to)

    def constant(self, array: np.ndarray, name: str = "") -> str:
        """Store an array as an initializer, or find the equal one that is there already; its name.

        ``name``: what it is, appended to the layer's name; or, if that is not given, a name that tells its type.
        """
        from onnx import numpy_helper

        array = np.array(array, order="C")  # keeps rank 0, which ascontiguousarray does not
        key = str(array.dtype), array.shape, array.tobytes()
        if key not in self._constants:
            made = self.unused(f"{self.scope}/{name}" if name else f"{self.scope}/{array.dtype.name}")
            self.initializers.append(numpy_helper.from_array(array, made))
            self._constants[key] = made
        return self._constants[key]

    def blob(self, name: str, array: np.ndarray) -> None:
        """Store a constant blob of the model under its own name."""
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))

    def ints(self, *values: int) -> str:
        """A list of int64, as shapes, axes and sizes are."""
        return self.constant(np.array(values, np.int64))

    def floats(self, *values: float) -> str:
        """A list of float32."""
        return self.constant(np.array(values, np.float32))

    def scalar(self, value: float, dtype: Any = np.float32) -> str:
        """A tensor of rank 0."""
        return self.constant(np.array(value, dtype))

    def unused(self, name: str) -> str:
        """``name``, or the first of ``name_2``, ``name_3``, ... that no tensor has; taken from now on."""
        found = unused_name(name, self._taken)
        self._taken.add(found)
        return found

    def dims(self, blob: str) -> tuple[int, ...]:
        """The dims of a blob of the model."""
        return tuple(self.specs[blob].dims)

    def reshape(self, x: Value, dims: Sequence[int], to: str | None = None) -> str:
        """``x`` under other dims."""
        return self.op("Reshape", x, self.ints(*dims), to=to)

    def cast(self, x: Value, dtype: DataType | int, to: str | None = None) -> str:
        """``x`` as another type: one of TNN's, or a number of onnx.TensorProto."""
        from onnx import helper

        name = x if isinstance(x, str) else self.constant(x)
        code = element_type(dtype) if isinstance(dtype, DataType) else dtype
        made = to if to is not None else self.unused(f"{self.scope}/Cast")
        self.nodes.append(helper.make_node("Cast", [name], [made], name=self._node_name("Cast"), to=code))
        return made

    def _node_name(self, kind: str) -> str:
        name = unused_name(f"{self.scope}/{kind}", self._node_names)
        self._node_names.add(name)
        return name


def element_type(dtype: DataType) -> int:
    """ONNX's number of a data type of TNN's; half precision is widened."""
    from onnx import TensorProto

    return {
        DataType.FLOAT: TensorProto.FLOAT,
        DataType.HALF: TensorProto.FLOAT,
        DataType.BFP16: TensorProto.FLOAT,
        DataType.INT8: TensorProto.INT8,
        DataType.INT32: TensorProto.INT32,
        DataType.INT64: TensorProto.INT64,
        DataType.UINT32: TensorProto.UINT32,
    }[dtype]
