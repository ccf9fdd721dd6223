"""Samples: order, passes, batches, bad files, threads, memory."""

import threading

import numpy as np
import pytest
from PIL import Image

from tnnquant.base.tensor import DataType
from tnnquant.errors import ConfigError, InputError
from tnnquant.graph import InputSpec
from tnnquant.inputs import InputConfig, Samples, loading, scan
from tnnquant.inputs.loading import _AROUND

SPECS = {"data": InputSpec((1, 3, 4, 5))}


@pytest.fixture
def pictures(tmp_path, rng):
    """Seven pictures 0.png .. 6.png of the right size, and their pixels (7, 4, 5, 3)."""
    pixels = rng.integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    return pixels


@pytest.fixture
def reads(monkeypatch):
    """Names of the sources that were read from disk."""
    read = []
    load = loading.Loader.load
    monkeypatch.setattr(loading.Loader, "load", lambda self, source: read.append(source.name) or load(self, source))
    return read


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("tnnquant-inputs")]


def nchw(pixels):
    return pixels.astype(np.float32).transpose(0, 3, 1, 2)


def test_every_pass_gives_the_same_samples_in_order(tmp_path, pictures, reads):
    samples = Samples(scan(tmp_path), SPECS)
    assert len(samples) == 7
    for _ in range(2):
        got = list(samples)
        assert [sample.name for sample in got] == [f"{n}.png" for n in range(7)]
        np.testing.assert_array_equal(np.concatenate([sample.arrays["data"] for sample in got]), nchw(pictures))
        got[0].arrays["data"][:] = 9  # the receiver's own
    assert sorted(reads) == [f"{n}.png" for n in range(7)]  # the second pass decodes nothing
    assert samples.fed == 7
    assert workers() == []


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_number_of_threads_changes_nothing(tmp_path, pictures, threads):
    got = list(Samples(scan(tmp_path), SPECS, workers=threads))
    np.testing.assert_array_equal(np.concatenate([sample.arrays["data"] for sample in got]), nchw(pictures))


def test_the_cache_is_bounded(tmp_path, pictures, reads):
    samples = Samples(scan(tmp_path), SPECS, InputConfig(cache_bytes=3 * (60 + _AROUND) + 59))
    for _ in range(2):
        np.testing.assert_array_equal(
            np.concatenate([sample.arrays["data"] for sample in samples]), nchw(pictures)
        )
    assert len(reads) == 7 + 4


def test_decoding_runs_only_a_few_files_ahead(tmp_path, pictures, reads):
    iterator = iter(Samples(scan(tmp_path), SPECS, workers=1))
    next(iterator)
    iterator.close()
    assert len(reads) <= 4
    assert workers() == []


def test_threads_end_when_the_loop_is_left(tmp_path, pictures):
    samples = Samples(scan(tmp_path), SPECS, workers=2)
    for _ in samples:
        assert workers()
        break
    assert workers() == []
    with pytest.raises(ZeroDivisionError):
        [1 / len(sample.name[9:]) for sample in samples]
    assert workers() == []
    first, second = iter(samples), iter(samples)  # two at once
    assert next(first).name == next(second).name == "0.png"
    del first, second
    assert workers() == []


def test_a_bad_file_stops_at_its_place(tmp_path, pictures):
    (tmp_path / "3.png").write_bytes(b"")
    samples = Samples(scan(tmp_path), SPECS)
    seen = []
    with pytest.raises(InputError, match=r"3\.png: is empty \(0 bytes\) \(skip_bad=True skips files"):
        seen.extend(sample.name for sample in samples)
    assert seen == ["0.png", "1.png", "2.png"]
    assert workers() == []


def test_bad_files_are_skipped_and_counted(tmp_path, pictures, reads):
    (tmp_path / "3.png").write_bytes(b"")
    (tmp_path / "5.png").write_bytes((tmp_path / "5.png").read_bytes()[:60])
    samples = Samples(scan(tmp_path), SPECS, InputConfig(skip_bad=True, mean=(1.0,)))
    for _ in range(2):
        assert [sample.name[0] for sample in samples] == list("01246")
    assert len(samples) - len(samples.skipped) == samples.fed == 5
    assert "3.png: is empty" in samples.skipped[0]
    assert "5.png: damaged PNG" in samples.skipped[1]
    assert reads.count("3.png") == 1
    assert samples.warnings()[0].startswith("2 of 7 calibration files cannot be used and were skipped: ")


def test_no_usable_file(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"junk")
    with pytest.raises(InputError, match=r"none of the 2 calibration files can be used: .*a\.png: is no picture"):
        list(Samples(scan(tmp_path), SPECS, InputConfig(skip_bad=True)))


