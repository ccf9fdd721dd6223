"""What an inspection found, for programs: JSON, and the layers as CSV. The schema is explained in docs/inspect.md."""

from __future__ import annotations

import csv
import io
import json
from math import isfinite
from typing import Any

import numpy as np

from tnnquant.inspect.summary import BlobRow, LayerRow, Summary

__all__ = ["COLUMNS", "ERROR_COLUMNS", "SCHEMA", "csv_text", "json_text", "layer_values"]

SCHEMA = "tnnquant.inspect/1"
"""The number rises when a field changes its meaning or goes; new fields may come without notice."""

COLUMNS = (
    "index", "name", "type", "output", "dims", "precision", "planned", "reason", "parameters", "bytes", "macs",
    "weight_dtype", "weight_channels", "weight_spread", "weight_saturated", "weight_unused_levels",
    "output_scales", "output_scale_min", "output_scale_max", "output_zero_point_min", "output_zero_point_max",
    "output_low", "output_high", "output_dead_channels",
)  # fmt: skip
#: Added when errors were measured.
ERROR_COLUMNS = (
    "isolated_sqnr_db", "weights_sqnr_db", "activations_sqnr_db", "cumulative_sqnr_db", "isolated_cosine",
    "cumulative_cosine", "isolated_rmse_steps", "cumulative_rmse_steps", "rank_isolated", "rank_cumulative",
)  # fmt: skip


def layer_values(row: LayerRow, blob: BlobRow | None) -> dict:
    """One layer, by column; None where a column does not apply.

    Parameters
    ----------
    row : LayerRow
    blob : BlobRow or None
        Its first output.
    """
    values = dict.fromkeys(COLUMNS)
    values |= {
        "index": row.index, "name": row.name, "type": row.type, "output": row.outputs[0] if row.outputs else "",
        "dims": "x".join(map(str, row.dims)), "precision": row.precision.stored, "planned": row.precision.planned,
        "reason": row.precision.problem or row.precision.reason, "parameters": row.parameters, "bytes": row.bytes,
        "macs": row.macs,
    }  # fmt: skip
    weights = row.weights
    if weights is not None:
        values |= {"weight_dtype": weights.dtype, "weight_channels": weights.channels,
                   "weight_spread": round(weights.spread, 3)}  # fmt: skip
        if weights.usage is not None:
            values["weight_saturated"] = round(float(weights.usage.saturated.mean()), 6)
            values["weight_unused_levels"] = round(float(np.median(weights.usage.unused)), 1)
    if blob is not None and blob.params is not None and blob.range is not None:
        scale, zero = blob.params.scale, blob.params.zero_point
        low, high = blob.range
        values |= {
            "output_scales": scale.size, "output_scale_min": f"{scale.min():.7g}",
            "output_scale_max": f"{scale.max():.7g}", "output_zero_point_min": int(zero.min()),
            "output_zero_point_max": int(zero.max()), "output_low": f"{low:.7g}", "output_high": f"{high:.7g}",
            "output_dead_channels": blob.dead,
        }  # fmt: skip
    return values


def csv_text(summary: Summary, errors: dict[str, dict] | None = None) -> str:
    """All layers as CSV with a header line, in the order of the file.

    Parameters
    ----------
    summary : Summary
    errors : dict of str to dict, optional
        Values of :data:`ERROR_COLUMNS` by layer name.
    """
    blobs = {row.name: row for row in summary.blobs}
    columns = COLUMNS + (ERROR_COLUMNS if errors is not None else ())
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in summary.layers:
        values = layer_values(row, blobs.get(row.outputs[0]) if row.outputs else None)
        writer.writerow({**values, **(errors or {}).get(row.name, {})})
    return text.getvalue()


def json_text(**parts: Any) -> str:
    """The parts that are not None as one JSON object: each has an ``as_dict``, or is a dict of such, or is plain."""
    body = {name: _finite(_plain(part)) for name, part in parts.items() if part is not None}
    return json.dumps({"schema": SCHEMA, **body}, indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity, broken models have: null stands for them."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _plain(part: Any) -> Any:
    if hasattr(part, "as_dict"):
        return part.as_dict()
    return {key: _plain(value) for key, value in part.items()} if isinstance(part, dict) else part
