"""A bundle in memory, and workers that answer from a function: the verdict without a runtime or torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from export.bundle.errors import BackendFailed
from export.bundle.types import Artifact, Preprocess, TensorSpec
from serve_bench.cells import Cell
from serve_bench.equivalence.make_truth import VERSION, write
from serve_bench.equivalence.structure import told_of
from serve_bench.exchange import read_arrays

INPUTS = (TensorSpec(name="x", dtype="float32", shape=("batch", 2)),)
OUTPUTS = (TensorSpec(name="y", dtype="float32", shape=("batch", 3)),)
WEIGHTS = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])


def model(x):
    """float64: (N, 2) → (N, 3)."""
    return np.asarray(x, np.float64) @ WEIGHTS.T


def write_truth(path, *, samples=80, error32=2.0**-24, probes=("test", "gaussian"), labels=True, **more):
    """Inputs on a circle of radius 4; scale is what the model gives, errors are as told."""
    arrays, angle = {}, np.linspace(0.1, 3.0, samples)
    x = (4 * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(np.float32)
    for probe in probes:
        arrays[f"{probe}/input/x"] = x
        arrays[f"{probe}/output/y"] = model(x)
        arrays[f"{probe}/scale/y"] = np.array(np.abs(model(x)).max())
        arrays[f"{probe}/error/float32/y"] = np.array(error32)
        arrays[f"{probe}/error/float16/y"] = np.array(3e-4)
    if labels:
        arrays["test/label"] = model(x).argmax(1)
    meta = {"version": VERSION, "probes": list(probes), "inputs": {"x": "float32"}, "outputs": ["y"]}
    meta |= {"input_axes": {"x": 0}, "output_axes": {"y": 0}}
    write(path, arrays | more.pop("arrays", {}), meta | more)
    return x


def write_graph(path, told):
    """What the truth is the truth of, as ONNX with the metadata `told`."""
    import onnx

    weights = onnx.numpy_helper.from_array(WEIGHTS.astype(np.float32), "w")
    node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"], "linear", transB=1)
    ends = [onnx.helper.make_tensor_value_info(n, 1, ["batch", d]) for n, d in (("x", 2), ("y", 3))]
    graph = onnx.helper.make_graph([node], "fake", ends[:1], ends[1:], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    for key, value in told.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)


def artifact(precision="float32", sha256="a" * 64, form="onnx"):
    return Artifact(
        format=form,
        precision=precision,
        path="model.onnx",
        sha256=sha256,
        content=sha256,
        bytes=1,
        parent=None,
        producers={},
        build_seconds=0.0,
        inputs=INPUTS,
        outputs=OUTPUTS,
    )


@dataclass
class FakeBundle:
    folder: Path
    task: str = "classification"
    artifacts: tuple = ()
    records: list = field(default_factory=list)
    program: None = None

    @property
    def manifest(self):
        return SimpleNamespace(preprocess=Preprocess(), task=self.task, model="fake", labels=(), inputs=INPUTS)

    def file(self, name):
        if name == "model.onnx":
            write_graph(self.folder / name, told_of(self.manifest))
        return self.folder / name

    def resolve(self, found):
        return found

    def append(self, kind, record):
        assert kind == "verification"
        self.records.append(record)

    def read(self, kind):
        return list(self.records)


@dataclass
class FakeWorkers:
    """`answer(x)` gives the backend's outputs for a whole probe, or raises."""

    answer: object
    precision: str = "float32"
    settings: dict = field(default_factory=dict)
    batches: list = field(default_factory=list)
    stopped: int = 0

    def spawn(self, family, preload, fresh=False):
        return FakeWorker(self)


@dataclass
class FakeWorker:
    workers: FakeWorkers

    def open(self, key, backend, artifact, device, threads):
        if self.workers.answer is None:
            raise BackendFailed(f"{backend}: cannot be opened: no such operator")
        return SimpleNamespace(
            settings=self.workers.settings,
            precision=self.workers.precision,
            precision_evidence="a probe",
            open_ns=1,
        )

    def answer(self, key, inputs, batch):
        x = (inputs if isinstance(inputs, dict) else read_arrays(inputs))["x"]
        self.workers.batches.append((len(x), batch))
        return {"y": self.workers.answer(x)}

    def stop(self):
        self.workers.stopped += 1


CELL = Cell(artifact(), "onnxruntime-cpu", "cpu")
