"""Quantize files: what the command line calls, and what a Python program may call."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence

from tnnquant import recipes
from tnnquant.base.progress import Progress, shown
from tnnquant.base.threads import set_threads
from tnnquant.base.wording import parameter
from tnnquant.config import QuantizeConfig, SearchConfig, VerifyConfig
from tnnquant.errors import ConfigError
from tnnquant.pipeline import routes
from tnnquant.pipeline.job import Job
from tnnquant.pipeline.models import model_files
from tnnquant.pipeline.report import Report
from tnnquant.pipeline.routes import Gather
from tnnquant.pipeline.settings import output_paths
from tnnquant.quantization.parts import Part

__all__ = ["output_paths", "quantize_model"]

PathLike = str | os.PathLike


def quantize_model(
    proto: PathLike,
    model: PathLike | None,
    inputs: PathLike | Sequence[PathLike] | None,
    output: PathLike = "model",
    config: QuantizeConfig | None = None,
    *,
    verify: VerifyConfig | None = None,
    search: SearchConfig | None = None,
    statistics: Sequence[PathLike] = (),
    part: Part | None = None,
    gather: Gather | None = None,
    threads: int | None = None,
    dry_run: bool = False,
    progress: Progress | bool | None = None,
) -> Report:
    """Quantize an fp32 TNN or ONNX model; write ``<output>_quantized.tnnproto`` and ``<output>_quantized.tnnmodel``.

    Parameters
    ----------
    proto, model : path
        The fp32 pair; or an .onnx file, and None.
    inputs : path or sequence of path
        A folder of pictures (.jpg .jpeg .png .bmp) or tensors (.txt .npy .npz), or the files themselves; None with
        ``statistics``.
    output : path, default "model"
        May hold a folder, which must exist. Files of that name are replaced, and only on success.
    config : QuantizeConfig, optional
        Methods and preprocessing; the defaults are those of TNN's tool.
    verify : VerifyConfig, optional
        How the written model is judged; by default on 16 of the calibration pictures.
    statistics : sequence of path
        Files of statistics gathered elsewhere (:func:`tnnquant.collect_statistics`), of all parts: no sample is read,
        and the model is judged on the pictures of ``verify.eval_path``, or not at all.
    part : Part, optional
        The same, merged and in memory.
    gather : callable (Split) -> Part, optional
        What gathers the statistics of the files in ``split.paths()``, those of ``inputs`` that are not held out
        (:func:`tnnquant.pipeline.distribute.gather_distributed`).
    search : SearchConfig, optional
        Several models to compare, of which the best is written; by default one is made.
    threads : int, optional
        Default: one per core. The result does not depend on it.
    dry_run : bool
        Check everything and plan; a few pictures are run to say how long it takes. Nothing is written.
    progress : callable (stage, done, total) or bool, optional
        Told of progress within the stages "ranges", "histograms", "weights" and "verdict", and those of recipes; if it
        has a method ``left(seconds)``, also of how long the rest takes. True: a bar, in a terminal
        or a notebook.

    Returns
    -------
    Report

    Raises
    ------
    TnnQuantError
        One of its subclasses, with a message of one line. Nothing has been written then.

    Examples
    --------
    >>> report = tnnquant.quantize_model(
    ...     "squeezenet_v1.1.tnnproto", "squeezenet_v1.1.tnnmodel", "calibration/", "squeezenet",
    ...     tnnquant.QuantizeConfig(mean=(104.006, 116.669, 122.679), reverse_channel=True),
    ... )  # doctest: +SKIP
    """
    started = time.perf_counter()
    statistics, part, gather = _sorted(statistics, part, gather)
    config, verify, search = config or QuantizeConfig(), verify or VerifyConfig(), search or SearchConfig()
    if statistics or part is not None or gather:
        _check_statistics(gather, inputs, config, search)
    set_threads(threads)
    source, target = model_files(proto, model), output_paths(output)
    with shown(progress) as told:
        job = Job(source, target, config, verify, search, threads, dry_run, told, started)
        return _routed(job, inputs, config, statistics, part, gather)


def _routed(
    job: Job, inputs: PathLike | Sequence[PathLike] | None, config: QuantizeConfig, statistics: Sequence[PathLike],
    part: Part | None, gather: Gather | None,
) -> Report:  # fmt: skip
    if job.config != config and job.refitted and (statistics or part is not None or gather):
        raise ConfigError(job.refitted[0])
    if statistics or part is not None:
        return routes.from_statistics(job, part, statistics)
    if inputs is None:
        return routes.without_inputs(job)
    if job.search.compares or job.search.state:
        return routes.by_search(job, inputs)
    return routes.from_inputs(job, inputs, gather)


def _sorted(
    statistics: Sequence[PathLike] | Part | Gather, part: Part | None, gather: Gather | None
) -> tuple[Sequence[PathLike], Part | None, Gather | None]:
    """What came as ``statistics`` in versions that took a Part or a callable there, each in its own place."""
    if not (isinstance(statistics, Part) or callable(statistics)):
        return statistics, part, gather
    where = "gather" if callable(statistics) else "part"
    warnings.warn(f"statistics= takes files; give this as {where}=", DeprecationWarning, stacklevel=3)
    return ((), part, statistics) if callable(statistics) else ((), statistics, gather)


def _check_statistics(
    gather: Gather | None, inputs: PathLike | Sequence[PathLike] | None, config: QuantizeConfig, search: SearchConfig
) -> None:
    """Raise ConfigError where something else would be without effect."""
    if not recipes.find(config.recipe).starts_from_statistics:
        raise ConfigError(f"the recipe {config.recipe} reads the inputs itself: it does not start from statistics")
    if search.compares or search.state:
        names = ", ".join(map(parameter, ("auto", "target", "target_agreement")))
        raise ConfigError(f"{names} and {parameter('state')} make statistics of their own")
    if (gather is not None) != (inputs is not None):
        raise ConfigError(
            "statistics are gathered of inputs, or there already: give a callable with inputs, or files without"
        )
