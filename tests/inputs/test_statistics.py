"""What was fed, and whether it is plausible."""

import numpy as np
import pytest

from tnnquant.inputs.config import InputConfig
from tnnquant.inputs.statistics import FedStatistics, pixel_statistics, plausibility_warning, tensor_statistics


def fed(low, high):
    statistics = FedStatistics()
    statistics.add(tensor_statistics(np.array([[low, high]], np.float32)))
    return statistics


def test_pixels(rng):
    pictures = rng.integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    mean, scale = np.float32([10, 20, 30]), np.float32([0.5, -2, 1])
    statistics = FedStatistics()
    for picture in pictures:
        statistics.add(pixel_statistics(picture), mean, scale)
    values = (pictures.astype(np.float64) - mean) * scale
    got = statistics.as_dict()
    assert got["items"] == 3
    np.testing.assert_allclose(got["lowest"], values.min((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(got["mean"], values.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(got["highest"], values.max((0, 1, 2)), rtol=1e-6)
    assert statistics.span == (values.min(), values.max())


def test_tensors(rng):
    values = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    statistics = FedStatistics()
    statistics.add(tensor_statistics(values))
    np.testing.assert_allclose(statistics.as_dict()["mean"], values.mean((0, 2, 3)), rtol=1e-5)
    many = FedStatistics()
    many.add(tensor_statistics(rng.standard_normal((1, 1000)).astype(np.float32)))
    assert len(many.as_dict()["lowest"]) == 1
    assert len(tensor_statistics(np.zeros(5, np.int32)).lowest) == 1


def test_nothing_fed():
    assert FedStatistics().as_dict() == {"items": 0, "lowest": [], "mean": [], "highest": []}
    assert plausibility_warning(FedStatistics(), InputConfig()) is None


@pytest.mark.parametrize(
    ("low", "high", "config", "message"),
    [
        (0, 255, {}, "pictures are fed as values of 0..255, raw, since neither mean nor scale is given"),
        (0, 1111, {"mean": (0.485, 0.456, 0.406), "scale": (4.4,)}, "the mean 0.485,0.456,0.406 looks as if meant for"),
        (-500, 500, {"mean": (127.5,), "scale": (4.0,)}, "trained on values that large; check the scale 4"),
        (0, 0.0039, {"scale": (1 / 65025,)}, "few models are trained on values that small"),
        (7, 7, {"scale": (0.5,)}, "every pixel of every picture is the same"),
    ],
)
def test_implausible(low, high, config, message):
    warning = plausibility_warning(fed(low, high), InputConfig(**config))
    assert message in warning
    assert "\n" not in warning
    assert plausibility_warning(fed(low, high), InputConfig(**config), is_normalized_inside=True) is None


@pytest.mark.parametrize(
    ("low", "high", "config"),
    [
        (-122.7, 151, {"mean": (104.006, 116.669, 122.679)}),
        (-1, 1, {"mean": (127.5,), "scale": (1 / 127.5,)}),
        (0, 1, {"scale": (1 / 255,)}),
        (-2.1, 2.64, {"mean": (123.675, 116.28, 103.53), "scale": (1 / 58.395, 1 / 57.12, 1 / 57.375)}),
        (0, 1, {}),
    ],
)
def test_plausible(low, high, config):
    assert plausibility_warning(fed(low, high), InputConfig(**config)) is None
