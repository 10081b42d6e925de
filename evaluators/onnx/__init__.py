"""Evaluators of plain ONNX networks."""
