"""Answers of a bundle's ONNX model for files of the user's. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.errors import BackendUnavailable, BundleError, DataError, UsageError
from export.bundle.store import Bundle
from export.bundle.types import LENGTH, Artifact, TensorSpec
from export.progress import Progress
from serve_bench._child import slices
from serve_bench.backends._base import Arrays
from serve_bench.backends._helpers import batch_axis
from serve_bench.cells import backend_named
from serve_bench.equivalence.decisions import probabilities
from serve_bench.equivalence.records import VERDICTS
from serve_bench.inputs import takes_text
from serve_bench.sources import STDIN, Reader, Samples

BACKEND = "onnxruntime-cpu"


@dataclass(frozen=True, kw_only=True)
class Class:
    """One of the classes that a model tells apart."""

    label: str
    """Its name, or its number where the model has no names."""
    probability: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says of one sample."""

    source: str
    """The file as it was named; of a text given as a word, that text."""
    sample: int
    """Its number in that file, from 0."""
    samples: int | None = 1
    """Of that file; None of one that is read line by line."""
    text: str = ""
    """What a model of texts was asked; empty for other models."""
    label: str | None = None
    """Class name, or the class's number where the model has no names; None for a model that does not classify."""
    probability: float | None = None
    top: tuple[Class, ...] = ()
    """The most probable classes, the best first, as many as were asked for; empty where only the best was."""
    outputs: Mapping[str, list[float]] = field(default_factory=dict)
    """Raw outputs by name, flattened; empty for a classifier."""
    read_as: str = ""
    """How the file was understood."""
    note: str = ""
    """What was done to an image or a text to make it fit."""

    def __str__(self) -> str:
        where = self.source if self.samples == 1 else f"{self.source}[{self.sample}]"
        if self.text and self.text != self.source:
            where += f"  {self.text}"
        if self.label is not None:
            said = f"{self.label}  {self.probability:.4f}"
            said += "".join(f", {other.label}  {other.probability:.4f}" for other in self.top[1:])
        else:
            said = "  ".join(f"{name} {_few(values)}" for name, values in self.outputs.items())
        return f"{where}  {said}" + (f"  ({self.note})" if self.note else "")


def predict(
    bundle: Bundle,
    inputs: Sequence[Path | str],
    batch: int = 64,
    progress: Progress | None = None,
    refused: Callable[[DataError], None] | None = None,
    *,
    top: int = 1,
    strict: bool = False,
    recursive: bool = False,
    ignore: Sequence[str] = (),
) -> Iterator[Answer]:
    """One answer for each sample of each input, as soon as `batch` of them are read: what is held does not grow.

    An input is an .npz or .npy, a CSV of stored values with a header (see `_tabular.column_names`; columns that are
    named in `ignore` may be there besides), an image or a folder of them, or "-": CSV on standard input. Integer arrays
    are taken as stored and go through the model's preprocessing, others as model-ready; `progress` is told which, and
    what speaks against the model. Images (for models with one (N, 1, height, width) input) become grey, light on dark,
    of the model's size; `note` says what was done, or `strict` refuses it. A model of texts takes a .txt of one a line,
    a CSV with a column "name" or "text", "-" for lines, and any other word as the text itself. Classifiers give the
    `top` most probable classes.

    Raises BundleError without an ONNX model, BackendUnavailable, UsageError for `top` of a model that does not
    classify, and DataError for what does not fit or the model answers with NaN; `refused` takes that instead, and all
    else is answered.
    """
    if [str(given) for given in inputs].count(STDIN) > 1:
        raise UsageError("-: standard input can be read once; name it once")
    if top > 1 and bundle.manifest.task != "classification":
        raise UsageError(f"--top {top}: {bundle.root} does not classify, so it has no most probable classes")
    artifact = model_of(bundle)
    say = progress.note if progress is not None else lambda _: None
    for doubt in doubts(bundle, artifact):
        say(doubt)
    reader = Reader(
        specs=artifact.inputs,
        preprocess=bundle.manifest.preprocess,
        refuse=refused or _raise,
        say=say,
        batch=batch,
        strict=strict,
        recursive=recursive,
        ignore=ignore,
    )
    return _answered(bundle, artifact, reader, inputs, top)


def _answered(
    bundle: Bundle, artifact: Artifact, reader: Reader, inputs: Sequence[Path | str], top: int
) -> Iterator[Answer]:
    backend = backend_named(BACKEND)
    reason = backend.missing("cpu")
    if reason is not None:
        raise BackendUnavailable(reason)
    session = backend.open(artifact, "cpu", 1)
    try:
        for parts in _together(reader.read(inputs), artifact.inputs, reader.batch):
            yield from _answers(bundle, artifact, session, parts, reader, top)
    finally:
        session.close()


def model_of(bundle: Bundle) -> Artifact:
    """The float32 ONNX model of a bundle, digest checked, or another precision's; raises BundleError without any."""
    models = sorted((a for a in bundle.artifacts if a.format == "onnx"), key=lambda a: a.precision != "float32")
    if not models:
        raise BundleError(f"{bundle.root}: holds no ONNX model; export it with onnx among its formats")
    return bundle.resolve(models[0])


