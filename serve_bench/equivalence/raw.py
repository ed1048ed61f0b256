"""What `app.onnx` is judged by: the model's truth, asked in raw values and answered as an app wants it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export import app
from export.bundle.errors import BundleCorrupt, PipelineError
from export.bundle.store import Manifest
from export.bundle.types import Artifact, Preprocess, TensorSpec
from serve_bench.backends._helpers import batch_axis
from serve_bench.equivalence.decisions import probabilities
from serve_bench.equivalence.probes import model_ready
from serve_bench.equivalence.stored import unreadable
from serve_bench.equivalence.truth import Truth

Array = npt.NDArray[np.generic]


def truth_of(whole: Truth, artifact: Artifact) -> Truth:
    """The truth of an app's model: raw inputs; "probabilities" as float64's softmax of float64's answers.

    Of the probes other than the test set only those samples stay that are raw values after preprocessing. Scale and
    reference of "probabilities" are eager's own, taken when the truth was made.
    """
    arrays: dict[str, Array] = {}
    kept: list[str] = []
    for probe in whole.probes:
        given = _raw(whole, probe, artifact)
        if given is None:
            continue
        rows, inputs = given
        kept.append(probe)
        arrays |= {f"{probe}/input/{name}": values for name, values in inputs.items()}
        for name, values in _answers(whole, probe, artifact).items():
            arrays[f"{probe}/{name}"] = values if rows is None or not name.startswith("output/") else values[rows]
    arrays |= {key: whole.arrays[key] for key in ("test/label", "test/target") if key in whole.arrays}
    outputs = _judged_outputs(artifact)
    known = whole.meta.get("whole_samples", {})
    meta: dict[str, Any] = dict(whole.meta) | {
        "probes": kept,
        "inputs": {s.name: s.dtype for s in artifact.inputs},
        "outputs": [s.name for s in outputs],
        "input_axes": {s.name: batch_axis(s) or 0 for s in artifact.inputs},
        "output_axes": {s.name: batch_axis(s) or 0 for s in outputs},
        "whole_samples": {probe: known.get(probe, whole.samples(probe)) for probe in kept},
    }
    return Truth(whole.path, Preprocess(), arrays, meta)


def _judged_outputs(artifact: Artifact) -> tuple[TensorSpec, ...]:
    return tuple(s for s in artifact.outputs if s.name != app.LABEL)


def _raw(whole: Truth, probe: str, artifact: Artifact) -> tuple[list[int] | None, dict[str, Array]] | None:
    """The probe's samples (None for all of them) as raw inputs by name; None where it has none that an app can give."""
    first, *others = artifact.inputs
    own = {spec.name for spec in others}
    name = next(n for n in whole.input_names if n not in own)
    if first.name == name:
        return None, whole.inputs(probe)
    stored = whole.stored(probe)[name]
    raw: Any = stored
    rows: list[int] | None = None
    if probe != "test":
        raw = _unprocessed(stored, whole.preprocess, first.dtype)
        same = model_ready(raw, whole.preprocess, stored.dtype.name) == stored
        rows = np.flatnonzero(same.reshape(len(stored), -1).all(axis=1)).tolist()
        if not rows:
            return None
        raw = raw[rows]
    shaped = raw.reshape(len(raw), *raw.shape[2:]) if first.name == app.PIXELS else raw
    inputs = {first.name: np.ascontiguousarray(shaped, dtype=first.dtype)}
    for spec in others:
        values = whole.inputs(probe)[spec.name]
        inputs[spec.name] = values if rows is None else values.take(rows, axis=batch_axis(spec) or 0)
    return rows, inputs


def _unprocessed(ready: Array, preprocess: Preprocess, kind: str) -> Array:
    """The raw values nearest to model-ready ones."""
    values = (ready.astype(np.float64) * preprocess.std + preprocess.mean) / preprocess.scale
    if np.dtype(kind).kind in "iu":
        limits = np.iinfo(kind)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(kind)


def _answers(whole: Truth, probe: str, artifact: Artifact) -> dict[str, Array]:
    """ "output/…", "scale/…" and "error/float32/…" of what the app gives."""
    found: dict[str, Array] = {}
    for spec, (name, y64) in zip(_judged_outputs(artifact), whole.outputs(probe).items(), strict=False):
        made = spec.name == app.PROBABILITIES
        own = app.PROBABILITIES if made else name
        found[f"output/{spec.name}"] = probabilities(y64) if made else y64
        for word in ("scale", "error/float32"):
            key = f"{probe}/{word}/{own}"
            if key not in whole.arrays:
                raise BundleCorrupt(f"{whole.path}: {key} is missing; make the bundle again")
            found[f"{word}/{spec.name}"] = whole.arrays[key]
    return found


def why_label(answers: Mapping[str, Array]) -> str:
    """Why "label" is not the class that the same answer calls most probable; empty where it is, or is not given."""
    if app.LABEL not in answers or app.PROBABILITIES not in answers:
        return ""
    given: Any = answers[app.LABEL]
    scores = np.asarray(answers[app.PROBABILITIES], np.float64)
    right_kind = given.shape == scores.shape[:1] and given.dtype.kind in "iu"
    if not right_kind or ((given < 0) | (given >= scores.shape[1])).any():
        return f"output {app.LABEL!r} holds no class of {scores.shape[1]}"
    own = np.take_along_axis(scores, given[:, None].astype(np.int64), axis=1)[:, 0]
    wrong = np.flatnonzero(own < scores.max(axis=1))
    if not len(wrong):
        return ""
    i = int(wrong[0])
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return (
        f"test sample {i} has label {int(given[i])} with probability {own[i]:.9g}, "
        f"where class {int(scores[i].argmax())} has {scores[i].max():.9g}{more}"
    )


def differences(path: Path, single: Path, manifest: Manifest, artifact: Artifact) -> list[str]:
    """A sentence for all in which the graph at `path` is not the one that `single`, the bundle's model.onnx, gives."""
    try:
        found, model = (app.model_of(p.read_bytes()) for p in (path, single))
        again = app.compose(
            model, manifest.task, manifest.preprocess, manifest.inputs, manifest.outputs, artifact.inputs
        )
        return app.differences(found, again)
    except PipelineError:
        raise
    except Exception as error:
        raise unreadable(path, "onnx", error) from error


def told_of(manifest: Manifest, artifact: Artifact) -> dict[str, str]:
    """What the metadata of this bundle's app.onnx must say."""
    given = manifest.task, manifest.labels, manifest.preprocess, artifact.inputs, artifact.outputs
    return app.told(manifest.model, *given)
