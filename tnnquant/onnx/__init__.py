"""ONNX models in: read, checked, converted to TNN graphs and compared with what they were.

>>> from tnnquant.onnx import convert
>>> convert("model.onnx").graph  # doctest: +SKIP
"""

from __future__ import annotations

from tnnquant.onnx.convert import ZERO_POINTS, Conversion, convert
from tnnquant.onnx.read import SUFFIX, is_onnx_path

__all__ = ["SUFFIX", "ZERO_POINTS", "Conversion", "convert", "is_onnx_path"]
