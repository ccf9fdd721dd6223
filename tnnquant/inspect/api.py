"""Inspections for Python programs and notebooks: what ``tnnquant inspect`` does, as data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from tnnquant.base.metric import as_metric
from tnnquant.base.progress import Progress, shown
from tnnquant.config import QuantizeConfig
from tnnquant.inspect.compare import Errors
from tnnquant.inspect.run import beside, compare_models, load, pick_samples
from tnnquant.inspect.summary import Summary

__all__ = ["compare", "inspect_model"]

PathLike = str | os.PathLike
#: Files of a folder that are compared by default, evenly spread.
LIMIT = 16


def inspect_model(model: PathLike, input_dims: Mapping[str, Sequence[int]] | None = None) -> Summary:
    """What is in a model: layers, shapes, sizes, scales, and what is int8 and why. Nothing is run.

    Parameters
    ----------
    model : path
        A name (``net``, for net.tnnproto and net.tnnmodel), either file, a folder with one model, or an .onnx. Of a
        .tnnproto that has no .tnnmodel beside it, only the structure is told.
    input_dims : mapping of str to sequence of int, optional
        Dims that replace those of the model.

    Returns
    -------
    Summary

    Raises
    ------
    TnnQuantError
        A file is missing, foreign or truncated, or the model does not fit together.
    """
    return load(model, input_dims=input_dims, may_be_alone=True).summary


def compare(
    int8: PathLike,
    fp32: PathLike,
    inputs: PathLike | Sequence[PathLike],
    config: QuantizeConfig | None = None,
    *,
    limit: int | None = LIMIT,
    progress: Progress | bool | None = None,
    device: str | None = None,
    metric: str | Callable | None = None,
    lower_is_better: bool = False,
) -> Errors:
    """Where int8 hurts: the error of every layer, by itself and with all before it, and the verdict.

    Parameters
    ----------
    int8, fp32 : path
        Models, as for :func:`inspect_model`.
    inputs : path or sequence of path
        A folder of pictures or tensors, or the files.
    config : QuantizeConfig, optional
        How pictures become inputs, and ``input_dims``.
    limit : int or None, default 16
        At most so many files, evenly spread.
    progress : callable (stage, done, total) or bool, optional
        True: a bar, in a terminal or a notebook.
    device : str, optional
        As ``inspect --device``: the verdict is of this device, broken where a layer goes wrong there.
    metric : callable (outputs, references, labels) -> float, or str, optional
        A metric of your own, or ``FILE.py:function``, for the verdict (docs/metric.md).
    lower_is_better : bool
        Of the metric.

    Returns
    -------
    Errors

    Raises
    ------
    TnnQuantError
        The models are not of these kinds or not of one network, or the inputs do not fit.
    """
    config = config or QuantizeConfig()
    own = None if metric is None else as_metric(metric, lower_is_better)
    against = load(fp32, input_dims=config.input_dims)
    model = load(int8)
    if model.summary.precision != "fp32" and against.summary.precision == "fp32":
        model = beside(model, against, config.input_dims)
    samples = pick_samples(against, inputs, config, limit)
    with shown(progress) as told:
        return compare_models(model, against, samples, config, told, device, own)
