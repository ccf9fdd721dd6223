"""What made a page."""

import pytest

from tnnquant.errors import ConfigError
from tnnquant.inspect.made import made_now


def test_the_date_can_be_given(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    made = made_now(["tnnquant", "inspect", "a b"], "a processor")
    assert made.date == "1970-01-02 00:00 UTC"
    assert made.command == "tnnquant inspect 'a b'"
    assert made.versions[0].startswith("tnnquant ")
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert made_now().date > "2020"


@pytest.mark.parametrize("value", ["", "soon", "9" * 30])
def test_other_dates_are_refused(monkeypatch, value):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    with pytest.raises(ConfigError, match="SOURCE_DATE_EPOCH"):
        made_now()
