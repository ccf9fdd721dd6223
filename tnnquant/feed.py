"""Float arrays into the int8 inputs of a model: quantized on the way, as TNN does with what it is fed."""

from __future__ import annotations

import numpy as np

from tnnquant.layers.base import BlobSpec
from tnnquant.layers.int8 import quantized
from tnnquant.layers.movement import copy_into
from tnnquant.tensor import QuantParams

__all__ = ["Int8Feed"]


class Int8Feed:
    """Quantizes what is fed to one model input (reference, 6.2).

    Parameters
    ----------
    spec : BlobSpec
    params : QuantParams
    place : int8 ndarray or None
        Where the blob lies in memory; None: results are fresh arrays.
    """

    def __init__(self, spec: BlobSpec, params: QuantParams, place: np.ndarray | None):
        self._params, self._place = params, place
        self._rows = self._float = None
        if place is not None and place.ndim == 4:
            from tnnquant.kernels.eltwise_i8 import Scales, quantize_i8_op
            from tnnquant.kernels.program import aligned_empty

            n, c, h, w = spec.dims
            self._float = aligned_empty((n, h, w, c), np.float32)
            scales = Scales(params.scale, params.zero_point)
            self._rows, self._table = quantize_i8_op(self._float, scales, place.transpose(0, 2, 3, 1))

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """The int8 blob of a float array; an int8 array is taken as it is."""
        if array.dtype == np.int8:
            return array
        array = array.astype(np.float32, copy=False)
        if self._rows is None:
            return quantized(array, self._params)
        from tnnquant.kernels.program import run

        copy_into(self._float.transpose(0, 3, 1, 2), array)
        run(self._rows)
        return self._place
