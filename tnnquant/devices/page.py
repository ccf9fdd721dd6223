"""The page docs/devices.md, made from the tables: ``python -m tnnquant.devices.page > docs/devices.md``."""

from __future__ import annotations

import sys
from itertools import groupby

from tnnquant.devices.conditions import explanation
from tnnquant.devices.rewrites.fragment import all_rewrites
from tnnquant.devices.rules import ANY, Outcome, Rule, device_names, rules_of

__all__ = ["page"]

_HEAD = """# What runs where

This page is made from the tables in `tnnquant/devices/` (`python -m tnnquant.devices.page`); do not edit it.

TNN's devices do not compute everything that its reference, the naive CPU device, does. The tables say where a layer
comes out wrong, fails or is refused; what is not listed runs as on the naive device. They were measured with TNN
f0cb08129: the ARM device (aarch64) with and without dot product, the x86 device with AVX2.

With `--device any`, the default, `tnnquant quantize` writes a model that breaks none of these rules where it knows
how; its summary says what was changed for that, and what is left. `--device arm`, `x86` or `naive` heeds the rules of
that device alone; `--device naive` changes nothing. Where no other way to write a layer is known that is wrong beside
int8 layers, the whole model is made by `--recipe dynamic`; with `--split`, two models are written instead, int8 up to
that layer (NAME_quantized) and fp32 from there on (NAME_tail), and the summary shows the calls that join them.
`tnnquant inspect MODEL --device arm` lists what would go wrong with any model.

A model with a layer that is wrong, fails, crashes or is refused on the device it is made for is *broken* for it: the
verdict of `quantize` names layer, rule and what to do, the files are written, and the exit code is 8, as for any
broken model. With `--device any` that is so if one device is hit; the verdict then names the devices where nothing is
known to go wrong, and `--device` chooses one of them. It makes no difference whether the fp32 model goes wrong there
too. Without a verdict (`--no-verify`, or no pictures) the same lines are warnings. `inspect --against` and `bench
accuracy` judge by the same rules. What is merely inexact is a note.

Rules ask for types, shapes and parameters. What depends on values they do not tell: on ARM Ceil and Floor give
something else beyond the range of int32.

## Outcomes

| outcome | meaning |
|---|---|
"""

_RULE_A = """
## Rule A

The ARM device stores a blob of dims (d0, d1, d2, ...) as [d0][ceil(d1 / 4)][d2 * d3 * ...][4]: four channels side by
side. Some kernels read and write the plain order N, C, H, W only. In an fp32 model TNN converts around them; in a model
with any int8 layer it does not. Such a layer is then right only if, for every blob that it reads or makes,

    d2 * d3 * ... = 1   and   (d0 = 1  or  d1 % 4 = 0)

where dims that are missing count as 1; or if it merely moves whole items of dim 0 and 1 whose d1 is a multiple of 4.

## Rule B

An operand with fewer dims than the other is right on ARM only if it has one value, or one dim: against a blob of three
or four dims if it is a blob, against a blob of two dims if it is a constant of the model. Operands in the layer itself
are right.
"""

_REWRITES = """
## What is written instead

| layers | as |
|---|---|
"""

