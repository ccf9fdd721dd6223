"""Decoding: every kind of picture, as 1 to 4 channels."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tnnquant.errors import InputError
from tnnquant.inputs.config import PIXEL_LIMIT
from tnnquant.inputs.picture import FRAMES, ORIENTATION, read_picture


def read(path, channels, limit=PIXEL_LIMIT):
    return read_picture(path, channels, limit).pixels


def grey_of(rgb):
    wide = rgb.astype(int)
    return ((77 * wide[..., 0] + 150 * wide[..., 1] + 29 * wide[..., 2]) >> 8).astype(np.uint8)


def expected(pixels, channels):
    """uint8 (H, W, k) as ``channels``, in NumPy, by the rules of docs/tnn-format.md, 7.3."""
    k = pixels.shape[-1]
    rgb = pixels[..., :3] if k >= 3 else pixels[..., :1].repeat(3, axis=-1)
    grey = grey_of(rgb) if k >= 3 else pixels[..., 0]
    alpha = pixels[..., -1:] if k in (2, 4) else np.full((*pixels.shape[:2], 1), 255, np.uint8)
    colour = rgb if channels >= 3 else grey[..., None]
    return np.concatenate([colour, alpha], axis=-1) if channels in (2, 4) else colour


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (7, 11, 4), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("mode", "bands"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_png_of_8_bits(tmp_path, pixels, mode, bands, channels):
    path = tmp_path / "a b ü.png"
    Image.fromarray(pixels[..., :bands].squeeze(), mode).save(path)
    got = read(path, channels)
    np.testing.assert_array_equal(got, expected(pixels[..., :bands], channels))
    assert got.flags.c_contiguous
    assert got.flags.writeable


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_palettes(tmp_path, pixels, channels):
    image = Image.fromarray(pixels[..., :3]).quantize(200)
    looked_up = np.asarray(image.convert("RGB"))
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.bmp")
    for name in ("a.png", "a.bmp"):
        np.testing.assert_array_equal(read(tmp_path / name, channels), expected(looked_up, channels))
    # One palette entry transparent, then an opacity for each entry.
    for transparency in (3, bytes(range(200))):
        image.save(tmp_path / "t.png", transparency=transparency)
        indices = np.asarray(image)
        alpha = np.where(indices == 3, 0, 255) if transparency == 3 else indices
        with_alpha = np.concatenate([looked_up, alpha[..., None].astype(np.uint8)], axis=-1)
        np.testing.assert_array_equal(read(tmp_path / "t.png", channels), expected(with_alpha, channels))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_1_bit(tmp_path, pixels, channels, suffix):
    bits = pixels[..., 0] > 127
    Image.fromarray(bits).save(tmp_path / f"a.{suffix}")
    want = expected(np.where(bits, 255, 0).astype(np.uint8)[..., None], channels)
    np.testing.assert_array_equal(read(tmp_path / f"a.{suffix}", channels), want)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_high_byte_of_16_bit_grey(tmp_path, rng, channels):
    wide = rng.integers(0, 65536, (5, 6), dtype=np.uint16)
    wide[2, 2] = 258
    Image.fromarray(wide).save(tmp_path / "a.png")
    high = (wide >> 8).astype(np.uint8)[..., None]
    np.testing.assert_array_equal(read(tmp_path / "a.png", channels), expected(high, channels))
    (tmp_path / "t.png").write_bytes(with_chunk((tmp_path / "a.png").read_bytes(), b"tRNS", struct.pack(">H", 258)))
    alpha = np.where(wide == 258, 0, 255).astype(np.uint8)[..., None]
    want = expected(np.concatenate([high, alpha], axis=-1), channels)
    np.testing.assert_array_equal(read(tmp_path / "t.png", channels), want)


@pytest.mark.parametrize(("colour_type", "bands"), [(2, 3), (6, 4), (4, 2)])
def test_the_high_byte_of_16_bit_colour(tmp_path, rng, colour_type, bands):
    # Pillow cannot write these.
    wide = rng.integers(0, 65536, (3, 4, bands), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    (tmp_path / "a.png").write_bytes(png(4, 3, 16, colour_type, rows))
    for channels in (1, 2, 3, 4):
        want = expected((wide >> 8).astype(np.uint8), channels)
        np.testing.assert_array_equal(read(tmp_path / "a.png", channels), want)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_2_and_4_bits_is_spread_to_255(tmp_path, bits):
    row = bytes([0b00011011]) if bits == 2 else bytes([0x0F, 0x3A])
    (tmp_path / "a.png").write_bytes(png(4, 1, bits, 0, b"\0" + row))
    want = [0, 85, 170, 255] if bits == 2 else [0, 255, 51, 170]
    assert read(tmp_path / "a.png", 1).reshape(-1).tolist() == want


def test_a_transparent_colour(tmp_path, pixels):
    rgb = Image.fromarray(pixels[..., :3])
    rgb.save(tmp_path / "a.png", transparency=tuple(int(v) for v in pixels[2, 3, :3]))
    got = read(tmp_path / "a.png", 4)
    np.testing.assert_array_equal(got[..., :3], pixels[..., :3])
    assert (got[2, 3, 3], got[0, 0, 3]) == (0, 255)
    np.testing.assert_array_equal(read(tmp_path / "a.png", 3), pixels[..., :3])


def test_jpeg(tmp_path):
    smooth = np.add.outer(np.arange(32) * 3, np.arange(48) * 2)[..., None] + np.array([0, 20, 40])
    Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / "a.JPG", quality=95)
    for channels in (3, 4):
        assert np.abs(read(tmp_path / "a.JPG", channels)[..., :3].astype(int) - smooth).max() <= 8
    with Image.open(tmp_path / "a.JPG") as image:
        luma = np.asarray(image.convert("YCbCr"))[..., 0].astype(int)
    # Grey is the file's own Y, as in TNN, not made from R, G, B.
    for channels in (1, 2):
        assert np.abs(read(tmp_path / "a.JPG", channels)[..., 0].astype(int) - luma).max() <= 1
    Image.fromarray(smooth[..., 0].astype(np.uint8)).save(tmp_path / "grey.jpeg", quality=95)
    grey = read(tmp_path / "grey.jpeg", 3)
    assert np.abs(grey.astype(int) - smooth[..., :1]).max() <= 4
    assert (grey[..., 0] == grey[..., 2]).all()


def test_cmyk_jpeg(tmp_path):
    cmyk = np.zeros((16, 64, 4), np.uint8)
    for column, ink in enumerate([(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 255, 0), (40, 80, 120, 100)]):
        cmyk[:, 16 * column : 16 * column + 16] = ink
    Image.fromarray(cmyk, "CMYK").save(tmp_path / "a.jpg", quality=100, subsampling=0)
    want = [(255, 255, 255), (0, 255, 255), (255, 255, 0), (131, 106, 82)]
    got = read(tmp_path / "a.jpg", 3)[8, 8::16].astype(int)
    assert np.abs(got - np.array(want)).max() <= 3
    assert np.abs(read(tmp_path / "a.jpg", 1)[8, 8::16, 0].astype(int) - grey_of(np.array(want))).max() <= 3
    assert read(tmp_path / "a.jpg", 4)[0, 0].tolist() == [255, 255, 255, 255]


def test_bmp(tmp_path, pixels):
    Image.fromarray(pixels[..., :3]).save(tmp_path / "a.bmp")
    np.testing.assert_array_equal(read(tmp_path / "a.bmp", 3), pixels[..., :3])
    Image.fromarray(pixels[..., 0]).save(tmp_path / "g.bmp")
    np.testing.assert_array_equal(read(tmp_path / "g.bmp", 1), pixels[..., :1])


def test_the_content_decides_not_the_suffix(tmp_path, pixels):
    Image.fromarray(pixels[..., :3]).save(tmp_path / "a.png")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.png").read_bytes())
    np.testing.assert_array_equal(read(tmp_path / "a.jpg", 3), pixels[..., :3])


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_the_first_of_several_frames(tmp_path, pixels, kind):
    first = Image.fromarray(pixels[..., 0])
    first.save(tmp_path / "a.png", kind, save_all=True, append_images=[Image.fromarray(pixels[..., 1])])
    picture = read_picture(tmp_path / "a.png", 1, PIXEL_LIMIT)
    np.testing.assert_array_equal(picture.pixels[..., 0], pixels[..., 0])
    assert picture.notes == (FRAMES,)


def test_exif_orientation_is_noted_and_ignored(tmp_path, pixels):
    for order in "<>":
        entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
        exif = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1) + entry + bytes(4)
        for name in ("a.jpg", "a.png"):
            Image.fromarray(pixels[..., :3]).save(tmp_path / name, exif=b"Exif\0\0" + exif)
            picture = read_picture(tmp_path / name, 3, PIXEL_LIMIT)
            assert picture.pixels.shape == (7, 11, 3)
            assert picture.notes == (ORIENTATION,)
    Image.fromarray(pixels[..., :3]).save(tmp_path / "b.jpg", exif=b"Exif\0\0" + exif.replace(b"\0\x06", b"\0\x01"))
    assert read_picture(tmp_path / "b.jpg", 3, PIXEL_LIMIT).notes == ()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # pytest forgets the filters that are set on import
@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0" + b"\xff" * 4, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01"]
)
def test_damaged_exif_does_no_harm(tmp_path, pixels, exif):
    image = Image.fromarray(pixels[..., :3])
    image.save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    (tmp_path / "b.jpg").write_bytes(data[:2] + segment + data[2:])
    np.testing.assert_array_equal(read(tmp_path / "b.jpg", 3), read(tmp_path / "a.jpg", 3))


def test_a_missing_or_empty_file(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png: cannot be opened: No such file"):
        read(tmp_path / "gone.png", 3)
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match=r"a\.png: is empty \(0 bytes\)"):
        read(tmp_path / "a.png", 3)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(InputError, match=r"b\.png: (is no regular file|cannot be opened)"):
        read(tmp_path / "b.png", 3)


def test_links_that_lead_nowhere_are_named(tmp_path):
    for name, target in (("loop.png", "loop.png"), ("gone.png", "nowhere")):
        try:
            (tmp_path / name).symlink_to(tmp_path / target)
        except OSError:
            pytest.skip("no links here")
        with pytest.raises(InputError, match=rf"{name}: cannot be opened"):
            read(tmp_path / name, 3)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"RIFF\x10\0\0\0WEBPVP8 ", "is a WebP picture; expected JPEG, PNG or BMP"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
        (b"II*\0\x08\0\0\0", "is a TIFF picture"),
        (b"\0\0\0\x20ftypheic", "is a HEIF or AVIF picture"),
        (b"\0\0\0\x0cjP  \r\n", "is a JPEG 2000 picture"),
        (b"<!DOCTYPE html><html>", "is an HTML, XML or SVG file"),
        (b"%PDF-1.7", "is a PDF file"),
        (b"PK\x03\x04", "is a zip file"),
        (b"abc", r"is no picture: it begins with the bytes 61 62 63"),
    ],
)
def test_foreign_files_are_named(tmp_path, head, message):
    (tmp_path / "a.png").write_bytes(head)
    with pytest.raises(InputError, match=rf"a\.png: {message}"):
        read(tmp_path / "a.png", 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
def test_truncated_files(tmp_path, pixels, kind):
    stream = io.BytesIO()
    Image.fromarray(pixels[..., :3]).resize((64, 64)).save(stream, kind)
    data = stream.getvalue()
    for size in [*range(1, 40), *range(40, len(data) * 9 // 10, 97)]:
        (tmp_path / "a.png").write_bytes(data[:size])
        with pytest.raises(InputError, match=r"a\.png: (damaged|is no picture)") as error:
            read(tmp_path / "a.png", 3)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
def test_no_mutation_raises_anything_else(tmp_path, rng, pixels, kind):
    stream = io.BytesIO()
    Image.fromarray(pixels[..., :3]).save(stream, kind)
    refused = 0
    for _ in range(400):
        data = bytearray(stream.getvalue())
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            data[place] = rng.integers(0, 256)
        (tmp_path / "a.png").write_bytes(data)
        try:
            got = read(tmp_path / "a.png", int(rng.integers(1, 5)), 10_000)
            assert got.dtype == np.uint8
        except InputError:
            refused += 1
    assert refused > 20


def test_bombs_are_refused_before_decoding(tmp_path):
    # 40 000 x 40 000 pixels in a few bytes.
    (tmp_path / "a.png").write_bytes(png(40_000, 40_000, 8, 2, b""))
    with pytest.raises(InputError, match="is 40000x40000 = 1600000000 pixels, more than the limit of 100000000"):
        read(tmp_path / "a.png", 3)
    (tmp_path / "b.png").write_bytes(png(2_000_000_000, 1, 1, 0, b""))
    with pytest.raises(InputError, match=r"is 2000000000x1 pixels; no side may exceed 65535"):
        read(tmp_path / "b.png", 3)
    Image.new("L", (30, 40)).save(tmp_path / "c.png")
    with pytest.raises(InputError, match=r"is 30x40 = 1200 pixels, more than the limit of 1199"):
        read(tmp_path / "c.png", 1, 1199)
    assert read(tmp_path / "c.png", 1, 1200).shape == (40, 30, 1)


def test_a_text_bomb(tmp_path):
    Image.new("L", (3, 3)).save(tmp_path / "a.png")
    text = b"Comment\0\0" + zlib.compress(bytes(1 << 26))
    (tmp_path / "a.png").write_bytes(with_chunk((tmp_path / "a.png").read_bytes(), b"zTXt", text))
    with pytest.raises(InputError, match="damaged PNG"):
        read(tmp_path / "a.png", 1)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, bits, colour_type, rows):
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def with_chunk(data, kind, content):
    at = data.index(b"IDAT") - 4
    return data[:at] + chunk(kind, content) + data[at:]
