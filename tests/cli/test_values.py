"""Values of a sample that a layer cannot run on: every command names the file, with the exit code of inputs."""

import numpy as np
import pytest

from tnnquant.base.tensor import DataType
from tnnquant.cli import main
from tnnquant.format import write_model
from tnnquant.graph import InputSpec


@pytest.fixture
def gather(build, tmp_path):
    """A model that looks rows up in a table of 50, with good samples and one whose index is 146."""
    net = build((1, 8), "ids")
    net.inputs = {"ids": InputSpec((1, 8), DataType.INT32)}
    net.constants["table"] = net.rng.standard_normal((50, 6)).astype(np.float32)
    rows = net.add("Gather", ("table", "ids"), 0, 0, 0, name="emb")
    image = net.add("Reshape", rows, num_axes=4, shape=(1, 8, 6, 1), name="image")
    out = net.inner_product(net.conv(image, 8, 4, name="conv"), 4 * 6, 5)
    write_model(net.graph(out), tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel")
    rng = np.random.default_rng(5)
    for folder, bad in (("good", False), ("bad", True)):
        (tmp_path / folder).mkdir()
        for number in range(6):
            ids = rng.integers(0, 50, (1, 8)).astype(np.int32)
            if bad and number == 3:
                ids[0, 2] = 146
            np.save(tmp_path / folder / f"sample{number}.npy", ids)
    return tmp_path


def run(*args):
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    return stop.value.code


PAIR = ("-p", "{net}.tnnproto", "-m", "{net}.tnnmodel", "--device", "naive")
COMMANDS = {
    "calibration": ("quantize", *PAIR, "-i", "{bad}", "-o", "{out}"),
    "best": ("quantize", *PAIR, "-i", "{bad}", "-o", "{out}", "--recipe", "best"),
    "eval": ("quantize", *PAIR, "-i", "{good}", "-o", "{out}", "--eval", "{bad}"),
    "stats": ("quantize", *PAIR, "-i", "{bad}", "-o", "{out}.npz", "--stats-only"),
    "auto": ("quantize", *PAIR, "-i", "{bad}", "-o", "{out}", "--auto"),
    "against": ("inspect", "{small}_quantized", "--against", "{net}", "-i", "{bad}"),
    "accuracy": ("bench", "accuracy", "{net}.tnnproto", "{small}_quantized.tnnproto", "-i", "{bad}"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_file_is_named(name, gather, capsys):
    good = ["-p", gather / "net.tnnproto", "-m", gather / "net.tnnmodel", "-i", gather / "good", "-o", gather / "small"]
    good += ["--device", "naive"]
    assert run("quantize", *good, "--no-verify") == 0
    capsys.readouterr()
    places = {key: gather / key for key in ("net", "good", "bad", "out", "small")}
    assert run(*(word.format(**places) for word in COMMANDS[name])) == 5
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: sample3.npy: layer 'emb' (Gather): index 146 lies outside an axis of 50")
    assert name == "eval" or not list(gather.glob("out*"))
