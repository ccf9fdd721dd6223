"""Compiles the int8 kernels of a model in a second process while the first compiles and runs those of fp32.

LLVM compiles on one core a process. The two meet in the kernel cache: what one has compiled the other loads.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tnnquant.graph import Graph
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


def tasks_of(graph: Graph) -> list[str]:
    """Names of the task functions that the int8 form of a model needs, ``module.function``, in order of their use."""
    names = [_BETWEEN[0]]
    for node in graph.nodes:
        layer, kind = node.layer, node.layer.TYPE_NAMES[0]
        if isinstance(layer, Convolution) and layer.group == layer.output_channel > 1:
            kind = "ConvolutionDepthWise"
        names += _TASKS.get(kind, ())
    if "conv_i8._conv_task" in names:
        names += _tile_tasks(graph)
    return list(dict.fromkeys([*names, *_BETWEEN]))


def _tile_tasks(graph: Graph) -> list[str]:
    """Those that take the place of ``conv_i8`` where the machine multiplies tiles: one an activation."""
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
    """The second process.

    Parameters
    ----------
    proto : str
        The model whose kernels it compiles.
    """

    def __init__(self, proto: str):
        self._proto = proto
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it, if there is a core for it; that it fails costs time, nothing else."""
        if self._process or not sys.executable or getattr(sys, "frozen", False) or _cores() < 2:
            return
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, self._proto],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip

    def stop(self) -> None:
        """End it, if it has not ended."""
        if self._process:
            self._process.terminate()
            self._process.wait()


@contextmanager
def ahead_of(proto: str) -> Iterator[Ahead]:
    """A second process that lives no longer than the context, once it is started."""
    ahead = Ahead(proto)
    try:
        yield ahead
    finally:
        ahead.stop()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _compile(proto: str) -> None:
    from tnnquant.kernels.program import address_of

    for name in tasks_of(read_model(proto)):
        module, function = name.split(".")
        address_of(getattr(importlib.import_module(f"tnnquant.kernels.{module}"), function))


if __name__ == "__main__":
    _compile(sys.argv[1])
