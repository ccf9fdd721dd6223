"""Convolutions and products with weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import overload

import numpy as np

from tnnquant.onnx.builder import Builder
from tnnquant.onnx.common import binary, constant_of, expanded
from tnnquant.onnx.refusal import Refused
from tnnquant.onnx.registry import operator
from tnnquant.onnx.value import FLOAT, Value
from tnnquant.onnx.windows import Windows


@overload
def _weights(value: Value, what: str) -> np.ndarray: ...
@overload
def _weights(value: Value | None, what: str) -> np.ndarray | None: ...
def _weights(value: Value | None, what: str) -> np.ndarray | None:
    if value is not None and not value.is_constant:
        raise Refused(f"its {what} are computed from the data; TNN takes them from the model file only")
    array = constant_of(value, what)
    return None if array is None else array.astype(FLOAT, copy=False)


@operator()
def Conv(
    g: Builder, x: Value, w: Value, b: Value | None = None, *, auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None, group: int = 1, kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    weight, bias = _weights(w, "weights"), _weights(b, "biases")
    if x.rank not in (3, 4, 5) or weight.ndim != x.rank:
        raise Refused(
            f"TNN convolves one to three spatial axes; its input has {x.rank} dims, its weights {weight.ndim}"
        )
    windows = Windows.of(x.dims[2:], weight.shape[2:], strides, dilations, pads, auto_pad)
    if weight.shape[1] * group != x.dims[1] or weight.shape[0] % group:
        raise Refused(f"its weights {weight.shape} do not fit {x.dims[1]} channels in {group} groups")
    return convolution(g, x, weight, bias, windows, group)


def convolution(
    g: Builder, x: Value, weight: np.ndarray, bias: np.ndarray | None, windows: Windows, group: int
) -> Value:
    """A convolution of one to three spatial axes; uneven borders become a layer of their own."""
    # TNN's 2-D kernel takes one dilation for both axes; its 1-D and 3-D ones get none.
    if len(set(windows.dilations)) > 1:
        weight, windows = _dilated(weight, windows)
    pad_type = -1
    if not windows.is_symmetric and windows.is_tnn_same and x.rank == 4:
        pad_type = 0
    elif not windows.is_symmetric or min(windows.begins) < 0:
        x = _bordered(g, x, windows)
        windows = windows.padded()
    tensors = {"filter": weight} | ({} if bias is None else {"bias": bias.reshape(-1)})
    has_bias = int(bias is not None)
    sizes = group, weight.shape[1], weight.shape[0]
    # Even with SAME the pads are written: TNN computes them anew.
    begins, strides, dilations = windows.begins, windows.strides, windows.dilations
    if x.rank == 3:
        params = (*sizes, *windows.kernel, *strides, begins[0], begins[0], has_bias, pad_type, *dilations, 0)
        return g.add("Convolution1D", [x], *params, tensors=tensors)
    kind = "Convolution" if x.rank == 4 else "Convolution3D"
    return g.add(
        kind, [x], *sizes, *windows.kernel, *strides, *begins, has_bias, pad_type, *dilations, 0, tensors=tensors
    )


def _bordered(g: Builder, x: Value, windows: Windows, value: float = 0.0) -> Value:
    begins = [max(b, 0) for b in windows.begins]
    ends = [max(e, 0) for e in windows.ends]
    x = g.pad(x, (0, 0, *begins, 0, 0, *ends), value)
    for axis, (begin, end) in enumerate(zip(windows.begins, windows.ends, strict=True), start=2):
        x = g.cut(x, axis, max(-begin, 0), x.dims[axis] - max(-end, 0))
    return x


def _dilated(weight: np.ndarray, windows: Windows) -> tuple[np.ndarray, Windows]:
    """Weights with zeros between their taps, in place of a dilation."""
    wide = np.zeros((*weight.shape[:2], *windows.extents), weight.dtype)
    wide[(slice(None), slice(None), *(slice(None, None, d) for d in windows.dilations))] = weight
    ones = (1,) * len(windows.sizes)
    return wide, Windows(
        windows.sizes, windows.extents, windows.strides, ones, windows.begins, windows.ends, windows.out
    )


@operator()
def ConvTranspose(
    g: Builder, x: Value, w: Value, b: Value | None = None, *, auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None, group: int = 1, kernel_shape: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None, output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
) -> Value:  # fmt: skip
    weight, bias = _weights(w, "weights"), _weights(b, "biases")
    spatial = x.rank - 2
    if spatial not in (1, 2, 3) or weight.ndim != x.rank:
        raise Refused(f"TNN has transposed convolutions of one to three spatial axes; this has {spatial}")
    if weight.shape[0] != x.dims[1] or x.dims[1] % group:
        raise Refused(f"its weights {weight.shape} do not fit {x.dims[1]} channels in {group} groups")
    strides, dilations = tuple(strides or (1,) * spatial), tuple(dilations or (1,) * spatial)
    extra = tuple(output_padding or (0,) * spatial)
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, weight.shape[2:], strict=True)]
    full = [(n - 1) * s + e for n, s, e in zip(x.dims[2:], strides, extents, strict=True)]
    if any(s > 1 and d > 1 for s, d in zip(strides, dilations, strict=True)) or (
        spatial == 2 and len(set(dilations)) > 1
    ):
        # TNN's search finds other taps there: zeros are put between the taps instead.
        wide = np.zeros((*weight.shape[:2], *extents), weight.dtype)
        wide[(slice(None), slice(None), *(slice(None, None, d) for d in dilations))] = weight
        weight, dilations = wide, (1,) * spatial
    begins, out = _transposed_pads(x.dims[2:], full, strides, extra, output_shape, pads, auto_pad)
    if spatial == 1:
        flat = g.reshape(x, (*x.dims[:2], 1, x.dims[2]))
        made = _deconvolution(
            g,
            flat,
            weight[:, :, None],
            bias,
            group,
            (1, *strides),
            (1, *dilations),
            [0, *begins],
            [1, *full],
            [1, *out],
        )
        return g.reshape(made, (*made.dims[:2], made.dims[3]))
    if spatial == 3:
        return _by_zeros(g, x, weight, bias, group, strides, dilations, begins, out)
    return _deconvolution(g, x, weight, bias, group, strides, dilations, begins, full, out)


def _by_zeros(
    g: Builder, x: Value, weight: np.ndarray, bias: np.ndarray | None, group: int, strides: Sequence[int],
    dilations: Sequence[int], begins: Sequence[int], out: Sequence[int],
) -> Value:  # fmt: skip
    """A transposed convolution as a plain one over the input with zeros between its elements."""
    for axis, stride in enumerate(strides, start=2):
        if stride > 1:
            dims = x.dims
            tall = g.reshape(x, (*dims[: axis + 1], 1, *dims[axis + 1 :]))
            zeros = g.constant(np.zeros((*dims[: axis + 1], stride - 1, *dims[axis + 1 :]), np.float32))
            joined = g.add("Concat", [tall, zeros], axis + 1)
            x = g.reshape(joined, (*dims[:axis], dims[axis] * stride, *dims[axis + 1 :]))
            x = g.cut(x, axis, 0, (dims[axis] - 1) * stride + 1)
    grouped = weight.reshape(group, weight.shape[0] // group, *weight.shape[1:])
    turned = grouped.swapaxes(1, 2)[..., ::-1, ::-1, ::-1]
    turned = np.ascontiguousarray(turned).reshape(-1, weight.shape[0] // group, *weight.shape[2:])
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, weight.shape[2:], strict=True)]
    before = [e - 1 - b for e, b in zip(extents, begins, strict=True)]
    behind = [o + e - 1 - n - b for o, e, n, b in zip(out, extents, x.dims[2:], before, strict=True)]
    ones = (1,) * len(out)
    windows = Windows(
        x.dims[2:], weight.shape[2:], ones, tuple(dilations), tuple(before), tuple(behind), tuple(out)
    )
    return convolution(g, x, turned, bias, windows, group)


def _transposed_pads(
    sizes: Sequence[int], full: Sequence[int], strides: Sequence[int], extra: Sequence[int],
    output_shape: Sequence[int] | None, pads: Sequence[int] | None, auto_pad: str,
) -> tuple[list[int], list[int]]:  # fmt: skip
    """How much is cut off before, and the sizes of the output."""
    spatial = len(sizes)
    begins, out = [], []
    if output_shape:
        output_shape = tuple(output_shape)[-spatial:]
    for axis in range(spatial):
        if output_shape or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            wanted = output_shape[axis] if output_shape else sizes[axis] * strides[axis]
            total = full[axis] + extra[axis] - wanted
            half = total // 2 if total >= 0 else -(-total // 2)
            begins.append(
                total - half
                if (auto_pad != "SAME_UPPER" and output_shape is None) or auto_pad == "SAME_LOWER"
                else half
            )
            out.append(wanted)
        else:
            begin, end = (0, 0) if auto_pad == "VALID" or not pads else (pads[axis], pads[axis + spatial])
            begins.append(begin)
            out.append(full[axis] + extra[axis] - begin - end)
    return begins, out


def _deconvolution(
    g: Builder, x: Value, weight: np.ndarray, bias: np.ndarray | None, group: int, strides: Sequence[int],
    dilations: Sequence[int], begins: Sequence[int], full: Sequence[int], out: Sequence[int],
) -> Value:  # fmt: skip
    channels = weight.shape[1] * group
    grouped = weight.reshape(group, weight.shape[0] // group, *weight.shape[1:])
    tensors = {"filter": grouped} | ({} if bias is None else {"bias": bias.reshape(-1)})

    def layer(pads: Sequence[int], pad_type: int, named: Mapping[str, np.ndarray]) -> Value:
        return g.add(
            "Deconvolution", [x], group, weight.shape[0] // group, channels, *weight.shape[2:], *strides, *pads,
            int(bias is not None), pad_type, *dilations, 0, tensors=named,
        )  # fmt: skip

    if all(b >= 0 and f - 2 * b == o for b, f, o in zip(begins, full, out, strict=True)):
        return layer(begins, -1, tensors)
    # Uncut first; then a border where the output reaches beyond what taps touch, and a cut.
    reaches = any(b < 0 or b + o > f for b, f, o in zip(begins, full, out, strict=True))
    made = layer((0,) * len(begins), -1, {"filter": grouped} if reaches and bias is not None else tensors) if not (
        reaches and bias is not None
    ) else g.add(
        "Deconvolution", [x], group, weight.shape[0] // group, channels, *weight.shape[2:], *strides,
        *(0,) * len(begins), 0, -1, *dilations, 0, tensors={"filter": grouped},
    )  # fmt: skip
    if reaches:
        before = [max(-b, 0) for b in begins]
        behind = [max(b + o - f, 0) for b, f, o in zip(begins, full, out, strict=True)]
        made = g.pad(made, (0, 0, *before, 0, 0, *behind))
        begins = [b + p for b, p in zip(begins, before, strict=True)]
    for axis, (begin, size) in enumerate(zip(begins, out, strict=True), start=2):
        made = g.cut(made, axis, begin, begin + size)
    if reaches and bias is not None:
        made = binary(g, "Add", made, g.constant(bias.reshape(1, -1, *(1,) * len(begins))))
    return made


# --- products ---


@operator()
def Gemm(
    g: Builder, a: Value, b: Value, c: Value | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
    transB: int = 0, broadcast: int = 0,
) -> Value:  # fmt: skip
    a = g.permute(a, (1, 0)) if transA else a
    if b.is_constant and not a.is_constant and a.is_float:
        weight = b.elements.astype(FLOAT, copy=False) if transB else b.elements.astype(FLOAT, copy=False).T
        weight = weight if alpha == 1 else weight * np.float32(alpha)
        if c is None or beta == 0:
            return inner_product(g, a, weight, None)
        if c.is_constant and c.size in (1, weight.shape[0]) and (c.rank < 2 or c.dims[0] == 1):
            bias = np.broadcast_to(c.elements.astype(FLOAT).reshape(-1) * np.float32(beta), (weight.shape[0],))
            return inner_product(g, a, weight, bias)
        product = inner_product(g, a, weight, None)
    else:
        product = product_of(g, a, g.permute(b, (1, 0)) if transB else b)
        if alpha != 1:
            product = binary(g, "Mul", product, g.constant(alpha, np.float32))
    if c is None or beta == 0:
        return product
    if beta != 1:
        c = (
            g.constant(c.elements * np.float32(beta))
            if c.is_constant
            else binary(g, "Mul", c, g.constant(beta, np.float32))
        )
    return binary(g, "Add", product, c)


def inner_product(g: Builder, x: Value, weight: np.ndarray, bias: np.ndarray | None) -> Value:
    """``x @ weight.T + bias`` over the last axis of ``x``; ``weight`` (outputs, inputs)."""
    if x.dims[-1] != weight.shape[1]:
        raise Refused(f"it multiplies {'x'.join(map(str, x.dims))} by {weight.shape[1]} rows")
    rows = g.reshape(x, (prod(x.dims[:-1]), x.dims[-1])) if x.rank != 2 else x
    count = weight.shape[0]
    values = np.zeros(0, np.float32) if bias is None else np.ascontiguousarray(bias, np.float32)
    made = g.add(
        "InnerProduct", [rows], count, int(bias is not None), 0, 1,
        tensors={"weight": g.matrix(weight), "bias": values},
    )  # fmt: skip
    return g.reshape(made, (*x.dims[:-1], count))


@operator()
def MatMul(g: Builder, a: Value, b: Value) -> Value:
    if not a.is_float:
        return g.cast(MatMul(g, g.cast(a, FLOAT), g.cast(b, FLOAT)), a.dtype)
    if b.is_constant and b.rank == 2 and a.rank > 1:
        return inner_product(g, a, b.elements.astype(FLOAT, copy=False).T, None)
    return product_of(g, a, b)


def product_of(g: Builder, a: Value, b: Value) -> Value:
    """A matrix product of blobs, or of a blob and constants that are no plain matrix."""
    batch = np.broadcast_shapes(a.dims[:-2], b.dims[:-2])
    if a.rank > 1 and b.rank > 1:
        # TNN pairs the matrices of a batch by their flat numbers.
        a = a if _pairs(a.dims[:-2], batch) else expanded(g, a, (*batch, *a.dims[-2:]))
        b = b if _pairs(b.dims[:-2], batch) else expanded(g, b, (*batch, *b.dims[-2:]))
    for position, (constant, blob) in enumerate(((a, b), (b, a))):
        if constant.is_constant and not blob.is_constant:
            return g.add("MatMul", [blob], position, tensors={"weight": constant.elements.astype(FLOAT, copy=False)})
    return g.add("MatMul", [a, b], -1)


def _pairs(dims: Sequence[int], batch: Sequence[int]) -> bool:
    return prod(dims) in (1, prod(batch)) or tuple(dims) == tuple(batch[len(batch) - len(dims) :])


@operator()
def Einsum(g: Builder, *values: Value, equation: str) -> Value:
    if len(values) > 2:
        raise Refused(f"it multiplies {len(values)} operands; TNN's Einsum takes two")
    text = equation.replace(" ", "")
    if "->" not in text:
        labels = [label for label in text if label.isalpha()]
        ends = "".join(sorted(label for label in set(labels) if labels.count(label) == 1))
        text = f"{text}->{'...' if '...' in text else ''}{ends}"
    return g.add("Einsum", values, text.replace(",", ";"))
