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

from tnnquant.base.tensor import DataType
from tnnquant.graph import Node
from tnnquant.graph.lower import REFORMATTED
from tnnquant.layers.base import QuantRole
from tnnquant.onnx.convert import Conversion
from tnnquant.onnx.qdq.record import BlobCodes

if TYPE_CHECKING:
    from tnnquant.engine.executor import Executor

__all__ = ["CodesCheck", "against_codes"]

#: A layer that reads the file's codes may be off by a step of its sums: halves are rounded otherwise, and a zero point
#: is a whole number of such steps. So many codes as lie that close to where the code changes are off by one: the share
#: that a step of the sums is of a step of the codes; and a few where sums of floats lie there.
_SHARE, _FEW = 1e-3, 3
_LOWEST, _HIGHEST = -128, 127
#: Where codes before a layer had to become coarser, each is off by half a step at most, evenly. The length that this
#: has behind the layer may be exceeded so many times. Codes that are rounded twice add a third of a square step, and
#: layers whose sums are not known, as an Add, a whole one.
_NOISE, _ROUNDED_TWICE, _UNKNOWN = 2.0, 1 / 3, 1.0
#: The same of each channel alone, whose difference is a mean of fewer values: three right models came to 2.7 times.
_CHANNEL_NOISE = 5.0
#: Rounding makes codes neither larger nor smaller on the whole, but for this share (where they saturate).
_GAIN = 0.0125


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
    makers = executor.graph.producers()
    noise = _Noise(
        executor, {
            name: np.array_equal(scales[name].scale, noted.scale)
            for name, (tensor, noted) in codes.items()
            if tensor in tensors and name in scales
        },
    )  # fmt: skip

    def look(blob: str, array: np.ndarray) -> None:
        name = blob.removesuffix(REFORMATTED)
        tensor, noted = codes.get(name, ("", None))
        if noted is None or tensor not in tensors or tensors[tensor].size != array.size:
            return
        if name not in scales:
            _look_at_integers(check, name, array, _signed(tensors[tensor]).reshape(array.shape), noted)
            return
        if array.dtype != np.int8:
            return
        if not check.wrong and not np.array_equal(executor.graph.scales[name].scale, scales[name].scale):
            check.wrong = name
        is_same = np.array_equal(scales[name].scale, noted.scale)
        zero = noted.zero if is_same else np.zeros_like(noted.zero)
        wanted = _as_stored(tensors[tensor].reshape(array.shape), noted, None if is_same else scales[name].scale)
        apart = array.astype(np.int16) - wanted
        check.count(int(np.count_nonzero(apart)), array.size)
        ends = (wanted <= _LOWEST) | (wanted >= _HIGHEST) | (array <= _LOWEST) | (array >= _HIGHEST)
        centred = wanted - _by_channel(zero, wanted.ndim)
        if not check.wrong and not _is_right(apart, centred, ends, makers.get(blob), noise):
            check.wrong = name
        array[...] = wanted

    twin = executor.keeping()
    twin.run(blobs)
    return check, twin.rerun(blobs, -1, look)


def _look_at_integers(
    check: CodesCheck, name: str, array: np.ndarray, codes: np.ndarray, noted: BlobCodes
) -> None:
    """A blob of fp32 that holds ``code - zero``: nothing is rounded before it but what the ONNX model rounds too."""
    wanted = codes - _by_channel(noted.zero, codes.ndim)
    apart = np.abs(array - wanted)
    differing = int(np.count_nonzero(apart))
    check.count(differing, array.size)
    if not check.wrong and not (apart.max(initial=0) <= 1 and differing <= _SHARE * array.size + _FEW):
        check.wrong = name
    array[...] = wanted


def _signed(codes: np.ndarray) -> np.ndarray:
    """Codes as int8 has them, int64."""
    return codes.astype(np.int64) - (128 if codes.dtype == np.uint8 else 0)


def _as_stored(codes: np.ndarray, noted: BlobCodes, scale: np.ndarray | None) -> np.ndarray:
    """The ONNX model's codes as the pair holds them, int8: the same, or rescaled where its scale is another."""
    signed = _signed(codes)
    if scale is None:
        return signed.astype(np.int8)
    zero, step, mine = (_by_channel(a, codes.ndim) for a in (noted.zero, noted.scale, scale))
    rescaled: np.ndarray = np.clip(np.rint((signed - zero) * step / mine), -128, 127).astype(np.int8)
    return rescaled


