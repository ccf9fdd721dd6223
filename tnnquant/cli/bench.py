"""``tnnquant bench``: what kernels and models reach on this machine. A subcommand is imported when called."""

from __future__ import annotations

from typing import ClassVar

import click

from tnnquant.cli import LazyGroup
from tnnquant.cli.helped import HELP

__all__ = ["command"]


class BenchGroup(LazyGroup):
    """The subcommands of ``tnnquant bench``."""

    commands_by_name: ClassVar = {
        "latency": ("bench_latency", "Time a model in fp32 and int8, whole and layer by layer."),
        "accuracy": ("bench_accuracy", "Accuracy of models side by side on a folder of pictures."),
        "table": ("bench_table", "The accuracy table of TNN's documentation for your model and data."),
        "kernels": ("bench_kernels", "Check and time every kernel, or one of your own."),
    }


@click.group("bench", cls=BenchGroup, context_settings=HELP)
def command() -> None:
    """Measure kernels and models on this machine."""
