"""step.onnx: the cell of a recurrent network, for apps that feed it one element at a time and keep its state."""

from __future__ import annotations

import copy
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.errors import ExportError
from export.bundle.types import LENGTH, LENGTHS, Artifact, Json, ModelSpec, Precision, Step
from export.formats._base import Source
from export.formats._write import exporting, parent_content, record
from export.formats.onnx import checked, missing_exporter, model_from_program, opset_of
from export.program import dynamic_shapes, leaves, strip_sources, tensors

LARGEST_RATIO = 8.0
"""To the error of the whole model in float32, both against float64; a verdict on float32 allows twice that."""


class OnnxStep:
    name = "onnx-step"
    needs: str | None = "weights"
    precision: Precision = "float32"
    filename = "step.onnx"
    version = 1
    libraries = ("torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime")
    options: tuple[str, ...] = ("opset",)

    def applies(self, spec: ModelSpec) -> bool:
        return spec.step is not None

    def missing(self) -> str | None:
        return missing_exporter()

    def write(self, source: Source, destination: Path) -> Artifact:
        started = time.perf_counter()
        parent = parent_content(source, "weights")
        if source.trained.spec.step is None:
            raise ExportError(f"{self.name}: {source.trained.spec.id} has no step: it is not recurrent")
        step = source.trained.spec.step(source.trained.module)
        with exporting(self.name):
            model = _model(step, source, parent)
            data = checked(model)
            destination.write_bytes(data)
            facts = {"opset": opset_of(model), "ir_version": model.ir_version, "check": check(source, step, data)}
            artifact = record(
                source,
                destination,
                form="onnx_step",
                path=self.filename,
                started=started,
                parent=parent,
                libraries=("torch", "onnx", "onnxscript"),
                facts=facts,
            )
        return dataclasses.replace(artifact, inputs=step.inputs, outputs=step.outputs)


def _model(step: Step, source: Source, parent: str) -> Any:
    import torch

    example = {
        spec.name: np.zeros([2 if isinstance(axis, str) else axis for axis in spec.shape], spec.dtype)
        for spec in step.inputs
    }
    program = torch.export.export(
        step.module.eval(), tensors(example, step.inputs), dynamic_shapes=dynamic_shapes(step.inputs), strict=False
    )
    strip_sources(program)
    spec = dataclasses.replace(source.trained.spec, inputs=step.inputs, outputs=step.outputs)
    trained = dataclasses.replace(source.trained, spec=spec)
    return model_from_program(program, dataclasses.replace(source, trained=trained), parent)


def check(source: Source, step: Step, data: bytes) -> dict[str, Json]:
    """Feeds the example element by element; raises ExportError where its last answer is not the whole model's.

    The state begins as zeros; what the step takes besides it is a column of the whole model's sequences.
    """
    import onnxruntime
    import torch

    spec, module = source.trained.spec, source.trained.module
    values = tensors(source.example, spec.inputs)
    with torch.inference_mode():
        whole = leaves(module(*values))[0].numpy()
        truth = leaves(copy.deepcopy(module).double()(*values))[0].numpy()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    answers = answers_by_step(session, step, source)
    scale = float(np.abs(truth).max())
    errors = [float(np.abs(found - truth).max()) / scale for found in (answers, whole)]
    allowed = LARGEST_RATIO * max(errors[1], 2.0**-24)
    if not errors[0] <= allowed:
        raise ExportError(
            f"onnx-step: element by element the answer is {errors[0]:.1e} from float64, more than {allowed:.1e}; "
            "the step is not the cell of this network"
        )
    return {"samples": len(whole), "error": errors[0], "whole_model_error": errors[1]}


def answers_by_step(session: Any, step: Step, source: Source) -> Any:
    """The first output after each sample's last element, from a session of the step: (B, …)."""
    specs = source.trained.spec.inputs
    sequence = next(spec for spec in specs if LENGTH in spec.shape)
    elements, lengths = source.example[sequence.name], source.example[LENGTHS]
    taken, *states = step.inputs
    state = {s.name: np.zeros([len(lengths), *(int(n) for n in s.shape[1:])], s.dtype) for s in states}
    found: list[Any] = [None] * len(lengths)
    for t in range(int(lengths.max())):
        column = elements.take(t, axis=sequence.shape.index(LENGTH)).astype(taken.dtype)
        answer, *after = session.run([o.name for o in step.outputs], {taken.name: column, **state})
        state = dict(zip(state, after, strict=True))
        for row in np.flatnonzero(lengths == t + 1):
            found[row] = answer[row]
    return np.stack(found)


ENTRIES = (OnnxStep(),)
