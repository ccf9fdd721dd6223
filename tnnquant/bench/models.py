"""The models that a benchmark is given, and something to feed them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tnnquant import recipes
from tnnquant.base.tensor import DataType
from tnnquant.base.wording import dims_of, parameter
from tnnquant.config import QuantizeConfig
from tnnquant.errors import ConfigError, InputError
from tnnquant.format.files import PathLike
from tnnquant.graph import Graph, InputSpec
from tnnquant.inputs import Sample, Samples, scan
from tnnquant.inputs.split import Split
from tnnquant.pipeline.models import find_model, read_model

if TYPE_CHECKING:
    from tnnquant.base.progress import Progress
    from tnnquant.inputs.samples import SampleSource

__all__ = [
    "RandomSamples", "find_pair", "model_inputs", "named_models", "quantize_here", "read_int8", "samples_for",
    "single_items",
]  # fmt: skip

_SEED = 20261126


class RandomSamples:
    """A few samples of normally distributed values, the same every time; for figures that values do not matter for."""

    def __init__(self, specs: Mapping[str, InputSpec], count: int = 4):
        rng = np.random.default_rng(_SEED)
        for name, spec in specs.items():
            if not spec.dims or min(spec.dims) < 1:
                shown = "x".join(map(str, spec.dims))
                raise InputError(f"the model input {name!r} has dims {shown}; give {dims_of(name)}")
        self._samples = [Sample(f"random sample {i}", _arrays(rng, specs)) for i in range(count)]

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)


def _arrays(rng: np.random.Generator, specs: Mapping[str, InputSpec]) -> dict[str, np.ndarray]:
    return {
        name: rng.standard_normal(spec.dims, np.float32).astype((spec.dtype or DataType.FLOAT).numpy, copy=False)
        for name, spec in specs.items()
    }


def model_inputs(graph: Graph, dims: Mapping[str, tuple[int, ...]]) -> dict[str, InputSpec]:
    """The model's inputs with the overridden dims.

    Raises
    ------
    ConfigError
        Dims are given for an input that the model does not have.
    """
    unknown = sorted(set(dims) - set(graph.inputs))
    if unknown:
        raise ConfigError(
            f"{parameter('input_dims')} names {unknown[0]!r}; the model's inputs are {', '.join(graph.inputs)}"
        )
    return {name: InputSpec(tuple(dims.get(name, spec.dims)), spec.dtype) for name, spec in graph.inputs.items()}


def samples_for(
    graph: Graph, folder: str | Path | None, config: QuantizeConfig, threads: int | None = None
) -> SampleSource:
    """Samples from a folder, or random ones without a folder.

    Parameters
    ----------
    graph : Graph
        The model to be fed.
    folder : path or None
    config : QuantizeConfig
        How pictures become inputs, and the dims of the inputs.
    threads : int, optional
        That read files; default: one per core.

    Raises
    ------
    InputError, ConfigError
        The folder cannot be used, or the dims or the preprocessing do not fit the model.
    """
    from tnnquant.pipeline.settings import input_config

    specs = model_inputs(graph, config.input_dims)
    if folder is None:
        return RandomSamples(specs)
    return Samples(scan(folder), specs, input_config(config), workers=threads)


def quantize_here(
    graph: Graph, samples: SampleSource, config: QuantizeConfig, progress: Progress | None = None
) -> Graph:
    """The int8 model of an fp32 one, made now by the recipe of the configuration, and written nowhere."""
    return recipes.quantize(graph, Split(samples), config, progress).graph


def read_int8(proto: PathLike, model: PathLike | None) -> Graph:
    """Read a pair that must be quantized.

    Raises
    ------
    ConfigError
        It is an fp32 model.
    """
    graph = read_model(proto, model)
    if not graph.is_quantized:
        raise ConfigError(f"{proto} is an fp32 model, expected an int8 one (tnnquant quantize makes one)")
    return graph


def find_pair(text: str) -> tuple[PathLike, PathLike | None]:
    """The files of a model that is named by its .onnx, either file of a pair, what both have in common, or a folder.

    ``a.tnnproto,b.tnnmodel`` names two files that have nothing in common.

    Raises
    ------
    ModelFormatError
        There are no such files, or a folder holds none or several models.
    """
    if "," in text and not Path(text).exists():
        proto, _, model = text.partition(",")
        return Path(proto), Path(model)
    return find_model(text, both="PROTO,MODEL")


def named_models(
    texts: Sequence[str], dims: Mapping[str, tuple[int, ...]] | None = None
) -> list[tuple[str, Graph]]:
    """Read models; each is called by its file's stem, with its folder where two would be called the same."""
    pairs = [find_pair(text) for text in texts]
    files = [Path(pair[0]) for pair in pairs]
    stems = [file.name.removesuffix(".tnnproto").removesuffix(".onnx") for file in files]
    names = [
        stem if stems.count(stem) == 1 else f"{file.resolve().parent.name}/{stem}"
        for stem, file in zip(stems, files, strict=True)
    ]
    return [(name, read_model(*pair, dims)) for name, pair in zip(names, pairs, strict=True)]


def single_items(graph: Graph, dims: Mapping[str, tuple[int, ...]]) -> dict[str, InputSpec]:
    """The model's inputs for one picture at a time: a batch of 1, except where ``dims`` says otherwise."""
    specs = model_inputs(graph, dims)
    return {
        name: spec if name in dims or not spec.dims else InputSpec((1, *spec.dims[1:]), spec.dtype)
        for name, spec in specs.items()
    }
