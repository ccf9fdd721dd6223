"""What programs read: the layers as CSV, and JSON."""

import csv
import io
import json

import numpy as np

from tnnquant.inspect.summary import summarize
from tnnquant.inspect.table import COLUMNS, ERROR_COLUMNS, csv_text, json_text


def test_columns_and_values(inspected, quantized):
    rows = list(csv.DictReader(io.StringIO(csv_text(summarize(inspected)))))
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["name"] == "stem"
    assert rows[0]["dims"] == "1x8x16x12"
    assert rows[0]["weight_dtype"] == "FLOAT"
    assert rows[0]["output_scales"] == ""
    rows = list(csv.DictReader(io.StringIO(csv_text(summarize(quantized), {"stem": {"rank_isolated": 1}}))))
    assert tuple(rows[0]) == COLUMNS + ERROR_COLUMNS
    assert rows[0]["output_scales"] == "8"
    assert float(rows[0]["output_high"]) == -float(rows[0]["output_low"])
    assert rows[0]["rank_isolated"] == "1"
    assert rows[1]["rank_isolated"] == ""


def test_what_is_no_number_is_null(inspected):
    inspected.node("left").tensors["filter"].data.flat[7] = np.nan
    text = json_text(summary=summarize(inspected))
    row = next(row for row in json.loads(text)["summary"]["layers"] if row["name"] == "left")
    assert row["weights"]["low"].count(None) == row["weights"]["high"].count(None) == 1
    assert "NaN" not in text.replace("that are NaN or infinite", "")
