"""Bundles of three tiny graphs whose answers can be worked out by hand, written as the pipeline writes them."""

import json

import numpy as np

from export.bundle.environment import environment
from export.bundle.store import SCHEMA, Manifest, Training
from export.bundle.types import LENGTH, LENGTHS, Artifact, DatasetFacts, Preprocess, TensorSpec, to_json
from export.bundle.workspace import workspace

IMAGE = TensorSpec(name="image", dtype="float32", shape=("batch", 1, 2, 2), low=0.0, high=1.0)
ROW = TensorSpec(name="x", dtype="float32", shape=("batch", 3), low=-100.0, high=100.0)
LETTERS = TensorSpec(name="letters", dtype="int64", shape=("batch", LENGTH), symbols="abc '")
COUNTS = TensorSpec(name=LENGTHS, dtype="int64", shape=("batch",), low=1, high=4096)


def published(root, task, inputs, output, nodes, constants, labels=(), preprocess=Preprocess()):  # noqa: B008
    """A bundle of one ONNX graph, written as the pipeline writes one."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    ends = [
        [helper.make_tensor_value_info(s.name, kinds[s.dtype], list(s.shape)) for s in specs]
        for specs in (inputs, (output,))
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([helper.make_node(*node[:-1], **node[-1]) for node in nodes], "tiny", *ends, weights)
    with workspace(root) as place:
        with place.writing("model.onnx") as temporary:
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
            onnx.save(model, temporary)
        stages = {"onnx": place.commit("onnx", "key", ["model.onnx"], {})}

        def manifest(made):
            sha256 = next(iter(made["onnx"].files.values()))
            facts = {"parent": None, "producers": {}, "build_seconds": 0.0, "bytes": 1}
            shown = {"format": "onnx", "precision": "float32", "path": "model.onnx", "inputs": inputs}
            artifact = Artifact(**facts, **shown, outputs=(output,), sha256=sha256, content=sha256)
            data = DatasetFacts(name="user", digest="d", train=0, validation=0, test=0)
            return Manifest(
                schema=SCHEMA,
                model=root.name,
                task=task,
                description="",
                inputs=inputs,
                outputs=(output,),
                preprocess=preprocess,
                labels=labels,
                published=None,
                dataset=data,
                training=Training(recipe=None, seed=0, seconds=0.0, metrics={}),
                artifacts=(artifact,),
                stages=to_json(made),
                environment=environment(),
                created="2026-01-01T00:00:00+00:00",
            )

        place.publish(stages, manifest)
    return root


def write_bundles(folder):
    """`sum`, `spots` and `texts` in the folder."""
    value = TensorSpec(name="y", dtype="float32", shape=("batch", 1))
    scores = TensorSpec(name="scores", dtype="float32", shape=("batch", 3))
    counts = TensorSpec(name="counts", dtype="float32", shape=("batch", 2))
    weights = np.float32([[1], [10], [100]])
    published(folder / "sum", "regression", (ROW,), value, [("MatMul", ["x", "w"], ["y"], {})], {"w": weights})
    # Of pixels p0 … p3, each 0 to 1, the logits are 4 p0, 4 p1 and 4 (p2 + p3).
    published(
        folder / "spots",
        "classification",
        (IMAGE,),
        scores,
        [("Flatten", ["image"], ["flat"], {"axis": 1}), ("MatMul", ["flat", "w"], ["scores"], {})],
        {"w": np.float32([[4, 0, 0], [0, 4, 0], [0, 0, 4], [0, 0, 4]])},
        labels=("left", "right", "below"),
        preprocess=Preprocess(scale=1 / 255),
    )
    # The sum of the letters' numbers, and their count: an a, which padding looks like, counts for the second alone.
    published(
        folder / "texts",
        "regression",
        (LETTERS, COUNTS),
        counts,
        [
            ("ReduceSum", ["letters", "one"], ["sum"], {"keepdims": 1}),
            ("Unsqueeze", ["lengths", "one"], ["many"], {}),
            ("Concat", ["sum", "many"], ["both"], {"axis": 1}),
            ("Cast", ["both"], ["counts"], {"to": 1}),
        ],
        {"one": np.int64([1])},
    )


def errors(result):
    """What a command said on stderr under "error: "."""
    return [line.removeprefix("error: ") for line in result.stderr.splitlines() if line.startswith("error: ")]


def notes(result):
    return [line.removeprefix("! ") for line in result.stderr.splitlines() if line.startswith("! ")]


def lines(result):
    """The JSON lines that a command printed."""
    assert "Traceback" not in result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def picture(path, *pixels):
    """An image of 2 by 2 grey values."""
    from PIL import Image

    Image.fromarray(np.uint8(pixels).reshape(2, 2)).save(path)
