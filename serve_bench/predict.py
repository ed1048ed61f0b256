"""Answers of a bundle's ONNX model for files of the user's. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BackendUnavailable, BundleError, DataError
from export.bundle.store import Bundle
from export.bundle.types import Artifact, TensorSpec
from serve_bench._child import load_arrays, slices
from serve_bench._images import SUFFIXES, image_as_input, image_as_stored, takes_images
from serve_bench.backends._base import Arrays
from serve_bench.backends._helpers import batch_axis, first_line
from serve_bench.cells import backend_named

BACKEND = "onnxruntime-cpu"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says of one sample."""

    source: str
    """The file as it was named."""
    sample: int
    """Its number in that file, from 0."""
    label: str | None = None
    """Class name, or the class's number where the model has no names; None for a model that does not classify."""
    probability: float | None = None
    outputs: Mapping[str, list[float]] = field(default_factory=dict)
    """Raw outputs by name, flattened; empty for a classifier."""
    note: str = ""
    """What was done to the file that it did not say itself."""

    def __str__(self) -> str:
        where = f"{self.source}[{self.sample}]"
        if self.label is not None:
            said = f"{self.label}  {self.probability:.4f}"
        else:
            said = "  ".join(f"{name} {_few(values)}" for name, values in self.outputs.items())
        return f"{where}  {said}" + (f"  ({self.note})" if self.note else "")


def predict(bundle: Bundle, inputs: Sequence[Path], batch: int = 64) -> Iterator[Answer]:
    """One answer for each sample of each file: .npz and .npy of stored or model-ready inputs, or images.

    Integer arrays are taken as stored and go through the model's preprocessing, others as model-ready. Images (for
    models with one (N, 1, height, width) input) become grey, light on dark, of the model's size; `note` says what was
    done. Raises BundleError without an ONNX model, DataError for a file that does not fit, BackendUnavailable.
    """
    artifact = _model(bundle)
    backend = backend_named(BACKEND)
    reason = backend.missing("cpu")
    if reason is not None:
        raise BackendUnavailable(reason)
    session = backend.open(artifact, "cpu", 1)
    try:
        for path in inputs:
            arrays, note = read_inputs(path, artifact.inputs, bundle)
            sample = 0
            for piece, count in slices(artifact.inputs, arrays, batch):
                session.bind(piece)
                session.run()
                outputs = session.outputs()
                for row in range(count):
                    yield _answer(bundle, artifact, outputs, row, str(path), sample + row, note)
                sample += count
    finally:
        session.close()


def _model(bundle: Bundle) -> Artifact:
    models = sorted((a for a in bundle.artifacts if a.format == "onnx"), key=lambda a: a.precision != "float32")
    if not models:
        raise BundleError(f"{bundle.root}: holds no ONNX model; export it with onnx among its formats")
    return bundle.resolve(models[0])