def doubts(bundle: Bundle, artifact: Artifact) -> list[str]:
    """Why the answers of a bundle's ONNX model may not be its float32 model's, a line each; empty as a rule."""
    found = []
    if artifact.precision != "float32":
        found.append(f"{bundle.root}: holds no float32 ONNX model; its {artifact.precision} one answers")
    verdicts = [v for v in VERDICTS.read(bundle) if v.artifact_sha256 == artifact.sha256]
    last = next((v for v in reversed(verdicts) if v.backend == BACKEND), None)
    if last is not None and not last.passed:
        found.append(f"{bundle.root}: the model that answers did not pass `pipeline verify`: {last.reason}")
    return found


def _raise(error: DataError) -> None:
    raise error


def _together(parts: Iterable[Samples], specs: Sequence[TensorSpec], batch: int) -> Iterator[list[Samples]]:
    """Neighbours that can go through the model at once, until they are `batch` samples."""
    held: list[Samples] = []
    for part in parts:
        if held and not _alike(held[-1], part, specs):
            yield held
            held = []
        held.append(part)
        if sum(len(one.numbers) for one in held) >= batch:
            yield held
            held = []
    if held:
        yield held


def _alike(one: Samples, other: Samples, specs: Sequence[TensorSpec]) -> bool:
    """Whether arrays differ in their number of samples alone, or in lengths that padding makes equal."""
    if takes_text(specs):
        return True
    axes = {s.name: batch_axis(s) or 0 for s in specs}
    shapes = [
        [np.delete(part.read.arrays[name].shape, axis).tolist() for name, axis in axes.items()] for part in (one, other)
    ]
    return shapes[0] == shapes[1]


def _joined(parts: Sequence[Samples], specs: Sequence[TensorSpec]) -> Arrays:
    """One array for each input, all samples along its batch axis; sequences are padded with 0 to the longest."""
    if len(parts) == 1:
        return parts[0].read.arrays
    found = {}
    for spec in specs:
        arrays: list[Any] = [part.read.arrays[spec.name] for part in parts]
        if takes_text(specs) and LENGTH in spec.shape:
            axis = spec.shape.index(LENGTH)
            longest = max(array.shape[axis] for array in arrays)
            arrays = [_padded(array, axis, longest) for array in arrays]
        found[spec.name] = np.concatenate(arrays, axis=batch_axis(spec) or 0)
    return found


def _padded(array: Any, axis: int, length: int) -> Any:
    widths = [(0, length - array.shape[axis] if i == axis else 0) for i in range(array.ndim)]
    return np.pad(array, widths)


def _answers(
    bundle: Bundle, artifact: Artifact, session: Any, parts: Sequence[Samples], reader: Reader, top: int
) -> Iterator[Answer]:
    asked = ((part, index) for part in parts for index in range(len(part.numbers)))
    for piece, count in slices(artifact.inputs, _joined(parts, artifact.inputs), reader.batch):
        session.bind(piece)
        session.run()
        outputs = session.outputs()
        for row in range(count):
            part, index = next(asked)
            try:
                yield _answer(bundle, artifact, outputs, row, part, index, top)
            except DataError as error:
                reader.refuse(error)


def _answer(
    bundle: Bundle, artifact: Artifact, outputs: Arrays, row: int, part: Samples, index: int, top: int
) -> Answer:
    rows: dict[str, Any] = {s.name: np.take(outputs[s.name], row, axis=batch_axis(s) or 0) for s in artifact.outputs}
    sample = part.numbers[index]
    for name, values in rows.items():
        if np.isnan(values).any():
            raise DataError(
                f"{part.source}: the model answers sample {sample} with NaN in {name!r}; look at its values"
            )
    said: dict[str, Any] = {"source": part.source, "sample": sample, "samples": part.total}
    said |= {"read_as": part.read.read_as, "note": part.read.note, "text": part.texts[index] if part.texts else ""}
    if bundle.manifest.task != "classification":
        values = {name: [float(v) for v in np.ravel(value)] for name, value in rows.items()}
        return Answer(**said, outputs=values)
    classes = _best(np.ravel(rows[artifact.outputs[0].name]), bundle.manifest.labels, top)
    best = classes[0]
    return Answer(**said, label=best.label, probability=best.probability, top=classes if top > 1 else ())


def _best(scores: Any, labels: Sequence[str], top: int) -> tuple[Class, ...]:
    """The `top` most probable classes; of equal ones the first named comes first, as argmax has it."""
    found = probabilities(scores)
    order = np.argsort(-found, kind="stable")[:top]
    return tuple(
        Class(label=labels[i] if i < len(labels) else str(i), probability=float(found[i])) for i in map(int, order)
    )


def _few(values: Sequence[float]) -> str:
    shown = " ".join(f"{v:.6g}" for v in values[:8])
    return shown + (f" … ({len(values)} values)" if len(values) > 8 else "")
