"""The configuration: names and numbers of TNN's tool."""

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig, SearchConfig, VerifyConfig, parse_choice
from tnnquant.errors import ConfigError


def test_the_defaults_are_those_of_tnns_tool():
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
    with pytest.raises(ConfigError, match=rf"{field} is 'nonsense', expected one of [a-z]+, [a-z]"):
        QuantizeConfig(**{field: "nonsense"})


def test_admm_is_no_blob_method():
    with pytest.raises(ConfigError, match="'1'"):
        parse_choice("observer", "1", "-b")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (127.5, (127.5,)), (1, (1.0,)), ([1, 2, 3], (1.0, 2.0, 3.0)), (np.array([0.5, 2], np.float32), (0.5, 2.0)),
        ("1/2, 3", (0.5, 3.0)), (np.float32(0.25), (0.25,)),
    ],
)  # fmt: skip
def test_numbers_in_any_form(given, kept):
    config = QuantizeConfig(mean=given, scale=given)
    assert config.mean == config.scale == kept
    assert all(type(number) is float for number in config.mean)


@pytest.mark.parametrize("given", [None, [], ["x"], [1, None], float("nan"), [1, float("inf")], {"a": 1}])
def test_what_is_no_number(given):
    with pytest.raises(ConfigError, match=r"mean is .*, expected"):
        QuantizeConfig(mean=given)


def test_patterns_in_any_form():
    assert QuantizeConfig(exclude="conv1").exclude == ("conv1",)
    assert QuantizeConfig(exclude="a*, type:Add").exclude == ("a*", "type:Add")
    assert QuantizeConfig(include=["a", "b"]).include == ("a", "b")
    for given in (3, [3], None):
        with pytest.raises(ConfigError, match=r"exclude is .*, expected names or patterns of layers"):
            QuantizeConfig(exclude=given)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (VerifyConfig, "holdout", "0.2"),
        (VerifyConfig, "verify_pictures", None),
        (VerifyConfig, "verify_pictures", 1.5),
        (SearchConfig, "target_agreement", "98 %"),
        (SearchConfig, "time_budget", True),
    ],
)
def test_single_numbers(kind, field, value):
    with pytest.raises(ConfigError, match=f"{field} is .*, expected"):
        kind(**{field: value})