def test_a_file_that_vanishes_between_passes(tmp_path, pictures):
    samples = Samples(scan(tmp_path), SPECS, InputConfig(skip_bad=True, cache_bytes=0))
    list(samples)
    (tmp_path / "2.png").unlink()
    with pytest.raises(InputError, match=r"2\.png: cannot be opened.*\(it was read before: it changed or vanished"):
        list(samples)


def test_check_reads_everything_once(tmp_path, pictures, reads):
    samples = Samples(scan(tmp_path), SPECS)
    samples.check()
    assert len(list(samples)) == 7
    assert len(reads) == 7


def test_tensors_and_pictures_together(tmp_path, pictures, rng):
    values = rng.standard_normal((2, 1, 3, 4, 5)).astype(np.float32)
    np.save(tmp_path / "7.npy", values[0])
    (tmp_path / "8.txt").write_text("\n".join(map(repr, values[1].reshape(-1).tolist())))
    got = list(Samples(scan(tmp_path), SPECS, InputConfig(mean=(5.0,))))
    np.testing.assert_array_equal(got[6].arrays["data"], nchw(pictures[6:]) - 5)
    for sample, want in zip(got[7:], values, strict=True):  # as they are: no mean
        np.testing.assert_array_equal(sample.arrays["data"], want)
        assert sample.arrays["data"].transpose(0, 2, 3, 1).flags.c_contiguous
        assert sample.arrays["data"].flags.writeable


def test_several_inputs(tmp_path, rng):
    specs = {"img": InputSpec((1, 3, 4, 5)), "ids": InputSpec((1, 6), DataType.INT32)}
    pixels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.img.png")
    (tmp_path / "a.ids.txt").write_text("1 2 3 4 5 6")
    np.savez(tmp_path / "b.npz", img=pixels.transpose(2, 0, 1), ids=np.arange(6))
    first, second = Samples(scan(tmp_path), specs)
    for sample in (first, second):
        assert list(sample.arrays) == ["img", "ids"]
        np.testing.assert_array_equal(sample.arrays["img"], nchw(pixels[None]))
        assert (sample.arrays["ids"].dtype, sample.arrays["ids"].shape) == (np.int32, (1, 6))
    assert (first.name, second.name) == ("a", "b.npz")
    assert first.arrays["ids"].tolist() == [[1, 2, 3, 4, 5, 6]]


def test_batches_of_consecutive_pictures(tmp_path, pictures):
    samples = Samples(scan(tmp_path), {"data": InputSpec((3, 3, 4, 5))}, InputConfig(scale=(0.5,)))
    assert len(samples) == 3
    for _ in range(2):
        got = list(samples)
        assert [(sample.name, sample.fresh) for sample in got] == [
            ("0.png .. 2.png", 3), ("3.png .. 5.png", 3), ("6.png", 1),
        ]  # fmt: skip
        order = [0, 1, 2, 3, 4, 5, 6, 0, 1]  # the first ones complete the last batch
        np.testing.assert_array_equal(
            np.concatenate([sample.arrays["data"] for sample in got]), nchw(pictures[order]) / 2
        )
        assert got[2].arrays["data"].transpose(0, 2, 3, 1).flags.c_contiguous
    assert samples.warnings() == ["the last batch of 3 was completed with the first 2 items again"]
    assert samples.statistics()["data"]["items"] == 7


def test_fewer_pictures_than_a_batch(tmp_path, pictures):
    (sample,) = Samples(scan(tmp_path), {"data": InputSpec((16, 3, 4, 5))})
    order = [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1]
    np.testing.assert_array_equal(sample.arrays["data"], nchw(pictures[order]))
    assert sample.fresh == 7


def test_batches_of_tensors(tmp_path, rng):
    values = rng.standard_normal((5, 2)).astype(np.float32)
    np.save(tmp_path / "a.npy", values[:2])
    np.save(tmp_path / "b.npy", values[2])
    np.save(tmp_path / "c.npy", values[3:])
    samples = Samples(scan(tmp_path), {"x": InputSpec((2, 2))})
    got = np.concatenate([sample.arrays["x"] for sample in samples])
    np.testing.assert_array_equal(got, values[[0, 1, 2, 3, 4, 0]])
    assert len(samples) == 3


def test_rows_of_several_inputs_must_agree(tmp_path):
    specs = {"a": InputSpec((2, 3)), "b": InputSpec((2, 4))}
    np.savez(tmp_path / "x.npz", a=np.zeros((2, 3)), b=np.zeros(4))
    with pytest.raises(InputError, match=r"x\.npz: its inputs hold different numbers of rows of the batch: a 2, b 1"):
        list(Samples(scan(tmp_path), specs))


