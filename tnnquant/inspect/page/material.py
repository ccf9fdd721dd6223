"""Everything a page can show; what is None or empty is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tnnquant.graph import Graph
from tnnquant.inspect.compare import Errors
from tnnquant.inspect.coverage import Coverage
from tnnquant.inspect.ranges import BlobRanges
from tnnquant.inspect.summary import Summary

__all__ = ["Material", "Picture"]


@dataclass(frozen=True)
class Picture:
    """A small picture with its caption.

    Attributes
    ----------
    name : str
    png : bytes
    width, height : int
        Pixels.
    lines : tuple of str
    kind : {"worst", "seen"}
    """

    name: str
    png: bytes
    width: int
    height: int
    lines: tuple[str, ...] = ()
    kind: str = "worst"


@dataclass(frozen=True, eq=False)
class Material:
    """What is known of a model.

    Attributes
    ----------
    title : str
    made_by : str
        The line at the end of the page.
    graph : Graph
    summary : Summary
    errors : Errors or None
    ranges : dict of str to BlobRanges
        By blob.
    weights : dict of str to (float32 (OC, n) or None, float32 (OC, n) or None)
        Before and after, as real numbers, by layer.
    coverage : Coverage or None
    statistics : dict
        Lowest, mean and highest value fed, per input and channel.
    pictures : list of Picture
    """

    title: str
    made_by: str
    graph: Graph
    summary: Summary
    errors: Errors | None = None
    ranges: Mapping[str, BlobRanges] = field(default_factory=dict)
    weights: Mapping[str, tuple[np.ndarray | None, np.ndarray | None]] = field(default_factory=dict)
    coverage: Coverage | None = None
    statistics: Mapping[str, dict] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
