"""Windows, borders and reductions: adaptive pooling, PadV2, Deconvolution, Reduce, Pooling1D."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tnnquant.base.tensor import DataType
from tnnquant.devices.rewrites.fragment import Fragment, rewrite
from tnnquant.layers.deconvolution import Deconvolution
from tnnquant.layers.pad import PadV2
from tnnquant.layers.pooling import Pooling
from tnnquant.layers.pooling_nd import Pooling1D
from tnnquant.layers.reduce import Reduction

__all__: list[str] = []

EXPLICIT = -1
_REDUCE = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
#: A product is not taken over more values.
_MOST_FACTORS = 64
#: No more windows are cut out one by one.
_MOST_WINDOWS = 64


@rewrite("windows of fixed size", "Pooling")
def _fixed_windows(f: Fragment) -> str | None:
    layer = f.layer.expect(Pooling)
    if not layer.is_adaptive or layer.pool_type == 0:
        return None
    height, width = f.inputs[0].dims[2:]
    if (layer.out_h, layer.out_w) == (1, 1):
        kernel, stride = (0, 0), (1, 1)
    elif height % layer.out_h or width % layer.out_w:
        return None
    else:
        kernel = stride = height // layer.out_h, width // layer.out_w
    return f.add("Pooling", f.node.inputs[0], layer.pool_type, *kernel, *stride, 0, 0, -1, -1, EXPLICIT)


@rewrite("windows cut out one by one", "Pooling")
def _cut_windows(f: Fragment) -> str | None:
    layer = f.layer.expect(Pooling)
    if not layer.is_adaptive or layer.pool_type == 0 or layer.out_h * layer.out_w > _MOST_WINDOWS:
        return None
    height, width = f.inputs[0].dims[2:]
    rows = []
    for i in range(layer.out_h):
        row = f.slice(f.node.inputs[0], 2, i * height // layer.out_h, -(-(i + 1) * height // layer.out_h))
        cells = [
            f.add(
                "Pooling", f.slice(row, 3, j * width // layer.out_w, -(-(j + 1) * width // layer.out_w)),
                layer.pool_type, 0, 0, 1, 1, 0, 0, -1, -1, EXPLICIT,
            )
            for j in range(layer.out_w)
        ]  # fmt: skip
        rows.append(cells[0] if len(cells) == 1 else f.add("Concat", cells, 3))
    return rows[0] if len(rows) == 1 else f.add("Concat", rows, 2)


@rewrite("2-D pooling", "Pooling1D")
def _pooling_2d(f: Fragment) -> str | None:
    layer, dims = f.layer.expect(Pooling1D), f.inputs[0].dims
    window = layer.window(dims)
    if window.begin < 0:
        return None
    x = f.reshape(f.node.inputs[0], (*dims, 1), dims)
    x = f.add(
        "Pooling", x, layer.pool_type, window.kernel, 1, window.stride, 1, window.begin, 0, -1, -1, EXPLICIT,
        layer.ceil_mode,
    )  # fmt: skip
    after = f.outputs[0].dims
    return f.reshape(x, after, (*after, 1))


@rewrite("padding in height alone, axis by axis", "PadV2")
def _axis_by_axis(f: Fragment) -> str | None:
    layer, dims = f.layer.expect(PadV2), list(f.inputs[0].dims)
    count = len(layer.pads) // 2
    padded = [axis for axis in range(min(count, len(dims))) if layer.pads[axis] or layer.pads[axis + count]]
    if f.inputs[0].dtype != DataType.FLOAT or not padded or (len(dims) == 4 and len(padded) == 1 and padded[0] > 1):
        return None
    x = f.node.inputs[0]
    for axis in padded:
        begin, end = layer.pads[axis], layer.pads[axis + count]
        folded = (1, prod(dims[:axis]), dims[axis], prod(dims[axis + 1 :]))
        x = f.reshape(x, folded)
        x = f.add("PadV2", x, (0, 0, begin, 0, 0, 0, end, 0), layer.mode, layer.value)
        dims[axis] += begin + end
    return f.reshape(x, dims)


@rewrite("padding as numbers", "Deconvolution")
def _explicit_padding(f: Fragment) -> str | None:
    layer, dims = f.layer.expect(Deconvolution), f.inputs[0].dims
    if layer.pad_type != 0:
        return None
    wanted = layer.axes(dims)
    for pad_type in (EXPLICIT, 3, 1, 2):
        changed = replace(layer, pad_type=pad_type)
        if min(layer.pad_h, layer.pad_w) >= 0 and changed.axes(dims) == wanted:
            return f.keep(f.node.inputs, pad_type=pad_type)
    whole = replace(layer, pad_type=EXPLICIT, pad_h=0, pad_w=0).axes(dims)
    cuts = [axis.begin for axis in wanted]
    ends = [cut + axis.size for cut, axis in zip(cuts, wanted, strict=True)]
    if min(cuts) < 0 or any(end > axis.size for end, axis in zip(ends, whole, strict=True)):
        return None
    x = f.keep(f.node.inputs, pad_type=EXPLICIT, pad_h=0, pad_w=0)
    for axis, (cut, window) in enumerate(zip(cuts, wanted, strict=True), start=2):
        x = f.slice(x, axis, cut, cut + window.size)
    return x


@rewrite("SplitV and Mul", "ReduceProd")
def _factors(f: Fragment) -> str | None:
    layer, dims = f.layer.expect(Reduction), list(f.inputs[0].dims)
    axes = sorted(set(layer.axes)) or list(range(len(dims)))
    if f.inputs[0].dtype != DataType.FLOAT or sum(dims[axis] for axis in axes) > _MOST_FACTORS or len(dims) < 2:
        return None
    x = f.node.inputs[0]
    for axis in axes:
        if dims[axis] == 1:
            continue
        factors = f.add_many("SplitV", x, axis, (1,) * dims[axis], outputs=dims[axis])
        x = factors[0]
        for factor in factors[1:]:
            x = f.add("Mul", (x, factor), -1)
        dims[axis] = 1
    return x if layer.keep_dims else f.reshape(x, f.outputs[0].dims)


@rewrite("the axis kept, and a Reshape", *_REDUCE)
def _kept_axis(f: Fragment) -> str | None:
    if f.layer.expect(Reduction).keep_dims or f.inputs[0].dtype != DataType.FLOAT:
        return None
    return f.reshape(f.keep(f.node.inputs, keep_dims=1), f.outputs[0].dims)
