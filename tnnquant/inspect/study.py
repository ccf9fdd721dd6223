"""A whole inspection: everything that was asked for, from files to results, and the page of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tnnquant.base.metric import Metric
from tnnquant.base.wording import parameter
from tnnquant.config import QuantizeConfig
from tnnquant.errors import ConfigError
from tnnquant.format.files import write_files
from tnnquant.inputs import Samples
from tnnquant.inspect.compare import Errors
from tnnquant.inspect.coverage import Coverage
from tnnquant.inspect.gather import blob_ranges, coverage_of, small_pictures, weight_pairs
from tnnquant.inspect.made import Made
from tnnquant.inspect.page.document import page_html
from tnnquant.inspect.page.material import Beside, Material, Picture
from tnnquant.inspect.ranges import BlobRanges
from tnnquant.inspect.run import Model, beside, check_precisions, compare_models
from tnnquant.pipeline.shares import ShareCurve

if TYPE_CHECKING:
    from tnnquant.base.progress import Progress
    from tnnquant.inputs.scan import PathLike

__all__ = ["Study", "study", "write_page", "write_sheet"]


@dataclass(eq=False)
class Study:
    """What an inspection over inputs found.

    Attributes
    ----------
    model : Model
    against : Model or None
        The fp32 one.
    samples : Samples or None
    errors : Errors or None
    ranges : dict of str to BlobRanges
    coverage : Coverage or None
    statistics : dict
        Lowest, mean and highest value fed, per input and channel.
    warnings : list of str
    other : Model or None
        Another int8 model of the same network, to be shown beside.
    other_errors : Errors or None
    classes : tuple of str
        Their names; empty: numbers.
    times : dict of str to float
        Seconds of a run: ``fp32``, ``int8``, ``other``.
    timed_on : str
        What they were measured on.
    shares : ShareCurve or None
        What layers in fp32 buy, for the page.
    """

    model: Model
    against: Model | None = None
    samples: Samples | None = None
    errors: Errors | None = None
    ranges: Mapping[str, BlobRanges] = field(default_factory=dict)
    coverage: Coverage | None = None
    statistics: Mapping[str, dict] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    other: Model | None = None
    other_errors: Errors | None = None
    classes: tuple[str, ...] = ()
    times: Mapping[str, float] = field(default_factory=dict)
    timed_on: str = ""
    shares: ShareCurve | None = None

    @property
    def fp32(self) -> Model | None:
        """The fp32 network, if there is one."""
        return self.against or (self.model if self.model.summary.precision == "fp32" else None)


def study(
    model: Model, against: Model | None, samples: Samples, config: QuantizeConfig, *, ranges: bool, coverage: bool,
    progress: Progress | None = None, device: str | None = None, metric: Metric | None = None,
    other: Model | None = None,
) -> Study:  # fmt: skip
    """Run what was asked for.

    Parameters
    ----------
    model : Model
    against : Model or None
        The fp32 model, to compare an int8 one with.
    samples : Samples
    config : QuantizeConfig
    ranges, coverage : bool
        Gather them; each needs an fp32 network.
    progress : callable (stage, done, total), optional
    device : str, optional
        The verdict is of this device too: broken where a layer goes wrong there.
    metric : Metric, optional
        Of the user's own, for the verdict.
    other : Model, optional
        Another int8 model of the network ``against``, to be measured on the same samples.

    Raises
    ------
    TnnQuantError
        A model cannot be run, an input cannot be used, or there is nothing that could be done.
    """
    result = Study(model, against, samples)
    if against is not None:
        check_precisions(model, against)
        result.model = model = beside(model, against, config.input_dims)
        result.errors = compare_models(model, against, samples, config, progress, device, metric)
        if other is not None:
            check_precisions(other, against)
            result.other = beside(other, against, config.input_dims)
            result.other_errors = compare_models(result.other, against, samples, config, progress, device, metric)
    elif other is not None:
        raise ConfigError("a model is shown beside another by their errors: give the fp32 model of both")
    fp32 = result.fp32
    if fp32 is None and not coverage:
        raise ConfigError(
            f"over inputs, an int8 model can only be compared: give its fp32 model with {parameter('fp32')}"
        )
    if fp32 is not None and ranges:
        result.ranges = blob_ranges(fp32, model if against else None, samples, config, progress)
    if fp32 is not None and coverage:
        result.coverage = coverage_of(fp32, samples, config, progress)
    if not samples.fed:
        samples.check()
    result.statistics, result.warnings = samples.statistics(), samples.warnings()
    return result


def write_page(
    result: Study, path: str | os.PathLike, *, seen: bool = False, made: Made | None = None
) -> None:
    """Write the page; a file that is there is replaced, and only on success.

    Parameters
    ----------
    result : Study
    path : path
    seen : bool
        Show all inputs, not only the worst.
    made : Made, optional
        What made the page, with the date. Default: the version alone, so that the same results give the same bytes.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    from importlib.metadata import version

    model = result.model
    quantized = model if model.summary.precision != "fp32" else None
    pictures: list[Picture] = []
    if result.samples is not None:
        pictures = small_pictures(result.samples, result.errors, seen=seen, classes=result.classes)
    weights = weight_pairs(quantized, result.fp32)
    title = Path(model.summary.proto).stem
    other = None
    if result.other is not None:
        name = Path(result.other.summary.proto).stem
        # Two folders, one name: what tells them apart is the folder.
        name = name if name != title else f"{Path(result.other.summary.proto).resolve().parent.name}/{name}"
        other = Beside(name, result.other.summary, result.other_errors)
    material = Material(
        title, _made_by(result), model.graph, model.summary, result.errors, result.ranges, weights,
        result.coverage, result.statistics, pictures, result.against.summary if result.against else None, other,
        result.times, result.timed_on, made or Made(versions=(f"tnnquant {version('tnnquant')}",)),
        result.shares,
    )  # fmt: skip
    write_files([(path, [page_html(material).encode("utf-8")])])


def write_sheet(result: Study, path: PathLike) -> int:
    """Write the pictures, as the model sees them, tiled on one PNG, whole or not at all.

    Returns
    -------
    int
        How many pictures; 0, and no file, if the samples hold none.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    from tnnquant.inputs.preview import contact_sheet

    if result.samples is None:
        return 0
    png, count = contact_sheet(result.samples)
    if count:
        write_files([(path, [png])])
    return count


def _made_by(result: Study) -> str:
    text = f"fp32: {result.against.summary.proto}. " if result.against is not None else ""
    if result.samples is not None:
        text += f"Histograms, ranges and errors are of {result.samples.fed} inputs."
    return text.strip()
