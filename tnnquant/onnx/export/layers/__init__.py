"""The fp32 forms of layers, a module for each kind of them; found by :mod:`tnnquant.onnx.export.registry`."""
