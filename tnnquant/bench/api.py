"""Measurements for Python programs and notebooks: what ``tnnquant bench latency`` does, as data."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tnnquant.base.progress import Progress, shown
from tnnquant.base.threads import set_threads
from tnnquant.bench.latency import LatencyReport, measure_latency
from tnnquant.bench.models import quantize_here, read_int8, samples_for
from tnnquant.config import QuantizeConfig
from tnnquant.inputs import Samples, scan
from tnnquant.pipeline.models import find_model, model_files, open_model
from tnnquant.pipeline.settings import graph_inputs, input_config
from tnnquant.pipeline.shares import SHARES, ShareCurve, measure_shares

__all__ = ["bench_latency", "bench_shares"]

PathLike = str | os.PathLike


def bench_latency(
    model: PathLike,
    int8: PathLike | None = None,
    inputs: PathLike | None = None,
    config: QuantizeConfig | None = None,
    *,
    repeats: int = 50,
    threads: int | None = None,
    progress: Progress | bool | None = None,
) -> LatencyReport:
    """Time a model in fp32 and int8, run in turns, and every layer of both.

    Parameters
    ----------
    model : path
        A name, either file of a pair, a folder with one model, or an .onnx; an int8 one is timed alone.
    int8 : path, optional
        The int8 model. Without it an fp32 one is quantized in memory, as ``config`` says.
    inputs : path, optional
        A folder of pictures or tensors. Default: random values, right for times, useless as a model.
    config : QuantizeConfig, optional
    repeats : int
        Timed runs of each.
    threads : int, optional
        Default: one per core.
    progress : callable (stage, done, total) or bool, optional
        True: a bar, in a terminal or a notebook.

    Returns
    -------
    LatencyReport

    Raises
    ------
    TnnQuantError
        A model cannot be read or run, or the inputs do not fit.
    """
    set_threads(threads)
    graph, config = open_model(model_files(*find_model(model)), config or QuantizeConfig())
    samples = samples_for(graph, None if inputs is None else os.fspath(inputs), config, threads)
    if graph.is_quantized:
        fp32, quantized = None, graph
    else:
        fp32 = graph
        with shown(progress) as told:
            quantized = quantize_here(graph, samples, config, told) if int8 is None else read_int8(*find_model(int8))
    fed = next(iter(samples)).arrays
    with shown(progress) as told:
        return measure_latency(fp32, quantized, fed, repeats=repeats, input_dims=config.input_dims, progress=told)


def bench_shares(
    model: PathLike,
    inputs: PathLike,
    config: QuantizeConfig | None = None,
    *,
    evaluation: PathLike | None = None,
    shares: Sequence[float] = SHARES,
    threads: int | None = None,
    progress: Progress | bool | None = None,
) -> ShareCurve:
    """What fp32 layers buy: models of the recipe best by ``fp32_share``, judged and timed beside fp32 and the default.

    Parameters
    ----------
    model : path
        The fp32 model: a name, either file of a pair, a folder with one model, or an .onnx.
    inputs : path
        A folder of calibration pictures or tensors.
    config : QuantizeConfig, optional
        How inputs are fed, the device, and layers that stay fp32 at any rate; methods are not looked at.
    evaluation : path, optional
        A folder of others to judge on. Default: a quarter of the inputs judges models that are made without it.
    shares : sequence of float
        0 to 1 each.
    threads : int, optional
        Default: one per core.
    progress : callable (stage, done, total) or bool, optional
        True: a bar, in a terminal or a notebook.

    Returns
    -------
    ShareCurve
        Of classifiers the share with the same class, of detectors the mean error of boxes, else a cosine.

    Raises
    ------
    TnnQuantError
        A model cannot be read or run, or the inputs do not fit.
    """
    set_threads(threads)
    graph, config = open_model(model_files(*find_model(model)), config or QuantizeConfig())

    def read(folder: PathLike) -> Samples:
        return Samples(scan(folder), graph_inputs(graph, config), input_config(config), workers=threads)

    with shown(progress) as told:
        others = read(evaluation) if evaluation is not None else None
        return measure_shares(graph, read(inputs), config, others, shares, told)
