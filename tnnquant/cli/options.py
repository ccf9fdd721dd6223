"""Command-line options made from the fields of the configuration: nothing is spelled a second time."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tnnquant.base.metric import Metric
from tnnquant.cli import config_file
from tnnquant.cli.helped import HelpedCommand
from tnnquant.config import QuantizeConfig, VerifyConfig, choice_codes, parse_choice
from tnnquant.errors import ConfigError

if TYPE_CHECKING:
    from tnnquant.inputs.scan import PathLike

__all__ = [
    "METRIC_OPTIONS", "PICTURE_OPTIONS", "VectorCommand", "chosen_model", "config_options", "device_option",
    "from_options", "given", "model_options", "own_metric", "parse_input_shapes", "scoring_config", "scoring_options",
]  # fmt: skip

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(/[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)?,?")

# What a number's metavar says of its type.
_NUMBERS = {"SHARE": float, "COUNT": int, "SECONDS": float, "DROP": float}


class VectorCommand(HelpedCommand):
    """A command whose lists need no quotes: numbers, ``-n 104 116.7 122``, and files, ``--from-stats part*.npz``.

    The flags of TNN's tool have underscores, ``--input_path``; hyphens are accepted too.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params.append(config_file.option())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._joined_numbers(self._repeated_flags(self._underscored(args))))

    def _underscored(self, args: list[str]) -> list[str]:
        known = {flag for param in self.params for flag in param.opts}
        out = []
        for arg in args:
            flag, equals, value = arg.partition("=")
            meant = "--" + flag[2:].replace("-", "_")
            is_meant = flag.startswith("--") and flag not in known and meant in known
            out.append(meant + equals + value if is_meant else arg)
        return out

    def _flags(self, metavar: str) -> set[str]:
        return {flag for p in self.params if getattr(p, "metavar", "") == metavar for flag in getattr(p, "opts", ())}

    def _repeated_flags(self, args: list[str]) -> list[str]:
        """``--flag a b`` as ``--flag a --flag b``, for options that take files and may be repeated."""
        lists, flag, out = self._flags("FILES"), "", []
        for position, arg in enumerate(args):
            if arg.startswith("-") and len(arg) > 1:
                flag = arg if arg in lists else ""
            elif flag and args[position - 1] != flag:
                out.append(flag)
            out.append(arg)
        return out

    def _joined_numbers(self, args: list[str]) -> list[str]:
        vectors = self._flags("NUMBERS")
        joined: list[str] = []
        position = 0
        while position < len(args):
            joined.append(args[position])
            position += 1
            if joined[-1] in vectors:
                values: list[str] = []
                while position < len(args) and (not values or _NUMBER.fullmatch(args[position])):
                    values.append(args[position])
                    position += 1
                joined += [" ".join(values)] if values else []
        return joined


def config_options(config: type, *names: str) -> Callable:
    """Decorator: one option for every field of the configuration class that has flags, or for those named."""

    def decorate(function: Callable) -> Callable:
        for entry in reversed(dataclasses.fields(config)):
            if entry.metadata.get("flags") and (not names or entry.name in names):
                function = _option(entry)(function)
        return function

    return decorate


def from_options(config: type, values: dict) -> dict:
    """The configuration's fields among the parsed options, converted; raises ConfigError naming the option."""
    return {entry.name: values.pop(entry.name) for entry in dataclasses.fields(config) if entry.name in values}


def given(*names: str) -> list[str]:
    """Flags of those options of the running command that the user gave.

    Parameters
    ----------
    names : str
        Of the command's parameters.
    """
    ctx = click.get_current_context()
    return [
        max(param.opts, key=len) for param in ctx.command.params
        if param.name in names and ctx.get_parameter_source(param.name) == ParameterSource.COMMANDLINE
    ]  # fmt: skip


def model_options(
    proto_help: str = "The fp32 .tnnproto, or an .onnx.", model_help: str = "The fp32 .tnnmodel."
) -> Callable:
    """Decorator: the model of a command, by name or as two files; see :func:`chosen_model`."""

    def decorate(function: Callable) -> Callable:
        function = click.option("-m", "--model", metavar="FILE", help=model_help)(function)
        function = click.option("-p", "--proto", metavar="FILE", help=proto_help)(function)
        return click.argument("name", required=False, metavar="[MODEL]")(function)

    return decorate


def chosen_model(name: str | None, proto: str | None, model: str | None) -> tuple[PathLike, PathLike | None]:
    """The files of the model that the user means: .tnnproto and .tnnmodel, or an .onnx and None.

    Raises
    ------
    click.UsageError
        No model is given, or two.
    ModelFormatError
        There are no such files.
    """
    from tnnquant.pipeline.models import find_model

    if name is not None and (proto or model):
        raise click.UsageError(f"{name!r} is one model too many: give it alone, or -p and -m.")
    if name is not None:
        return find_model(name)
    if proto is None:
        raise click.UsageError("Missing option '-p' / '--proto', or the name of a model (an .onnx, or a TNN pair).")
    if model is None and not proto.lower().endswith(".onnx"):
        raise click.UsageError("Missing option '-m' / '--model'.")
    return proto, model


