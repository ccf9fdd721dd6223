"""Arrays into the inputs of a model: laid out as the kernels want them, and quantized where int8 layers read them."""

from __future__ import annotations

import numpy as np

from tnnquant.base.tensor import DataType, QuantParams
from tnnquant.layers.base import BlobSpec
from tnnquant.layers.int8 import quantized
from tnnquant.layers.movement import copy_into

__all__ = ["Feed"]


class Feed:
    """Puts what is fed to one model input in its place.

    Parameters
    ----------
    spec : BlobSpec
    params : QuantParams or None
        Of an int8 input that is fed with floats (docs/tnn-format.md, 6.2).
    place : ndarray or None
        Where the blob lies in memory; None: anywhere.

    Attributes
    ----------
    rows : int64 (1, WORDS) or None
        The op that takes a C-contiguous float32 picture to its place; :meth:`address` says where its address goes.
    """

    def __init__(self, spec: BlobSpec, params: QuantParams | None, place: np.ndarray | None):
        self._spec, self._params, self._place = spec, params, place
        self.rows: np.ndarray | None = None
        self._table: np.ndarray | None = None
        if place is not None and place.ndim == 4 and (params or spec.dtype == DataType.FLOAT):
            from tnnquant.kernels.interleave import MOST_CHANNELS, interleave_op

            if spec.dims[1] <= MOST_CHANNELS:
                scales = (params.scale, params.zero_point) if params else ()
                # Only its dims count; the address follows with every run.
                nothing = np.broadcast_to(np.float32(0), spec.dims)
                self.rows, self._table = interleave_op(nothing, place.transpose(0, 2, 3, 1), *scales)

    def takes(self, array: np.ndarray) -> bool:
        """Whether :attr:`rows` can read this array."""
        return self.rows is not None and array.dtype == np.float32 and array.flags.c_contiguous

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """The blob of an array; for an int8 input also an int8 array, which is taken as it is."""
        if self.rows is not None and self._place is not None and self.takes(array):
            from tnnquant.kernels.interleave import SOURCE
            from tnnquant.kernels.program import data_address, run

            self.rows[0, SOURCE] = data_address(array)
            run(self.rows)
            return self._place
        if self._params is None:
            return array.astype(self._spec.dtype.numpy, copy=False)
        if array.dtype == np.int8:
            return array
        array = array.astype(np.float32, copy=False)
        if self._place is None or self._place.ndim != 4:
            return quantized(array, self._params)
        return _quantize(array, self._params, self._place)


def _quantize(array: np.ndarray, params: QuantParams, place: np.ndarray) -> np.ndarray:
    """An array (N, C, H, W) as int8 at its place, which is returned."""
    from tnnquant.kernels.eltwise_i8 import Scales, quantize_i8

    pixels = array.transpose(0, 2, 3, 1)
    if not pixels.flags.c_contiguous:
        pixels = copy_into(np.empty(pixels.shape, np.float32).transpose(0, 3, 1, 2), array).transpose(0, 2, 3, 1)
    quantize_i8(pixels, Scales(params.scale, params.zero_point), place.transpose(0, 2, 3, 1))
    return place
