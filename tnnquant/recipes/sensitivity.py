"""How much each set of scales alone disturbs the outputs: the fp32 network with some of its blobs rounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tnnquant.executor import Executor
from tnnquant.graph import QuantParams
from tnnquant.infer import Inference
from tnnquant.recipes.lanes import in_lanes
from tnnquant.verdict.kinds import VALUES, OutputKind, magnitude_parts, output_kind

__all__ = ["Disturbance", "round_in_place", "sensitivities"]

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


class Disturbance:
    """How far outputs are from what they should be, part by part.

    Parts are the rows of an output that share a unit (:mod:`tnnquant.verdict.kinds`): the scores of a detector count as
    much as its boxes in pixels, however small they are.

    Parameters
    ----------
    inference : Inference
        Of the fp32 graph.
    wanted : sequence of mapping of str to ndarray
        The outputs of samples in fp32.
    """

    def __init__(self, inference: Inference, wanted: Sequence[Mapping[str, np.ndarray]]):
        self._kinds = [output_kind(inference, name) for name in sorted(inference.graph.outputs)]
        self._rows: list[tuple[OutputKind, np.ndarray | slice]] = []
        for kind in self._kinds:
            parts = kind.parts or self._by_magnitude(kind, wanted)
            self._rows += [(kind, part.rows) for part in parts] or [(kind, slice(None))]
        powers = np.array([[np.square(_part(outputs, *row)).sum() for row in self._rows] for outputs in wanted])
        # Class scores have about the same power in every sample; a picture may hold no object at all.
        self._power = np.maximum(np.where(self.is_value, powers.mean(axis=0), powers), 1e-30)
        self.wanted = wanted

    @property
    def parts(self) -> int:
        """How many."""
        return len(self._rows)

    def of(self, number: int, got: Mapping[str, np.ndarray]) -> np.ndarray:
        """Squared error of each part for one sample, relative to its power, float64 (parts,).

        The power of values is the mean over all samples, that of class scores the sample's own.
        """
        wanted = self.wanted[number]
        errors = [np.square(_part(got, *row) - _part(wanted, *row)).sum() for row in self._rows]
        return np.array(errors) / self._power[number]

    @property
    def is_value(self) -> np.ndarray:
        """Of which parts, bool (parts,), the values are judged, not the best class."""
        return np.array([kind.kind == VALUES for kind, _ in self._rows])

    @staticmethod
    def _by_magnitude(kind: OutputKind, wanted: Sequence[Mapping[str, np.ndarray]]) -> tuple:
        if kind.kind != VALUES or kind.rows < 2:
            return ()
        items = [item for outputs in wanted for item in kind.items(outputs[kind.name], len(outputs[kind.name]))]
        return magnitude_parts(np.max([np.abs(item.reshape(kind.rows, -1)).max(axis=1) for item in items], axis=0))


def _part(outputs: Mapping[str, np.ndarray], kind: OutputKind, rows: np.ndarray | slice) -> np.ndarray:
    array = outputs[kind.name]
    items = kind.items(array, len(array) if array.ndim else 1)
    return np.stack([item.reshape(kind.rows, -1)[rows] for item in items]).astype(np.float64)


def sensitivities(
    executor: Executor,
    sets: Sequence[Sequence[str]],
    scales: Mapping[str, QuantParams],
    zero: Mapping[str, np.ndarray],
    inputs: Sequence[Mapping[str, np.ndarray]],
) -> np.ndarray:
    """The disturbance of each part of the outputs when only the blobs of one set are rounded, float64 (sets, parts).

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
    """
    measure = Disturbance(executor.inference, [executor.run(arrays) for arrays in inputs])

    def alone(mine: Executor, blobs: Sequence[str]) -> np.ndarray:
        chosen = frozenset(blobs)

        def tap(name: str, x: np.ndarray) -> None:
            if name in chosen:
                round_in_place(x, scales[name], zero[name])

        runs = (mine.run({n: a.copy() for n, a in sample.items()}, tap) for sample in inputs)
        return np.mean([measure.of(number, got) for number, got in enumerate(runs)], axis=0)

    return np.reshape(in_lanes(executor, sets, alone), (len(sets), measure.parts))
