"""Which picture is used for what: by content, decided once."""

from types import SimpleNamespace

import numpy as np
import pytest

from tnnquant.base.tensor import DataType
from tnnquant.graph import InputSpec
from tnnquant.inputs import Samples, scan
from tnnquant.inputs.references import MOST_OTHERS, References
from tnnquant.inputs.split import default_share, split_samples


@pytest.fixture
def samples(tmp_path, rng):
    """Of 24 files, of which the last two are copies of the first."""
    for i in range(22):
        np.save(tmp_path / f"{i:02}.npy", rng.standard_normal((1, 3, 4, 4)).astype(np.float32))
    for i in (22, 23):
        (tmp_path / f"{i}.npy").write_bytes((tmp_path / "00.npy").read_bytes())
    return Samples(scan(tmp_path), {"input": InputSpec((1, 3, 4, 4), DataType.FLOAT)})


def test_all_calibrate_and_some_judge(samples):
    split = split_samples(samples, judges=16)
    assert split.calibrate is samples
    assert not split.is_held_out
    assert len(split.judge) == 16
    assert len(split.unseen) == 6
    assert set(split.unseen) <= set(split.judge)
    digests = samples.digests()
    # Copies of a picture that the second model must not see are not seen by it either.
    assert split.without == {n for n in range(24) if digests[n] in {digests[m] for m in split.unseen}}
    assert split.notes == ["2 of 24 calibration pictures are copies of others"]
    assert split.joins


@pytest.mark.parametrize("holdout", [None, 0.5])
def test_where_models_are_compared_some_choose(samples, holdout):
    split = split_samples(samples, compares=True, holdout=holdout, judges=16)
    held = split.choose.numbers
    assert abs(len(held) - 24 * (holdout or 0.25)) <= 2
    assert sorted(held + split.calibrate.numbers) == list(range(24))
    digests = samples.digests()
    assert set(split.judge) <= set(held)
    assert {digests[n] for n in split.judge} == {digests[n] for n in held}
    assert not split.unseen
    assert not split.without
    # The user's share stays out to the end.
    assert split.joins is (holdout is None)


@pytest.mark.parametrize("options", [{"elsewhere": True}, {"holdout": 0.0}, {"calibrates": False}, {"judges": 0}])
def test_no_second_model_where_nothing_would_come_of_it(samples, options):
    split = split_samples(samples, **{"judges": 16, **options})
    assert not split.unseen
    assert (split.calibrate is None) is (options == {"calibrates": False})
    assert bool(split.judge) is (options != {"judges": 0})


def test_the_share_that_chooses():
    assert [default_share(count) for count in (4, 64, 80, 1000)] == [0.25, 0.25, 0.2, 0.2]


def test_what_fp32_gave_is_kept_for_those_that_judge():
    outputs = {"out": np.zeros(4, np.float32)}
    references = References({1, 2}, limit=16)
    for numbers in ((0,), (1,), (1, 2), (2,)):
        references.see(SimpleNamespace(numbers=numbers), outputs)
    # 0 is not wanted, 1 and 2 shared a batch, and for 2 alone there was no room left.
    assert [references.get(number) is not None for number in range(3)] == [False, True, False]


def test_small_outputs_of_others_are_kept_too():
    small, large = ({"out": np.zeros(count, np.float32)} for count in (1000, 1 << 15))
    references = References({1}, keeps_small=True)
    for number, outputs in ((0, large), (1, large), (3, small), (MOST_OTHERS, small)):
        references.see(SimpleNamespace(numbers=(number,)), outputs)
    assert references.numbers == [1, 3]
    assert not References({1}).numbers