def device_option(help_text: str) -> Callable:
    """Decorator: ``--device`` of a command that asks what a device makes of models; None where it is not given."""
    help_text += " " + ", ".join(f"{code} {name}" for code, name in choice_codes("device").items()) + "."
    return click.option(
        "--device", "judged_on", default=None, metavar="DEVICE", help=help_text,
        callback=_or_default(_choice_callback("device"), None),
    )  # fmt: skip


#: The fields of the configuration that are a metric of the user's own.
METRIC_OPTIONS = ("metric", "lower_is_better")
#: The fields of the configuration that say how pictures become inputs.
PICTURE_OPTIONS = ("mean", "scale", "reverse_channel", "resize", "skip_bad")


def scoring_options(labels: str) -> Callable:
    """Options of a command that scores models on pictures: labels, output, preprocessing, threads, form of the result.

    Parameters
    ----------
    labels : str
        What ``--help`` says of ``--labels``, beside their default.
    """
    options = (
        click.option(
            "--labels", metavar="FILE",
            help=f"{labels} Default: class indices that begin the file names, if plausible.",
        ),
        click.option("--no-labels", is_flag=True, help="Do not take numbers that begin file names for classes."),
        click.option("--output", metavar="NAME", help="The output that holds the scores, if the model has several."),
        config_options(VerifyConfig, *METRIC_OPTIONS),
        config_options(QuantizeConfig, *PICTURE_OPTIONS),
        click.option(
            "--input-shape", multiple=True, metavar="NAME:N,C,H,W", help="Dims of an input, instead of those in the "
            "proto.",
        ),
        click.option(
            "--threads", type=int, default=None, metavar="N", help="Default: one per core; the result is the same."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON."),
    )  # fmt: skip

    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def own_metric(values: dict) -> Metric | None:
    """The metric of the user's own among the parsed options."""
    return VerifyConfig(**{name: values.pop(name) for name in METRIC_OPTIONS}).own_metric


def scoring_config(values: dict, input_shape: tuple[str, ...], labels: str | None, no_labels: bool) -> QuantizeConfig:
    """The configuration that :func:`scoring_options` give; raises UsageError for labels that are not to be used."""
    if labels and no_labels:
        raise click.UsageError("--labels gives the labels that --no-labels does without: leave one of them out.")
    return QuantizeConfig(**from_options(QuantizeConfig, values), input_dims=parse_input_shapes(input_shape))


def parse_input_shapes(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """``NAME:1,3,224,224`` (or with ``x``) as dims by input name."""
    shapes = {}
    for text in texts:
        name, colon, dims = text.rpartition(":")
        parts = [part for part in re.split(r"[,x ]", dims) if part]
        if not colon or not name or not parts or not all(part.isdecimal() and int(part) for part in parts):
            raise ConfigError(f"--input-shape is {text!r}, expected NAME:N,C,H,W")
        shapes[name] = tuple(int(part) for part in parts)
    return shapes


def _option(entry: dataclasses.Field) -> Callable:
    meta = entry.metadata
    kind = meta["choices"]
    help_text = meta["help"]
    callback = None
    if kind:
        codes = choice_codes(kind)
        help_text += " " + ", ".join(f"{code} {name}" for code, name in codes.items()) + f". Default: {entry.default}."
        callback = _choice_callback(kind)
    elif meta["metavar"] == "NUMBERS" and isinstance(entry.default, tuple):
        help_text += f" Default: {entry.default[0]:g}."
        callback = _vector_callback
    elif meta["metavar"] == "0|1":
        help_text += f" Default: {bool(entry.default):d}."
        callback = _bool_callback
    elif meta["metavar"] in _NUMBERS:
        callback = _number_callback(_NUMBERS[meta["metavar"]])
        help_text += "" if entry.default is None else f" Default: {entry.default:g}."
    elif meta["metavar"] == "PATTERNS":
        return click.option(
            *meta["flags"], entry.name, multiple=True, metavar=meta["metavar"], help=help_text,
            callback=lambda ctx, param, value: _split_patterns(value),
        )  # fmt: skip
    elif isinstance(entry.default, bool):
        return click.option(*meta["flags"], entry.name, is_flag=True, default=entry.default, help=help_text)
    return click.option(
        *meta["flags"], entry.name, default=None, metavar=meta["metavar"] or None, help=help_text,
        callback=_or_default(callback, entry.default),
    )


def _or_default(callback: Callable | None, default: Any) -> Callable:
    def convert(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
        if value is None:
            return default
        return callback(value, "/".join(param.opts)) if callback else value

    return convert


def _choice_callback(kind: str) -> Callable:
    return lambda value, what: parse_choice(kind, value, what)


def _vector_callback(value: str, what: str) -> tuple[float, ...]:
    from tnnquant.inputs import parse_vector

    return parse_vector(value, what)


def _number_callback(kind: type[int] | type[float]) -> Callable:
    def convert(value: str, what: str) -> float:
        try:
            return kind(value)
        except ValueError:
            expected = "a whole number" if kind is int else "a number"
            raise ConfigError(f"{what} is {value!r}, expected {expected}") from None

    return convert


def _split_patterns(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        return ()
    from tnnquant.graph.patterns import split_patterns

    return split_patterns(values)


def _bool_callback(value: str, what: str) -> bool:
    if value.strip() not in ("0", "1"):
        raise ConfigError(f"{what} is {value!r}, expected 0 or 1")
    return value.strip() == "1"
