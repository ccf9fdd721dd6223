"""What the page of ``tnnquant inspect --html`` tells of the run: the command line, and how fast the models are here."""

from __future__ import annotations

from collections.abc import Callable

import click

from tnnquant.config import QuantizeConfig
from tnnquant.inspect.made import Made, made_now, source_date
from tnnquant.inspect.study import Study

__all__ = ["made_here", "time_models"]

#: Seconds that all timed runs may take, about.
ROOM = 2.0


def made_here(context: click.Context) -> Made:
    """The record of the running command."""
    from tnnquant.bench.machine import cpu_name

    return made_now([*context.command_path.split(), *context.meta.get("arguments", ())], cpu_name())


def time_models(result: Study, config: QuantizeConfig, progress: Callable[[str, int, int], None] | None) -> None:
    """Time fp32, the model, and the one beside, in turns, into ``result``.

    With ``SOURCE_DATE_EPOCH`` the page is to be the same each time: times, which never are, stay out.
    """
    if source_date() is not None or result.against is None or result.samples is None:
        return
    from tnnquant.base.threads import threads_in_use
    from tnnquant.bench.latency import whole_times
    from tnnquant.bench.machine import cpu_name

    if progress:
        progress("timing", 0, 0)
    graphs = {"fp32": result.against.graph, "int8": result.model.stored}
    if result.other is not None:
        graphs["other"] = result.other.stored
    fed = next(iter(result.samples)).arrays
    result.times = whole_times(graphs, fed, ROOM, config.input_dims)
    threads = threads_in_use()
    result.timed_on = f"{cpu_name()}, {threads} {'thread' if threads == 1 else 'threads'}, this engine and not a phone"
