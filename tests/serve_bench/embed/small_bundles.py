"""Bundles of three kinds with their app.onnx, each a few numbers large: images, texts, vectors. No torch is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from export import app
from export.bundle.environment import environment
from export.bundle.store import SCHEMA, Bundle, Manifest, Training
from export.bundle.types import Artifact, DatasetFacts, Preprocess, TensorSpec, to_json
from export.bundle.workspace import workspace
from serve_bench.equivalence.make_truth import VERSION, write

SAMPLES = 9
RNG = np.random.default_rng(3)
MATRIX = RNG.standard_normal((16, 3))
TABLE = RNG.standard_normal((5, 3))
LINE = RNG.standard_normal((5, 1))
SYMBOLS = "ab ß'"
LABELS = ('quo"te??/', "b\\ *bold* <i>", "drei é")
CLASSES = TensorSpec(name="logits", dtype="float32", shape=("batch", 3))


def _softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def images():
    spec = TensorSpec(name="image", dtype="float32", shape=("batch", 1, 4, 4), low=0.0, high=1.0)
    given = np.random.default_rng(0).integers(0, 256, (SAMPLES, 1, 4, 4)).astype(np.uint8)
    logits = (given.reshape(SAMPLES, 16) / 255.0) @ MATRIX
    return (spec,), (CLASSES,), Preprocess(scale=1 / 255), {"image": given}, {"logits": logits}, LABELS


def texts():
    specs = (
        TensorSpec(name="letters", dtype="int64", shape=("batch", "length"), low=0, high=4, symbols=SYMBOLS),
        TensorSpec(name="lengths", dtype="int64", shape=("batch",), low=1, high=6),
    )
    rng = np.random.default_rng(1)
    letters, lengths = rng.integers(0, 5, (SAMPLES, 4)), rng.integers(1, 5, SAMPLES)
    mask = np.arange(4) < lengths[:, None]
    logits = (TABLE[letters] * mask[..., None]).sum(axis=1)
    given = {"letters": letters * mask, "lengths": lengths}
    return specs, (CLASSES,), Preprocess(), given, {"logits": logits}, LABELS


def vectors():
    spec = TensorSpec(name="x", dtype="float32", shape=("batch", 5), low=-1.0, high=1.0)
    given = np.random.default_rng(2).standard_normal((SAMPLES, 5)).astype(np.float32)
    output = TensorSpec(name="sum", dtype="float32", shape=("batch", 1))
    return (spec,), (output,), Preprocess(), {"x": given}, {"sum": given.astype(np.float64) @ LINE}, ()


KINDS = {"images": images, "texts": texts, "vectors": vectors}


def graph_of(kind, inputs, outputs):
    import onnx
    from onnx.helper import make_node

    def constant(name, value):
        return onnx.numpy_helper.from_array(np.asarray(value), name)

    if kind == "images":
        nodes = [make_node("Flatten", ["image"], ["flat"]), make_node("MatMul", ["flat", "w"], ["logits"])]
        constants = [constant("w", MATRIX.astype(np.float32))]
    elif kind == "vectors":
        nodes = [make_node("MatMul", ["x", "w"], ["sum"])]
        constants = [constant("w", LINE.astype(np.float32))]
    else:
        nodes = [
            make_node("Gather", ["w", "letters"], ["rows"]),
            make_node("Shape", ["letters"], ["size"]),
            make_node("Gather", ["size", "one"], ["length"]),
            make_node("Range", ["zero", "length", "one"], ["places"]),
            make_node("Unsqueeze", ["lengths", "axis"], ["column"]),
            make_node("Less", ["places", "column"], ["inside"]),
            make_node("Cast", ["inside"], ["mask"], to=1),
            make_node("Unsqueeze", ["mask", "last"], ["weights"]),
            make_node("Mul", ["rows", "weights"], ["kept"]),
            make_node("ReduceSum", ["kept", "axis"], ["logits"], keepdims=0),
        ]
        constants = [constant("w", TABLE.astype(np.float32)), constant("one", np.int64(1))]
        constants += [constant("zero", np.int64(0)), constant("axis", np.array([1])), constant("last", np.array([2]))]
    ends = [[app._value(s) for s in specs] for specs in (inputs, outputs)]
    graph = onnx.helper.make_graph(nodes, kind, *ends, constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def bundle(kind: str, root: Path, *, name: str = "small", engine: dict | None = None, wrong: bool = False) -> Bundle:
    """The bundle of one kind; `engine` adds a (made up) TensorRT engine with these facts, `wrong` turns a weight."""
    inputs, outputs, preprocess, given, answers, labels = KINDS[kind]()
    task = "classification" if labels else "regression"
    model = graph_of(kind, inputs, outputs)
    if wrong:
        _turn_a_weight(model)
    raw = app.app_inputs(inputs, preprocess, {n: a.dtype.name for n, a in given.items()})
    ends = app.app_outputs(task, outputs)
    composed = app.compose(model, task, preprocess, inputs, outputs, raw)
    metric = {"name": "test_accuracy", "value": 0.75, "low": 0.5, "high": 0.9, "samples": SAMPLES}
    more = {"metric": metric, "dataset": {"name": "made_up", "licence": "CC0 <b>"}}
    told = {"name": name, "task": task, "labels": labels, "preprocess": preprocess}
    app.describe(composed, **told, inputs=raw, outputs=ends, more=more)
    files = {
        "model.onnx": ("onnx", "float32", inputs, outputs, {}, model.SerializeToString()),
        "app.onnx": ("app", "float32", raw, ends, {}, composed.SerializeToString()),
        "model.torchscript.pt": ("torchscript", "float32", inputs, outputs, {}, b"no real archive"),
    }
    if engine is not None:
        files["engines/sm80/model.engine"] = ("tensorrt", "float32", inputs, outputs, engine, b"no real engine")
    return _published(root, files, told, inputs, outputs, given, answers)


def _turn_a_weight(model):
    import onnx

    tensor = next(t for t in model.graph.initializer if t.name == "w")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0, 0] += 0.01
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, "w"))


def write_truth(path, inputs, outputs, given, answers):
    arrays = {f"test/input/{n}": a for n, a in given.items()}
    known = dict(answers)
    if "logits" in answers:
        known["probabilities"] = _softmax(answers["logits"])
    arrays |= {f"test/output/{n}": a for n, a in answers.items()}
    for name, values in known.items():
        arrays[f"test/scale/{name}"] = np.array(np.abs(values).max())
        arrays[f"test/error/float32/{name}"] = np.array(2.0**-24)
    meta = {"version": VERSION, "probes": ["test"], "inputs": {s.name: s.dtype for s in inputs}}
    meta |= {"outputs": [s.name for s in outputs], "output_axes": {s.name: 0 for s in outputs}}
    write(path, arrays, meta | {"input_axes": {s.name: 0 for s in inputs}})


def _published(root, files, told, inputs, outputs, given, answers):
    with workspace(root) as place:
        stages, artifacts = {}, []
        for path, (form, precision, ins, outs, facts, data) in files.items():
            names = [path]
            with place.writing(path) as temporary:
                temporary.write_bytes(data)
            if form == "tensorrt":
                names.append(path + ".json")
                with place.writing(names[1]) as temporary:
                    import json

                    temporary.write_text(json.dumps(facts | {"inputs": to_json(ins), "outputs": to_json(outs)}))
            stages[path] = place.commit(path, path, names, {})
            artifacts.append(_artifact(form, precision, path, stages[path].files[path], ins, outs, facts))
        with place.writing("golden.npz") as temporary:
            write_truth(temporary, inputs, outputs, given, answers)
        stages["truth"] = place.commit("truth", "truth", ["golden.npz"], {})
        return place.publish(stages, lambda done: _manifest(done, artifacts, told, inputs, outputs))


def _artifact(form, precision, path, sha256, inputs, outputs, facts):
    made = Artifact(
        format=form,
        precision=precision,
        path=path,
        sha256=sha256,
        content=sha256,
        bytes=1,
        parent=None,
        producers={},
        build_seconds=0.0,
        inputs=inputs,
        outputs=outputs,
        facts=facts,
    )
    return replace(made, target="sm80") if form == "tensorrt" else made


def _manifest(stages, artifacts, told, inputs, outputs):
    return Manifest(
        schema=SCHEMA,
        model=told["name"],
        task=told["task"],
        description="a small one",
        inputs=inputs,
        outputs=outputs,
        preprocess=told["preprocess"],
        labels=tuple(told["labels"]),
        published=None,
        dataset=DatasetFacts(name="made_up", digest="d", train=0, validation=0, test=SAMPLES),
        training=Training(recipe=None, seed=0, seconds=0.0, metrics={}),
        artifacts=tuple(artifacts),
        stages=to_json(stages),
        environment=environment(),
        created="2026-01-01T00:00:00+00:00",
    )
