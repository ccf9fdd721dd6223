"""Help in groups, with examples, at 80 columns: the form of every command's ``--help``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from tnnquant.cli import verbosity

__all__ = ["GROUPS", "HELP", "HelpedCommand"]

#: Settings of every command.
HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 80}

#: Where an option stands, by the parameter's name; the same in every command. What is not named comes last.
GROUPS: dict[str, tuple[str, ...]] = {
    "Model": ("proto", "model", "input_shape", "output", "against", "other", "layer", "is_diff"),
    "Pictures": ("input_path", "mean", "scale", "reverse_channel", "resize", "skip_bad", "limit", "samples"),
    "Method": (
        "blob_method", "weight_method", "merge_type", "recipe", "fp32_share", "exclude", "include", "device", "split",
        "scales",
    ),
    "Judge": (
        "no_verify", "eval_path", "labels", "no_labels", "task", "metric", "lower_is_better", "holdout",
        "verify_pictures", "classes",
    ),
    "Search": ("auto", "target_agreement", "target", "time_budget", "state"),
    "Machine": ("threads", "stats_only", "from_stats", "scheduler", "repeats", "no_layers", "program", "plugin"),
    "Result": (
        "half", "is_list", "dry_run", "as_json", "as_csv", "html", "sheet", "snippet", "verbose", "quiet",
        "config_file",
    ),
}  # fmt: skip


class HelpedCommand(click.Command):
    """A command whose options are shown in :data:`GROUPS`, and whose help ends with examples.

    Parameters
    ----------
    examples : sequence of (str, str)
        Arguments after the command's name, and what they are for.
    """

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **options: Any):
        super().__init__(*args, **options)
        self.examples = tuple(examples)
        self.params.append(
            click.Option(
                ["--plugin"], multiple=True, is_eager=True, expose_value=False, metavar="FILE.py", callback=_load,
                help="Load layers, observers, recipes or kernels of your own (docs/plugins.md).",
            )
        )  # fmt: skip
        self.params += verbosity.options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # As they were typed: a page tells what made it.
        ctx.meta["arguments"] = tuple(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        left = {param.name: record for param in self.get_params(ctx) if (record := param.get_help_record(ctx))}
        for title, names in GROUPS.items():
            records = [left.pop(name) for name in list(left) if name in names]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records, col_max=26)
        with formatter.section("Other" if len(left) < len(self.get_params(ctx)) else "Options"):
            formatter.write_dl(list(left.values()), col_max=26)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for arguments, purpose in self.examples:
                    formatter.write_text(f"# {purpose}")
                    # Not wrapped: a command is copied as it stands.
                    formatter.write(f"{'':{formatter.current_indent}}{ctx.command_path} {arguments}\n")
        super().format_epilog(ctx, formatter)


def _load(ctx: click.Context, param: click.Parameter, paths: tuple[str, ...]) -> None:
    from tnnquant.base.plugins import load_plugin

    for path in paths:
        load_plugin(path)
