"""The int8 kernels against TNN's own int8 blobs: every quantized layer of the golden models, fed as TNN fed it."""

import numpy as np
import pytest

from tnnquant.format import read_model
from tnnquant.kernels.conv_i8 import conv2d_i8
from tnnquant.kernels.depthwise_i8 import depthwise_i8
from tnnquant.kernels.eltwise_i8 import Scales, add_i8, copy_i8, quantize_i8, rescale_i8
from tnnquant.kernels.gemm_i8 import gemm_i8
from tnnquant.kernels.geometry import ConvGeometry, PoolGeometry
from tnnquant.kernels.pack_i8 import ConvQuant, pack_conv_i8, pack_depthwise_i8, pack_inner_product_i8
from tnnquant.kernels.pool_i8 import pool2d_i8
from tnnquant.layers.convolution import Convolution, sliding_axis
from tnnquant.layers.inner_product import InnerProduct

CONFIGURATIONS = [
    *[f"squeezenet/{name}" for name in ("b0w0t0", "b2w1t0", "b2w1t1", "b2w1t2", "b3w3t0", "b4w0t1")],
    *[f"efficientnet_lite0/{name}" for name in ("b0w0t0", "b2w1t1")],
]


class _Layers:
    """Runs one node of a quantized graph on blobs (N, H, W, C)."""

    def __init__(self, graph):
        self.graph = graph

    def scales(self, blob):
        quant = self.graph.scales[blob]
        return Scales(quant.scale, quant.zero_point)

    def quant(self, node, source, target, added=None):
        tensors, to = node.tensors, self.scales(target)
        bias = tensors["bias"].array() if "bias" in tensors and tensors["bias"].size else None
        other = self.scales(added) if added else (None, None)
        weights = tensors["scale"].array(), tensors["zero_point"].array()
        return ConvQuant(*weights, self.scales(source).zero_point, bias, to.scale, to.zero_point, *other)

    def convolution(self, node, blobs, target, added=None):
        layer, x = node.layer, blobs[node.inputs[0]]
        size = [
            sliding_axis(length, layer.dilation_h * (kernel - 1) + 1, stride, (pad, pad), layer.pad_type)
            for length, kernel, stride, pad in (
                (x.shape[1], layer.kernel_h, layer.stride_h, layer.pad_h),
                (x.shape[2], layer.kernel_w, layer.stride_w, layer.pad_w),
            )
        ]
        geometry = ConvGeometry(
            layer.kernel_h, layer.kernel_w, layer.stride_h, layer.stride_w, size[0].begin, size[1].begin,
            layer.dilation_h, layer.dilation_h, layer.group,
        )  # fmt: skip
        weight = node.tensors["filter"].array().reshape(layer.output_channel, -1, layer.kernel_h, layer.kernel_w)
        quant = self.quant(node, node.inputs[0], target, added)
        out = np.empty((x.shape[0], size[0].size, size[1].size, layer.output_channel), np.int8)
        if layer.group > 1 and weight.shape[1] == 1:
            return depthwise_i8(x, pack_depthwise_i8(weight, geometry, quant), geometry, layer.activation_type, out)
        packed = pack_conv_i8(weight, geometry, quant)
        fusion = 0 if added is None else (2 if layer.activation_type else 1)
        return conv2d_i8(x, packed, geometry, layer.activation_type, out, blobs.get(added), fusion)

    def inner_product(self, node, blobs, target):
        x = blobs[node.inputs[0]]
        weight = node.tensors["weight"].array().reshape(node.layer.num_output, -1)
        packed = pack_inner_product_i8(weight, self.quant(node, node.inputs[0], target))
        out = np.empty((x.shape[0], weight.shape[0]), np.int8)
        return gemm_i8(x.reshape(x.shape[0], -1), packed, out)[:, None, None]

    def pooling(self, node, blobs, want):
        layer = node.layer
        geometry = PoolGeometry(
            layer.kernel_h, layer.kernel_w, layer.stride_h, layer.stride_w, layer.pad_h, layer.pad_w
        )
        return pool2d_i8(blobs[node.inputs[0]], geometry, layer.pool_type, np.empty(want.shape, np.int8))

    def concat(self, node, blobs, want, target):
        out, first = np.empty(want.shape, np.int8), 0
        to = Scales(*(values[:1] for values in self.scales(target)))
        rescale = all(len(self.scales(name).scale) == 1 for name in node.inputs)
        for name in node.inputs:
            part = out[..., first : first + blobs[name].shape[3]]
            first += blobs[name].shape[3]
            _ = rescale_i8(blobs[name], self.scales(name), to, part) if rescale else copy_i8(blobs[name], part)
        return out

    def run(self, index, blobs, want, target):
        node = self.graph.nodes[index]
        kind = node.type_string.removeprefix("Quantized")
        if isinstance(node.layer, Convolution):
            return self.convolution(node, blobs, target)
        if isinstance(node.layer, InnerProduct):
            return self.inner_product(node, blobs, target)
        if kind == "Add":
            producer = self.graph.nodes[index - 1]
            if producer.outputs[0] in node.inputs and producer.outputs[0] not in blobs:
                # TNN fused a 1x1 convolution with the Add after it.
                added = next(name for name in node.inputs if name != producer.outputs[0])
                return self.convolution(producer, blobs, target, added)
            scales = [self.scales(name) for name in node.inputs]
            return add_i8(
                [blobs[name] for name in node.inputs], scales, self.scales(target), np.empty(want.shape, np.int8)
            )
        if kind == "Pooling":
            return self.pooling(node, blobs, want)
        assert kind == "Concat"
        return self.concat(node, blobs, want, target)


def _golden_blobs(archive):
    blobs = {}
    for key in archive.files:
        if key.startswith("blob:") and archive[key].dtype == np.int8:
            value = archive[key]
            value = value.reshape(*value.shape, *[1] * (4 - value.ndim))
            blobs[key.removeprefix("blob:")] = np.ascontiguousarray(value.transpose(0, 2, 3, 1))
    for name in [name for name in blobs if name.endswith("_int8_reformat")]:
        blobs[name.removesuffix("_int8_reformat")] = blobs[name]
    return blobs


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_every_int8_blob_equals_that_of_tnn(shared, configuration):
    folder = shared / "golden" / configuration
    graph = read_model(folder / "model.quantized.tnnproto", folder / "model.quantized.tnnmodel")
    layers, blobs, compared = _Layers(graph), _golden_blobs(np.load(folder / "out.npz")), 0
    for index, node in enumerate(graph.nodes):
        target = node.outputs[0]
        if node.quantized and target in blobs:
            np.testing.assert_array_equal(
                layers.run(index, blobs, blobs[target], target), blobs[target], err_msg=target
            )
            compared += 1
    assert compared >= 37 if "squeezenet" in configuration else compared >= 50

    (name,) = graph.inputs
    fed = np.load(folder.parent / "fp32.npz")["in"][:1]
    x = np.ascontiguousarray(fed.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(quantize_i8(x, layers.scales(name), np.empty(x.shape, np.int8)), blobs[name])
