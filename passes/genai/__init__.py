"""Passes that build ONNX Runtime GenAI models."""
