"""Errors for people: each says what, where, got, expected, and what to do, in one line."""

from __future__ import annotations


class TnnQuantError(Exception):
    """Root of every error that tnnquant raises on purpose; the command line prints it as one line."""

    exit_code = 1


class ModelFormatError(TnnQuantError):
    """A .tnnproto or .tnnmodel file is truncated, foreign or inconsistent."""

    exit_code = 3


class UnsupportedLayerError(TnnQuantError):
    """A layer type, rank or parameter that tnnquant (or TNN itself) cannot run."""

    exit_code = 4


class GraphError(TnnQuantError):
    """The layers of a model do not fit together: shapes, missing blobs, missing resources."""

    exit_code = 4


class UnfitValueError(GraphError):
    """A layer cannot run on the values that it is given: an index out of range."""


class InputError(TnnQuantError):
    """A calibration file or folder that cannot be used."""

    exit_code = 5


class CalibrationError(TnnQuantError):
    """Statistics that allow no scale: no pictures, NaN activations."""

    exit_code = 6


class ConfigError(TnnQuantError):
    """An option or parameter with an impossible value."""

    exit_code = 2


class MetricError(ConfigError):
    """A metric of the user's own that fails, or gives no finite number."""


class OutputError(TnnQuantError):
    """A result that cannot be written: no such folder, read-only, disk full."""

    exit_code = 7


class KernelError(TnnQuantError):
    """A kernel whose results differ from those of its reference."""
