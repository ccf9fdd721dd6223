"""Statistics of a part of the samples."""

import pytest

import tnnquant
from tnnquant.errors import ConfigError


def test_there_is_something_to_make_them_of(inspected_files, tmp_path):
    pair = f"{inspected_files}.tnnproto", f"{inspected_files}.tnnmodel"
    with pytest.raises(ConfigError, match=r"give one of them"):
        tnnquant.collect_statistics(*pair, None, tmp_path / "part.npz")
    assert not (tmp_path / "part.npz").exists()
