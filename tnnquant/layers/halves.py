"""The two halves of a layer: its fp32 and its int8 form, as objects with the same verbs.

What prepares, infers and runs nodes asks :attr:`tnnquant.graph.Node.half` once and need not know which form it has. The
methods of a layer type are its fp32 form, which every type has that can be run; a type with an int8 form declares it as
a class of its own below, ``@int8_form(Pooling) class PoolingInt8(Int8Half[Pooling])``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from tnnquant.base.tensor import DataType
from tnnquant.errors import UnsupportedLayerError
from tnnquant.layers.base import BlobScales, BlobSpec, Layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from tnnquant.base.tensor import Tensor

__all__ = ["Fp32Half", "Half", "Int8Half", "int8_form", "int8_half"]

_Kind = TypeVar("_Kind", bound=Layer, covariant=True)


@dataclass(frozen=True)
class Half(Generic[_Kind]):
    """One form of a layer.

    Attributes
    ----------
    layer : Layer
        Resolved, where shapes matter.
    NEEDS_SCALES : bool
        :meth:`prepare` wants the scales of the blobs.
    PLACED : tuple of DataType
        The blobs that may have a fixed place in memory. fp32 programs know float blobs alone: INT8 stands for booleans
        there.
    MISSING : str
        What the type lacks if it is not :attr:`runnable`.
    """

    layer: _Kind
    NEEDS_SCALES: ClassVar[bool] = False
    PLACED: ClassVar[tuple[DataType, ...]] = (DataType.FLOAT,)
    MISSING: ClassVar[str] = "kernel"

    @property
    def runnable(self) -> bool:
        """Whether the type has this form."""
        raise NotImplementedError

    @property
    def may_emit(self) -> bool:
        """Whether this form may become rows of a kernel program."""
        raise NotImplementedError

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        """Dims and data types of the outputs."""
        raise NotImplementedError

    def prepare(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec],
        scales: BlobScales | None,
    ) -> Any:  # fmt: skip
        """What the other verbs want of the tensors, made once per model."""
        raise NotImplementedError

    def forward(self, inputs: Sequence[np.ndarray], outputs: Sequence[BlobSpec], state: Any) -> list[np.ndarray]:
        """Compute the outputs."""
        raise NotImplementedError

    def emit(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        """The rows of a kernel program that compute them; None: :meth:`forward` does."""
        raise NotImplementedError

    def joins_in_place(self, state: Any) -> bool:
        """Whether inputs may be made where they lie in the output."""
        raise NotImplementedError


class Fp32Half(Half[Layer]):
    """The fp32 form."""

    @property
    def runnable(self) -> bool:
        return self.layer.runnable()

    @property
    def may_emit(self) -> bool:
        return type(self.layer).emit is not Layer.emit

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return self.layer.output_specs(inputs, tensors)

    def prepare(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec],
        scales: BlobScales | None,
    ) -> Any:  # fmt: skip
        return self.layer.prepare(tensors, inputs)

    def forward(self, inputs: Sequence[np.ndarray], outputs: Sequence[BlobSpec], state: Any) -> list[np.ndarray]:
        return self.layer.forward(inputs, state)

    def emit(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        return self.layer.emit(inputs, outputs, state)

    def joins_in_place(self, state: Any) -> bool:
        return self.layer.joins_in_place(state)


class Int8Half(Half[_Kind]):
    """The int8 form of a layer type (docs/tnn-format.md, 6); this base is that of a type that has none.

    Results are the integers that TNN's CPU device gives.
    """

    NEEDS_SCALES = True
    PLACED = (DataType.FLOAT, DataType.INT8)
    MISSING = "int8 form"

    @property
    def runnable(self) -> bool:
        return type(self) is not Int8Half

    @property
    def may_emit(self) -> bool:
        return type(self).emit is not Int8Half.emit

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        """Dims and data types of the outputs: those of the fp32 form, as INT8."""
        as_float = [replace(spec, dtype=DataType.FLOAT) for spec in inputs]
        return [BlobSpec(spec.dims, DataType.INT8) for spec in self.layer.output_specs(as_float, tensors)]

    def prepare(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec],
        scales: BlobScales | None,
    ) -> Any:  # fmt: skip
        assert scales is not None  # NEEDS_SCALES
        return self.prepare_scaled(tensors, inputs, outputs, scales)

    def prepare_scaled(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec], scales: BlobScales
    ) -> Any:
        """As :meth:`prepare`; ``scales`` are checked: finite, not negative, one per blob or one per channel."""
        raise UnsupportedLayerError(f"{self.layer.TYPE_NAMES[0]} has no int8 form")

    def forward(self, inputs: Sequence[np.ndarray], outputs: Sequence[BlobSpec], state: Any) -> list[np.ndarray]:
        raise UnsupportedLayerError(f"{self.layer.TYPE_NAMES[0]} has no int8 form")

    def emit(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        """As :meth:`Half.emit`; arrays that the rows read, beside the state, are appended to ``keep``."""
        return None

    def joins_in_place(self, state: Any) -> bool:
        return False


_Form = TypeVar("_Form", bound="type[Int8Half[Any]]")


def int8_form(kind: type[Layer]) -> Callable[[_Form], _Form]:
    """Decorator: declare the int8 form of a layer type, and of those derived from it."""

    def declare(form: _Form) -> _Form:
        kind.INT8 = form
        return form

    return declare


def int8_half(layer: Layer) -> Int8Half[Layer]:
    """The int8 form of a layer; one that is not :attr:`Half.runnable` if its type has none."""
    return (type(layer).INT8 or Int8Half)(layer)
