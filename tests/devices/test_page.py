"""docs/devices.md is what the tables say."""

from pathlib import Path

from tnnquant.devices.page import page

PAGE = Path(__file__).parent.parent.parent / "docs" / "devices.md"


def test_page_is_up_to_date():
    assert PAGE.read_text("utf-8") == page(), "run: python -m tnnquant.devices.page > docs/devices.md"
