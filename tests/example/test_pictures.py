"""The crops: how many, where, always the same."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from PIL import Image

from tnnquant.errors import TnnQuantError
from tnnquant.example.classify import class_names
from tnnquant.example.pictures import (
    _CROPS,
    CALIBRATION_COUNT,
    NAMED,
    _crop_boxes,
    calibration_pictures,
    named_pictures,
    read_photographs,
)


@pytest.fixture(scope="module")
def photographs() -> dict:
    """A gradient of 741 x 512 for every photograph."""
    rows, columns = np.mgrid[:512, :741]
    pixels = np.stack([rows // 2, columns // 3, (rows + columns) % 256], axis=2).astype(np.uint8)
    names = {*_CROPS, *(picture.photograph for picture in NAMED)}
    return {name: Image.fromarray(pixels) for name in sorted(names)}


def test_there_are_enough_different_calibration_pictures(photographs):
    pictures = dict(calibration_pictures(photographs))
    assert len(pictures) == CALIBRATION_COUNT >= 64
    chelsea = [np.asarray(picture).tobytes() for name, picture in pictures.items() if name.startswith("chelsea")]
    assert len(set(chelsea)) == len(chelsea) == 9


@pytest.mark.parametrize("size", [(512, 512), (451, 300), (300, 451), (100, 99)])
def test_crops_are_squares_inside_the_picture(size):
    boxes = list(_crop_boxes(*size, 10))
    # A box that comes twice is mirrored the second time.
    assert len({(box, i % 2) for i, box in enumerate(boxes)}) == 10
    for left, top, right, bottom in boxes:
        assert right - left == bottom - top >= min(size) // 2
        assert left >= 0
        assert top >= 0
        assert right <= size[0]
        assert bottom <= size[1]
    assert boxes == list(_crop_boxes(*size, 10))


def test_every_other_crop_is_mirrored(photographs):
    crops = [np.asarray(picture) for name, picture in calibration_pictures(photographs) if name.startswith("coffee")]
    # Columns grow to the right in the gradient.
    assert [bool(crop[0, 0, 1] < crop[0, -1, 1]) for crop in crops[:4]] == [True, False, True, False]


def test_named_pictures_are_cut_out_and_have_real_classes(photographs):
    pictures = dict(named_pictures(photographs))
    assert len(pictures) == len(NAMED) >= 5
    for entry in NAMED:
        left, top, right, bottom = entry.box
        assert pictures[f"{entry.name}.png"].size == (right - left, bottom - top)
        assert set(entry.classes) <= set(class_names())


def test_a_wheel_without_a_photograph_names_it(tmp_path):
    wheel = tmp_path / "scikit_image.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("skimage/data/astronaut.png", b"not a picture")
    with pytest.raises(TnnQuantError, match=r"scikit_image\.whl: photograph astronaut\.png cannot be read"):
        read_photographs(wheel)
    wheel.write_bytes(b"not a wheel")
    with pytest.raises(TnnQuantError, match="cannot be read"):
        read_photographs(wheel)
