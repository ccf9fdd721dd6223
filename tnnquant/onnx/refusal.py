"""What cannot be converted: noted node by node, told all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tnnquant.errors import UnsupportedLayerError

__all__ = ["Refusal", "Refused", "refusal_error"]

_SHOWN = 8


class Refused(Exception):
    """Raised by a converter: TNN cannot express its node. The message says why and, where known, what to do."""


@dataclass(frozen=True)
class Refusal:
    """A node that TNN cannot express.

    Attributes
    ----------
    op : str
        Operator, with its domain in front if that is not ONNX's own.
    opset : int
        Version of the operator set in the model.
    name, output : str
        Of the node; its first output.
    reason : str
    """

    op: str
    opset: int
    name: str
    output: str
    reason: str

    def __str__(self) -> str:
        where = f"node {self.name!r}, " if self.name else ""
        return f"{self.op} (opset {self.opset}; {where}output {self.output!r}): {self.reason}"


def refusal_error(refusals: Sequence[Refusal], source: str) -> UnsupportedLayerError:
    """The error that names all nodes: those of one operator and reason together."""
    groups: dict[tuple[str, int, str], list[Refusal]] = {}
    for refusal in refusals:
        groups.setdefault((refusal.op, refusal.opset, refusal.reason), []).append(refusal)
    parts = []
    for (op, opset, reason), found in list(groups.items())[:_SHOWN]:
        shown = ", ".join(_place(refusal) for refusal in found[:3]) + (", ..." if len(found) > 3 else "")
        count = f"{len(found)}x " if len(found) > 1 else ""
        parts.append(f"{count}{_short(op)} (opset {opset}; {shown}): {reason[:300]}")
    more = f"; and {len(groups) - _SHOWN} more kinds" if len(groups) > _SHOWN else ""
    count = f"{len(refusals)} node" + ("s" if len(refusals) > 1 else "")
    text = (
        f"{source}: TNN cannot express {count}: {'; '.join(parts)}{more}. Nothing was written; `tnnquant convert "
        "--list` shows all of them. Export without these operators, or cut the model before them"
    )
    # Names are the file's: they may hold anything.
    return UnsupportedLayerError(" ".join(text.split()))


def _place(refusal: Refusal) -> str:
    output = f"output {_short(refusal.output)!r}"
    return f"node {_short(refusal.name)!r}, {output}" if refusal.name else output


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:40]}...{name[-15:]}"
