"""BlobScale is a resource, not a layer."""

from __future__ import annotations

import pytest

from tnnquant.errors import UnsupportedLayerError
from tnnquant.layers.base import find_layer


def test_is_known_and_refused():
    kind = find_layer("BlobScale")
    assert kind.TYPE_ID == 600
    assert not kind.runnable()
    with pytest.raises(UnsupportedLayerError, match=r"BlobScale cannot be run: .* resource"):
        kind().forward([], None)
