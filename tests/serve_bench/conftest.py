"""The tiny network of `tiny_network.py`, written once a session, and one browser for every page."""

import os
from dataclasses import replace

import numpy as np
import pytest
from tiny_network import Tiny, artifact, source_of, truth_of, write_onnx, write_torch

from tests.serve_bench.embed import browser as chromium


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


@pytest.fixture(scope="session")
def packaged(tiny, tmp_path_factory):
    """The tiny network as an AOTInductor package: compiling it takes some ten seconds."""
    from export.formats.aotinductor import AotInductor

    form = AotInductor()
    if form.missing():
        pytest.skip(form.missing())
    path = tmp_path_factory.mktemp("tiny-aotinductor") / form.filename
    made = form.write(source_of(tiny.artifacts["exported_program"], tiny.images), path)
    return replace(made, path=str(path))


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if not chromium.PATH or os.name == "nt":
        pytest.skip("no Chromium here to look at the page with")
    opened = chromium.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
