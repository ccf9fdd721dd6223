"""C++ for the app: the TNN calls that load a model, feed it as it was calibrated, and read what it gives."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tnnquant.base.tensor import DataType
from tnnquant.config import QuantizeConfig
from tnnquant.devices import Outcome, examine
from tnnquant.graph import Graph, InputSpec
from tnnquant.inputs.normalize import LETTERBOX_LEVEL, PictureInput
from tnnquant.pipeline.devices import warnings_of
from tnnquant.pipeline.settings import graph_inputs, input_config

__all__ = ["cpp_snippet"]

#: Channels of a picture, and TNN's type of a mat of bytes of it.
_PICTURES = {1: "NGRAY", 3: "N8UC3", 4: "N8UC4"}
_DEVICES = {"arm": "DEVICE_ARM", "x86": "DEVICE_X86", "naive": "DEVICE_NAIVE", "any": "DEVICE_ARM"}

_HEAD = """\
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "tnn/core/common.h"
#include "tnn/core/instance.h"
#include "tnn/core/mat.h"
#include "tnn/core/tnn.h"
#include "tnn/utils/blob_converter.h"
#include "tnn/utils/mat_utils.h"

using namespace TNN_NS;
"""

_LOAD = """
// proto and model: the contents of {proto} and {model}, read as bytes.
Status Load(const std::string& proto, const std::string& model, TNN& tnn, std::shared_ptr<Instance>& instance) {{
    ModelConfig config;
    config.model_type = MODEL_TYPE_TNN;
    config.params = {{proto, model}};
    Status status = tnn.Init(config);
    if (status != TNN_OK) return status;
    NetworkConfig network;
    network.device_type = {device};{device_note}
    network.precision = {precision};{precision_note}
    InputShapesMap shapes = {{{shapes}}};
    instance = tnn.CreateInst(network, status, shapes);
    return status;
}}
"""

_STRETCH = """
// A picture of any size, {channels} bytes per pixel, row by row, as {height} x {width} pixels: --resize stretch.
Status Fit(const uint8_t* pixels, int height, int width, uint8_t* target) {{
    if (height == {height} && width == {width}) {{
        std::memcpy(target, pixels, {size});
        return TNN_OK;
    }}
    // The calibration resized pictures as TNN's tool does, which smooths more than this where they shrink a lot.
    Mat source({device}, {mat}, {{1, {channels}, height, width}}, const_cast<uint8_t*>(pixels));
    Mat fitted({device}, {mat}, {{1, {channels}, {height}, {width}}}, target);
    ResizeParam resize;
    resize.type = INTERP_TYPE_LINEAR;
    return MatUtils::Resize(source, fitted, resize, nullptr);
}}
"""

_FRAMED = """
// A picture of any size, {channels} bytes per pixel, row by row, as {height} x {width} pixels: --resize {mode}.
Status Fit(const uint8_t* pixels, int height, int width, uint8_t* target) {{
    const bool by_height = {by_height};
    const int scaled_h = by_height ? {height} : std::max(1, (2 * height * {width} + width) / (2 * width));
    const int scaled_w = by_height ? std::max(1, (2 * width * {height} + height) / (2 * height)) : {width};
    Mat source({device}, {mat}, {{1, {channels}, height, width}}, const_cast<uint8_t*>(pixels));
    Mat scaled({device}, {mat}, {{1, {channels}, scaled_h, scaled_w}});
    const uint8_t* from = pixels;
    if (scaled_h != height || scaled_w != width) {{
        // The calibration resized pictures as TNN's tool does, which smooths more than this where they shrink a lot.
        ResizeParam resize;
        resize.type = INTERP_TYPE_LINEAR;
        Status status = MatUtils::Resize(source, scaled, resize, nullptr);
        if (status != TNN_OK) return status;
        from = static_cast<const uint8_t*>(scaled.GetData());
    }}
    const int rows = std::min(scaled_h, {height}), columns = std::min(scaled_w, {width});
    const int top = ({height} - rows) / 2, left = ({width} - columns) / 2;
    const int first_row = (scaled_h - rows) / 2, first_column = (scaled_w - columns) / 2;
    const uint8_t around[{channels}] = {{{around}}};{around_note}
    for (int i = 0; i < {size}; i++) target[i] = around[i % {channels}];
    for (int row = 0; row < rows; row++)
        std::memcpy(target + ((top + row) * {width} + left) * {channels},
                    from + ((first_row + row) * scaled_w + first_column) * {channels}, columns * {channels});
    return TNN_OK;
}}
"""

_PICTURE = """
// {what}
Status {function}(Instance& instance, const uint8_t* pixels, int height, int width{reversed_argument}) {{
    auto mat = std::make_shared<Mat>({device}, {mat}, DimsVector{{{dims}}});
    uint8_t* data = static_cast<uint8_t*>(mat->GetData());
{fill}    // y = scale * x + bias, with scale = -s and bias = -mean * scale: (pixel - mean) * scale of -n and -s.
    MatConvertParam param;
    param.scale = {{{scale}}};
    param.bias = {{{bias}}};
{reverse}    return instance.SetInputMat(mat, param, "{name}");
}}
"""

_TENSOR = """
// Input "{name}", {dims_text}: {what}
Status {function}(Instance& instance, {type}* values) {{
    auto mat = std::make_shared<Mat>({device}, {mat}, DimsVector{{{dims}}}, values);
    // No scale and no bias here: the values are final.{bug}
    return instance.SetInputMat(mat, MatConvertParam(), "{name}");
}}
"""

_OUTPUT = """
// After instance.Forward(). The values are float, in the order N, C, H, W, in mat->GetData().
Status {function}(Instance& instance, std::shared_ptr<Mat>& mat) {{
    return instance.GetOutputMat(mat, MatConvertParam(), "{name}", {device}, NCHW_FLOAT);
}}
"""


def cpp_snippet(
    graph: Graph, proto: str, model: str, config: QuantizeConfig | None = None, device: str = "any"
) -> str:
    """The calls as a file of C++ 11, which compiles as it is with TNN's headers.

    Parameters
    ----------
    graph : Graph
        As it was read.
    proto, model : str
        Its files, for a comment.
    config : QuantizeConfig, optional
        ``mean``, ``scale``, ``reverse_channel``, ``resize`` and ``input_dims`` of the calibration.
    device : {"any", "arm", "x86", "naive"}
        ``any``: written for ARM.

    Raises
    ------
    TnnQuantError
        There is no such device; mean and scale do not fit an input; the shapes of the model do not fit.
    """
    config = config or QuantizeConfig()
    found = examine(graph, device, config.input_dims)
    inputs = graph_inputs(graph, config)
    inexact = next((finding for finding in found if finding.outcome is Outcome.INEXACT), None)
    parts = [_HEAD]
    warnings = warnings_of([finding for finding in found if finding.outcome.breaks])
    parts += ["\n" + "".join(f"// WARNING: {line}\n" for line in warnings)] if warnings else []
    kind = _DEVICES[device]
    parts.append(_LOAD.format(
        proto=_comment(Path(proto).name), model=_comment(Path(model).name), device=kind,
        device_note="  // or DEVICE_X86, DEVICE_NAIVE, also below" if device == "any" else "",
        precision="PRECISION_HIGH" if inexact else "PRECISION_AUTO",
        precision_note=f"  // else {_comment(inexact.layer)} {inexact.reason}" if inexact else "",
        shapes=", ".join(f'{{"{_text(name)}", {{{_dims(spec.dims)}}}}}' for name, spec in inputs.items()),
    ))  # fmt: skip
    fits: dict[str, str] = {}
    feeds = [_feed(graph, name, spec, number, len(inputs), config, kind, fits)
             for number, (name, spec) in enumerate(inputs.items())]  # fmt: skip
    parts += [*fits.values(), *feeds]
    parts += [
        _OUTPUT.format(function=_function("GetOutput", number, len(graph.outputs)), name=_text(name), device=kind)
        for number, name in enumerate(graph.outputs)
    ]
    return "".join(parts)


def _feed(
    graph: Graph, name: str, spec: InputSpec, number: int, count: int, config: QuantizeConfig, device: str,
    fits: dict[str, str],
) -> str:  # fmt: skip
    """The function that feeds one input; what it needs is put into ``fits``, by dims."""
    function = _function("SetInput", number, count)
    dims = _dims(spec.dims)
    values = {"function": function, "name": _text(name), "dims": dims, "device": device}
    is_picture = len(spec.dims) == 4 and spec.dims[1] in _PICTURES and spec.dtype != DataType.INT32
    if not is_picture:  # of two channels neither: TNN has no such mat of bytes
        is_integer = spec.dtype == DataType.INT32
        reads_int8 = any(node.quantized and name in node.inputs for node in graph.nodes)
        bug = "\n    // (The ARM device ignores MatConvertParam.bias where floats are put into an int8 input.)"
        return _TENSOR.format(
            **values, dims_text=dims.replace(", ", " x "), type="int32_t" if is_integer else "float",
            mat="NC_INT32" if is_integer else "NCHW_FLOAT", bug=bug if reads_int8 else "",
            what="the values that the model is calibrated with, normalized by the app; they must live until Forward.",
        )  # fmt: skip
    picture = PictureInput(spec.dims, input_config(config))
    batch, channels, height, width = spec.dims
    shape = {"channels": channels, "height": height, "width": width, "size": channels * height * width,
             "device": device, "mat": _PICTURES[channels]}  # fmt: skip
    fit = "Fit" if not fits or dims in fits else f"Fit{len(fits)}"
    if dims not in fits:
        fits[dims] = _fit(picture, config.resize, shape).replace("Status Fit(", f"Status {fit}(")
    else:
        fit = re.findall(r"Status (Fit\d*)\(", fits[dims])[0]
    order = {1: "grey", 3: "R, G, B", 4: "R, G, B, A"}[channels]
    wanted = order if not picture.is_reversed else order.replace("R, G, B", "B, G, R")
    what = f'Input "{_text(name)}", {dims.replace(", ", " x ")}: a picture of bytes.'
    reverse = ""
    if channels > 1:
        what += f" The model wants {wanted}; is_bgr: the pixels lie B, G, R (OpenCV), else R, G, B (Android)."
        reverse = f"    param.reverse_channel = {'!is_bgr' if picture.is_reversed else 'is_bgr'};\n"
    lines = [f"    Status status = {fit}(pixels, height, width, data);\n    if (status != TNN_OK) return status;\n"]
    if batch > 1:
        what += f" pixels: {batch} pictures of one size, one after the other."
        lines = [
            f"    for (int item = 0; item < {batch}; item++) {{\n"
            f"        Status status = {fit}(pixels + item * height * width * {channels}, height, width, "
            f"data + item * {shape['size']});\n"
            "        if (status != TNN_OK) return status;\n    }\n"
        ]
    scale = picture.scale.astype(np.float64)
    bias = -picture.mean.astype(np.float64) * scale
    return _PICTURE.format(
        **values, what=what, mat=_PICTURES[channels], reversed_argument=", bool is_bgr" if channels > 1 else "",
        fill="".join(lines), scale=_floats(scale), bias=_floats(bias), reverse=reverse,
    )  # fmt: skip


def _fit(picture: PictureInput, mode: str, shape: Mapping) -> str:
    """The function that makes a picture fit (:func:`tnnquant.inputs.fit.plan_fit`)."""
    if mode == "stretch":
        return _STRETCH.format(**shape)
    # wanted width / width > wanted height / height, without a division
    wider = f"{shape['width']} * height > {shape['height']} * width"
    is_letterbox = mode == "letterbox"
    has_mean = bool(picture.mean.any())
    around = [int(np.clip(np.rint(mean), 0, 255)) if has_mean else LETTERBOX_LEVEL for mean in picture.mean]
    if picture.is_reversed:
        around[0], around[2] = around[2], around[0]
    differs = is_letterbox and len(set(around)) > 1
    note = "  // R, G, B: the first and third change places where is_bgr is true" if differs else ""
    return _FRAMED.format(
        **shape, mode=mode, by_height=wider if is_letterbox else f"!({wider})", around=", ".join(map(str, around)),
        around_note=note,
    )  # fmt: skip


def _function(stem: str, number: int, count: int) -> str:
    return stem if count == 1 else f"{stem}{number}"


def _dims(dims: Sequence[int]) -> str:
    return ", ".join(map(str, dims))


def _floats(values: np.ndarray) -> str:
    """As literals that give these float32."""
    texts = (str(np.float32(value) + np.float32(0)) for value in values)  # + 0: no -0.0
    return ", ".join(f"{text}f" if "." in text or "e" in text else f"{text}.0f" for text in texts)


def _text(name: str) -> str:
    """A name within a string of C++."""
    return "".join(c if c.isprintable() and c not in '"\\' and c != "?" else _escaped(c) for c in name)


def _escaped(c: str) -> str:
    return "\\" + c if c in '"\\?' else "".join(f"\\{byte:03o}" for byte in c.encode("utf-8"))


def _comment(name: str) -> str:
    """A name within a comment: one line, and none that continues."""
    return "".join(c if c.isprintable() and c != "\\" else "?" for c in name)