def _by_channel(values: np.ndarray, rank: int) -> np.ndarray:
    return values.astype(np.float64).reshape(-1, *(1,) * max(rank - 2, 0))


class _Noise:
    """What is to be expected of codes that had to become coarser.

    Parameters
    ----------
    executor : Executor
    exact : dict of str to bool
        The int8 blobs that have the file's codes put in, and whether their scale is that of the file.
    """

    def __init__(self, executor: Executor, exact: Mapping[str, bool]):
        self._graph, self._specs, self._exact = executor.graph, executor.specs, exact
        # Blobs with noise in them, the file's codes put in where they are.
        self._noisy: set[str] = set()
        for node in self._graph.nodes:
            rounds = node.quantized and node.layer.role != QuantRole.NONE
            for blob in node.outputs:
                if self._has_codes(blob):
                    is_noisy = not exact[blob.removesuffix(REFORMATTED)]
                else:
                    is_noisy = rounds or any(source in self._noisy for source in node.inputs)
                if is_noisy:
                    self._noisy.add(blob)

    def _has_codes(self, blob: str) -> bool:
        return blob.removesuffix(REFORMATTED) in self._exact and self._specs[blob].dtype == DataType.INT8

    def step(self, node: Node | None) -> float:
        """The step of a layer's sums in steps of its codes, on average; 0 where it has none."""
        factor = self._factor(node)
        return 0.0 if factor is None else float(factor.mean())

    def of(self, node: Node | None) -> float | None:
        """The mean square to be expected of the difference after a layer, in steps of its codes; None: no noise."""
        if node is None:
            return None
        if not any(blob in self._noisy for blob in node.inputs):
            return _ROUNDED_TWICE if node.outputs[0] in self._noisy else None
        factor = self._factor(node)
        weights = node.tensors.get("filter", node.tensors.get("weight"))
        if factor is None or weights is None:
            return _UNKNOWN
        squares = np.square(weights.data.astype(np.float64).reshape(factor.size, -1)).sum(axis=1)
        return float((factor**2 * squares / 12).mean()) + _ROUNDED_TWICE

    def of_channels(self, node: Node | None) -> np.ndarray | None:
        """As :meth:`of`, of each channel, float64 (C,); None where it is not known by channel."""
        factor = self._factor(node)
        weights = None if node is None else node.tensors.get("filter", node.tensors.get("weight"))
        if node is None or factor is None or weights is None or not any(blob in self._noisy for blob in node.inputs):
            return None
        squares = np.square(weights.data.astype(np.float64).reshape(factor.size, -1)).sum(axis=1)
        expected: np.ndarray = factor**2 * squares / 12 + _ROUNDED_TWICE
        return expected

    def _factor(self, node: Node | None) -> np.ndarray | None:
        """By what the sums of each channel are multiplied, float64 (C,)."""
        if node is None or "scale" not in node.tensors or "bias" not in node.tensors:
            return None
        scale = self._graph.scales.get(node.outputs[0])
        count = node.tensors["bias"].size
        if scale is None or not count:
            return None
        return np.broadcast_to(node.tensors["scale"].float32().astype(np.float64) / scale.scale, (count,))


def _is_right(
    apart: np.ndarray, wanted: np.ndarray, ends: np.ndarray, node: Node | None, noise: _Noise
) -> bool:
    """Whether codes may differ as they do.

    Parameters
    ----------
    apart : int16 (n, ...)
        By how much.
    wanted : float64 (n, ...)
        The codes they should be, counted from what means 0.
    ends : bool (n, ...)
        Where one of the two is the lowest or highest code: saturation hides there how large a result is.
    node : Node or None
        What made them.
    noise : _Noise
    """
    size, expected = apart.size, noise.of(node)
    if expected is None:
        differing = np.count_nonzero(apart)
        return int(np.abs(apart).max(initial=0)) <= 1 and int(differing) <= (noise.step(node) + _SHARE) * size + _FEW
    squares = np.square(apart.astype(np.float64))
    if squares.mean() > _NOISE**2 * expected:
        return False
    by_channel = noise.of_channels(node)
    if by_channel is not None and apart.ndim > 1 and apart.shape[1] == by_channel.size:
        means = squares.mean(axis=(0, *range(2, apart.ndim)))
        if (means > _CHANNEL_NOISE**2 * by_channel).any():
            return False
    inner = np.where(ends, 0.0, wanted)
    length = max(float(np.square(inner).sum()), 1.0)
    gain = abs(float((apart * inner).sum())) / length
    return gain <= _GAIN + 3 * float(np.sqrt(expected / length))
