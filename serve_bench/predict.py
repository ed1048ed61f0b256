"""Answers of a bundle's ONNX model for files of the user's. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.errors import BackendUnavailable, BundleError, DataError
from export.bundle.store import Bundle
from export.bundle.types import Artifact
from export.progress import Progress
from serve_bench._child import sample_count, slices
from serve_bench.backends._base import Arrays
from serve_bench.backends._helpers import batch_axis
from serve_bench.cells import backend_named
from serve_bench.equivalence.decisions import probabilities
from serve_bench.inputs import TEXT, Read, read_inputs, takes_text, text_as_input

BACKEND = "onnxruntime-cpu"
ARRAYS = (".npy", ".npz")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says of one sample."""

    source: str
    """The file as it was named."""
    sample: int
    """Its number in that file, from 0."""
    samples: int = 1
    """Of that file."""
    label: str | None = None
    """Class name, or the class's number where the model has no names; None for a model that does not classify."""
    probability: float | None = None
    outputs: Mapping[str, list[float]] = field(default_factory=dict)
    """Raw outputs by name, flattened; empty for a classifier."""
    read_as: str = ""
    """How the file was understood."""
    note: str = ""
    """What was done to an image to make it fit."""

    def __str__(self) -> str:
        where = f"{self.source}[{self.sample}]" if self.samples > 1 else self.source
        if self.label is not None:
            said = f"{self.label}  {self.probability:.4f}"
        else:
            said = "  ".join(f"{name} {_few(values)}" for name, values in self.outputs.items())
        return f"{where}  {said}" + (f"  ({self.note})" if self.note else "")


def predict(
    bundle: Bundle,
    inputs: Sequence[Path | str],
    batch: int = 64,
    progress: Progress | None = None,
    refused: Callable[[DataError], None] | None = None,
) -> Iterator[Answer]:
    """One answer for each sample of each file: .npz and .npy of stored or model-ready inputs, or images.

    Integer arrays are taken as stored and go through the model's preprocessing, others as model-ready; `progress` is
    told which. Images (for models with one (N, 1, height, width) input) become grey, light on dark, of the model's
    size; `note` says what was done. A model of texts takes what is no array's file as the text itself. Raises
    BundleError without an ONNX model, BackendUnavailable, and DataError for a file that does not fit or that the model
    answers with NaN; `refused` takes that instead, and the other files are answered.
    """
    artifact = _model(bundle)
    backend = backend_named(BACKEND)
    reason = backend.missing("cpu")
    if reason is not None:
        raise BackendUnavailable(reason)
    session = backend.open(artifact, "cpu", 1)
    try:
        for path in inputs:
            try:
                yield from _answers(bundle, artifact, session, path, batch, progress)
            except DataError as error:
                if refused is None:
                    raise
                refused(error)
    finally:
        session.close()


def _answers(
    bundle: Bundle, artifact: Artifact, session: Any, path: Path | str, batch: int, progress: Progress | None
) -> Iterator[Answer]:
    read = _read(path, artifact, bundle)
    if progress is not None and read.read_as != TEXT:
        progress.note(f"{path}: {read.read_as}")
    elif progress is not None and _is_file(path):
        progress.note(f"{path}: taken as a text, although a file of that name lies here")
    elif progress is not None and Path(path).suffix:
        progress.note(f"{path}: taken as a text; there is no file of that name")
    sample, samples = 0, sample_count(artifact.inputs, read.arrays)
    for piece, count in slices(artifact.inputs, read.arrays, batch):
        session.bind(piece)
        session.run()
        outputs = session.outputs()
        for row in range(count):
            answer = _answer(bundle, artifact, outputs, row, str(path), sample + row, read)
            yield replace(answer, samples=samples)
        sample += count


def _read(given: Path | str, artifact: Artifact, bundle: Bundle) -> Read:
    if takes_text(artifact.inputs) and Path(given).suffix.lower() not in ARRAYS:
        if Path(given).name != Path(given).stem and _is_file(given):
            raise DataError(f"{given}: is a file, and this model takes a text; give the text itself, or an .npz")
        return text_as_input(str(given), artifact.inputs)
    return read_inputs(Path(given), artifact.inputs, bundle.manifest.preprocess)


def _is_file(given: Path | str) -> bool:
    """A text may be longer than any file's name."""
    try:
        return Path(given).is_file()
    except OSError:
        return False


def _model(bundle: Bundle) -> Artifact:
    models = sorted((a for a in bundle.artifacts if a.format == "onnx"), key=lambda a: a.precision != "float32")
    if not models:
        raise BundleError(f"{bundle.root}: holds no ONNX model; export it with onnx among its formats")
    return bundle.resolve(models[0])


def _answer(
    bundle: Bundle, artifact: Artifact, outputs: Arrays, row: int, source: str, sample: int, read: Read
) -> Answer:
    rows: dict[str, Any] = {s.name: np.take(outputs[s.name], row, axis=batch_axis(s) or 0) for s in artifact.outputs}
    for name, values in rows.items():
        if np.isnan(values).any():
            raise DataError(f"{source}: the model answers sample {sample} with NaN in {name!r}; look at its values")
    said: dict[str, Any] = {"source": source, "sample": sample, "read_as": read.read_as, "note": read.note}
    if bundle.manifest.task != "classification":
        values = {name: [float(v) for v in np.ravel(value)] for name, value in rows.items()}
        return Answer(**said, outputs=values)
    scores = probabilities(np.ravel(rows[artifact.outputs[0].name]))
    best = int(np.argmax(scores))
    labels = bundle.manifest.labels
    label = labels[best] if best < len(labels) else str(best)
    return Answer(**said, label=label, probability=float(scores[best]))


def _few(values: Sequence[float]) -> str:
    shown = " ".join(f"{v:.6g}" for v in values[:8])
    return shown + (f" … ({len(values)} values)" if len(values) > 8 else "")
