"""What a layer type is: its parameters and tensors on file, its output shapes, its arithmetic.

A layer type is one frozen dataclass under ``@layer(id, "TypeString", "Alias", ...)``; its fields, in the order of the
file, are declared with :func:`param`. Nothing else has to be edited: :func:`load_layers` imports every module of this
package. The methods of the class are the layer's fp32 form; its int8 form is a class of its own
(:mod:`tnnquant.layers.halves`). A type with a line in the file that departs from that scheme overrides
:meth:`Layer.parse` and :meth:`Layer.tokens`. A type that cannot be run keeps the default :meth:`Layer.forward`; it
still loads and saves.

Arrays and layouts
------------------
Blobs are NumPy arrays of *logical* shape NCHW (or any rank). The memory of a rank-4 float blob may be channels-last (an
NHWC array seen through ``transpose(0, 3, 1, 2)``), as the convolution, pooling and depthwise kernels produce and want
it; :func:`channels_last` and :func:`from_channels_last` convert without a copy when they can. A layer written in plain
NumPy needs to know nothing of this, except that ``reshape`` copies and that a flat kernel must ask for
``np.ascontiguousarray``.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, TypeAlias, TypeVar, dataclass_transform

import numpy as np

from tnnquant.base import plugins
from tnnquant.base.tensor import DataType, QuantParams, Tensor
from tnnquant.errors import GraphError, ModelFormatError, UnsupportedLayerError
from tnnquant.layers.fields import PARSERS, ResourceField, format_tokens, param, parse_int

if TYPE_CHECKING:
    from tnnquant.layers.halves import Int8Half

__all__ = [
    "BlobScales",
    "BlobSpec",
    "Layer",
    "LayerType",
    "QuantRole",
    "channels_last",
    "find_layer",
    "from_channels_last",
    "layer",
    "layer_type",
    "layer_types",
    "load_layers",
]

class QuantRole(Enum):
    """How a layer takes part in quantization (docs/tnn-format.md, 7.4, 7.7, 7.8)."""

    NONE = "none"
    """Stays fp32."""
    WEIGHTED = "weighted"
    """int8 weights, int32 bias: convolution, inner product."""
    JOIN = "join"
    """int8 without weights, rescales by the blobs' scales: add, concat."""
    PASS = "pass"
    """int8 only after an int8 producer, whose output takes this layer's output scale: ReLU, max pooling."""


@dataclass(frozen=True)
class BlobSpec:
    """What is known of a blob before anything runs.

    Attributes
    ----------
    dims : tuple of int
    dtype : DataType
    value : ndarray or None
        The content, where it is a constant or was computed from constants and shapes.
    """

    dims: tuple[int, ...]
    dtype: DataType = DataType.FLOAT
    value: np.ndarray | None = None


class BlobScales(NamedTuple):
    """Quantization of a node's blobs; None where a blob is not int8."""

    inputs: tuple[QuantParams | None, ...]
    outputs: tuple[QuantParams | None, ...]

    @property
    def of_inputs(self) -> tuple[QuantParams, ...]:
        """Those of the inputs, all of which are int8.

        Raises
        ------
        GraphError
            One is not.
        """
        return tuple(_given(params, f"input {index}") for index, params in enumerate(self.inputs))

    @property
    def of_outputs(self) -> tuple[QuantParams, ...]:
        """Those of the outputs; as :attr:`of_inputs`."""
        return tuple(_given(params, f"output {index}") for index, params in enumerate(self.outputs))


def _given(params: QuantParams | None, what: str) -> QuantParams:
    if params is None:
        raise GraphError(f"{what} has no scale, and the layer is int8")
    return params


_OtherLayer = TypeVar("_OtherLayer", bound="Layer")
_Kind = TypeVar("_Kind")
"""What a layer is expected to be; a mixin need not derive from Layer."""


# --- the layer type ---


