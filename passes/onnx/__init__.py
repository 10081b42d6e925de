"""Passes on plain ONNX networks."""
