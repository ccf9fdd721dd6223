"""The real example folder, from the package index."""

from __future__ import annotations

import pytest

from tnnquant.example.folder import Example, make_example


@pytest.fixture(scope="session")
def example(tmp_path_factory) -> Example:
    """A freshly made example folder."""
    return make_example(tmp_path_factory.mktemp("real") / "example")
