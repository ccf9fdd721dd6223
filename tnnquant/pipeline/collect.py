"""Statistics of a part of the samples, files in, file out: what ``tnnquant quantize --stats-only`` does."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tnnquant.base.progress import Progress, shown
from tnnquant.base.threads import set_threads
from tnnquant.base.wording import parameter
from tnnquant.config import QuantizeConfig
from tnnquant.errors import ConfigError, OutputError
from tnnquant.format.files import read_file, refuse_inputs
from tnnquant.inputs import Samples, scan
from tnnquant.pipeline.models import model_files, open_model
from tnnquant.pipeline.settings import graph_inputs, input_config
from tnnquant.quantization.parts import Part, gather, merge, model_digest, relevant_settings, require_same
from tnnquant.quantization.parts_file import read_part, write_part
from tnnquant.quantization.quantize import plan_graph

__all__ = ["collect_statistics", "statistics_path"]

PathLike = str | os.PathLike


def collect_statistics(
    proto: PathLike,
    model: PathLike | None,
    inputs: PathLike | Sequence[PathLike] | None,
    output: PathLike,
    config: QuantizeConfig | None = None,
    *,
    after: Sequence[PathLike] = (),
    threads: int | None = None,
    progress: Progress | bool | None = None,
) -> Part:
    """Run one pass over some of the samples and write its statistics to ``output``.

    Parameters
    ----------
    proto, model : path
        The fp32 pair; the same on all machines.
    inputs : path, sequence of path or None
        This machine's samples. None: only merge the files of ``after`` into one.
    output : path
        An .npz file; replaced only on success.
    config : QuantizeConfig, optional
        The same everywhere, but for the method of the weights.
    after : sequence of path
        The files that all machines wrote in the pass before: this is the next pass. None of them: the first.
    threads, progress
        As for :func:`tnnquant.quantize_model`.

    Returns
    -------
    Part
        What was written.

    Raises
    ------
    TnnQuantError
        With a message of one line; nothing has been written then.
    """
    config, source = config or QuantizeConfig(), model_files(proto, model)
    set_threads(threads)
    path = statistics_path(output)
    if inputs is None and not after:
        raise ConfigError("statistics are made of inputs, or merged from the files of ``after``: give one of them")
    files = () if inputs is None else scan(inputs)
    refuse_inputs([path], [*source, *after, *files])
    digest = model_digest([read_file(path) for path in source])
    graph, config = open_model(source, config)
    executor, plan = plan_graph(graph, config)
    before = merge([read_part(name) for name in after], plan) if after else None
    if before is not None:
        require_same(before, digest, relevant_settings(config))
    if inputs is None and before is not None:
        part = before
    else:
        samples = Samples(files, graph_inputs(graph, config), input_config(config), workers=threads)
        with shown(progress) as told:
            part = gather(executor, plan, samples, digest, config, before=before, progress=told)
    write_part(part, path)
    return part


def statistics_path(output: PathLike) -> str:
    """Where statistics go; raises OutputError if that is no .npz file."""
    name = os.fspath(output)
    if not name.lower().endswith(".npz"):
        raise OutputError(f"{parameter('output')} is {name!r}, expected the name of an .npz file for statistics")
    return name
