"""Tiny models of every kind of question, each with golden answers that numpy computes in float64."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.bundle.files import sha256_of_file
from export.bundle.types import Artifact, Preprocess, TensorSpec
from serve_bench.embed._base import Golden, Kit

SYMBOLS = "abcXYZ '"
LANGUAGES = ("Low", "High", "Neither")
TOLERANCE = 1e-5
ANSWERS = (
    TensorSpec(name="probabilities", dtype="float32", shape=("batch", 3)),
    TensorSpec(name="label", dtype="int64", shape=("batch",)),
)
VALUE = (TensorSpec(name="value", dtype="float32", shape=("batch", 1)),)
KINDS = ("digits", "counts", "names", "curve", "fields")


def softmax(scores):
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _digits(side, high, kind="uint8"):
    """Class 1 for ink in the left half, class 2 in the right half, 0 without: shares follow the ink."""
    weights = np.zeros((side * side, 3))
    columns = np.arange(side * side) % side
    weights[:, 1], weights[:, 2] = columns < side // 2, columns >= side // 2
    weights *= 8 / (high * side)
    inputs = (TensorSpec(name="pixels", dtype=kind, shape=("batch", side, side), low=0, high=high),)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["as_float"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
    ]
    pixels = np.random.default_rng(0).integers(0, high + 1, (32, side, side)).astype(kind)
    return inputs, ANSWERS, nodes, weights, {"pixels": pixels}, pixels.reshape(32, -1).astype(float) @ weights


def _names():
    """A row of weights for the first letter."""
    weights = np.eye(3)[[0, 0, 0, 1, 1, 1, 2, 2]] * 4
    inputs = (
        TensorSpec(name="letters", dtype="int64", shape=("batch", "length"), low=0, high=7, symbols=SYMBOLS),
        TensorSpec(name="lengths", dtype="int64", shape=("batch",), low=1, high=6),
    )
    nodes = [
        helper.make_node("Constant", [], ["zero"], value=onnx.numpy_helper.from_array(np.array(0, np.int64))),
        helper.make_node("Gather", ["letters", "zero"], ["first"], axis=1),
        helper.make_node("Gather", ["w", "first"], ["scores"], axis=0),
    ]
    letters = np.random.default_rng(1).integers(0, 8, (32, 6))
    return inputs, ANSWERS, nodes, weights, {"letters": letters, "lengths": np.full(32, 6)}, weights[letters[:, 0]]


def _numbers(width, low, high):
    """x · (1, 2, …) times itself."""
    weights = np.arange(1.0, width + 1)[:, None]
    inputs = (TensorSpec(name="x", dtype="float32", shape=("batch", width), low=low, high=high),)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["sum"]),
        helper.make_node("Mul", ["sum", "sum"], ["value"]),
    ]
    x = np.random.default_rng(2).uniform(low, high, (32, width)).astype(np.float32)
    return inputs, VALUE, nodes, weights, {"x": x}, (x.astype(float) @ weights) ** 2


MODELS = {
    "digits": lambda: _digits(28, 255),
    "counts": lambda: _digits(8, 16),
    "names": _names,
    "curve": lambda: _numbers(1, -2, 2),
    "fields": lambda: _numbers(3, -1, 1),
}


def kit(kind, folder, *, name="tiny", labels=None, **told):
    """A Kit whose app.onnx lies in `folder`; `told` are more metadata, as text."""
    inputs, outputs, nodes, weights, given, found = MODELS[kind]()
    classifies = outputs is ANSWERS
    if classifies:
        nodes += [
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        ]
    path = folder / "app.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    _save(path, nodes, inputs, outputs, weights)
    answers = {"probabilities": softmax(found)} if classifies else {"value": found}
    golden = Golden(
        inputs=given,
        outputs=answers,
        tolerance=dict.fromkeys(answers, TOLERANCE),
        labels=answers["probabilities"].argmax(1) if classifies else None,
    )
    labels = LANGUAGES if labels is None else labels
    manifest = SimpleNamespace(title=name, labels=labels if classifies else (), preprocess=Preprocess())
    metric = {"name": "test_accuracy", "value": 0.5, "low": 0.25, "high": 0.75, "samples": 8}
    metadata = {"description": "a tiny network", "metric": json.dumps(metric), "dataset": '{"name": "none"}'} | told
    bundle = SimpleNamespace(manifest=manifest)
    return Kit(bundle=bundle, app=_artifact(path, inputs, outputs), metadata=metadata, golden=golden)


def _save(path, nodes, inputs, outputs, weights):
    ends = [[_end(spec) for spec in specs] for specs in (inputs, outputs)]
    constant = onnx.numpy_helper.from_array(weights.astype(np.float32), "w")
    graph = helper.make_graph(nodes, "tiny", *ends, [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _end(spec):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, spec.shape)


def _artifact(path, inputs, outputs):
    return Artifact(
        format="app",
        precision="float32",
        path=str(path),
        sha256=sha256_of_file(path),
        content="c" * 64,
        bytes=path.stat().st_size,
        parent=None,
        producers={},
        build_seconds=0.0,
        inputs=inputs,
        outputs=outputs,
    )
