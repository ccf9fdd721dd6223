"""Pictures as the model sees them."""

import io

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from tnnquant.errors import OutputError
from tnnquant.graph import InputSpec
from tnnquant.inputs import InputConfig, Samples, save_preview, scan


@pytest.fixture
def folder(tmp_path, rng):
    (tmp_path / "in").mkdir()
    pixels = rng.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / "in" / f"{number}.png")
    return tmp_path, pixels


@pytest.mark.parametrize("reverse", [False, True])
def test_the_pixels_come_back(folder, reverse):
    path, pixels = folder
    config = InputConfig(mean=(104.006, 116.669, 122.679), scale=(1 / 58, 0.5, -2), reverse_channel=reverse)
    samples = Samples(scan(path / "in"), {"a/b": InputSpec((1, 3, 4, 5))}, config)
    written = save_preview(samples, path, 2)
    assert [file.name for file in written] == ["0000_a_b.png", "0001_a_b.png"]
    for file, want in zip(written, pixels, strict=False):
        np.testing.assert_array_equal(iio.imread(file), want)


def test_batches_and_grey(folder):
    path, _ = folder
    samples = Samples(scan(path / "in"), {"x": InputSpec((2, 1, 4, 5))})
    written = save_preview(samples, path)
    assert [file.name for file in written] == ["0000-0_x.png", "0000-1_x.png", "0001-0_x.png"]
    assert iio.imread(written[0]).shape == (4, 5)


def test_no_folder(folder):
    path, _ = folder
    samples = Samples(scan(path / "in"), {"x": InputSpec((1, 3, 4, 5))})
    with pytest.raises(OutputError, match=r"cannot be written"):
        save_preview(samples, path / "nowhere")


def test_tensors_have_no_preview(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((1, 3)))
    assert save_preview(Samples(scan(tmp_path), {"x": InputSpec((1, 3))}), tmp_path) == []


def test_thumbnails_and_the_contact_sheet(tmp_path):
    from tnnquant.inputs.preview import contact_sheet, thumbnail

    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (20, 10), (200, 100, 40 * i)).save(folder / f"{i}.png")
    samples = Samples(scan(folder), {"x": InputSpec((1, 3, 10, 20))}, InputConfig(reverse_channel=True))
    sample = next(iter(samples))
    png, width, height = thumbnail(sample.arrays["x"], samples.picture_inputs()["x"], 8)
    assert (width, height) == (8, 4)
    assert Image.open(io.BytesIO(png)).getpixel((3, 2)) == (200, 100, 0)
    png, count = contact_sheet(samples, columns=2)
    assert count == 3
    (tmp_path / "sheet.png").write_bytes(png)
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size == (48, 28)
    assert sheet.getpixel((30, 8)) == (200, 100, 40)
