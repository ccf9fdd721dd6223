"""The verdict on files: which pictures, read back, beside fp32; TNN's own models as examples of broken ones."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tnnquant import QuantizeConfig, VerifyConfig, quantize_model
from tnnquant.engine.executor import Executor
from tnnquant.errors import CalibrationError, ConfigError, InputError
from tnnquant.format import read_model, write_model
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.inputs import InputConfig, Samples, scan
from tnnquant.inputs.digest import digest_files
from tnnquant.inputs.split import split_samples
from tnnquant.verdict.compare import compare
from tnnquant.verdict.kinds import output_kind
from tnnquant.verdict.layers import layer_noise
from tnnquant.verdict.verify import Verification


@pytest.fixture
def files(build, tmp_path, rng):
    """A small classifier on disk with 24 tensors to calibrate on: (proto, model, folder)."""
    net = build((1, 3, 16, 12))
    a = net.add("ReLU", net.conv("input", 3, 8, name="first"))
    b = net.conv(a, 8, 8, groups=8, name="second")
    out = net.inner_product(net.pool(b), 8 * 8 * 6, 5, name="fc")
    return save(net.graph(net.add("Softmax", out, 1)), tmp_path, rng)


def save(graph, tmp_path, rng, count=24):
    paths = tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel"
    write_model(graph, *paths)
    folder = tmp_path / "inputs"
    folder.mkdir()
    (spec,) = graph.inputs.values()
    for i in range(count):
        # Pictures differ: a constant of their own, and noise.
        x = rng.standard_normal(spec.dims) + 2 * rng.standard_normal((1, 3, 1, 1))
        np.save(folder / f"{i:02}.npy", x.astype(np.float32))
    return *paths, folder


def test_the_verdict_is_that_of_the_written_files(files, tmp_path):
    report = quantize_model(*files, tmp_path / "out")
    verdict = report.verdict
    assert verdict.status == "good"
    found, apart = verdict.sets
    assert (found.pictures, found.held_out) == (16, False)
    assert found.source == "16 of the 24 calibration pictures, which the model was made from"
    assert (apart.pictures, apart.held_out) == (12, True)
    assert apart.source == (
        "12 calibration pictures, by a second model made without them; "
        "corrected, as it was made from fewer pictures"
    )
    # By hand, from the files.
    fp32 = Executor(prepare_for_quantization(read_model(*files[:2])))
    int8 = Executor(read_model(tmp_path / "out_quantized.tnnproto", tmp_path / "out_quantized.tnnmodel"))
    (name,) = fp32.graph.outputs
    cosines = {}
    for path in files[2].iterdir():
        x = {"input": np.load(path)}
        a, b = (executor.run(x)[name].ravel().astype(float) for executor in (fp32, int8))
        cosines[path.name] = a @ b / np.sqrt((a @ a) * (b @ b))
    assert min(cosines.values()) <= found.outputs[0].figures["cosine"] <= max(cosines.values())
    assert {noise.layer for noise in verdict.worst_layers} <= {"first", "second", "pooling3", "fc"}
    json.dumps(report.as_dict(), allow_nan=False)


def test_a_model_that_only_knows_its_own_pictures_is_broken(files, tmp_path, rng):
    """Pictures that are kept apart, those with the smallest hashes, are much brighter than all others."""
    for path in files[2].iterdir():
        path.unlink()
    is_bright = [True] * 12 + [False] * 12
    while is_bright:
        x = rng.standard_normal((1, 3, 16, 12)) * (30 if is_bright[-1] else 1) + 2 * rng.standard_normal((1, 3, 1, 1))
        path = files[2] / f"{len(is_bright):02}.npy"
        np.save(path, x.astype(np.float32))
        if (digest_files([("input", path)])[0] in "01234567") == is_bright[-1]:
            is_bright.pop()
    report = quantize_model(*files, tmp_path / "out")
    apart, fed = report.verdict.sets
    assert (apart.held_out, apart.pictures, fed.held_out) == (True, 12, False)
    assert report.verdict.status == apart.status != "good"
    assert apart.outputs[0].figures["cosine"] < fed.outputs[0].figures["cosine"]


@pytest.mark.parametrize("are_bad", [True, False])
def test_there_is_no_second_model_where_files_turn_out_to_be_bad(files, tmp_path, rng, are_bad):
    """Of 24 files, all that are kept apart are bad, or all others."""
    for number, path in enumerate(sorted(files[2].iterdir())):
        is_apart = number < 12
        while True:
            if are_bad == is_apart:
                path.write_bytes(rng.bytes(40))
            else:
                np.save(path, rng.standard_normal((1, 3, 16, 12)).astype(np.float32))
            if (digest_files([("input", path)])[0] in "01234567") == is_apart:
                break
    for method in ("minmax", "kl"):
        report = quantize_model(*files, tmp_path / "out", QuantizeConfig(blob_method=method, skip_bad=True))
        (found,) = report.verdict.sets
        assert not found.held_out
        assert len(report.skipped) == 12


def test_a_glance_at_files_that_are_all_bad_is_one_at_the_others(files):
    graph = read_model(*files[:2])
    samples = Samples(scan(files[2]), graph.inputs, InputConfig(skip_bad=True))
    verification = Verification(split_samples(samples, compares=True, judges=16), VerifyConfig())
    few, all_held = verification._glanced.samples.numbers, verification._sets[-1].samples.numbers
    assert set(few) < set(all_held)
    assert verification.glance(graph, Executor(graph)).pictures == len(few)
    samples._bad |= set(few)
    assert verification.glance(graph, Executor(graph)).pictures == len(all_held) - len(few)


@pytest.mark.parametrize(
    "verify", [VerifyConfig(holdout=0.0), VerifyConfig(eval_path="inputs"), VerifyConfig(no_verify=True)]
)
def test_pictures_are_kept_apart_only_where_nothing_better_is_there(files, tmp_path, verify):
    verify = replace(verify, eval_path=str(files[2]) if verify.eval_path else None)
    first = quantize_model(*files, tmp_path / "out")
    plain = quantize_model(*files, tmp_path / "plain", verify=verify)
    assert "model without some samples" in first.seconds
    assert "model without some samples" not in plain.seconds
    assert (tmp_path / "out_quantized.tnnmodel").read_bytes() == (tmp_path / "plain_quantized.tnnmodel").read_bytes()


def test_names_and_order_do_not_matter(files, tmp_path):
    before = quantize_model(*files, tmp_path / "out").verdict
    for number, path in enumerate(sorted(files[2].iterdir(), reverse=True)):
        path.rename(path.with_name(f"x{number:02}.npy"))
    after = quantize_model(*files, tmp_path / "out").verdict
    assert after.sets[0].outputs[0].figures["cosine"] == pytest.approx(before.sets[0].outputs[0].figures["cosine"])


def test_held_out_pictures_are_not_in_the_statistics(files, tmp_path):
    report = quantize_model(*files, tmp_path / "out", verify=VerifyConfig(holdout=0.25))
    assert report.samples == 18
    (found,) = report.verdict.sets
    assert (found.pictures, found.held_out) == (6, True)
    assert found.source == "6 calibration pictures held out from the statistics"


def test_what_the_recipe_takes_in_after_all_is_not_called_held_out(files, tmp_path):
    config = QuantizeConfig(recipe="best")
    report = quantize_model(*files, tmp_path / "out", config)
    assert (report.samples, report.held_out) == (24, 0)
    found = {verdict.source: verdict for verdict in report.verdict.sets}
    own, other = "16 of the 24 calibration pictures, which the model was made from", (
        "6 calibration pictures, by a second model made without them; its steps were chosen by them; "
        "corrected, as it was made from fewer pictures"
    )
    assert set(found) == {own, other}
    assert (found[own].held_out, found[other].held_out) == (False, True)
    own, other = (found[source].outputs[0].figures["sqnr_db"] for source in (own, other))
    assert own != other
    kept = quantize_model(*files, tmp_path / "kept", config, verify=VerifyConfig(holdout=0.25))
    assert (kept.samples, kept.held_out) == (18, 6)
    (found,) = kept.verdict.sets
    assert found.source == "6 calibration pictures held out from the statistics; the model was chosen by them"
    assert (tmp_path / "kept_quantized.tnnmodel").read_bytes() != (tmp_path / "out_quantized.tnnmodel").read_bytes()


@pytest.mark.parametrize(("bias", "is_told"), [(-40.0, True), (0.0, False)])
def test_a_detector_that_finds_nothing_is_never_good(build, tmp_path, rng, bias, is_told):
    net = build((1, 3, 16, 12))
    shifted = net.add("Power", net.conv("input", 3, 4), 1.0, 1.0, bias)
    files = save(net.graph(net.add("Sigmoid", shifted)), tmp_path, rng)
    found = quantize_model(*files, tmp_path / "out").verdict
    told = [check for verdict in found.sets for check in verdict.limits if "finds nothing in 16" in check.text]
    assert bool(told) is is_told
    assert found.status != "good" or not is_told


def test_of_few_pictures_the_recipe_is_judged_on_all(files, tmp_path):
    """Two of eight are held out: the written model is judged on the others too."""
    for path in sorted(files[2].iterdir())[8:]:
        path.unlink()
    found = quantize_model(*files, tmp_path / "out", QuantizeConfig(recipe="best")).verdict
    sources = {verdict.source.split(",")[0]: verdict for verdict in found.sets}
    assert set(sources) == {"8 of the 8 calibration pictures", "2 calibration pictures"}
    assert [verdict.pictures for verdict in sources.values()] in ([8, 2], [2, 8])
    assert not [check for verdict in found.sets for check in verdict.limits if check.where == "pictures"]


def test_pictures_in_batches_are_judged_one_by_one(build, tmp_path, rng):
    net = build((4, 3, 16, 12))
    out = net.inner_product(net.pool(net.conv("input", 3, 8)), 8 * 8 * 6, 5)
    graph = net.graph(net.add("Softmax", out, 1))
    paths = tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel"
    write_model(graph, *paths)
    folder = tmp_path / "inputs"
    folder.mkdir()
    for i in range(22):
        np.save(folder / f"{i:02}.npy", 3 * rng.standard_normal((1, 3, 16, 12)).astype(np.float32))
    report = quantize_model(*paths, folder, tmp_path / "out", verify=VerifyConfig(eval_path=str(folder)))
    first, second = report.verdict.sets
    assert (first.pictures, second.pictures) == (22, 16)
    assert first.outputs[0].figures["cosine"] == pytest.approx(second.outputs[0].figures["cosine"], abs=0.01)
    assert report.verdict.status == "good"


def test_no_verify_writes_the_same_bytes_and_runs_nothing(files, tmp_path):
    with_verdict = quantize_model(*files, tmp_path / "a")
    without = quantize_model(*files, tmp_path / "b", verify=VerifyConfig(no_verify=True))
    assert without.verdict is None
    assert "verdict" in with_verdict.seconds
    assert "verdict" not in without.seconds
    for suffix in ("tnnproto", "tnnmodel"):
        assert (tmp_path / f"a_quantized.{suffix}").read_bytes() == (tmp_path / f"b_quantized.{suffix}").read_bytes()


def test_evaluation_pictures_with_labels(files, tmp_path, rng):
    folder = tmp_path / "val"
    folder.mkdir()
    fp32 = Executor(read_model(*files[:2]))
    right = []
    for i in range(10):
        x = (rng.standard_normal((1, 3, 16, 12)) + 2 * rng.standard_normal((1, 3, 1, 1))).astype(np.float32)
        right.append(int(np.argmax(next(iter(fp32.run({"input": x}).values())))))
        np.save(folder / f"v{i}.npy", x)
    labels = tmp_path / "labels.txt"
    wrong = [(right[0] + 1) % 5, *right[1:]]
    labels.write_text("\n".join(map(str, wrong)))
    report = quantize_model(*files, tmp_path / "out", verify=VerifyConfig(eval_path=str(folder), labels=str(labels)))
    first, second = report.verdict.sets
    assert (first.pictures, first.held_out, first.source) == (10, True, "all 10 evaluation pictures")
    assert first.labels["pictures"] == 10
    assert first.labels["top1_fp32"] == pytest.approx(0.9)
    assert not second.held_out
    labels.write_text("\n".join(map(str, [999, *wrong[1:]])))
    report = quantize_model(*files, tmp_path / "out", verify=VerifyConfig(eval_path=str(folder), labels=str(labels)))
    assert report.verdict.sets[0].labels["pictures"] == 9
    assert report.verdict.sets[0].notes[0].startswith("1 of 10 labels is no class of the model and skipped: got 999, ")
    labels.write_text("1\n2\n")
    with pytest.raises(InputError, match="holds 2 labels, but there are 10 pictures"):
        quantize_model(*files, tmp_path / "out", verify=VerifyConfig(eval_path=str(folder), labels=str(labels)))


def test_labels_need_pictures(files, tmp_path):
    with pytest.raises(ConfigError, match="labels needs eval_path=FOLDER"):
        quantize_model(*files, tmp_path / "out", verify=VerifyConfig(labels="x"))


def test_copies_of_one_picture_are_told(files, tmp_path):
    paths = sorted(files[2].iterdir())
    for path in paths[1:]:
        path.write_bytes(paths[0].read_bytes())
    report = quantize_model(*files, tmp_path / "out", verify=VerifyConfig(holdout=0.5))
    assert report.verdict.sets[0].pictures == 1
    assert any("23 of 24 calibration pictures are copies" in line for line in report.warnings)
    assert any("none can be held out" in line for line in report.warnings)


def test_a_model_that_ruins_its_scores_is_broken(build, tmp_path, rng):
    # 16 times wider pixels than scores, one scale for both: the scores vanish.
    net = build((1, 3, 16, 12))
    boxes = net.conv("input", 3, 4, name="boxes")
    scores = net.conv("input", 3, 3, name="scores")
    for node, factor in zip(net.nodes, (3000, 0.3), strict=True):
        for tensor in node.resource.tensors.values():
            tensor.data[:] *= factor
    graph = net.graph(net.add("Concat", [boxes, scores], 1, name="out"))
    report = quantize_model(*save(graph, tmp_path, rng), tmp_path / "m", QuantizeConfig(merge_type="mix"))
    (output,) = report.verdict.sets[0].outputs
    assert report.verdict.status == "broken"
    assert output.figures["cosine"] > 0.99
    assert [part["pooled_cosine"] > 0.9 for part in output.parts] == [True, False]
    # One scale per channel keeps them.
    assert quantize_model(*files_of(tmp_path), tmp_path / "m").verdict.status == "good"


def files_of(tmp_path):
    return tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel", tmp_path / "inputs"


def test_a_detector_with_suppression_inside_is_judged_by_what_it_reads(build, tmp_path, rng):
    net = build((1, 3, 16, 12))
    a = net.add("ReLU", net.conv("input", 3, 8))
    boxes = net.add("Permute", net.add("Reshape", net.conv(a, 8, 4), 0, 3, (1, 4, -1), 0), (0, 2, 1))
    scores = net.add("Sigmoid", net.add("Reshape", net.conv(a, 8, 2), 0, 3, (1, 2, -1), 0))
    kept = net.add("NonMaxSuppression", [boxes, scores], 1, 20, 0.5, 0.55)
    files = save(net.graph(kept), tmp_path, rng)
    report = quantize_model(*files, tmp_path / "m", QuantizeConfig(device="naive"))  # the one that runs it
    found, _ = report.verdict.sets
    assert [output.name for output in found.outputs] == sorted([boxes, scores])
    assert [output.kind for output in found.outputs] == ["values", "values"]
    assert report.verdict.status == "good"


def test_nan_of_fp32_names_picture_and_output(build, tmp_path, rng):
    net = build((1, 3, 16, 12))
    out = net.add("Log", net.conv("input", 3, 4, name="c"))
    files = save(net.graph(out), tmp_path, rng, 3)
    with pytest.raises(CalibrationError, match=r"0\d.npy: the output 'log1_out' of the fp32 model is NaN or infinite"):
        quantize_model(*files, tmp_path / "out")


def test_the_layer_that_adds_noise_is_found(files, tmp_path):
    quantize_model(*files, tmp_path / "out")
    fp32 = Executor(prepare_for_quantization(read_model(*files[:2])))
    graph = read_model(tmp_path / "out_quantized.tnnproto", tmp_path / "out_quantized.tnnmodel")
    graph.node("second").tensors["filter"].data[::2] = 0
    sample = type("Sample", (), {"arrays": {"input": np.load(files[2] / "00.npy")}})
    first = layer_noise(fp32, Executor(graph), [sample])[0]
    assert first.layer == "second"
    assert first.sqnr_db < 10 < first.input_sqnr_db


@pytest.mark.parametrize(
    ("net", "name", "status"),
    [
        ("real/yolov8n", "b0w0t0", "broken"), ("real/yolov8n", "b2w1t1", "broken"),
        ("real/ppocr_det", "b0w0t0", "doubtful"), ("real/ppocr_cls", "b0w0t0", "good"),
        ("squeezenet", "b0w0t0", "good"),
    ],
)  # fmt: skip
def test_the_models_that_tnns_tool_made(shared, net, name, status):
    golden = shared / "golden" / net
    base = shared / "data" / (net if net.startswith("real/") else "squeezenet_v1.1")
    fp32 = Executor(read_model(f"{base}.tnnproto", f"{base}.tnnmodel"))
    int8 = Executor(read_model(*(next((golden / name).glob(f"*.{suffix}")) for suffix in ("tnnproto", "tnnmodel"))))
    (blob,) = fp32.graph.inputs
    fed = np.load(golden / "fp32.npz")["in"]
    samples = [
        type("Sample", (), {"name": str(i), "arrays": {blob: x[None]}, "fresh": 1, "numbers": (i,)})
        for i, x in enumerate(fed)
    ]
    kinds = [output_kind(fp32.inference, output) for output in fp32.graph.outputs]
    assert compare(kinds, samples, int8, fp32).verdict("", held_out=False).status == status
