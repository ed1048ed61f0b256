"""The tiny network of `tiny_network.py`, written once a session."""

import numpy as np
import pytest
from tiny_network import Tiny, artifact, truth_of, write_onnx, write_torch


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory):
    """The ONNX forms alone: no torch is needed for them."""
    folder = tmp_path_factory.mktemp("tiny-onnx")
    write_onnx(folder / "model.onnx")
    write_onnx(folder / "model.fp16.onnx", half=True)
    made = [
        artifact(folder / "model.onnx", "onnx"),
        artifact(folder / "model.fp16.onnx", "onnx", "float16"),
    ]
    images = np.random.default_rng(1).standard_normal((23, 1, 8, 8)).astype(np.float32)
    return Tiny({a.name: a for a in made}, images, truth_of(images))


@pytest.fixture(scope="session")
def tiny(tiny_onnx, tmp_path_factory):
    """Every form."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("tiny-torch")
    write_torch(folder / "model.pt2", folder / "model.torchscript.pt")
    made = [
        artifact(folder / "model.pt2", "exported_program"),
        artifact(folder / "model.torchscript.pt", "torchscript"),
    ]
    return Tiny(tiny_onnx.artifacts | {a.name: a for a in made}, tiny_onnx.images, tiny_onnx.truth)
