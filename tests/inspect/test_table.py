"""The layers as CSV."""

import csv
import io

from tnnquant.inspect.summary import summarize
from tnnquant.inspect.table import COLUMNS, ERROR_COLUMNS, csv_text


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
