"""Statistics of parts merge to the bytes of one run; what does not belong together is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.errors import InputError
from tnnquant.parts_file import dump_part, load_part, read_part

from .conftest import save_pictures, small_graph, written


@pytest.fixture
def parts(case, tmp_path):
    """The pictures in three folders of different sizes, not in the order of their names."""
    folders = [tmp_path / f"part{number}" for number in range(3)]
    for folder in folders:
        folder.mkdir()
    for number, path in enumerate(sorted(case.pictures.iterdir())):
        folder = folders[0 if number % 3 == 1 else 1 if number < 9 else 2]
        (folder / path.name).write_bytes(path.read_bytes())
    return folders


@pytest.mark.parametrize("options", [
    "-b minmax -t channel", "-b kl -w admm -t mix", "-b kl -t channel", "-b asymmetric -w asymmetric",
    "-b aciq-gauss -t tensor", "-b aciq-laplace -t mix",
])  # fmt: skip
def test_merged_parts_give_the_bytes_of_one_run(case, parts, run, tmp_path, options):
    options = options.split()
    assert run(*case.flags(*options, "-o", tmp_path / "one")).code == 0
    made, passes = [], 2 if "kl" in options else 1
    for number in range(passes):
        before, made = made, []
        for part in parts:
            made.append(tmp_path / f"pass{number}-{part.name}.npz")
            after = ["--from-stats", *before] if before else []
            outcome = run(*case.flags(*options, "--stats-only", *after, "-o", made[-1], inputs=part))
            assert outcome.code == 0
            assert f"pass {number + 1} of {passes}" in outcome.out
    assert run(*case.flags(*options, "--from-stats", *reversed(made), "-o", tmp_path / "out", inputs=None)).code == 0
    assert written(tmp_path) == written(tmp_path, "one")


def test_statistics_serve_every_weight_method_and_merge_in_steps(case, parts, run, tmp_path):
    files = [tmp_path / f"{part.name}.npz" for part in parts]
    for part, file in zip(parts, files, strict=True):
        assert run(*case.flags("--stats-only", "-o", file, inputs=part)).code == 0
    both = tmp_path / "both.npz"
    assert run(*case.flags("--stats-only", "--from-stats", *files[:2], "-o", both, inputs=None)).code == 0
    for method in ("minmax", "admm"):
        assert run(*case.flags("-w", method, "-o", tmp_path / "one")).code == 0
        options = ("-w", method, "--from-stats", both, files[2], "-o", tmp_path / "out")
        assert run(*case.flags(*options, inputs=None)).code == 0
        assert written(tmp_path) == written(tmp_path, "one")


def statistics(case, run, folder, file, *options):
    outcome = run(*case.flags("--stats-only", *options, "-o", file, inputs=folder))
    assert outcome.code == 0, outcome.err
    return file


def refused(run, case, *options, inputs=None) -> str:
    outcome = run(*case.flags(*options, inputs=inputs))
    assert outcome.code in (2, 5, 7)
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    return outcome.err


def test_what_does_not_belong_together_is_refused(case, parts, run, build, tmp_path):
    from tnnquant.format import write_model

    a = statistics(case, run, parts[0], tmp_path / "a.npz", "-b", "kl", "-t", "mix")
    b = statistics(case, run, parts[1], tmp_path / "b.npz", "-b", "kl", "-t", "mix")
    other = statistics(case, run, parts[2], tmp_path / "other.npz", "-b", "minmax", "-t", "mix")
    kl, out = ("-b", "kl", "-t", "mix"), ("-o", tmp_path / "out")
    assert "holds pass 1 of 2; for the next one" in refused(run, case, *kl, "--from-stats", a, b, *out)
    assert "all its samples are in" in refused(run, case, *kl, "--from-stats", a, a, *out)
    message = refused(run, case, *kl, "--from-stats", a, other, *out)
    assert "was made with blob_method 'minmax'" in message
    assert "was made with merge_type 'mix'" in refused(run, case, "-b", "kl", "--from-stats", a, *out)
    second = ("--stats-only", "--from-stats", a, b)
    c = statistics(case, run, parts[0], tmp_path / "c.npz", *kl, "--from-stats", a, b)
    alone = statistics(case, run, parts[1], tmp_path / "alone.npz", *kl, "--from-stats", b)
    assert f"lacks {len(list(parts[1].iterdir()))} of the" in refused(run, case, *kl, "--from-stats", c, *out)
    assert "follows other statistics" in refused(run, case, *kl, "--from-stats", c, alone, *out)
    assert "is of pass 1" in refused(run, case, *kl, "--from-stats", c, a, *out)
    assert "holds the last of 2 passes already" in refused(
        run, case, *kl, "--stats-only", "--from-stats", alone, "-o", tmp_path / "x.npz", inputs=parts[1]
    )
    named = refused(run, case, *kl, *second, "-o", tmp_path / "x", inputs=parts[0])
    assert "expected the name of an .npz file" in named
    write_model(small_graph(build), case.proto, case.model)
    assert "of another model" in refused(run, case, *kl, "--from-stats", a, b, *out)
    assert not list(tmp_path.glob("out*"))


def test_options_that_would_have_no_effect_are_refused(case, run, tmp_path):
    out = ("-o", tmp_path / "out")
    assert "Missing option '-i'" in refused(run, case, *out)
    assert "-i would not be read" in refused(run, case, "--from-stats", "a.npz", *out, inputs=case.pictures)
    assert "--dry-run" in refused(run, case, "--stats-only", "--dry-run", *out, inputs=case.pictures)
    assert "--scheduler gathers" in refused(run, case, "--stats-only", "--scheduler", "x", *out, inputs=case.pictures)


def test_pictures_in_two_parts_are_warned_of(case, parts, run, tmp_path):
    (parts[1] / "twice.png").write_bytes(next(parts[0].iterdir()).read_bytes())
    files = [statistics(case, run, part, tmp_path / f"{part.name}.npz") for part in parts]
    outcome = run(*case.flags("--json", "--from-stats", *files, "-o", tmp_path / "out", inputs=None))
    assert outcome.code == 0
    warnings = json.loads(outcome.out)["warnings"]
    assert any(line.startswith("1 of ") and line.endswith("too, and counted twice") for line in warnings)


def test_parts_hold_whole_batches(build, run, tmp_path, case):
    from tnnquant.format import write_model

    write_model(small_graph_of_four(build), case.proto, case.model)
    folder = tmp_path / "five"
    save_pictures(folder, 5)
    outcome = run(*case.flags("--stats-only", "-o", tmp_path / "a.npz", inputs=folder))
    assert outcome.code == 5
    assert "the last batch of 4 is incomplete by 3" in outcome.err


def small_graph_of_four(build):
    net = build((4, 3, 16, 12))
    return net.graph(net.conv("input", 3, 8))


def test_the_same_run_gives_the_same_file(case, run, tmp_path):
    files = [statistics(case, run, case.pictures, tmp_path / name, "-b", "kl") for name in ("a.npz", "b.npz")]
    assert files[0].read_bytes() == files[1].read_bytes()
    part = read_part(files[0])
    assert dump_part(part) == files[0].read_bytes()
    assert len(part.samples) == 24


def test_damaged_files_are_refused(case, run, tmp_path):
    data = statistics(case, run, case.pictures, tmp_path / "a.npz").read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        # Bits that no reader looks at, such as times in the archive, may be anything.
        try:
            read = load_part(bytes(damaged), "a")
        except InputError:
            continue
        assert read.digest() == load_part(data, "a").digest()
    for length in (0, 10, len(data) // 2, len(data) - 1):
        with pytest.raises(InputError, match=r"^a: no statistics file, or damaged"):
            load_part(data[:length], "a")


def test_relevant_settings_leave_out_only_what_cannot_matter():
    from tnnquant.parts import relevant_settings

    base = relevant_settings(QuantizeConfig())
    assert relevant_settings(QuantizeConfig(weight_method="admm", skip_bad=True)) == base
    for changed in ({"blob_method": "kl"}, {"mean": (1.0,)}, {"scale": (2.0,)}, {"reverse_channel": True},
                    {"resize": "crop"}, {"merge_type": 1}, {"input_dims": {"input": (1, 3, 8, 8)}}):  # fmt: skip
        assert relevant_settings(QuantizeConfig(**changed)) != base