_MEASURED = """
## Measured

Networks of random weights and real ones, quantized with `--device any` and run by TNN f0cb08129: ARM under emulation,
without and with dot product, and x86. Right means: as close to fp32 as on the naive device (cosine, within 0.02).
"Default, KL + ADMM, best" are the default methods, `-b 2 -w 1 -t 2` and `--recipe best`.

| networks | pairs: default, KL + ADMM, best | right on ARM, ARM dot, x86 | written in another way |
|---|---|---|---|
| MobileNetV3, ShuffleNetV2, ResNet, YOLO, U-Net, SSD | 24, 24, 24 | 72, 72, 72 | nothing |
| CRNN with LSTM | 4, 4, 4 | 12, 12, 12 | LSTM step by step, MatMul as InnerProduct |
| transformer | 4, 4, 4 | 12, 12, 12 | LayerNorm and MatMul of two dims, MatMul as InnerProduct |
| random layers | 30, 30, 30 | 90, 90, 90 | nothing |
| random layers, 10 heads | 60, 60, 60 | 180, 180, 180 | in 162; 9 by --recipe dynamic (ArgMax) |

A ViT, silero VAD (LSTM), MTCNN O-Net, ppocr_cls, ppocr_det and YOLOv8n by the default methods are right on all three;
in the ViT 9 LayerNorm, 13 Gather and 8 MatMul are written in another way, in the VAD its LSTM, in the others nothing. A
model written with `--split` is right as two models.

Of 10.4 million int8 codes of these pairs (two pictures each) `Executor(graph, device="arm")` with PRECISION_HIGH gave
all but 15, `device="x86"` all but 157. The naive arithmetic differs in 17 687 codes on ARM and 3739 on x86. Of YOLOv8n
(10.0 million codes) and ppocr_det (14.3 million) `device="arm"` gave all.

Fresh networks were run later, with more kinds of layers (odd channels, groups, dilations, two inputs, batches of 2 and
3, all forms of pooling, resizing, slicing):

| networks | pairs: default, KL + ADMM, best | right on ARM, ARM dot, x86 |
|---|---|---|
| the eight families above | 22, 21, 24 | 67, 67, 67 |
| random layers, best half with `--exclude` | 150, 150, 38 | 338, 338, 338 |
| 12 models imported from ONNX, default methods | 12, 0, 0 | 12, 11, 12 |

The one that is missing did not end in time under emulation. Two pairs of SSD aborted at first, because their prior
boxes were int8: they stay fp32 now. Outputs that are nothing but rounding noise in fp32, such as means of normalized
maps, do not count. On 82 more random networks that were made with `--device naive`, the rules told right from wrong in
244 of 246 runs and were too strict in two. Of the 743 layer cases of the reference, the rules agree with ARM without
dot product in 739: they miss two of values beyond int32, and are too strict in two.

In the networks with random weights 9 of 8.5 million codes came out otherwise on ARM than by `Executor(graph,
device="arm")`, 2 on x86, and 32 on each in a map that holds rounding noise. In a ViT, where fp32 layers stand between
int8 ones, it is 5.5 %. What is left is the last bit of fp32 layers: their sums have
another order, compilers fuse other products into them, exponentials are other approximations; no layer is off by more
than 8e-7 of its peak.

## Zero points

`-b 3` with `--device any`, `arm` or `x86` gives symmetric scales. Behind a ReLU all 256 codes could be used without a
zero point, as `--recipe best` does. That step alone was measured beside it: it is worth nothing without the others of
`best` (436 pictures, of YOLOv8n 16; share with the best class of fp32, mean cosine; `tools/ablation.py` prints the last
two columns).

| network | `-b 3`, symmetric | `-b 3 --device naive` | peaks per channel | and 256 codes |
|---|---|---|---|---|
| SqueezeNet v1.1 | 94.5 %, 0.987 | 93.6 %, 0.990 | 92.2 %, 0.984 | 92.2 %, 0.987 |
| EfficientNet-Lite0 | 93.1 %, 0.986 | 92.9 %, 0.985 | 93.3 %, 0.984 | 93.1 %, 0.984 |
| YOLOv8n, scores | 0.939 | 0.949 | 0.957 | 0.957 |
"""

_MEANINGS = {
    Outcome.INEXACT: "runs, and its values are a little off; not with PRECISION_HIGH",
    Outcome.WRONG: "runs, and gives wrong values without an error",
    Outcome.FAILS: "the model loads, running it returns an error",
    Outcome.CRASHES: "the program ends",
    Outcome.REFUSED: "the model does not load",
}


def page() -> str:
    """The whole page, in Markdown."""
    lines = [_HEAD + "\n".join(f"| {outcome} | {_MEANINGS[outcome]} |" for outcome in Outcome)]
    for name in device_names():
        if name == ANY:
            continue
        lines += ["", f"## {name}", ""]
        rules = [rule for _, rule in rules_of(name)]
        for form in ("int8", "fp32"):
            mine = [rule for rule in rules if rule.form == form]
            if mine:
                lines += [f"### {form} layers", "", "| layers | when | outcome | what happens | advice |"]
                lines.append("|---|---|---|---|---|")
                lines += [_row(rule) for rule in mine]
                lines.append("")
        lines.pop()
    rewrites = "\n".join(f"| {', '.join(types)} | {how} |" for how, types in all_rewrites().items())
    return "\n".join(lines).rstrip() + "\n" + _RULE_A + _REWRITES + rewrites + "\n" + _MEASURED


def _row(rule: Rule) -> str:
    when = explanation(rule.condition) or ("always" if rule.condition == "always" else rule.condition)
    mixed = "; only in a model with an int8 layer" if rule.mixed else ""
    types = ", ".join(name for name, _ in groupby(rule.types)) or "any"
    return f"| {types} | {when}{mixed} | {rule.outcome} | {rule.reason} | {rule.advice} |"


if __name__ == "__main__":
    sys.stdout.write(page())
