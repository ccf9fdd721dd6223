"""Compiles the int8 kernels of a model, and the last of fp32, in other processes while the first compiles and runs.

LLVM compiles on one core per process. They meet in the kernel cache: what one has compiled the other loads.
"""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

from tnnquant.base.threads import available_cores
from tnnquant.errors import TnnQuantError
from tnnquant.graph import Graph
from tnnquant.graph.infer import infer
from tnnquant.graph.passes import fuse_activations
from tnnquant.layers.convolution import Convolution
from tnnquant.pipeline.models import read_model

__all__ = ["Ahead", "ahead_of", "tasks_of"]

#: Task functions of the int8 form of each layer type, by module.
_TASKS = {
    "Convolution": ("conv_i8._conv_task",),
    "ConvolutionDepthWise": ("depthwise_i8._depthwise_task",),
    "InnerProduct": ("conv_i8._conv_task",),
    "Pooling": ("pool_i8._pool_task",),
    "Add": ("eltwise_i8._rows_task",),
    "Concat": ("eltwise_i8._rows_task",),
    "ReLU": ("eltwise_i8._rows_task",),
}
#: What stands between int8 and fp32, whatever the layers.
_BETWEEN = ("interleave._int8_task", "interleave._float_task", "eltwise_i8._rows_task")
#: What the first process needs after the layers of fp32, and would come to last: softmax ends most networks.
_LATE = {"Softmax": "softmax._rows_task"}
#: Processes at most: with more than these the first is never waited for.
_MOST = 3
_STATISTICS = ("stats._range_task", "weights_range._range_task")


def tasks_of(graph: Graph) -> list[str]:
    """Names of the task functions to be compiled apart, ``module.function``, in order of their use.

    They are those of the model's int8 form, and before them those that its fp32 form comes to last.
    """
    kinds = [node.layer.TYPE_NAMES[0] for node in graph.nodes]
    names = [*(_LATE[kind] for kind in kinds if kind in _LATE), *_STATISTICS, _BETWEEN[0]]
    dims = _output_dims(graph)
    for node, kind in zip(graph.nodes, kinds, strict=True):
        layer = node.layer
        if isinstance(layer, Convolution):
            if layer.group == layer.output_channel > 1:
                kind = "ConvolutionDepthWise"
            elif _takes_tiles(layer.group, layer.input_channel, dims.get(node.outputs[0])):
                kind = ""
        names += _TASKS.get(kind, ())
    if "Convolution" in kinds:
        names += _tile_tasks(graph)
    return list(dict.fromkeys([*names, *_BETWEEN]))


def _output_dims(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Dims of the blobs; none where the model cannot be run, which is for the first process to say."""
    try:
        return {blob: spec.dims for blob, spec in infer(graph).specs.items()}
    except TnnQuantError:
        return {}


def _takes_tiles(groups: int, channels: int, dims: tuple[int, ...] | None) -> bool:
    """Whether a convolution to ``dims`` is multiplied in tiles alone on this machine."""
    from tnnquant.kernels.conv_amx import FEWEST_PIXELS
    from tnnquant.kernels.pack_i8 import fits_tiles

    return dims is not None and fits_tiles(groups, channels) and prod(dims) >= FEWEST_PIXELS * dims[1]


def _tile_tasks(graph: Graph) -> list[str]:
    """Those that take the place of ``conv_i8`` where the machine multiplies tiles: one per activation."""
    from tnnquant.kernels.amx import tiles
    from tnnquant.kernels.tile_amx import runner

    if not tiles():
        return []
    layers = [node.layer for node in fuse_activations(graph).nodes]
    codes = {layer.activation_type for layer in layers if isinstance(layer, Convolution)} & {0, 1, 2}
    has_add = any(layer.TYPE_NAMES[:1] == ("Add",) for layer in layers)
    runners = [runner(code, fusion, True) for code in sorted(codes) for fusion in range(1 + has_add)]
    return ["conv_amx._conv_task", *(f"tile_amx.{run.__name__}" for run in runners)]


class Ahead:
    """The other processes: one on two cores, up to :data:`_MOST` on more.

    Parameters
    ----------
    proto : str
        The model whose kernels they compile.
    """

    def __init__(self, proto: str):
        self._proto = proto
        self._processes: list[subprocess.Popen] = []

    def start(self) -> None:
        """Start them, if there are cores for them; that one fails costs time, nothing else."""
        if self._processes or not sys.executable or getattr(sys, "frozen", False):
            return
        count = min(available_cores() - 1, _MOST)
        none = subprocess.DEVNULL
        with contextlib.suppress(OSError):
            for part in range(count):
                command = [sys.executable, "-m", __name__, self._proto, str(part), str(count)]
                self._processes.append(subprocess.Popen(command, stdin=none, stdout=none, stderr=none))

    def stop(self) -> None:
        """End those that have not ended."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()


@contextmanager
def ahead_of(proto: str) -> Iterator[Ahead]:
    """Other processes that live no longer than the context, once they are started."""
    ahead = Ahead(proto)
    try:
        yield ahead
    finally:
        ahead.stop()


def _compile(proto: str, part: int = 0, parts: int = 1) -> None:
    from tnnquant.kernels.program import address_of

    for name in tasks_of(read_model(proto))[part::parts]:
        module, function = name.split(".")
        address_of(getattr(importlib.import_module(f"tnnquant.kernels.{module}"), function))


if __name__ == "__main__":
    _compile(sys.argv[1], *map(int, sys.argv[2:]))
