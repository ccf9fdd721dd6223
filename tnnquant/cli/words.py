"""The words of the command line: parameters are named by their options."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from tnnquant.base.wording import Words

__all__ = ["OptionWords"]

#: Parameters of functions whose options are not called like them.
_OPTIONS = {
    "after": "--stats-only --from-stats",
    "fp32": "--against",
    "gather": "--scheduler",
    "input_dims": "--input-shape",
    "inputs": "-i",
    "kernel": "--file",
    "model": "-m",
    "plugin": "--plugin",
    "proto": "-p",
    "statistics": "--from-stats",
}


class OptionWords(Words):
    """``holdout`` is ``--holdout``, ``mean`` is ``-n``."""

    @cached_property
    def _flags(self) -> Mapping[str, str]:
        """The first flag of every field of the configurations; the others are options of their own name."""
        from tnnquant.config import QuantizeConfig, SearchConfig, VerifyConfig

        configs = (QuantizeConfig, VerifyConfig, SearchConfig)
        fields = (field for config in configs for field in dataclasses.fields(config))
        return {field.name: field.metadata["flags"][0] for field in fields if field.metadata.get("flags")}

    def parameter(self, name: str) -> str:
        return _OPTIONS.get(name) or self._flags.get(name) or "--" + name.replace("_", "-")

    def given(self, name: str, value: Any) -> str:
        flag = self.parameter(name)
        if value is True and not flag.startswith("-r"):
            return flag
        text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        return f"{flag} {shlex.quote(text)}"

    def dims_of(self, name: str, dims: Sequence[int] | None) -> str:
        return f"{self.parameter('input_dims')} {name}:{'N,C,H,W' if dims is None else ','.join(map(str, dims))}"

    def choices(self, codes: Mapping[int, str]) -> str:
        return ", ".join(f"{code} ({name})" for code, name in codes.items())
