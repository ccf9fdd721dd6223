"""Everything a page can show; what is None or empty is not shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tnnquant.graph import Graph
from tnnquant.inspect.compare import Errors
from tnnquant.inspect.coverage import Coverage
from tnnquant.inspect.made import Made
from tnnquant.inspect.page.shades import ErrorShades
from tnnquant.inspect.ranges import BlobRanges
from tnnquant.inspect.summary import Summary
from tnnquant.pipeline.shares import ShareCurve

__all__ = ["Beside", "Material", "Picture"]


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
class Beside:
    """Another int8 model of the same network, shown beside the first.

    Attributes
    ----------
    title : str
    summary : Summary
    errors : Errors or None
    """

    title: str
    summary: Summary
    errors: Errors | None = None


@dataclass(frozen=True, eq=False)
class Material:
    """What is known of a model.

    Attributes
    ----------
    title : str
    made_by : str
        What the figures are of, for the end of the page.
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
    fp32 : Summary or None
        Of the model it was made from.
    other : Beside or None
    times : dict of str to float
        Seconds of a run: ``fp32``, ``int8``, ``other``.
    timed_on : str
        What they were measured on.
    made : Made
        What made the page.
    shares : ShareCurve or None
        What layers in fp32 buy.
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
    fp32: Summary | None = None
    other: Beside | None = None
    times: Mapping[str, float] = field(default_factory=dict)
    timed_on: str = ""
    made: Made = field(default_factory=Made)
    shares: ShareCurve | None = None

    @cached_property
    def shades(self) -> ErrorShades:
        """Colours over the range of this model's errors."""
        return ErrorShades.of(self.errors)
