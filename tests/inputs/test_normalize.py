"""From pixels to what the model is fed."""

import numpy as np
import pytest
from PIL import Image

from tnnquant.errors import ConfigError
from tnnquant.inputs.config import InputConfig
from tnnquant.inputs.normalize import PictureInput

MEAN, SCALE = (104.006, 116.669, 122.679, 3.3), (0.017, 1 / 3, -2.0, 0.5)


def formula(pixels, config, channels):
    """docs/tnn-format.md, 7.3, value by value."""
    out = np.empty((1, channels, *pixels.shape[:2]), np.float32)
    for c in range(channels):
        source = 2 - c if config.reverse_channel and channels >= 3 and c < 3 else c
        difference = pixels[..., source].astype(np.float32) - np.float32(config.mean[c])
        out[0, c] = difference * np.float32(config.scale[c])
    return out


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_the_formula_bit_for_bit(tmp_path, rng, channels, mode, reverse):
    pixels = rng.integers(0, 256, (5, 7, channels), dtype=np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(tmp_path / "a.png")
    config = InputConfig(mean=MEAN[:channels], scale=SCALE[:channels], reverse_channel=reverse)
    picture_input = PictureInput((1, channels, 5, 7), config)
    got = picture_input.feed(picture_input.read(tmp_path / "a.png"))
    assert (got.dtype, got.shape) == (np.float32, (1, channels, 5, 7))
    np.testing.assert_array_equal(got, formula(pixels, config, channels))
    assert got.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize(("mean", "padding"), [((10.0, 20.0, 30.0), (0, 0, 0)), ((0.0,), (57.0, 114.0, 11.4))])
def test_letterbox_is_padded_with_the_mean_or_grey(tmp_path, rng, mean, padding):
    pixels = rng.integers(0, 256, (4, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    config = InputConfig(mean=mean, scale=(0.5, 1, 0.1), resize="letterbox")
    picture_input = PictureInput((1, 3, 9, 8), config)
    got = picture_input.feed(picture_input.read(tmp_path / "a.png"))
    full = InputConfig(mean=mean * 3 if len(mean) == 1 else mean, scale=config.scale)
    np.testing.assert_array_equal(got[:, :, 2:6], formula(pixels, full, 3))
    for row in (0, 1, 6, 7, 8):
        np.testing.assert_allclose(got[0, :, row], np.repeat(np.array(padding)[:, None], 8, 1), rtol=1e-6)


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (50, 3), (20, 30)])
def test_any_picture_fills_the_input(tmp_path, rng, resize, size):
    Image.fromarray(np.full((*size, 3), 200, np.uint8)).save(tmp_path / "a.png")
    picture_input = PictureInput((1, 3, 10, 12), InputConfig(resize=resize))
    got = picture_input.feed(picture_input.read(tmp_path / "a.png"))
    assert got.shape == (1, 3, 10, 12)
    assert set(np.unique(got)) <= {200.0, 114.0}
    assert (got == 200).any()
    assert resize == "letterbox" or (got == 200).all()


def test_the_number_of_values_must_fit_the_channels():
    with pytest.raises(ConfigError, match="mean has 2 values"):
        PictureInput((1, 3, 4, 4), InputConfig(mean=(1.0, 2.0)))
    with pytest.raises(ConfigError, match="scale has 3 values"):
        PictureInput((1, 4, 4, 4), InputConfig(scale=(1.0, 2.0, 3.0)))


def test_what_tnn_feeds(shared):
    golden = np.load(shared / "golden/squeezenet/fp32.npz")["in"]
    config = InputConfig(mean=(104.006, 116.669, 122.679), reverse_channel=True)
    picture_input = PictureInput((1, 3, 227, 227), config)
    for file, want in zip(sorted((shared / "data/calibration-227").iterdir())[:8], golden, strict=True):
        np.testing.assert_array_equal(picture_input.feed(picture_input.read(file))[0], want)
    golden = np.load(shared / "golden/efficientnet_lite0/fp32.npz")["in"]
    picture_input = PictureInput((1, 3, 224, 224), InputConfig(mean=(127.0,), scale=(0.0078125,)))
    for file, want in zip(sorted((shared / "data/calibration-224").iterdir())[:8], golden, strict=True):
        np.testing.assert_array_equal(picture_input.feed(picture_input.read(file))[0], want)


def test_what_tnn_feeds_after_its_resize(shared):
    golden = np.load(shared / "golden/squeezenet/sizes-b0w0t1/resized.npz")["pixels"]
    picture_input = PictureInput((1, 3, 227, 227), InputConfig())
    files = sorted((shared / "data/calibration-sizes").iterdir())
    for file, want in zip(files, golden, strict=True):  # grey, RGBA and palette among them
        np.testing.assert_array_equal(picture_input.read(file).pixels, want, err_msg=file.name)
