"""What layers demand of their inputs, said in one way: how many, of which data types and ranks."""

from __future__ import annotations

from collections.abc import Sequence

from tnnquant.base.tensor import DataType
from tnnquant.errors import GraphError, UnsupportedLayerError
from tnnquant.layers.base import BlobSpec
from tnnquant.layers.movement import text

__all__ = ["check_inputs", "check_rank", "check_same_type", "check_types"]


def check_inputs(inputs: Sequence[BlobSpec], least: int, most: int | None = None) -> None:
    """Raise GraphError unless there are ``least``..``most`` inputs (``most`` defaults to ``least``)."""
    most = least if most is None else most
    if not least <= len(inputs) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise GraphError(f"has {len(inputs)} input blobs, expected {wanted}")


def check_types(inputs: Sequence[BlobSpec], *allowed: DataType) -> None:
    """Raise UnsupportedLayerError if an input is of a data type TNN's kernel does not take."""
    for position, spec in enumerate(inputs):
        if spec.dtype not in allowed:
            names = " or ".join(code.name for code in allowed)
            raise UnsupportedLayerError(
                f"input {position} is {spec.dtype.name}; TNN's kernel takes {names} only: put a Cast before it"
            )


def check_same_type(inputs: Sequence[BlobSpec]) -> None:
    """Raise UnsupportedLayerError if the inputs are not all of the data type of the first."""
    for position, spec in enumerate(inputs):
        if spec.dtype != inputs[0].dtype:
            raise UnsupportedLayerError(
                f"input 0 is {inputs[0].dtype.name}, input {position} is {spec.dtype.name}; TNN takes one type "
                "of operands: put a Cast before it"
            )


def check_rank(inputs: Sequence[BlobSpec], least: int) -> None:
    """Raise GraphError if the first input has fewer than ``least`` dims."""
    if len(inputs[0].dims) < least:
        raise GraphError(f"the input is {text(inputs[0].dims)}, expected at least {least} dims")
