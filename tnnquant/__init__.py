"""Post-training int8 quantizer and int8 CPU engine for TNN models, in NumPy and Numba.

>>> import tnnquant
>>> report = tnnquant.quantize_model("m.tnnproto", "m.tnnmodel", "pictures/", "small")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib

__all__ = [
    "Executor",
    "Graph",
    "QuantizeConfig",
    "Report",
    "SearchConfig",
    "TnnQuantError",
    "VerifyConfig",
    "bench_latency",
    "bench_shares",
    "collect_statistics",
    "compare",
    "export_onnx",
    "inspect_model",
    "load_plugin",
    "quantize_graph",
    "quantize_model",
    "read_model",
    "write_model",
]

# Imported on first use: `tnnquant --help` must not pay for NumPy and Numba.
_HOMES = {
    "Executor": "engine.executor",
    "Graph": "graph",
    "QuantizeConfig": "config",
    "Report": "pipeline.report",
    "SearchConfig": "config",
    "TnnQuantError": "errors",
    "VerifyConfig": "config",
    "bench_latency": "bench.api",
    "bench_shares": "bench.api",
    "collect_statistics": "pipeline.collect",
    "compare": "inspect.api",
    "inspect_model": "inspect.api",
    "export_onnx": "onnx.export",
    "load_plugin": "base.plugins",
    "quantize_graph": "quantization.quantize",
    "quantize_model": "pipeline.api",
    "read_model": "pipeline.models",
    "write_model": "format",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("tnnquant")
    if name not in _HOMES:
        from difflib import get_close_matches

        close = get_close_matches(name, __all__, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise AttributeError(f"module 'tnnquant' has no attribute {name!r}{hint}")
    return getattr(importlib.import_module(f"tnnquant.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
