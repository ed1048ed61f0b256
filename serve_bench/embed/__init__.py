"""Apps around a bundle's app.onnx: one target a file."""
