"""The converters, a module for each group of operators (:mod:`tnnquant.onnx.registry`)."""
