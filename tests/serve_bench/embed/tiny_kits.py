"""Kits around networks of one layer, whose float64 answers numpy gives: an image, a text and a vector."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from export import app
from export.bundle.files import sha256_of_file
from export.bundle.types import Artifact, Preprocess, TensorSpec
from serve_bench.embed._base import Golden, Kit

SYMBOLS = " abcü"
HOSTILE = "<b>|`*x*"
"""A label that would mean something in HTML and Markdown."""
TOLERANCE = 1e-5
RNG = np.random.default_rng(7)
PIXEL_WEIGHTS = RNG.normal(size=(16, 3))
LETTER_WEIGHTS = np.concatenate([np.zeros((1, 3)), RNG.normal(size=(len(SYMBOLS) - 1, 3))])
VECTOR_WEIGHTS = np.array([[2.0], [-1.0]])
PREPROCESS = Preprocess(scale=1 / 255, mean=0.5, std=0.25)


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _graph(nodes, inputs, output, constants):
    import onnx

    def value(spec):
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        return onnx.helper.make_tensor_value_info(spec.name, kind, list(spec.shape))

    made = [onnx.helper.make_node(kind, given, given_out, kind) for kind, given, given_out in nodes]
    stored = [onnx.numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = onnx.helper.make_graph(made, "tiny", [value(s) for s in inputs], [value(output)], stored)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def _kit(folder, name, task, labels, preprocess, inputs, output, model, stored, golden):
    import onnx

    raw = app.app_inputs(inputs, preprocess, stored)
    outputs = app.app_outputs(task, (output,))
    made = app.compose(model, task, preprocess, inputs, (output,), raw)
    more = {"metric": {"name": "test_accuracy", "value": 0.5, "low": 0.25, "high": 0.75, "samples": 8}}
    more |= {"dataset": {"name": "made up", "licence": "CC0 <1.0>"}, "description": "a tiny one"}
    app.describe(
        made, name=name, task=task, labels=labels, preprocess=preprocess, inputs=raw, outputs=outputs, more=more
    )
    path = folder / "app.onnx"
    onnx.save(made, path)
    artifact = Artifact(
        format="app",
        precision="float32",
        path=str(path),
        sha256=sha256_of_file(path),
        content="",
        bytes=path.stat().st_size,
        parent=None,
        producers={},
        build_seconds=0.0,
        inputs=raw,
        outputs=outputs,
    )
    manifest = SimpleNamespace(
        model=name, title=name, task=task, description="a tiny one", labels=labels, preprocess=preprocess
    )
    metadata = {p.key: p.value for p in made.metadata_props}
    return Kit(bundle=SimpleNamespace(manifest=manifest), app=artifact, metadata=metadata, golden=golden)


def image_kit(folder):
    """Pixels 4×4, three classes, one of them named HOSTILE."""
    image = TensorSpec(name="image", dtype="float32", shape=("batch", 1, 4, 4), low=-2.0, high=2.0)
    scores = TensorSpec(name="scores", dtype="float32", shape=("batch", 3))
    nodes = [("Flatten", ["image"], ["flat"]), ("MatMul", ["flat", "w"], ["scores"])]
    model = _graph(nodes, [image], scores, {"w": PIXEL_WEIGHTS.astype(np.float32)})
    pixels = RNG.integers(0, 256, (8, 4, 4), dtype=np.uint8)
    ready = (pixels.reshape(8, 16) / 255 - PREPROCESS.mean) / PREPROCESS.std
    answers = softmax(ready @ PIXEL_WEIGHTS.astype(np.float32))
    golden = _golden({"pixels": pixels}, answers)
    labels = ("zero", HOSTILE, "two")
    stored = {"image": "uint8"}
    return _kit(folder, "tiny-image", "classification", labels, PREPROCESS, (image,), scores, model, stored, golden)


def text_kit(folder):
    """The mean of its letters' rows; a row of zeros stands at what pads."""
    letters = TensorSpec(name="letters", dtype="int64", shape=("batch", "length"), low=0, high=4, symbols=SYMBOLS)
    lengths = TensorSpec(name="lengths", dtype="int64", shape=("batch",), low=1, high=9)
    scores = TensorSpec(name="scores", dtype="float32", shape=("batch", 3))
    one, last = np.array([1], np.int64), np.array([-1], np.int64)
    nodes = [
        ("Gather", ["w", "letters"], ["rows"]),
        ("ReduceSum", ["rows", "one"], ["kept"]),
        ("Squeeze", ["kept", "one"], ["sum"]),
        ("Cast", ["lengths"], ["count"]),
        ("Unsqueeze", ["count", "last"], ["column"]),
        ("Div", ["sum", "column"], ["scores"]),
    ]
    weights = LETTER_WEIGHTS.astype(np.float32)
    model = _graph(nodes, [letters, lengths], scores, {"w": weights, "one": one, "last": last})
    cast = next(node for node in model.graph.node if node.op_type == "Cast")
    cast.attribute.append(__import__("onnx").helper.make_attribute("to", 1))
    texts = ["ab", "a", "cab", "ccc", "b", "aüb", "bb", "ca"]
    counts = np.array([len(t) for t in texts])
    numbers = np.zeros((8, 3), np.int64)
    for row, text in zip(numbers, texts, strict=True):
        row[: len(text)] = [SYMBOLS.index(c) for c in text]
    answers = softmax(weights[numbers].astype(np.float64).sum(axis=1) / counts[:, None])
    golden = _golden({"letters": numbers, "lengths": counts}, answers)
    ends, labels = (letters, lengths), ("x", "y", "z")
    return _kit(folder, "tiny-text", "classification", labels, Preprocess(), ends, scores, model, {}, golden)


def vector_kit(folder):
    """2a − b of two numbers."""
    x = TensorSpec(name="x", dtype="float32", shape=("batch", 2), low=-1.0, high=1.0)
    y = TensorSpec(name="y", dtype="float32", shape=("batch", 1))
    model = _graph([("MatMul", ["x", "w"], ["y"])], [x], y, {"w": VECTOR_WEIGHTS.astype(np.float32)})
    given = RNG.uniform(-1, 1, (8, 2)).astype(np.float32)
    golden = Golden(
        inputs={"x": given},
        outputs={"value": given.astype(np.float64) @ VECTOR_WEIGHTS},
        tolerance={"value": TOLERANCE},
        labels=None,
    )
    return _kit(folder, "2-Tiny vector", "regression", (), Preprocess(), (x,), y, model, {}, golden)


def _golden(inputs, answers):
    return Golden(
        inputs=inputs,
        outputs={"probabilities": answers},
        tolerance={"probabilities": TOLERANCE},
        labels=answers.argmax(axis=1),
    )


KITS = {"image": image_kit, "text": text_kit, "vector": vector_kit}


def damage(path):
    """One weight of the network is another: a wrong model that still runs."""
    import onnx

    model = onnx.load(path)
    weights = next(w for w in model.graph.initializer if w.name == "w")
    values = onnx.numpy_helper.to_array(weights).copy()
    values[-1, 0] += 0.5
    weights.CopyFrom(onnx.numpy_helper.from_array(values, "w"))
    onnx.save(model, path)
