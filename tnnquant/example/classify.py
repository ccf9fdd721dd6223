"""Name what is in a picture: the class an ImageNet classifier gives the highest probability."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from tnnquant.engine.executor import Executor
from tnnquant.errors import GraphError
from tnnquant.example.folder import Example
from tnnquant.example.squeezenet import MEAN
from tnnquant.format import read_model
from tnnquant.graph import Graph
from tnnquant.inputs import InputConfig, Samples, scan

__all__ = ["Guess", "class_names", "classify", "classify_example"]


@dataclass(frozen=True)
class Guess:
    """What a model sees in a picture.

    Attributes
    ----------
    picture : str
        Name of the sample.
    name : str
        The most probable class.
    probability : float
        Of that class, 0..1.
    """

    picture: str
    name: str
    probability: float


@cache
def class_names() -> tuple[str, ...]:
    """The 1000 class names of ImageNet 2012 in the order of their WordNet ids, as Caffe models number them.

    Each is the first word of the class in WordNet 3.0, except where two classes share it (crane, maillot).
    """
    return tuple(files(__package__).joinpath("imagenet_classes.txt").read_text(encoding="utf-8").splitlines())


def classify(graph: Graph, samples: Iterable) -> list[Guess]:
    """Run an ImageNet classifier on pictures.

    Parameters
    ----------
    graph : Graph
        Its only output has 1000 values, which are probabilities.
    samples : iterable of Sample
        Each has a ``name`` and ``arrays`` by input name.

    Raises
    ------
    GraphError
        The model has another output.
    """
    names = class_names()
    executor = Executor(graph)
    guesses = []
    for sample in samples:
        outputs = list(executor.run_sample(sample).values())
        if len(outputs) != 1 or outputs[0].size != len(names):
            found = ", ".join("x".join(map(str, output.shape)) for output in outputs)
            raise GraphError(f"the model's outputs are {found}, expected one of {len(names)} probabilities")
        probabilities = outputs[0].reshape(-1)
        best = int(probabilities.argmax())
        guesses.append(Guess(sample.name, names[best], float(probabilities[best])))
    return guesses


def classify_example(example: Example) -> list[Guess]:
    """What the fp32 model of the example sees in its named pictures, in order of their file names.

    Raises
    ------
    TnnQuantError
        The model or a picture cannot be used.
    """
    graph = read_model(example.proto, example.model)
    samples = Samples(scan(example.pictures), graph.inputs, InputConfig(mean=MEAN, reverse_channel=True))
    return classify(graph, samples)
