"""The registry of weight methods."""

import pytest

from tnnquant.errors import ConfigError
from tnnquant.weights import method_codes
from tnnquant.weights.base import REGISTRY


def test_numbers_of_the_methods():
    assert method_codes() == {0: "minmax", 1: "admm", 3: "asymmetric"}


def test_an_unknown_method():
    with pytest.raises(ConfigError, match=r"no weight method 'adm' \(did you mean admm\?\); known: minmax, admm, asym"):
        REGISTRY.find("adm")
