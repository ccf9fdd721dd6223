"""What a configuration means for files: where results go, what is fed, what a report says of it."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from tnnquant.base.wording import parameter
from tnnquant.config import QuantizeConfig
from tnnquant.errors import OutputError
from tnnquant.format.constants import MODEL_SUFFIX, PROTO_SUFFIX
from tnnquant.graph import Graph, InputSpec
from tnnquant.inputs import InputConfig

__all__ = ["graph_inputs", "input_config", "output_paths", "settings"]

PathLike = str | os.PathLike


def output_paths(output: PathLike) -> tuple[Path, Path]:
    """Where the results go; raises OutputError if the folder does not exist or cannot be written."""
    base = Path(output)
    folder = base.parent
    # Who writes a file name means the model: small.tnnproto is no small.tnnproto_quantized.tnnproto.
    name = base.name.removesuffix(PROTO_SUFFIX).removesuffix(MODEL_SUFFIX) or base.name
    if not base.name or str(output).endswith(("/", os.sep)):
        raise OutputError(
            f"{parameter('output')} is {str(output)!r}, expected a name, optionally after a folder that exists"
        )
    if not folder.is_dir():
        raise OutputError(f"the output folder {str(folder)!r} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the output folder {str(folder)!r} cannot be written")
    proto, model = (folder / f"{name}_quantized{suffix}" for suffix in (PROTO_SUFFIX, MODEL_SUFFIX))
    for path in (proto, model):
        if path.is_dir():
            raise OutputError(f"{str(path)!r} is a folder; choose another {parameter('output')}")
    return proto, model


def graph_inputs(graph: Graph, config: QuantizeConfig) -> dict[str, InputSpec]:
    """The model's inputs with the overridden dims."""
    dims = config.input_dims
    return {name: InputSpec(tuple(dims.get(name, spec.dims)), spec.dtype) for name, spec in graph.inputs.items()}


def input_config(config: QuantizeConfig) -> InputConfig:
    """The preprocessing part of a configuration."""
    return InputConfig(
        mean=config.mean,
        scale=config.scale,
        reverse_channel=config.reverse_channel,
        resize=config.resize,
        skip_bad=config.skip_bad,
    )


def settings(config: QuantizeConfig) -> dict:
    """The configuration as JSON types."""
    values = asdict(config)
    values["merge_type"] = str(values["merge_type"])
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
