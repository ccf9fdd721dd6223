"""A model of either kind, a TNN pair or an ONNX file, as a graph: the one way in of every command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tnnquant import format as tnn
from tnnquant.config import QuantizeConfig
from tnnquant.errors import ConfigError, ModelFormatError
from tnnquant.format.constants import MODEL_SUFFIX, PROTO_SUFFIX
from tnnquant.format.files import PathLike
from tnnquant.format.locate import both_files, find_pair
from tnnquant.graph import Graph

__all__ = ["find_model", "model_files", "open_model", "read_model"]

#: How the name of an ONNX model ends; what it holds is checked when it is read.
ONNX_SUFFIX = ".onnx"

Dims = Mapping[str, Sequence[int]]


def _is_onnx(path: PathLike | None) -> bool:
    return path is not None and str(path).lower().endswith(ONNX_SUFFIX)


def read_model(
    proto: PathLike, model: PathLike | None = None, input_dims: Dims | None = None, *, zero_points: str = "int8"
) -> Graph:
    """Read a TNN model, or convert an ONNX one.

    Parameters
    ----------
    proto : path
        A .tnnproto, or an .onnx.
    model : path, optional
        The .tnnmodel; not with an .onnx.
    input_dims : mapping of str to sequence of int, optional
        Dims at which an ONNX model is converted, by the names of its inputs. A TNN model is read as it is: its dims are
        replaced where it is run.
    zero_points : {"int8", "fp32"}
        What layers of an int8 ONNX model become whose zero points are not 0: int8, with codes that are off by one here
        and there, or fp32, with the codes of onnxruntime (docs/onnx.md).

    Raises
    ------
    ModelFormatError
        A file is missing, foreign, truncated or inconsistent.
    UnsupportedLayerError
        TNN cannot express some nodes of the ONNX model; all of them are named.
    ConfigError
        Dims that an ONNX model leaves open are not given, or dims of an input that it does not have.
    """
    return _read(proto, model, input_dims, zero_points)[0]


def open_model(files: Sequence[PathLike], config: QuantizeConfig) -> tuple[Graph, QuantizeConfig]:
    """The model in these files, and how it is to be quantized: by the graph's own names of its inputs."""
    graph, names = _read(files[0], files[1] if len(files) > 1 else None, config.input_dims)
    if names:
        dims = {names.get(name, name): value for name, value in config.input_dims.items()}
        config = replace(config, input_dims=dims)
    return graph, config


def _read(
    proto: PathLike, model: PathLike | None, input_dims: Dims | None, zero_points: str = "int8"
) -> tuple[Graph, Mapping[str, str]]:
    """The graph, and the names that stand for those of an ONNX model which a .tnnproto cannot hold."""
    if not _is_onnx(proto):
        if _is_onnx(model):
            raise ConfigError(f"the .onnx {str(model)!r} is given as the second file; give it alone")
        return tnn.read_model(proto, model), {}
    if model is not None:
        raise ConfigError(f"{str(proto)!r} is an ONNX model, which has no .tnnmodel: leave {str(model)!r} out")
    from tnnquant.onnx import convert

    conversion = convert(proto, input_dims, zero_points=zero_points)
    return conversion.graph, conversion.renamed


def find_model(
    name: PathLike | None = None, proto: str | None = None, model: str | None = None, *, both: str = "",
    may_be_alone: bool = False,
) -> tuple[PathLike, PathLike | None]:
    """The files of a model that is named in any way: an .onnx alone, else as :func:`tnnquant.format.locate.find_pair`.

    With ``may_be_alone`` a .tnnproto will do that has no .tnnmodel.

    Raises
    ------
    ModelFormatError
        No such files; or a file of another kind, which is named.
    """
    if name is not None and (proto or model) and _is_onnx(name):
        raise ModelFormatError(f"{str(name)!r} is an ONNX model: give it alone, without {both or both_files()}")
    given = name if name is not None else proto
    if given is not None and model is None and _is_onnx(given):
        return given, None
    alone = _proto_alone(name, proto) if may_be_alone and model is None else None
    return (alone, None) if alone else find_pair(name, proto, model, both=both)


def _proto_alone(name: PathLike | None, proto: str | None) -> Path | None:
    """A .tnnproto that is named, in any way, and has no .tnnmodel beside it."""
    if name is not None and proto is not None:
        return None
    given = Path(name if name is not None else proto or "")
    inside = list(given.glob("*" + PROTO_SUFFIX)) if given.is_dir() else []
    given = inside[0] if len(inside) == 1 else given
    found = given if given.suffix == PROTO_SUFFIX else given.with_name(given.name + PROTO_SUFFIX)
    return found if found.is_file() and not found.with_suffix(MODEL_SUFFIX).exists() else None


def model_files(proto: PathLike, model: PathLike | None) -> tuple[PathLike, ...]:
    """The files that a model lies in."""
    return (proto,) if model is None else (proto, model)
