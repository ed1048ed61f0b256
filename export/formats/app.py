"""app.onnx: what other apps embed, composed from model.onnx."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from export import app
from export.bundle.types import Artifact, Precision
from export.formats._base import Source
from export.formats._write import exporting, parent_content, record
from export.formats.onnx import checked, facts_of, missing_exporter


class App:
    name = "app"
    needs: str | None = "onnx"
    precision: Precision = "float32"
    filename = "app.onnx"
    version = 1
    libraries = ("onnx",)
    options: tuple[str, ...] = ()
    after_truth = True
    """Its metadata name the metric and what it was measured on."""

    def missing(self) -> str | None:
        return missing_exporter()

    def write(self, source: Source, destination: Path) -> Artifact:
        started = time.perf_counter()
        parent = parent_content(source, "onnx")
        spec = source.trained.spec
        inputs = app.app_inputs(spec.inputs, spec.preprocess, source.stored)
        outputs = app.app_outputs(spec.task, spec.outputs)
        with exporting(self.name):
            model = app.model_of(source.files["onnx"][0].read_bytes())
            made = app.compose(model, spec.task, spec.preprocess, spec.inputs, spec.outputs, inputs)
            app.describe(
                made,
                name=spec.id,
                task=spec.task,
                labels=spec.labels,
                preprocess=spec.preprocess,
                inputs=inputs,
                outputs=outputs,
                more={"variant": spec.variant, "description": spec.description, "parent": parent, **source.told},
            )
            destination.write_bytes(checked(made))
        written = record(
            source,
            destination,
            form="app",
            path=self.filename,
            started=started,
            parent=parent,
            libraries=self.libraries,
            facts=facts_of(made),
        )
        return replace(written, inputs=inputs, outputs=outputs)


ENTRIES = (App(),)
