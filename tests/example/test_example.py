"""The real example, from the package index: the model is SqueezeNet, and it names what is in the pictures."""

from __future__ import annotations

import numpy as np

from tnnquant.example.classify import class_names, classify_example
from tnnquant.example.folder import make_example
from tnnquant.example.pictures import CALIBRATION_COUNT, NAMED
from tnnquant.format import read_model


def test_the_folder_is_whole_and_is_reused(example):
    assert len(list(example.calibration.glob("*.png"))) == CALIBRATION_COUNT
    assert len(list(example.pictures.glob("*.png"))) == len(NAMED)
    assert make_example(example.folder).reused


def test_the_model_names_what_is_in_the_pictures(example):
    guesses = {guess.picture: guess for guess in classify_example(example)}
    for entry in NAMED:
        guess = guesses[f"{entry.name}.png"]
        assert guess.name in entry.classes, entry.name
        assert 0.3 < guess.probability <= 1
    assert guesses["coffee.png"].probability > 0.95


def test_the_model_is_the_one_in_shared(example, shared):
    ours = read_model(example.proto, example.model)
    theirs = read_model(shared / "data" / "squeezenet_v1.1.tnnproto", shared / "data" / "squeezenet_v1.1.tnnmodel")
    assert (ours.inputs, ours.outputs) == (theirs.inputs, theirs.outputs)
    for mine, other in zip(ours.nodes, theirs.nodes, strict=True):
        parts = ("name", "type_string", "layer", "inputs", "outputs")
        assert [getattr(mine, part) for part in parts] == [getattr(other, part) for part in parts]
        assert mine.tensors.keys() == other.tensors.keys()
        for name, tensor in mine.tensors.items():
            np.testing.assert_array_equal(tensor.data, other.tensors[name].data, err_msg=f"{mine.name} {name}")


def test_class_names_are_those_of_imagenet():
    names = class_names()
    assert len(names) == len(set(names)) == 1000
    assert {0: "tench", 134: "crane (bird)", 281: "tabby", 517: "crane (machine)", 967: "espresso"}.items() <= dict(
        enumerate(names)
    ).items()
    assert names[999] == "toilet tissue"
