"""What layers with parameters per channel share: BatchNorm, Scale, PReLU, InstBatchNormCxx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from tnnquant.base.tensor import DataType, Tensor
from tnnquant.errors import GraphError
from tnnquant.layers.base import BlobSpec, Layer
from tnnquant.layers.checks import check_inputs, check_types
from tnnquant.layers.memory import dense, like, restored
from tnnquant.layers.movement import text

if TYPE_CHECKING:
    from tnnquant.kernels.channelwise import ChannelTable

__all__ = ["Channelwise", "channel_values", "channels_of"]


def channels_of(dims: Sequence[int]) -> int:
    """The dim of axis 1; 1 for a blob of one dim."""
    return dims[1] if len(dims) > 1 else 1


def channel_values(tensors: Mapping[str, Tensor], name: str, channels: int) -> np.ndarray:
    """A tensor of one value for all channels or one each, as float32 (1,) or (channels,).

    Raises
    ------
    GraphError
        The tensor is missing, or of another size.
    """
    if name not in tensors or tensors[name].size == 0:
        raise GraphError(f"has no {name}: the .tnnmodel holds none for it (do the two files belong together?)")
    values = np.ascontiguousarray(tensors[name].float32())
    if values.size not in (1, channels):
        raise GraphError(f"{name} has {values.size} values, expected 1 or one for each of {channels} channels")
    return values


class Channelwise(Layer):
    """A function of :mod:`tnnquant.kernels.channelwise`; the state is its table."""

    FUNCTION: ClassVar[str] = ""

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        check_inputs(inputs, 1)
        check_types(inputs, DataType.FLOAT)
        return self

    def values(self, tensors: Mapping[str, Tensor], channels: int) -> tuple[np.ndarray, np.ndarray]:
        """k and b, float32 (channels,) or (1,) each."""
        raise NotImplementedError

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> ChannelTable:
        from tnnquant.kernels.channelwise import channel_table

        return channel_table(*self.values(tensors, channels_of(inputs[0].dims)))

    def forward(self, inputs: Sequence[np.ndarray], state: ChannelTable) -> list[np.ndarray]:
        from tnnquant.kernels import program

        x = inputs[0]
        if state.channels not in (1, channels_of(x.shape)):
            raise GraphError(f"got {text(x.shape)} at run time, its parameters are those of {state.channels} channels")
        out = like(x)
        if x.size:
            op = self.emit([x], [out], state)
            if op is None:
                x = restored(*dense(x))
                op = self.emit([x], [out], state)
                assert op is not None  # of dense arrays
            program.run(op)
        return [out]

    def emit(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any) -> np.ndarray | None:
        from tnnquant.kernels import channelwise

        return channelwise.channel_f32_op(getattr(channelwise, self.FUNCTION), inputs[0], state, outputs[0])
