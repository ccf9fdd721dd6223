"""Which files a model is made of."""

import pytest

from tnnquant.bench.models import RandomSamples, find_pair, model_inputs, named_models, read_int8, single_items
from tnnquant.errors import ConfigError, InputError, ModelFormatError
from tnnquant.format import write_model
from tnnquant.graph import InputSpec


@pytest.fixture
def graph(build):
    net = build((2, 3, 4, 4))
    return net.graph(net.conv("input", 3, 4))


def _write(folder, name, graph):
    folder.mkdir(exist_ok=True)
    write_model(graph, folder / f"{name}.tnnproto", folder / f"{name}.tnnmodel")


def test_a_pair_is_found_by_either_file_by_its_stem_and_by_its_folder(graph, tmp_path):
    _write(tmp_path / "a", "net.v1", graph)
    pair = tmp_path / "a" / "net.v1.tnnproto", tmp_path / "a" / "net.v1.tnnmodel"
    for text in (*pair, tmp_path / "a" / "net.v1", tmp_path / "a", f"{pair[0]},{pair[1]}"):
        assert find_pair(str(text)) == pair


def test_what_is_no_pair(graph, tmp_path):
    _write(tmp_path, "one", graph)
    _write(tmp_path, "two", graph)
    with pytest.raises(ModelFormatError, match=r"holds 2 models \(one, two\); name one of them"):
        find_pair(str(tmp_path))
    (tmp_path / "two.tnnmodel").unlink()
    with pytest.raises(ModelFormatError, match=r"no '.*two.tnnmodel' beside '.*two.tnnproto'; PROTO,MODEL name two"):
        find_pair(str(tmp_path / "two.tnnproto"))


def test_names_tell_models_apart(graph, tmp_path):
    for folder, name in (("a", "net"), ("b", "net"), ("b", "other")):
        _write(tmp_path / folder, name, graph)
    texts = [str(tmp_path / "a"), str(tmp_path / "b" / "net"), str(tmp_path / "b" / "other.tnnproto")]
    assert [name for name, _ in named_models(texts)] == ["a/net", "b/net", "other"]


def test_dims_of_inputs(graph):
    assert single_items(graph, {}) == {"input": InputSpec((1, 3, 4, 4))}
    assert single_items(graph, {"input": (3, 3, 4, 4)}) == {"input": InputSpec((3, 3, 4, 4))}
    with pytest.raises(ConfigError, match="names 'data'; the model's inputs are input"):
        model_inputs(graph, {"data": (1, 3, 4, 4)})
    with pytest.raises(InputError, match=r"'input' has dims 0x3x4x4; give input_dims=\{'input': "):
        RandomSamples(model_inputs(graph, {"input": (0, 3, 4, 4)}))


def test_an_fp32_pair_is_no_int8_pair(graph, tmp_path):
    _write(tmp_path, "net", graph)
    with pytest.raises(ConfigError, match="is an fp32 model, expected an int8 one"):
        read_int8(tmp_path / "net.tnnproto", tmp_path / "net.tnnmodel")
