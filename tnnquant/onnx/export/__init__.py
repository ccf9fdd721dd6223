"""TNN models as ONNX: fp32 ones as plain operators, int8 ones as QDQ."""

from tnnquant.onnx.export.api import Exported, export_onnx
from tnnquant.onnx.export.model import DEFAULT_OPSET, OLDEST_OPSET, export_graph

__all__ = ["DEFAULT_OPSET", "OLDEST_OPSET", "Exported", "export_graph", "export_onnx"]
