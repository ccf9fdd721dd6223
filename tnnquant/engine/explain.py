"""The operations that a run executes, as a table to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import overload

__all__ = ["Operation", "ProgramTable"]

_COLUMNS = ("layer", "kernel", "path", "tasks", "bytes", "program")


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes
    ----------
    layer : str
        The layer that it is of; several that run as one are joined by ``+``.
    type : str
        The layer's type.
    kernel : str
        The compiled function, or the layer's Python method.
    path : str
        The instruction path that the kernel is compiled for; empty where the kernel has but one.
    program : int
        Which program it is in, from 1: one call from Python each. 0: it runs through Python.
    tasks : int
        Parts that threads take; 0 in Python, and in a program where there is nothing to do (inputs of a Concat that
        are made where they belong).
    bytes : int
        Of the layer's inputs, weights and outputs, at the layer's first operation; 0 at its others, and without tasks.
    quantized : bool
        Whether the layer runs in int8.
    """

    layer: str
    type: str
    kernel: str
    path: str
    program: int
    tasks: int
    bytes: int
    quantized: bool


@dataclass(frozen=True)
class ProgramTable(Sequence[Operation]):
    """What :meth:`Executor.explain` gives; a sequence of operations that prints as a table."""

    operations: tuple[Operation, ...]

    def __len__(self) -> int:
        return len(self.operations)

    @overload
    def __getitem__(self, index: int) -> Operation: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Operation, ...]: ...

    def __getitem__(self, index: int | slice) -> Operation | tuple[Operation, ...]:
        return self.operations[index]

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    @property
    def programs(self) -> int:
        """How many programs there are."""
        return len({op.program for op in self.operations if op.program})

    @property
    def in_python(self) -> int:
        """How many steps run through Python."""
        return sum(op.program == 0 for op in self.operations)

    def as_dict(self) -> dict:
        """JSON types."""
        return {
            "programs": self.programs, "in_python": self.in_python,
            "operations": [asdict(op) for op in self.operations],
        }  # fmt: skip

    def rows(self) -> list[tuple[str, ...]]:
        """The cells of a table, :data:`_COLUMNS`."""
        return [
            (op.layer, op.kernel, op.path, str(op.tasks) if op.program else "", f"{op.bytes:,}" if op.bytes else "",
             str(op.program) if op.program else "Python")
            for op in self.operations
        ]  # fmt: skip

    def __str__(self) -> str:
        rows = [_COLUMNS, *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if number > 2 else cell.ljust(width)
                for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        )
