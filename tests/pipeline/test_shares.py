"""What fp32 layers buy: the points of the curve."""

import numpy as np
import pytest

import tnnquant
from tnnquant.errors import ConfigError
from tnnquant.pipeline.shares import DEFAULT, FP32, ShareCurve, SharePoint


@pytest.fixture
def vectors(tmp_path):
    """A function that writes so many random inputs, in a folder of its own."""

    def write(dims, count, name="in"):
        folder, rng = tmp_path / name, np.random.default_rng([3, count])
        folder.mkdir()
        for number in range(count):
            np.save(folder / f"{number:02}.npy", rng.standard_normal(dims, np.float32))
        return folder

    return write


def written(graph, tmp_path):
    tnnquant.write_model(graph, tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel")
    return tmp_path / "net"


def classifier(build, tmp_path):
    net = build((1, 3, 12, 8))
    x = net.conv(net.conv("input", 3, 8, name="first"), 8, 8, name="second")
    return written(net.graph(net.inner_product(net.pool(x), 8 * 6 * 4, 6, name="fc")), tmp_path)


def test_a_classifier_on_pictures_held_out(build, vectors, tmp_path):
    told = []
    curve = tnnquant.bench_shares(
        classifier(build, tmp_path), vectors((1, 3, 12, 8), 12), shares=(0.0, 0.6),
        progress=lambda *state: told.append(state),
    )  # fmt: skip
    assert [point.name for point in curve.points] == [FP32, DEFAULT, "0", "0.6"]
    assert (curve.unit, curve.higher_is_better) == ("same class as fp32, %", True)
    assert curve.points[0].value == 100
    assert all(50 < point.value <= 100 and point.milliseconds > 0 for point in curve.points)
    assert curve.judged_on.startswith("3 calibration pictures")
    assert told[0] == ("models by share", 0, 3)
    assert told[-1] == ("models by share", 3, 3)
    assert [point["name"] for point in curve.as_dict()["points"]] == ["fp32", "default", "0", "0.6"]
    assert "fp32_share" in str(curve)


def test_on_others(build, vectors, tmp_path):
    others = vectors((1, 3, 12, 8), 7, "others")
    curve = tnnquant.bench_shares(
        classifier(build, tmp_path), vectors((1, 3, 12, 8), 8), evaluation=others, shares=(0.0,)
    )
    assert curve.judged_on == "7 evaluation pictures"


def test_boxes_beside_scores_count_by_their_error(build, vectors, tmp_path):
    net = build((1, 3, 8, 8))
    x = net.conv("input", 3, 8, name="first")
    boxes, scores = net.conv(x, 8, 4, name="boxes"), net.add("Sigmoid", net.conv(x, 8, 3, name="scores"))
    model = written(net.graph(net.add("Concat", [boxes, scores], 1)), tmp_path)
    curve = tnnquant.bench_shares(model, vectors((1, 3, 8, 8), 12), shares=(0.0,))
    assert (curve.unit, curve.higher_is_better) == ("mean error of boxes where fp32 scores above 0.1", False)
    fp32, default, share = curve.points
    assert fp32.value == 0 < share.value < 1
    assert 0 < default.value < 1


def test_values_count_by_their_cosine(build, vectors, tmp_path):
    net = build((1, 3, 8, 8))
    model = written(net.graph(net.conv(net.conv("input", 3, 8), 8, 2)), tmp_path)
    curve = tnnquant.bench_shares(model, vectors((1, 3, 8, 8), 12), shares=(0.0,))
    assert curve.unit == "cosine of the output's worst part"
    assert 0.98 < curve.points[-1].value <= curve.points[0].value == 1


@pytest.mark.parametrize(
    ("count", "shares", "message"),
    [*((12, shares, "expected a list of numbers") for shares in (
        (), (2.0,), (float("nan"),), (-0.1,), ("a",), ("0.1",), "0.1", 0.1, None, (True,), (None,)
    )), (1, (0.0,), "two different ones")],
)  # fmt: skip
def test_what_makes_no_curve(count, shares, message, build, vectors, tmp_path):
    with pytest.raises(ConfigError, match=message):
        tnnquant.bench_shares(classifier(build, tmp_path), vectors((1, 3, 12, 8), count), shares=shares)


def test_the_picture_names_every_point_once():
    from tnnquant.inspect.page.shares import curve_svg

    points = [SharePoint(FP32, 10.0, 100.0), SharePoint(DEFAULT, 2.0, 91.0), SharePoint("0", 2.1, 95.0),
              SharePoint("0.1", 2.1, 95.1), SharePoint("0.3", 4.0, 97.5)]  # fmt: skip
    drawn = curve_svg(ShareCurve("same class as fp32, %", True, "12 pictures", points))
    for name in (">fp32<", ">default<", ">0<", ">0.1<", ">0.3<"):
        assert drawn.count(name) >= 1, name
    assert drawn.count('class="point"') == 3
    assert drawn.count('class="point other"') == 1
    far = [points[0], SharePoint(DEFAULT, 2.0, 20.0), *points[2:]]
    assert ">default: 20.0<" in curve_svg(ShareCurve("same class as fp32, %", True, "12 pictures", far))


def test_layers_that_the_user_keeps_in_fp32_stay_so(build, vectors, tmp_path, monkeypatch):
    """By every share and in the default; methods and another share are no part of the curve."""
    from tnnquant.pipeline import shares

    seen = {}
    monkeypatch.setattr(shares, "_timed", lambda models, *_: seen.update(models) or dict.fromkeys(models, 1.0))
    config = tnnquant.QuantizeConfig(exclude=("second",), blob_method="kl", recipe="best", fp32_share=0.9)
    tnnquant.bench_shares(classifier(build, tmp_path), vectors((1, 3, 12, 8), 12), config, shares=(0.0,))
    for name in (DEFAULT, "0"):
        quantized = {node.name: node.quantized for node in seen[name].nodes}
        assert (quantized["first"], quantized["second"]) == (True, False)
