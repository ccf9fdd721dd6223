"""int8 ONNX models: the scales and codes that QuantizeLinear and DequantizeLinear give, taken over into TNN's int8."""
