"""Scale and placement of pictures."""

import numpy as np
import pytest

from tnnquant.inputs.fit import Fit, fit_picture, plan_fit


@pytest.mark.parametrize(
    ("mode", "picture", "fit"),
    [
        ("stretch", (100, 300), Fit((50, 60), (50, 60), (0, 0))),
        ("crop", (100, 300), Fit((50, 150), (50, 60), (0, 0))),
        ("crop", (300, 100), Fit((180, 60), (50, 60), (0, 0))),
        ("crop", (100, 120), Fit((50, 60), (50, 60), (0, 0))),
        ("crop", (101, 100), Fit((61, 60), (50, 60), (0, 0))),
        ("letterbox", (100, 300), Fit((20, 60), (20, 60), (15, 0))),
        ("letterbox", (300, 100), Fit((50, 17), (50, 17), (0, 21))),
        ("letterbox", (100, 120), Fit((50, 60), (50, 60), (0, 0))),
        ("letterbox", (1, 60000), Fit((1, 60), (1, 60), (24, 0))),
        ("crop", (1, 60000), Fit((50, 3_000_000), (50, 60), (0, 0))),
    ],
)
def test_plans(mode, picture, fit):
    assert plan_fit(picture, (50, 60), mode) == fit


def test_a_picture_of_the_right_size_is_not_filtered(rng):
    pixels = rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)
    for mode in ("stretch", "crop", "letterbox"):
        got = fit_picture(pixels, plan_fit((50, 60), (50, 60), mode))
        assert np.shares_memory(got, pixels)
        np.testing.assert_array_equal(got, pixels)


def test_crop_takes_the_middle_without_filtering_where_the_scale_is_one(rng):
    pixels = rng.integers(0, 256, (50, 65, 3), dtype=np.uint8)
    got = fit_picture(pixels, plan_fit((50, 65), (50, 60), "crop"))
    np.testing.assert_array_equal(got, pixels[:, 2:62])
    assert got.flags.c_contiguous


def test_crop_is_the_middle_of_the_scaled_picture(rng):
    pixels = rng.integers(0, 256, (40, 90, 3), dtype=np.uint8)
    whole = fit_picture(pixels, Fit((20, 45), (20, 45), (0, 0)))
    got = fit_picture(pixels, plan_fit((40, 90), (20, 20), "crop"))
    np.testing.assert_array_equal(got, whole[:, 12:32])


def test_a_thread_of_a_picture():
    pixels = np.full((1, 60000, 1), 9, np.uint8)
    assert (fit_picture(pixels, plan_fit((1, 60000), (50, 60), "crop")) == 9).all()
