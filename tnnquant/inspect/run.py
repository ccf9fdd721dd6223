"""An inspection from files: what the command line calls, and what a Python program may call."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import InitVar, dataclass, field, replace
from typing import TYPE_CHECKING

from tnnquant.base.metric import Metric
from tnnquant.base.wording import parameter
from tnnquant.config import QuantizeConfig
from tnnquant.errors import ConfigError, GraphError
from tnnquant.format.constants import PROTO_SUFFIX
from tnnquant.graph import Graph
from tnnquant.graph.infer import infer
from tnnquant.graph.meaning import Meaning, meaning_of
from tnnquant.graph.passes import prepare_for_quantization
from tnnquant.graph.repeats import repeated_like
from tnnquant.inspect.structure import is_alone, summarize_structure
from tnnquant.inspect.summary import Summary, summarize
from tnnquant.pipeline.devices import broken_on
from tnnquant.pipeline.models import find_model, read_model
from tnnquant.verdict.result import broken_there

if TYPE_CHECKING:
    from tnnquant.base.progress import Progress
    from tnnquant.inputs.samples import Samples, SampleSource
    from tnnquant.inputs.scan import PathLike
    from tnnquant.inspect.compare import Errors
    from tnnquant.inspect.diff import Diff

__all__ = ["Model", "beside", "check_precisions", "compare_models", "diff_models", "load", "pick_samples"]

AS_QUANTIZED = "the fp32 model is compared as quantize sees it: activations fused, parameters resolved"


@dataclass(frozen=True, eq=False)
class Model:
    """A model that was read.

    Attributes
    ----------
    stored : Graph
        As in its file.
    summary : Summary
        Of what it means.
    meaning : Meaning
        ``known_meaning``, by default what the file alone tells.
    """

    stored: Graph
    summary: Summary
    known_meaning: InitVar[Meaning | None] = None
    meaning: Meaning = field(init=False)

    def __post_init__(self, known_meaning: Meaning | None) -> None:
        object.__setattr__(self, "meaning", known_meaning or meaning_of(self.stored))

    @property
    def graph(self) -> Graph:
        """The model as it is meant."""
        return self.meaning.graph


def load(
    name: str | os.PathLike | None = None, proto: str | None = None, model: str | None = None,
    input_dims: Mapping | None = None, *, may_be_alone: bool = False,
) -> Model:  # fmt: skip
    """Find, read and summarize a model.

    Parameters
    ----------
    name, proto, model : path, optional
        Which one, as for :func:`~tnnquant.format.locate.find_pair`.
    input_dims : mapping of str to sequence of int, optional
        Dims that replace those of the proto.
    may_be_alone : bool
        A .tnnproto without its .tnnmodel will do: the summary is of its structure, and nothing else can be done.

    Raises
    ------
    ModelFormatError, GraphError
        A file is missing, foreign, truncated, or the two do not belong together.
    """
    pair = find_model(name, proto, model, may_be_alone=may_be_alone)
    graph = read_model(*pair, input_dims)
    if pair[1] is None and str(pair[0]).endswith(PROTO_SUFFIX) and is_alone(graph):
        return Model(graph, summarize_structure(graph, pair[0], input_dims))
    meaning = meaning_of(graph)
    return Model(graph, summarize(graph, *pair, input_dims, meaning), meaning)


def beside(model: Model, fp32: Model, input_dims: Mapping | None = None) -> Model:
    """An int8 model with the meaning that it has beside the fp32 model it was made from.

    Parameters
    ----------
    model, fp32 : Model
    input_dims : mapping of str to sequence of int, optional
        Dims that replace those of the proto.

    Raises
    ------
    GraphError
        The two are not the same network.
    """
    from tnnquant.inspect.isolated import check_same_network

    prepared = prepare_for_quantization(fp32.graph)
    check_same_network(model.stored, prepared)
    meaning = meaning_of(model.stored, repeated_like(model.stored, prepared))
    if meaning.is_as_stored and model.meaning.is_as_stored:
        return model
    summary = summarize(model.stored, model.summary.proto, model.summary.model, input_dims, meaning)
    return Model(model.stored, summary, meaning)


def pick_samples(
    model: Model, inputs: PathLike | Sequence[PathLike], config: QuantizeConfig, limit: int | None,
    threads: int | None = None,
) -> Samples:  # fmt: skip
    """Samples of a folder for a model.

    Parameters
    ----------
    model : Model
    inputs : path or sequence of path
        A folder, or files.
    config : QuantizeConfig
        How pictures become inputs.
    limit : int or None
        At most so many files, evenly spread over those in order.
    threads : int, optional
        That read files; default: one per core.

    Returns
    -------
    Samples

    Raises
    ------
    InputError, ConfigError
        The folder holds nothing usable, or the preprocessing does not fit the model.
    """
    from tnnquant.inputs import Samples, scan
    from tnnquant.pipeline.settings import graph_inputs, input_config

    if limit is not None and limit < 1:
        raise ConfigError(f"{parameter('limit')} is {limit}, expected at least 1")
    files = list(scan(inputs))
    if limit is not None and len(files) > limit:
        files = [files[i * len(files) // limit] for i in range(limit)]
    return Samples(files, graph_inputs(model.graph, config), input_config(config), workers=threads)


def compare_models(
    model: Model, against: Model, samples: SampleSource, config: QuantizeConfig, progress: Progress | None = None,
    device: str | None = None, metric: Metric | None = None,
) -> Errors:  # fmt: skip
    """The errors of an int8 model against the fp32 one; see :func:`~tnnquant.inspect.compare.compare_graphs`.

    Parameters
    ----------
    model, against : Model
        int8 and fp32.
    samples : re-iterable of Sample
    config : QuantizeConfig
        Its ``input_dims``.
    progress : callable (stage, done, total), optional
    device : str, optional
        The model is broken where a layer goes wrong there.
    metric : Metric, optional
        Of the user's own, for the verdict.

    Returns
    -------
    Errors

    Raises
    ------
    ConfigError
        The models are not of these kinds.
    """
    from tnnquant.inspect.compare import compare_graphs

    check_precisions(model, against)
    errors = compare_graphs(
        model.stored, against.graph, samples, config.input_dims, progress, model.meaning, device, metric
    )
    if device is None:
        return errors
    broken = broken_on(model.stored, device, config.input_dims)
    return replace(errors, verdict=broken_there(errors.verdict, broken, device))


def check_precisions(model: Model, against: Model) -> None:
    """Raise ConfigError unless the first model is int8, or of dynamic range, and the second fp32."""
    if model.summary.precision == "fp32":
        raise ConfigError(
            f"{model.summary.proto} is fp32; {parameter('fp32')} is what an int8 model is compared with"
        )
    if against.summary.precision != "fp32":
        kind = against.summary.precision
        raise ConfigError(f"{parameter('fp32')} {against.summary.proto}: it is {kind}; give the fp32 model")


def diff_models(a: Model, b: Model) -> Diff:
    """Compare two models; an fp32 one beside an int8 one in the form that is quantized.

    Returns
    -------
    Diff
    """
    from tnnquant.inspect.diff import Diff, diff_graphs

    if a.graph.is_quantized == b.graph.is_quantized:
        return diff_graphs(a.graph, b.graph, a.summary, b.summary)
    with suppress(GraphError):  # two networks: each by what its own file tells
        a, b = (beside(a, b), b) if a.graph.is_quantized else (a, beside(b, a))
    sides = [model if model.graph.is_quantized else _as_quantized(model) for model in (a, b)]
    diff = diff_graphs(sides[0].graph, sides[1].graph, sides[0].summary, sides[1].summary)
    return Diff(diff.a, diff.b, [*diff.header, AS_QUANTIZED], diff.rows)


def _as_quantized(model: Model) -> Model:
    graph = infer(prepare_for_quantization(model.graph)).graph
    return Model(graph, summarize(graph, model.summary.proto, model.summary.model))