@dataclass(frozen=True)
class Layer:
    """Base of all layer types. A type that defines nothing more has no parameters and no tensors."""

    TYPE_ID: ClassVar[int] = 0
    TYPE_NAMES: ClassVar[tuple[str, ...]] = ()
    RESOURCE: ClassVar[tuple[ResourceField, ...]] = ()
    QUANT: ClassVar[QuantRole] = QuantRole.NONE
    FOLDS_SHAPE: ClassVar[bool] = False
    """The outputs depend on the input's dims alone (Shape); a model with such a layer has its constants folded."""
    NEEDS_FOLDING: ClassVar[bool] = False
    """Sees the values of constant inputs only in models whose constants are folded (Expand; docs/tnn-format.md, 9)."""
    PER_TENSOR_BLOBS: ClassVar[bool] = False
    """The blobs this layer touches have one scale each, never one per channel (inner product; docs/tnn-format.md,
    7.4)."""
    KEEPS_ZERO_POINT: ClassVar[bool] = True
    """Role PASS: the int8 form is right for blobs with a zero point too (max pooling; not ReLU)."""
    CONVERTS: ClassVar[bool] = False
    """Its int8 form has a float blob on one side: the border between int8 and fp32 (Reformat)."""
    ACTIVATION_CODE: ClassVar[int] = 0
    """The activation code of a layer of the convolution family into which TNN fuses this one right after it when it
    loads a model; 0: it does not."""
    FUSED_CODE: ClassVar[int] = 0
    """The activation code of a convolution into which TNN fuses this layer right after an int8 one; 0: it does not."""
    BY_ELEMENT: ClassVar[bool] = False
    """Without tensors, and with inputs of one shape, an element of the output depends on those at its place alone, and
    on nothing of that place."""
    KEEPS_LAYOUT: ClassVar[bool] = False
    """Its fp32 form works on any memory order of blobs of rank 4, if all of them have the same."""
    ANY_LAYOUT: ClassVar[bool] = False
    """Its fp32 form works on any memory order of blobs of rank 4, each its own."""
    NORMALIZES: ClassVar[bool] = False
    """Shifts or scales its input by stored values: a model that begins with one may be fed raw pixels."""
    SELECTS: ClassVar[bool] = False
    """What lies at a place of its outputs depends on values (non-maximum suppression, sorting): two models' outputs
    cannot be compared place by place."""
    INT8: ClassVar[type[Int8Half[Any]] | None] = None
    """Its int8 form (:func:`tnnquant.layers.halves.int8_form`); the methods here are the fp32 form."""
    WHY_NOT: ClassVar[str] = ""
    """Why the type cannot be run, where TNN itself cannot; shown to the user."""

    @classmethod
    def parse(cls, tokens: Sequence[str]) -> Self:
        """Build the layer from the parameter tokens of its line; superfluous tokens are ignored, as TNN does."""
        values: dict[str, Any] = {}
        position = 0
        for entry in dataclasses.fields(cls):
            kind, what = entry.metadata["kind"], f"parameter {entry.name!r}"
            parser = PARSERS[kind]
            if kind == "rest":
                values[entry.name] = tuple(parser(token, what) for token in tokens[position:])
                break
            if position >= len(tokens):
                if entry.metadata["required"]:
                    raise ModelFormatError(
                        f"{what} is missing: the line has {len(tokens)} parameters, {what} is number {position + 1}"
                    )
                continue
            if kind in ("ints", "floats"):
                count = parse_int(tokens[position], f"the count of {what}")
                if not 0 <= count <= len(tokens) - position - 1:
                    raise ModelFormatError(
                        f"{what} announces {count} values, {len(tokens) - position - 1} tokens are left on the line"
                    )
                values[entry.name] = tuple(parser(t, what) for t in tokens[position + 1 : position + 1 + count])
                position += 1 + count
            else:
                values[entry.name] = parser(tokens[position], what)
                position += 1
        return cls(**values)

    def tokens(self) -> list[str]:
        """The parameter tokens as TNN writes them."""
        tokens: list[str] = []
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if entry.metadata["kind"] in ("ints", "floats"):
                tokens.append(str(len(value)))
            tokens += format_tokens(value)
        return tokens

    def resolved(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> Self:
        """The layer with the parameters TNN stores once shapes are known (and saves): axes >= 0, computed pads.

        Idempotent: resolving a resolved layer gives the same layer.
        """
        return self

    def with_outputs(self, count: int) -> Self:
        """The layer told how many outputs its node has; most types do not care."""
        return self

    def output_specs(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> list[BlobSpec]:
        """Dims and data types of the outputs (docs/tnn-format.md, 4). Called on a resolved layer.

        The default: the layer is unary and element-wise.
        """
        return [BlobSpec(inputs[0].dims, inputs[0].dtype)]

    def prepare(self, tensors: Mapping[str, Tensor], inputs: Sequence[BlobSpec]) -> Any:
        """What :meth:`forward` wants of the tensors, made once per model: widened, reshaped, packed.

        Raises
        ------
        GraphError
            A tensor is missing or its size does not fit the parameters.
        """
        return None

    def forward(self, inputs: Sequence[np.ndarray], state: Any) -> list[np.ndarray]:
        """Compute the outputs (docs/tnn-format.md, 5).

        Parameters
        ----------
        inputs : list of ndarray
            Logical shapes; must not be written to. Constants of the graph arrive as ordinary inputs.
        state
            What :meth:`prepare` returned.
        """
        why = self.WHY_NOT or "tnnquant has no kernel for it"
        raise UnsupportedLayerError(f"{self.TYPE_NAMES[0]} cannot be run: {why}")

    def emit(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], state: Any
    ) -> np.ndarray | None:
        """The rows of a kernel program (:mod:`tnnquant.kernels.program`) that compute outputs from inputs.

        Asked once per model. The arrays are of logical shape at fixed places in memory; rank 4 is channels-last,
        possibly a slice of the channels of a wider blob. None: these arrays need :meth:`forward`.
        """
        return None

    def expect(self, kind: type[_Kind]) -> _Kind:
        """The layer itself, as one of that type, where the code knows that it is; for its parameters.

        Raises
        ------
        TypeError
            It is not: a fault of the caller. Code that asks which type a layer has uses ``isinstance``.
        """
        if not isinstance(self, kind):
            raise TypeError(f"a layer of type {type(self).__name__} stands where {kind.__name__} is expected")
        return self

    def as_kind(self, kind: type[_OtherLayer], **changes: Any) -> _OtherLayer:
        """A layer of another class that has the parameters of this one; ``changes``: values of some, or of its own."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        return kind(**values | changes)

    @classmethod
    def runnable(cls) -> bool:
        """Whether the type has an arithmetic of its own."""
        return cls.forward is not Layer.forward

    @classmethod
    def runnable_int8(cls) -> bool:
        """Whether the type has an int8 form (docs/tnn-format.md, 6), which nodes flagged as quantized run."""
        return cls.INT8 is not None

    def relabels(self) -> bool:
        """Whether its output is its first input under other dims, element by element in logical order."""
        return False

    def joins_in_place(self, state: Any) -> bool:
        """Whether the inputs may be made where they lie in the output: a concat along the channels."""
        return False

    @property
    def rectifies(self) -> bool:
        """Whether the outputs are never below 0."""
        return False

    @property
    def fuses_add(self) -> bool:
        """Whether TNN fuses an int8 add right after the int8 form into it (docs/tnn-format.md, 6.6)."""
        return False

    def with_add(self) -> Layer:
        """The layer fused with the int8 add right after it, whose other operand becomes a second input
        (docs/tnn-format.md, 6.6); asked where :attr:`fuses_add` says so."""
        raise UnsupportedLayerError(f"{self.TYPE_NAMES[0]} fuses no add")

    def absorbed(self, following: Layer, state: Any) -> Layer | None:
        """This fp32 layer, made ready as ``state``, and the one after it as one layer with the same state, or None.

        ``following`` reads the output of this one, and maybe another blob of the same dims, which becomes the last
        input. The results must have the same bits.
        """
        return None

    @property
    def role(self) -> QuantRole:
        """How this layer, with these parameters, takes part in quantization."""
        return self.QUANT

    def why_not_int8(self, inputs: Sequence[BlobSpec], tensors: Mapping[str, Tensor]) -> str | None:
        """Why TNN's int8 form of this layer cannot run with these parameters and shapes; None if it can.

        Asked only of layers whose :attr:`role` is not NONE.
        """
        return None

    def widened(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a dynamic-range layer (int8 weights, fp32 arithmetic) with fp32 weights (docs/tnn-format.md,
        6.6)."""
        raise UnsupportedLayerError(f"{self.TYPE_NAMES[0]} has no dynamic-range form")

    def macs(self, inputs: Sequence[BlobSpec], outputs: Sequence[BlobSpec]) -> int:
        """Multiply-accumulates of one run; 0 for what is not counted in them."""
        return 0


LayerType: TypeAlias = type[Layer]
"""A layer's class, for classes that have a field named ``type``."""

_TYPES: dict[str, type[Layer]] = {}
_loaded = False


_Type = TypeVar("_Type", bound=type[Layer])


@dataclass_transform(frozen_default=True, field_specifiers=(param,))
def layer(type_id: int, *names: str) -> Callable[[_Type], _Type]:
    """Register a layer type: TNN's number of it and every type string that means it, the canonical one first."""

    def register(cls: _Type) -> _Type:
        # Making a dataclass costs 0.5 ms; types without parameters of their own inherit all they need.
        if inspect.get_annotations(cls):
            dataclass(frozen=True)(cls)  # changes the class and returns it
        cls.TYPE_ID, cls.TYPE_NAMES = type_id, names
        for name in names:
            if name in _TYPES:
                raise ValueError(f"layer type {name} is registered twice: {_TYPES[name].__name__}, {cls.__name__}")
            _TYPES[name] = cls
        return cls

    return register


def load_layers() -> None:
    """Import every module of this package, once."""
    global _loaded
    if not _loaded:
        package = importlib.import_module(__package__)
        for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
            importlib.import_module(f"{__package__}.{module}")
        _loaded = True


def find_layer(type_string: str) -> type[Layer] | None:
    """The layer type of a type string, or None when TNN does not know the string."""
    load_layers()
    if type_string not in _TYPES:
        plugins.load_installed()
    return _TYPES.get(type_string)


def layer_type(type_string: str) -> type[Layer]:
    """The layer type of a type string that is known to be one of TNN's.

    Raises
    ------
    UnsupportedLayerError
        It is not.
    """
    found = find_layer(type_string)
    if found is None:
        raise UnsupportedLayerError(f"unknown layer type {type_string!r}")
    return found


def layer_types() -> dict[str, type[Layer]]:
    """Every known type string with its layer type."""
    load_layers()
    return dict(_TYPES)


# --- layouts ---


def channels_last(x: np.ndarray) -> np.ndarray:
    """A blob of logical shape (N, C, H, W) as a C-contiguous array (N, H, W, C); a copy only if need be."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def from_channels_last(x: np.ndarray) -> np.ndarray:
    """A channels-last array (N, H, W, C) as a blob of logical shape (N, C, H, W); no copy."""
    return x.transpose(0, 3, 1, 2)
