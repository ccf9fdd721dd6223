"""The configuration: names and numbers of the original tool."""

import pytest

from tnnquant.config import QuantizeConfig, parse_choice
from tnnquant.errors import ConfigError


def test_the_defaults_are_those_of_the_original_tool():
    config = QuantizeConfig()
    assert (config.blob_method, config.weight_method, config.merge_type) == ("minmax", "minmax", "channel")
    assert (config.mean, config.scale, config.reverse_channel, config.resize) == ((0.0,), (1.0,), False, "stretch")


@pytest.mark.parametrize(("given", "name"), [(0, "channel"), ("1", "mix"), ("tensor", "tensor")])
def test_merge_types_by_number_and_by_name(given, name):
    assert QuantizeConfig(merge_type=given).merge_type == name


@pytest.mark.parametrize(("given", "name"), [(0, "minmax"), ("2", "kl"), ("kl", "kl")])
def test_blob_methods_by_number_and_by_name(given, name):
    assert QuantizeConfig(blob_method=given).blob_method == name


@pytest.mark.parametrize(("given", "name"), [(0, "minmax"), ("1", "admm"), ("admm", "admm")])
def test_weight_methods_by_number_and_by_name(given, name):
    assert QuantizeConfig(weight_method=given).weight_method == name


@pytest.mark.parametrize("field", ["blob_method", "weight_method", "merge_type", "resize"])
def test_an_unknown_choice_lists_the_known_ones(field):
    with pytest.raises(ConfigError, match=rf"{field} is 'nonsense', expected one of 0 \("):
        QuantizeConfig(**{field: "nonsense"})


def test_admm_is_no_blob_method():
    with pytest.raises(ConfigError, match="'1'"):
        parse_choice("observer", "1", "-b")
