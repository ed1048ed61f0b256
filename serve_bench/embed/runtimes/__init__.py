"""Runtimes that app.onnx is tried on: one a file."""
