"""int8 weights back as real numbers, to be compared with those they were made of."""

from __future__ import annotations

import numpy as np

from tnnquant.base.tensor import DataType, QuantParams
from tnnquant.graph import Node
from tnnquant.inspect.summary import weight_rows
from tnnquant.layers.weighted import Weighted

__all__ = ["bias_values", "real_weights", "sqnr_db"]

#: What stands for "no error at all": more than float32 can tell.
BEST_DB = 160.0


def real_weights(node: Node, channels: int, input_params: QuantParams | None) -> np.ndarray | None:
    """The weights of a layer as float32 (OC, n), whatever they are stored as.

    int8 weights absorb the scale of the input channel they multiply: ``w = (q - zero_point) * scale / scale_in[c]``.
    A weight of a dead input channel is 0, as its products are.

    Parameters
    ----------
    node : Node
    channels : int
        Output channels.
    input_params : QuantParams or None
        Of the input blob; needed for an int8 layer only.
    """
    rows = weight_rows(node, channels)
    if rows is None:
        return None
    if rows.dtype != np.int8:
        return np.ascontiguousarray(rows)
    scale = node.tensors["scale"].float32().reshape(-1, 1)
    zero = node.tensors["zero_point"].data.reshape(-1, 1) if "zero_point" in node.tensors else np.int8(0)
    products: np.ndarray = (rows.astype(np.float32) - zero) * scale
    if not node.quantized or input_params is None:
        return products
    source = input_params.scale.astype(np.float32)
    with np.errstate(divide="ignore"):
        inverse = np.where(source > 0, np.float32(1) / source, np.float32(0)).astype(np.float32)
    if inverse.size == 1:
        products = products * inverse[0]
        return products
    # Input channels of a group lie side by side, each with all its taps.
    groups = node.layer.groups if isinstance(node.layer, Weighted) else 1
    if groups < 1 or channels % groups or inverse.size % groups or products.shape[1] % (inverse.size // groups):
        return products  # scales that do not fit the layer; the executor refuses it
    each = inverse.size // groups
    folded = products.reshape(groups, channels // groups, each, -1) * inverse.reshape(groups, 1, each, 1)
    return np.ascontiguousarray(folded.reshape(channels, -1), np.float32)


def bias_values(node: Node) -> np.ndarray | None:
    """The bias of a layer as float32 (OC,), of an int8 layer times the scale it is stored in; None without one."""
    tensor = node.tensors.get("bias")
    if tensor is None or not tensor.size:
        return None
    if tensor.dtype == DataType.INT32:
        values: np.ndarray = (tensor.data.astype(np.float64) * node.tensors["scale"].float32()).astype(np.float32)
        return values
    return tensor.float32()


def sqnr_db(reference: np.ndarray, other: np.ndarray) -> float:
    """Signal to quantization noise, ``10 log10(sum r**2 / sum (r - o)**2)`` in dB; 160 for equal arrays.

    Parameters
    ----------
    reference, other : float32, of one shape
    """
    signal = float(np.sum(reference.astype(np.float64) ** 2))
    noise = float(np.sum((reference.astype(np.float64) - other) ** 2))
    if noise <= signal * 10 ** (-BEST_DB / 10):
        return BEST_DB
    return 10 * float(np.log10(signal / noise)) if signal > 0 else -BEST_DB
