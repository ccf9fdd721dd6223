"""The scales of a model as text, TOML or JSON: to be read, edited, and given to another run.

A table ``blobs`` holds one entry per int8 blob, with ``scale`` and ``zero_point``: one value, or one per channel::

    [blobs."conv1_relu"]
    scale = [0.0215, 0.0187]
    zero_point = [0, 0]

Scales are written with as many digits as float32 needs to come back the same.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tnnquant.base.tensor import QuantParams
from tnnquant.base.wording import parameter
from tnnquant.errors import ConfigError
from tnnquant.graph import Graph
from tnnquant.quantization.plan import QuantPlan

__all__ = ["read_scales", "scales_json", "scales_toml", "with_given_scales"]


def scales_json(graph: Graph) -> str:
    """The scales of a model's int8 blobs as JSON."""
    return json.dumps({"blobs": {name: _values(params) for name, params in graph.scales.items()}}, indent=1) + "\n"


def scales_toml(graph: Graph) -> str:
    """The scales of a model's int8 blobs as TOML."""
    tables = []
    for name, params in graph.scales.items():
        lines = [f"{key} = [{', '.join(map(repr, values))}]" for key, values in _values(params).items()]
        tables.append("\n".join([f"[blobs.{json.dumps(name)}]", *lines]))
    return "\n\n".join(tables) + "\n"


def _values(params: QuantParams) -> dict[str, list]:
    # str() of a float32 is the shortest decimal number that is read back as the same.
    return {"scale": [float(str(value)) for value in params.scale], "zero_point": params.zero_point.tolist()}


def read_scales(path: str | Path) -> dict[str, QuantParams]:
    """The scales in a file, by blob name.

    Raises
    ------
    ConfigError
        It cannot be read, is neither TOML nor JSON of the form above, or a value is out of range.
    """
    try:
        text = Path(path).read_text("utf-8")
        found = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{parameter('scales')} {str(path)!r}: cannot be read as TOML or JSON: {error}") from None
    blobs = found.get("blobs") if isinstance(found, dict) else None
    if not isinstance(blobs, dict) or not blobs:
        raise ConfigError(
            f"{parameter('scales')} {str(path)!r}: has no table 'blobs'; 'tnnquant export-scales' shows the form"
        )
    return {name: _params(f"{path}: blob {name!r}", entry) for name, entry in blobs.items()}


def _params(where: str, entry: Any) -> QuantParams:
    if not isinstance(entry, dict) or "scale" not in entry or set(entry) - {"scale", "zero_point"}:
        raise ConfigError(f"{where}: expected 'scale' and 'zero_point', found {entry!r:.80}")
    scale = _numbers(where, "scale", entry["scale"], float)
    zero_point = _numbers(where, "zero_point", entry.get("zero_point", [0] * len(scale)), int)
    if len(zero_point) != len(scale):
        raise ConfigError(f"{where}: {len(scale)} scales and {len(zero_point)} zero points, expected as many")
    with np.errstate(over="ignore"):
        scales = np.array(scale, np.float32)
    if not np.isfinite(scales).all() or (scales < 0).any():
        raise ConfigError(f"{where}: a scale is not a number from 0 on that float32 can hold")
    if any(not -128 <= value <= 127 for value in zero_point):
        raise ConfigError(f"{where}: a zero point is outside -128..127")
    return QuantParams(scales, np.array(zero_point, np.int8))


def _numbers(where: str, what: str, value: Any, kind: type) -> list:
    values = value if isinstance(value, list) else [value]
    allowed = (int,) if kind is int else (int, float)
    if not values or any(not isinstance(v, allowed) or isinstance(v, bool) for v in values):
        raise ConfigError(f"{where}: {what} is {value!r:.80}, expected {'integers' if kind is int else 'numbers'}")
    return values


def with_given_scales(
    plan: QuantPlan, found: Mapping[str, QuantParams], given: Mapping[str, QuantParams], path: str
) -> dict[str, QuantParams]:
    """The scales of observed blobs, those of a file in place of what the statistics say.

    Parameters
    ----------
    plan : QuantPlan
    found : mapping of str to QuantParams
        By observed blob.
    given : mapping of str to QuantParams
        Of the file; a blob that takes its scales from another may be there too, with the same values.
    path : str
        Of the file, for messages.

    Raises
    ------
    ConfigError
        A blob is not int8 in this model, has another number of scales, or must have those of another blob.
    """
    scales = dict(found)
    for name, params in given.items():
        if name not in plan.blobs:
            raise ConfigError(f"{path}: {name!r} is no int8 blob of this model; 'tnnquant export-scales' lists them")
        if name in scales:
            count = scales[name].scale.size
            if params.scale.size != count:
                raise ConfigError(f"{path}: blob {name!r} has {params.scale.size} scales, expected {count}")
            scales[name] = params
    for name, params in given.items():
        source = plan.takes_scale_of.get(name)
        if source is not None and source in scales and not _same(params, scales[source]):
            raise ConfigError(f"{path}: blob {name!r} takes the scales of {source!r}: give them there alone")
    return scales


def _same(a: QuantParams, b: QuantParams) -> bool:
    return np.array_equal(a.scale, b.scale) and np.array_equal(a.zero_point, b.zero_point)
