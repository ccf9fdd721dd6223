"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20261123)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and golden results beside the repository; tests that need it skip without it."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip(f"needs the folder of golden files {folder}, which is not part of the repository")
    return folder
