"""``--config FILE``: options from a TOML file, or from the report of an earlier run (``quantize --json``)."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from tnnquant.errors import ConfigError

__all__ = ["option"]

#: Under other names in a report.
_RENAMED = {"input_dims": "input_shape"}


def option() -> click.Option:
    """The option; what the file gives counts as long as the command line does not give it too."""
    return click.Option(
        ["--config", "config_file"], is_eager=True, expose_value=False, metavar="FILE", callback=_take,
        help="Options from a TOML file, or from the JSON report of an earlier run; those of the command line win.",
    )  # fmt: skip


def _take(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
    if path is None:
        return
    known = {entry.name: entry for entry in ctx.command.params if entry.expose_value and entry.name}
    values = dict(ctx.default_map or {})
    values_of_file, is_report = _read(path)
    for key, value in values_of_file.items():
        name = _RENAMED.get(key, key.replace("-", "_"))
        if name not in known:
            flags = {flag.lstrip("-").replace("-", "_"): entry.name for entry in known.values() for flag in entry.opts}
            name = flags.get(name) or name
        if name not in known and is_report and not value:
            continue  # a setting that is made from others, and was not
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ConfigError(f"{path}: {key!r} is no option of {ctx.command_path}{hint}")
        if value is not None:
            values[name] = _as_given(path, key, known[name], value)
    ctx.default_map = values


def _read(path: str) -> tuple[Mapping[str, Any], bool]:
    """The values of a file, and whether they are those of a report."""
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path!r}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        if text.lstrip().startswith("{"):
            found = json.loads(text)
            return _table(path, found["settings"] if isinstance(found.get("settings"), dict) else found), True
        return _table(path, tomllib.loads(text)), False
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"--config {path!r}: is neither TOML nor the JSON report of a run: {error}") from None


def _table(path: str, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, dict):
        raise ConfigError(f"--config {path!r}: holds {type(values).__name__}, expected names and values")
    return values


def _as_given(path: str, key: str, param: click.Parameter, value: Any) -> Any:
    """A value as it would stand on the command line."""
    if isinstance(param, click.Option) and param.is_flag:
        if not isinstance(value, bool):
            raise ConfigError(f"{path}: {key} is {value!r}, expected true or false")
        return value
    if isinstance(value, dict):  # dims by name
        return [f"{name}:{','.join(map(str, dims))}" for name, dims in value.items()]
    if isinstance(value, list):
        return list(map(str, value)) if param.multiple or param.nargs != 1 else ",".join(map(repr, value))
    if isinstance(value, bool):
        return str(int(value))
    return [str(value)] if param.multiple else str(value)
