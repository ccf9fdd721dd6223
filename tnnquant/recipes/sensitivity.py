"""How much each set of scales alone disturbs the outputs: the fp32 network with some of its blobs rounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tnnquant.executor import Executor
from tnnquant.graph import QuantParams

__all__ = ["disturbance", "round_in_place", "sensitivities"]

_BLOCK = 1 << 16


def round_in_place(x: np.ndarray, params: QuantParams, zero: np.ndarray) -> None:
    """Replace the values of a blob by those that its int8 codes stand for.

    Parameters
    ----------
    x : float32 (N, C, ...)
    params : QuantParams
    zero : int64 (1,) or (C,)
        The code that means 0.
    """
    if x.ndim < 2:
        x = x.reshape(1, -1)
    axes = (0, *range(2, x.ndim), 1)
    pixels = x.transpose(axes)
    scale, zero = params.scale.astype(np.float32), zero.astype(np.float32)
    safe = np.where(scale > 0, scale, np.float32(1))
    codes = pixels / safe
    np.rint(codes, out=codes)
    np.clip(codes, np.float32(-128) - zero, np.float32(127) - zero, out=codes)
    np.multiply(codes, scale, out=pixels)


def disturbance(got: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
    """Squared error of the outputs relative to their power, the mean over outputs."""
    errors = []
    for name, reference in wanted.items():
        power = float(np.square(reference, dtype=np.float64).sum())
        errors.append(float(np.square(got[name] - reference, dtype=np.float64).sum()) / max(power, 1e-30))
    return float(np.mean(errors)) if errors else 0.0


def sensitivities(
    executor: Executor,
    sets: Sequence[Sequence[str]],
    scales: Mapping[str, QuantParams],
    zero: Mapping[str, np.ndarray],
    inputs: Sequence[Mapping[str, np.ndarray]],
    wanted: Sequence[Mapping[str, np.ndarray]],
) -> list[float]:
    """The disturbance of the outputs when only the blobs of one set are rounded, for every set.

    Parameters
    ----------
    executor : Executor
        Of the fp32 graph.
    sets : sequence of sequence of str
        Blob names.
    scales, zero
        By blob name.
    inputs : sequence of mapping of str to ndarray
        Samples.
    wanted : sequence of mapping of str to ndarray
        The outputs in fp32.
    """
    found = []
    for blobs in sets:
        chosen = frozenset(blobs)

        def tap(name: str, x: np.ndarray, chosen=chosen) -> None:
            if name in chosen:
                round_in_place(x, scales[name], zero[name])

        errors = [
            disturbance(executor.run({n: a.copy() for n, a in sample.items()}, tap), reference)
            for sample, reference in zip(inputs, wanted, strict=True)
        ]
        found.append(float(np.mean(errors)))
    return found
