"""Calibration files as model inputs: which files, how they are decoded, resized and normalised, in what order.

>>> files = scan("pictures/")                                              # doctest: +SKIP
>>> samples = Samples(files, graph.inputs, InputConfig(mean=(127.5,), scale=(1 / 127.5,)))     # doctest: +SKIP
>>> for sample in samples: executor.run(sample.arrays)                     # doctest: +SKIP

Formats and conversions are in :mod:`~tnnquant.inputs.picture` and :mod:`~tnnquant.inputs.tensors`, several model inputs
in :mod:`~tnnquant.inputs.grouping`, batches in :mod:`~tnnquant.inputs.samples`. Importing this package imports neither
NumPy nor Numba nor a picture library; each comes with the first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tnnquant.inputs.config import InputConfig
from tnnquant.inputs.scan import FileList, scan
from tnnquant.inputs.vectors import parse_vector

if TYPE_CHECKING:
    from tnnquant.inputs.preview import save_preview
    from tnnquant.inputs.samples import Sample, Samples
    from tnnquant.inputs.statistics import plausibility_warning

__all__ = [
    "FileList",
    "InputConfig",
    "Sample",
    "Samples",
    "parse_vector",
    "plausibility_warning",
    "save_preview",
    "scan",
]

# Imported on first use: these need NumPy.
_HOMES = {"Sample": "samples", "Samples": "samples", "plausibility_warning": "statistics", "save_preview": "preview"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