def read_inputs(path: Path, specs: tuple[TensorSpec, ...], bundle: Bundle) -> tuple[Arrays, str]:
    """Model-ready inputs by name of one file, and what was done to it; raises DataError where it does not fit.

    Of a bundle's golden.npz or truth.npz, the stored test inputs are taken.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.suffix.lower() in SUFFIXES:
        return _image(path, specs, bundle)
    if path.suffix.lower() not in (".npz", ".npy"):
        known = ", ".join([".npz", ".npy", *sorted(SUFFIXES)])
        raise DataError(f"{path}: {path.suffix or 'no suffix'} is not read; known are {known}")
    found = _arrays(path)
    stored = {
        name.removeprefix("test/input/"): array for name, array in found.items() if name.startswith("test/input/")
    }
    found = stored or found
    if len(specs) == 1 and specs[0].name not in found and len(found) == 1:
        found = {specs[0].name: next(iter(found.values()))}
    ready = {}
    for number, spec in enumerate(specs):
        if spec.name not in found:
            raise DataError(f"{path}: holds {', '.join(sorted(found)) or 'nothing'}, but the model wants {spec.name!r}")
        ready[spec.name] = _ready(path, found[spec.name], spec, bundle, first=number == 0)
    return ready, ""


def _arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    try:
        if path.suffix.lower() == ".npz":
            return load_arrays(path)
        return {"": np.load(path, allow_pickle=False)}
    except Exception as error:
        raise DataError(f"{path}: no readable {path.suffix} of plain arrays: {first_line(error)}") from error


def _image(path: Path, specs: tuple[TensorSpec, ...], bundle: Bundle) -> tuple[Arrays, str]:
    if not takes_images(specs):
        shapes = ", ".join(f"{s.name} {s.shape}" for s in specs)
        raise DataError(f"{path}: this model takes no one-channel images but {shapes}; give an .npz")
    spec = specs[0]
    pixels, note = image_as_stored(path, int(spec.shape[2]), int(spec.shape[3]))
    ready = image_as_input(pixels, spec, bundle.manifest.preprocess)
    if ready is None:
        raise DataError(f"{path}: nothing says which range of values {spec.name!r} expects; give an .npz")
    return {spec.name: ready}, note


def _ready(
    path: Path, array: npt.NDArray[np.generic], spec: TensorSpec, bundle: Bundle, *, first: bool
) -> npt.NDArray[np.generic]:
    from serve_bench.equivalence.probes import model_ready

    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise DataError(f"{path}: {spec.name!r} holds {array.dtype}, not numbers")
    shaped = shaped_like(array, spec)
    if shaped is None:
        raise DataError(f"{path}: {spec.name!r} has shape {array.shape}, the model wants {spec.shape}")
    if first and np.issubdtype(array.dtype, np.integer):
        return model_ready(shaped, bundle.manifest.preprocess, spec.dtype)
    return np.ascontiguousarray(shaped, dtype=spec.dtype)


def shaped_like(array: npt.NDArray[np.generic], spec: TensorSpec) -> npt.NDArray[np.generic] | None:
    """The array with the batch axis and axes of length 1 that it lacks; None where it does not fit.

    For ("batch", 1, 28, 28): (N, 1, 28, 28), (N, 28, 28), (1, 28, 28) and (28, 28) fit.
    """
    axis = batch_axis(spec) or 0
    wanted = (*spec.shape[:axis], "batch", *spec.shape[axis + 1 :])
    if _fits(array.shape, wanted):
        return array
    if _fits(array.shape, wanted[:axis] + wanted[axis + 1 :]):
        return np.expand_dims(array, axis)
    ones = [i for i, size in enumerate(wanted) if size == 1]
    for lacking in (ones, [axis, *ones]):
        if _fits(array.shape, tuple(size for i, size in enumerate(wanted) if i not in lacking)):
            return np.expand_dims(array, sorted(lacking))
    return None


def _fits(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    return len(shape) == len(wanted) and all(isinstance(w, str) or s == w for s, w in zip(shape, wanted, strict=True))


def _answer(
    bundle: Bundle, artifact: Artifact, outputs: Arrays, row: int, source: str, sample: int, note: str
) -> Answer:
    rows = {s.name: np.take(outputs[s.name], row, axis=batch_axis(s) or 0) for s in artifact.outputs}
    if bundle.manifest.task != "classification":
        values = {name: [float(v) for v in np.ravel(value)] for name, value in rows.items()}
        return Answer(source=source, sample=sample, outputs=values, note=note)
    scores = probabilities(np.ravel(rows[artifact.outputs[0].name]))
    best = int(np.argmax(scores))
    labels = bundle.manifest.labels
    label = labels[best] if best < len(labels) else str(best)
    return Answer(source=source, sample=sample, label=label, probability=float(scores[best]), note=note)


def probabilities(scores: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Softmax of logits or log-probabilities (of those it is their exponential); probabilities stay what they are."""
    values = scores.astype(np.float64)
    if values.min() >= 0 and abs(values.sum() - 1) < 1e-3:
        return values
    shifted = np.exp(values - values.max())
    return np.asarray(shifted / shifted.sum())


def _few(values: Sequence[float]) -> str:
    shown = " ".join(f"{v:.6g}" for v in values[:8])
    return shown + (f" … ({len(values)} values)" if len(values) > 8 else "")
