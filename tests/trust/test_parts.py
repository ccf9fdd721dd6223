"""Statistics of parts merge to the bytes of one run; what does not belong together is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tnnquant.config import QuantizeConfig
from tnnquant.errors import InputError
from tnnquant.quantization.parts_file import dump_part, load_part, read_part

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


def test_a_model_of_statistics_is_judged_on_other_pictures(case, parts, run, tmp_path):
    files = [statistics(case, run, part, tmp_path / f"{part.name}.npz") for part in parts]
    others = tmp_path / "others"
    save_pictures(others, 20, seed=9)
    (tmp_path / "labels.txt").write_text("".join(f"{path.name} 0\n" for path in others.iterdir()))
    finish = ("--from-stats", *files, "--json", "-o", tmp_path / "out")
    outcome = run(*case.flags(*finish, "--eval", others, "--labels", tmp_path / "labels.txt", inputs=None))
    report = json.loads(outcome.out)
    assert not any("not judged" in line for line in report["warnings"])
    # The verdict is that of a run with the pictures, on the same folder.
    one = run(*case.flags("--json", "--eval", others, "--labels", tmp_path / "labels.txt", "-o", tmp_path / "one"))
    wanted = json.loads(one.out)["verdict"]
    (found,) = report["verdict"]["sets"]
    assert found["source"] == "all 20 evaluation pictures"
    assert found["labels"]["pictures"] == 20
    assert found == wanted["sets"][0]
    assert outcome.code == one.code
    assert written(tmp_path) == written(tmp_path, "one")
    # Without a folder one line says what is missing; --no-verify wants none.
    silent = json.loads(run(*case.flags(*finish, inputs=None)).out)
    (line,) = [line for line in silent["warnings"] if "judged" in line]
    assert line == "the model was not judged: this run reads no pictures; add --eval FOLDER to have it judged on some"
    assert silent["verdict"] is None
    assert "judged" not in run(*case.flags(*finish, "--no-verify", inputs=None)).out


def test_a_broken_model_of_statistics_has_its_exit_code(case, parts, run, tmp_path):
    from tnnquant.format import read_model, write_model

    graph = read_model(case.proto, case.model)
    for node in graph.nodes:
        if "filter" in node.tensors:
            node.tensors["filter"].data[0] *= 1e5
    write_model(graph, case.proto, case.model)
    file = statistics(case, run, case.pictures, tmp_path / "a.npz", "-t", "tensor")
    options = ("-t", "tensor", "--from-stats", file, "--eval", case.pictures, "-o", tmp_path / "out")
    outcome = run(*case.flags(*options, inputs=None))
    assert outcome.code == 8
    assert "BROKEN on all 24 evaluation pictures" in outcome.out
    assert len(written(tmp_path)) == 2


def test_options_that_would_have_no_effect_are_refused(case, run, tmp_path):
    from tnnquant import QuantizeConfig, SearchConfig, quantize_model
    from tnnquant.errors import ConfigError

    out = ("-o", tmp_path / "out")
    assert "--stats-only makes none" in refused(run, case, "--stats-only", "--eval", "x", *out, inputs=case.pictures)
    assert "has them already" in refused(run, case, "--from-stats", "a.npz", "--holdout", "0.2", *out)
    assert "--labels needs --eval" in refused(run, case, "--from-stats", "a.npz", "--labels", "x", *out)
    files = case.proto, case.model
    for inputs, config, search, message in (
        (case.pictures, QuantizeConfig(), None, "or files without"),
        (None, QuantizeConfig(recipe="best"), None, "does not start from statistics"),
        (None, QuantizeConfig(), SearchConfig(auto=True), "make statistics of their own"),
    ):
        with pytest.raises(ConfigError, match=message):
            quantize_model(*files, inputs, tmp_path / "out", config, search=search, statistics=["a.npz"])
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
    from tnnquant.quantization.parts import relevant_settings

    base = relevant_settings(QuantizeConfig())
    assert relevant_settings(QuantizeConfig(weight_method="admm", skip_bad=True)) == base
    for changed in ({"blob_method": "kl"}, {"mean": (1.0,)}, {"scale": (2.0,)}, {"reverse_channel": True},
                    {"resize": "crop"}, {"merge_type": 1}, {"input_dims": {"input": (1, 3, 8, 8)}}):  # fmt: skip
        assert relevant_settings(QuantizeConfig(**changed)) != base


def test_what_many_parts_say_alike_is_said_once(case, run, tmp_path):
    from dataclasses import replace

    part = read_part(statistics(case, run, case.pictures, tmp_path / "a.npz"))
    notes = (*(f"pictures are fed as values of 0..{255 - n}: raw" for n in range(5)), "another")
    told = replace(part, notes=notes, skipped=("x.png: is empty",)).warnings()
    assert told == [
        "1 of 25 calibration files cannot be used and were skipped: x.png: is empty",
        "pictures are fed as values of 0..255: raw (so in 5 parts)",
        "another",
    ]


def test_files_skipped_are_counted_in_parts(case, parts, run, tmp_path):
    (parts[1] / "bad.png").write_bytes(b"no picture")
    files = [statistics(case, run, part, tmp_path / f"{part.name}.npz", "--skip-bad") for part in parts]
    outcome = run(*case.flags("--json", "--from-stats", *files, "-o", tmp_path / "out", inputs=None))
    report = json.loads(outcome.out)
    assert report["samples"] == 24
    assert [line.split(":")[0] for line in report["skipped"]] == [str(parts[1] / "bad.png")]
    assert any(line.startswith("1 of 25 calibration files cannot be used") for line in report["warnings"])
