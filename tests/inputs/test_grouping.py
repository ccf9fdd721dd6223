"""Which files make a sample."""

from pathlib import Path

import pytest

from tnnquant.base.tensor import DataType
from tnnquant.errors import InputError
from tnnquant.graph import InputSpec
from tnnquant.inputs.grouping import accepts_pictures, group_files

IMAGE = InputSpec((1, 3, 8, 8))
TABLE = InputSpec((1, 10))


def files(*names):
    return [Path("f") / name for name in names]


def grouped(sources):
    return {source.name: {name: path.name for name, path in source.files} for source in sources}


@pytest.mark.parametrize(
    ("dims", "dtype", "accepts"),
    [
        ((1, 3, 8, 8), DataType.FLOAT, True),
        ((4, 1, 8, 8), None, True),
        ((1, 4, 8, 8), DataType.HALF, True),
        ((1, 5, 8, 8), DataType.FLOAT, False),
        ((1, 3, 8), DataType.FLOAT, False),
        ((1, 3, 8, 8, 8), DataType.FLOAT, False),
        ((1, 3, 8, 8), DataType.INT32, False),
        ((1, 3, 8, 8), DataType.INT8, False),
    ],
)
def test_which_inputs_take_pictures(dims, dtype, accepts):
    assert accepts_pictures(InputSpec(dims, dtype)) is accepts


def test_one_input_every_file_is_a_sample():
    sources = group_files(files("a.png", "b.TXT", "c.npz", "d.x.npy"), {"x": IMAGE})
    assert grouped(sources) == {
        "a.png": {"x": "a.png"}, "b.TXT": {"x": "b.TXT"}, "c.npz": {"": "c.npz"}, "d.x.npy": {"x": "d.x.npy"},
    }  # fmt: skip


def test_several_inputs_by_name():
    specs = {"img": IMAGE, "b": TABLE, "a.b": TABLE, "n/e": TABLE}
    names = ["s1.a.b.txt", "s1.b.npy", "s1.img.png", "s1.n_e.txt", "all.npz"]
    sources = group_files(files(*names), specs)
    assert grouped(sources) == {
        "all.npz": {"": "all.npz"},
        "s1": {"img": "s1.img.png", "b": "s1.b.npy", "a.b": "s1.a.b.txt", "n/e": "s1.n_e.txt"},
    }


BOTH = {"x": IMAGE, "b": TABLE}
HOW = (
    r"the model has 2 inputs, x \(1x3x8x8\), b \(1x10\): give every sample as NAME\.npz with arrays of these names, or "
    r"as NAME\.x\.png and NAME\.b\.txt \(or \.npy\)"
)


@pytest.mark.parametrize(
    ("names", "specs", "message"),
    [
        ([], {"x": IMAGE}, "there is no calibration file"),
        (["a.png"], {"x": TABLE}, r"a\.png: is a picture, but the model input 'x' \(1x10\) takes none \(pictures are"),
        (["a.b.png", "a.x.png"], BOTH, r"a\.b\.png: is a picture, but the model input 'b' \(1x10\)"),
        (["a.png"], BOTH, r"a\.png: belongs to no input; " + HOW),
        (["a.x.png"], BOTH, r"sample 'a': no file for the model input 'b' \(1x10\); " + HOW),
        (["a.x.png", "a.x.txt"], BOTH, r"a\.x\.txt: the model input 'x' .* has a\.x\.png already"),
        ([".x.png"], BOTH, "belongs to no input"),
        (["a.a_b.txt"], {"a/b": TABLE, "a:b": TABLE}, r"'a:b' and 'a/b' cannot be told apart .* give \.npz"),
    ],
)
def test_files_that_do_not_fit(names, specs, message):
    with pytest.raises(InputError, match=message):
        group_files(files(*names), specs)
