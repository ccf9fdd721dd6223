"""``tnnquant export``: a TNN model as an ONNX model."""

from __future__ import annotations

import click

from tnnquant.cli.helped import HELP, HelpedCommand
from tnnquant.cli.options import parse_input_shapes

EXAMPLES = (
    ("net", "net.onnx of an fp32 model"),
    ("net_quantized --activations uint8 -o net_int8.onnx", "an int8 model for onnxruntime on x86"),
)


@click.command("export", cls=HelpedCommand, context_settings=HELP, examples=EXAMPLES)
@click.argument("name", required=False, metavar="[NAME]")
@click.option("-p", "--proto", metavar="FILE", help="The .tnnproto, where the two files have different names.")
@click.option("-m", "--model", metavar="FILE", help="Its .tnnmodel.")
@click.option("-o", "--output", metavar="FILE", help="The .onnx file. Default: NAME.onnx.")
@click.option("--opset", type=int, default=17, show_default=True, metavar="N", help="ONNX's operator set, from 13 on.")
@click.option(
    "--activations", type=click.Choice(["int8", "uint8"]), default="int8", show_default=True,
    help="Type of the codes of an int8 model. uint8 has a zero point of 128: onnxruntime computes such layers as "
    "integers on x86 processors. TensorRT takes int8 alone. The outputs are the same.",
)
@click.option(
    "--input-shape", multiple=True, metavar="NAME:N,C,H,W", help="Dims of an input, instead of those in the proto."
)
def command(
    name: str | None, proto: str | None, model: str | None, output: str | None, opset: int, activations: str,
    input_shape: tuple[str, ...],
) -> int:
    """Write a TNN model as ONNX: NAME.tnnproto and NAME.tnnmodel as NAME.onnx.

    An fp32 model becomes plain ONNX. An int8 one, ours or one of TNN's tool, becomes QDQ (QuantizeLinear and
    DequantizeLinear around fp32 operators), which onnxruntime, OpenVINO and TensorRT run in int8. Layers that ONNX
    cannot express are all named, and nothing is written.
    """
    from tnnquant.onnx.export.api import export_onnx, pair_of

    pair = pair_of(name, proto, model)
    target = output or f"{str(pair[0]).removesuffix('.tnnproto')}.onnx"
    dims = parse_input_shapes(input_shape)
    made = export_onnx(pair, target, opset=opset, unsigned=activations == "uint8", input_dims=dims)
    int8 = f", {made.int8_layers} of them int8 (QDQ)" if made.int8_layers else ""
    kind = f"{made.layers} layers{int8}"
    click.echo(f"{made.path}: {kind}; opset {made.opset}, {made.nodes} nodes, {made.bytes / 1e6:.1f} MB")
    return 0
