"""The layers of an int8 pair, one by one, beside the int8 ONNX model that it was made from.

Two int8 engines drift apart: one code in a million that is rounded otherwise changes others after it, more from layer
to layer. In the end the outputs are as far apart as two roundings of the same network. So each layer is given the
codes that the ONNX model has before it, and must make the codes that the ONNX model has after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tnnquant.graph.lower import REFORMATTED
from tnnquant.onnx.convert import Conversion
from tnnquant.onnx.qdq.record import BlobCodes

if TYPE_CHECKING:
    from tnnquant.engine.executor import Executor

__all__ = ["CodesCheck", "against_codes"]

#: A blob is right if at most this share of its codes is off by one step: TNN rounds halves otherwise, and its zero
#: point is a whole number of steps of a sum.
_STEPS, _SHARE = 1, 0.05
#: Else by the length of the difference as a part of that of the codes: sums in another order differ by more here and
#: there, and so do layers that read codes which had to become coarser than the file's.
_PART, _COARSE_PART = 0.02, 0.25


@dataclass
class CodesCheck:
    """How the codes compare.

    Attributes
    ----------
    blobs : int
        Compared.
    differing : float
        The share of their codes that differ.
    wrong : str
        The first blob that is not what the ONNX model has there; empty if all are.
    """

    blobs: int = 0
    differing: float = 0.0
    wrong: str = ""
    _counts: list[int] = field(default_factory=lambda: [0, 0])

    def count(self, differing: int, size: int) -> None:
        """Note the codes of one blob."""
        self.blobs += 1
        self._counts[0] += differing
        self._counts[1] += size
        self.differing = self._counts[0] / max(self._counts[1], 1)


def against_codes(
    executor: Executor, blobs: Mapping[str, np.ndarray], conversion: Conversion, tensors: Mapping[str, np.ndarray]
) -> tuple[CodesCheck, dict[str, np.ndarray]]:  # fmt: skip
    """Run the pair with the ONNX model's codes put in after every int8 layer.

    Parameters
    ----------
    executor : Executor
    blobs : mapping of str to ndarray
        Its inputs.
    conversion : Conversion
    tensors : mapping of str to ndarray
        Codes by the names of the ONNX model, of the same inputs.

    Returns
    -------
    check : CodesCheck
    outputs : dict of str to ndarray
        Of the pair, computed from the ONNX model's codes.
    """
    check, codes, scales = CodesCheck(), conversion.codes, conversion.graph.scales
    is_coarse = any(not np.array_equal(scales[name].scale, noted.scale) for name, (_, noted) in codes.items())
    most = _COARSE_PART if is_coarse else _PART

    def look(blob: str, array: np.ndarray) -> None:
        name = blob.removesuffix(REFORMATTED)
        tensor, noted = codes.get(name, ("", None))
        if noted is None or array.dtype != np.int8 or tensor not in tensors or tensors[tensor].size != array.size:
            return
        if not check.wrong and not np.array_equal(executor.graph.scales[name].scale, scales[name].scale):
            check.wrong = name
        is_same = np.array_equal(scales[name].scale, noted.scale)
        zero = noted.zero if is_same else np.zeros_like(noted.zero)
        wanted = _as_stored(tensors[tensor].reshape(array.shape), noted, None if is_same else scales[name].scale)
        apart = np.abs(array.astype(np.int16) - wanted)
        differing = int(np.count_nonzero(apart))
        check.count(differing, array.size)
        is_near = apart.max(initial=0) <= _STEPS and differing <= max(_SHARE * array.size, 1)
        if not check.wrong and not is_near and _part(apart, wanted, zero) > most:
            check.wrong = name
        array[...] = wanted

    twin = executor.keeping()
    twin.run(blobs)
    return check, twin.rerun(blobs, -1, look)


def _as_stored(codes: np.ndarray, noted: BlobCodes, scale: np.ndarray | None) -> np.ndarray:
    """The ONNX model's codes as the pair holds them, int8: the same, or rescaled where its scale is another."""
    signed = codes.astype(np.int64) - (128 if codes.dtype == np.uint8 else 0)
    if scale is None:
        return signed.astype(np.int8)
    zero, step, mine = (_by_channel(a, codes.ndim) for a in (noted.zero, noted.scale, scale))
    rescaled: np.ndarray = np.clip(np.rint((signed - zero) * step / mine), -128, 127).astype(np.int8)
    return rescaled


def _by_channel(values: np.ndarray, rank: int) -> np.ndarray:
    return values.astype(np.float64).reshape(-1, *(1,) * max(rank - 2, 0))


def _part(apart: np.ndarray, wanted: np.ndarray, zero: np.ndarray) -> float:
    """The length of a difference of codes as a part of that of the codes, counted from what means 0."""
    length = float(np.linalg.norm(wanted - _by_channel(zero, wanted.ndim)))
    return float(np.linalg.norm(apart.astype(np.float64))) / length if length else float(apart.any())
