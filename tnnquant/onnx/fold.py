"""Nodes whose inputs are all constants, computed once, by ONNX's own definitions and with its types (int64 exact)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tnnquant.base.memory import refuse_giant
from tnnquant.errors import TnnQuantError
from tnnquant.onnx.refusal import Refused

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["evaluate", "may_fold"]

#: Operators that draw at random, or that handle what is no tensor.
_NEVER = (
    "Random", "Bernoulli", "Multinomial", "Sequence", "Optional", "StringNormalizer", "TfIdfVectorizer",
    # Its converter notes the codes of weights.
    "DequantizeLinear",
)  # fmt: skip

#: Bytes of an element, at least; integers of 8 bytes take more, which is counted once they exist.
_LEAST_BYTES = 4


def may_fold(op: str, domain: str) -> bool:
    """Whether the operator gives the same tensors from the same tensors."""
    return domain == "" and not op.startswith(_NEVER)


def evaluate(
    node: NodeProto, inputs: Sequence[np.ndarray | None], opset: int, most: int | None = None
) -> list[np.ndarray]:
    """The outputs of a node of ONNX's own domain.

    Parameters
    ----------
    node : NodeProto
        Its attributes are values, no references.
    inputs : sequence of ndarray or None
        None: an optional input that is absent.
    opset : int
    most : int, optional
        Bytes that the outputs may take.

    Raises
    ------
    Refused
        It cannot be computed, or its result would take more than that, or than there is memory.
    """
    from onnx import ModelProto
    from onnx.reference import ReferenceEvaluator

    _refuse_giant(node, inputs, most)
    model = ModelProto(ir_version=8)
    model.opset_import.add(domain="", version=opset)
    lone = model.graph.node.add()
    lone.CopyFrom(node)
    names = ["" if array is None else f"i{k}" for k, array in enumerate(inputs)]
    del lone.input[:], lone.output[:]
    lone.input.extend(names)
    lone.output.extend([f"o{k}" if name else "" for k, name in enumerate(node.output)])
    for name in filter(None, names):
        model.graph.input.add(name=name)
    for name in filter(None, lone.output):
        model.graph.output.add(name=name)
    feeds: dict[str, Any] = {name: array for name, array in zip(names, inputs, strict=True) if name}
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            made = ReferenceEvaluator(model).run(None, feeds)
    except MemoryError:
        raise Refused("there is not enough memory to compute its constants") from None
    except Exception as error:  # whatever the operator's definition makes of hostile operands
        words = " ".join(str(error).split())[:160]
        raise Refused(f"its constants cannot be computed ({type(error).__name__}: {words})") from None
    results = []
    for array in made:
        if not isinstance(array, np.ndarray | np.generic):
            raise Refused("it makes something that is no tensor")
        results.append(np.asarray(array))
    return results


def _refuse_giant(node: NodeProto, inputs: Sequence[np.ndarray | None], most: int | None) -> None:
    """Raise Refused where a few bytes ask for a result beyond memory."""
    arrays = [array for array in inputs if array is not None]
    sizes = [array.size for array in arrays]
    try:
        match node.op_type:
            case "ConstantOfShape":
                dims: Sequence[int] = [int(d) for d in arrays[0].reshape(-1)]
            case "Expand":
                dims = np.broadcast_shapes(arrays[0].shape, tuple(int(d) for d in arrays[1].reshape(-1)))
            case "Tile":
                dims = [sizes[0], *(int(r) for r in arrays[1].reshape(-1))]
            case "Range":
                start, limit, delta = (float(array.reshape(-1)[0]) for array in arrays[:3])
                dims = [int(max(0.0, np.ceil((limit - start) / delta)))]
            case "Pad":
                pads = [int(p) for p in arrays[1].reshape(-1)] if len(arrays) > 1 else []
                count = len(pads) // 2
                dims = [d + sum(pads[i::count]) for i, d in enumerate(arrays[0].shape)] if count else []
            case "OneHot":
                dims = [sizes[0], int(arrays[1].reshape(-1)[0])]
            case "Resize" | "Upsample":
                dims = [_resized(node.op_type, arrays)]
            case "EyeLike" | "Transpose" | "Reshape":
                return
            case _:
                shapes = [array.shape for array in arrays]
                try:
                    dims = np.broadcast_shapes(*shapes)
                except ValueError:
                    dims = [sum(sizes)]
    except (ValueError, IndexError, ZeroDivisionError, OverflowError) as error:
        raise Refused(f"its constants do not fit together ({' '.join(str(error).split())[:120]})") from None
    if any(d < 0 for d in dims):
        return
    known = sum(array.nbytes for array in arrays)
    if most is not None and prod(dims) * _LEAST_BYTES > most + known:
        raise Refused(
            f"its constant result would have dims {'x'.join(map(str, dims[:8]))}, more than a model of this size may "
            "ask for; export the model with smaller dims"
        )
    try:
        refuse_giant(tuple(dims), 8, "its constant result")
    except TnnQuantError as error:
        raise Refused(str(error)) from None


def _resized(op: str, arrays: Sequence[np.ndarray]) -> int:
    last = arrays[-1].reshape(-1)
    if last.dtype.kind in "iu":
        return prod(int(v) for v in last)
    return int(arrays[0].size * float(np.prod(np.abs(last, dtype=np.float64))))