def test_inputs_of_different_first_dims_are_not_packed(tmp_path):
    specs = {"a": InputSpec((2, 3)), "b": InputSpec((5, 4))}
    np.savez(tmp_path / "x.npz", a=np.zeros((2, 3)), b=np.zeros((5, 4)))
    (sample,) = Samples(scan(tmp_path), specs)
    assert sample.arrays["b"].shape == (5, 4)


def test_what_was_fed(tmp_path, pictures):
    samples = Samples(scan(tmp_path), SPECS, InputConfig(mean=(1, 2, 3), scale=(0.01,), reverse_channel=True))
    for _ in range(2):
        list(samples)
    values = (pictures[..., ::-1].astype(float) - [1, 2, 3]) * 0.01
    got = samples.statistics()["data"]
    assert got["items"] == 7
    for name, want in (("lowest", values.min((0, 1, 2))), ("mean", values.mean((0, 1, 2))),
                       ("highest", values.max((0, 1, 2)))):  # fmt: skip
        np.testing.assert_allclose(got[name], want, rtol=1e-5)
    assert samples.warnings() == []


def test_warnings(tmp_path, pictures):
    first = Image.fromarray(pictures[0])
    for number in range(4):
        first.save(tmp_path / f"{number}.png", save_all=True, append_images=[Image.fromarray(pictures[1])])
    samples = Samples(scan(tmp_path), SPECS)
    assert samples.warnings() == []
    list(samples)
    frames, raw = samples.warnings()
    assert frames == (
        "4 pictures have several frames, of which the first is used: 0.png, 1.png, 2.png, ..."
    )
    assert "raw, since neither mean nor scale is given" in raw
    assert samples.warnings(is_normalized_inside=True) == [frames]


def test_a_picture_of_another_size_is_resized(tmp_path):
    Image.new("RGB", (50, 20), (10, 20, 30)).save(tmp_path / "a.png")
    for mode in ("stretch", "crop"):
        (sample,) = Samples(scan(tmp_path), SPECS, InputConfig(resize=mode))
        assert np.unique(sample.arrays["data"]).tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("specs", "config", "error", "message"),
    [
        ({}, {}, InputError, "the model has no input"),
        ({"data": InputSpec((1, 3, 0, 5))}, {}, InputError, "'data' has dims 1x3x0x5; give usable ones with"),
        ({"data": InputSpec((1, 3, 1 << 20, 1 << 20))}, {}, InputError, "more than [0-9,]+ values; give usable"),
        ({"data": InputSpec((1, 7, 4, 5))}, {}, InputError, r"0\.png: is a picture, but the model input 'data'"),
        (SPECS, {"mean": (1.0, 2.0)}, ConfigError, "mean has 2 values"),
    ],
)
def test_what_is_refused_before_anything_is_read(tmp_path, pictures, specs, config, error, message):
    with pytest.raises(error, match=message):
        Samples(scan(tmp_path), specs, InputConfig(**config))


def test_names_with_spaces_and_letters_of_all_kinds(tmp_path, rng):
    for name in ("ä b.png", "日本.png", "a'\"b.png", "-n.png"):
        Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)).save(tmp_path / name)
    samples = list(Samples(scan(tmp_path), SPECS))
    assert [sample.name for sample in samples] == ["-n.png", "a'\"b.png", "ä b.png", "日本.png"]


def test_what_tnn_feeds_squeezenet(shared):
    files = scan(shared / "data/calibration-227")
    config = InputConfig(mean=(104.006, 116.669, 122.679), reverse_channel=True)
    golden = np.load(shared / "golden/squeezenet/fp32.npz")["in"]
    samples = Samples(files[:8], {"data": InputSpec((1, 3, 227, 227))}, config)
    np.testing.assert_array_equal(np.concatenate([sample.arrays["data"] for sample in samples]), golden)


def test_settings_of_pictures_have_no_effect_on_tensors(tmp_path):
    """Said where no picture was fed, and only there."""
    np.save(tmp_path / "a.npy", np.zeros((1, 3, 4, 4), np.float32))
    config = InputConfig(mean=(1.0,), reverse_channel=True)
    samples = Samples(scan(tmp_path), {"x": InputSpec((1, 3, 4, 4))}, config)
    list(samples)
    assert samples.warnings()[-1].startswith("mean, reverse_channel: for pictures; tensor files are fed as they are")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    samples = Samples(scan(tmp_path), {"x": InputSpec((1, 3, 4, 4))}, config)
    list(samples)
    assert not any("tensor files are fed as they are" in line for line in samples.warnings())
