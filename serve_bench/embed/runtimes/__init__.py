"""Runtimes that app.onnx is tried on: one a file."""

ENTRIES: tuple[()] = ()
"""No target of `pipeline embed`: this folder is a registry of its own."""
