"""The two halves of a layer: its fp32 and its int8 form, as objects with the same verbs.

What prepares, infers and runs nodes asks :attr:`tnnquant.graph.Node.half` once and need not know which form it has. A
layer type writes the methods of both forms side by side (:class:`~tnnquant.layers.base.Layer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tnnquant.base.tensor import DataType
from tnnquant.layers.base import BlobScales, BlobSpec, Layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from tnnquant.base.tensor import Tensor

__all__ = ["Fp32Half", "Half", "Int8Half"]


@dataclass(frozen=True)
class Half:
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

    layer: Layer
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
        """What the other verbs want of the tensors, made once a model."""
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


class Fp32Half(Half):
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
        return self.layer.joins_in_place(state, quantized=False)


class Int8Half(Half):
    """The int8 form."""

    NEEDS_SCALES = True
    PLACED = (DataType.FLOAT, DataType.INT8)
    MISSING = "int8 form"

    @property
    def runnable(self) -> bool:
        return self.layer.runnable_int8()

    @property
    def may_emit(self) -> bool:
        return type(self.layer).emit_int8 is not Layer.emit_int8

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        return self.layer.output_specs_int8(inputs, tensors)

    def prepare(
        self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec],
        scales: BlobScales | None,
    ) -> Any:  # fmt: skip
        assert scales is not None
        return self.layer.prepare_int8(tensors, inputs, outputs, scales)

    def forward(self, inputs: Sequence[np.ndarray], outputs: Sequence[BlobSpec], state: Any) -> list[np.ndarray]:
        return self.layer.forward_int8(inputs, outputs, state)

    def emit(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any, keep: list
    ) -> np.ndarray | None:
        return self.layer.emit_int8(inputs, outputs, state, keep)

    def joins_in_place(self, state: Any) -> bool:
        return self.layer.joins_in_place(state, quantized=True)
