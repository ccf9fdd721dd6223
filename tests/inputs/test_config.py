"""The preprocessing parameters."""

import math
import subprocess
import sys

import pytest

from tnnquant.config import RESIZE_MODES
from tnnquant.errors import ConfigError
from tnnquant.inputs import InputConfig
from tnnquant.inputs.config import FIT_MODES


def test_the_defaults_are_those_of_tnns_tool():
    config = InputConfig()
    assert (config.mean, config.scale, config.reverse_channel, config.resize) == ((0.0,), (1.0,), False, "stretch")
    assert config.skip_bad is False


def test_the_modes_are_those_of_the_command_line():
    assert FIT_MODES == RESIZE_MODES


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": (math.nan,)}, "mean is nan, expected a finite number"),
        ({"mean": (0, math.inf)}, "mean is inf"),
        ({"scale": (1e39,)}, r"scale is 1e\+39, expected a finite number that float32 can hold"),
        ({"scale": (1, 0, 1)}, "scale is 0"),
        ({"scale": (1e-60,)}, "too small for float32"),
        ({"resize": "zoom"}, "resize is 'zoom', expected one of stretch, crop, letterbox"),
        ({"pixel_limit": 0}, "pixel_limit is 0"),
        ({"cache_bytes": -1}, "cache_bytes is -1"),
    ],
)
def test_impossible_values(values, message):
    with pytest.raises(ConfigError, match=message):
        InputConfig(**values)


def test_importing_the_package_imports_no_heavy_library():
    code = (
        "import sys, tnnquant.inputs as i; i.scan; i.parse_vector('1', ''); i.InputConfig();"
        "print([m for m in ('numpy', 'PIL', 'imageio', 'numba') if m in sys.modules]);"
        "i.Samples; print([m for m in ('PIL', 'imageio', 'numba') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split("\n")[:2] == ["[]", "[]"]
