"""Which forms of a bundle Triton can serve, under which names, shapes and limits; and why not the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from export.app import LABEL
from export.bundle.errors import Untrusted
from export.bundle.types import Artifact, TensorSpec
from serve_bench.embed._base import Golden, Kit
from serve_bench.equivalence import bands
from serve_bench.equivalence.truth import Truth

Array = npt.NDArray[np.generic]
Platform = Literal["onnxruntime_onnx", "pytorch_libtorch", "tensorrt_plan"]
Kind = Literal["KIND_CPU", "KIND_GPU", "KIND_AUTO"]
KINDS: dict[str, Kind] = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "gpu": "KIND_GPU"}
"""--instance → Triton's word for it."""
LARGEST_BATCH = 64
"""Samples in one run that the server may gather; an engine's profile can allow fewer."""
FILES = {"onnxruntime_onnx": "model.onnx", "pytorch_libtorch": "model.pt", "tensorrt_plan": "model.plan"}
"""Platform → the file that its backend looks for in a version's folder."""
BACKENDS = {"onnxruntime_onnx": "onnxruntime", "pytorch_libtorch": "pytorch", "tensorrt_plan": "tensorrt"}
ENGINE_FACTS = "engine.json"
"""Beside config.pbtxt: what is known of a plan without loading it."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """One model of the repository."""

    name: str
    """Of its folder, and of the model."""
    platform: Platform
    source: Path
    """The file of the bundle that it serves."""
    facts: Path | None = None
    """The engine's own facts, of a plan."""
    inputs: tuple[TensorSpec, ...]
    """As the server names them; the first axis is the batch."""
    outputs: tuple[TensorSpec, ...]
    golden: Golden
    """By the server's names, samples along the first axis."""
    labels: tuple[str, ...]
    """Of the first output's classes; empty where it has none."""
    most: int
    """Largest batch."""
    kind: Kind
    """Where instances run; KIND_AUTO leaves it to the server."""


def served(kit: Kit, instance: str) -> tuple[list[Served], list[str]]:
    """What of the bundle can be served with instances on `instance` (auto, cpu or gpu), and a sentence for each form
    that is left out."""
    app = Served(
        name=kit.manifest.model,
        platform="onnxruntime_onnx",
        source=Path(kit.app.path),
        inputs=kit.app.inputs,
        outputs=kit.app.outputs,
        golden=kit.golden,
        labels=_labels(kit),
        most=LARGEST_BATCH,
        kind=KINDS[instance],
    )
    found, left_out = [app], []
    truth = Truth.load(kit.bundle.file("golden.npz"), kit.manifest.preprocess)
    for artifact in kit.bundle.artifacts:
        platform = platform_of(artifact)
        if platform is None:
            continue
        reason = _no_plan(artifact, instance) if platform == "tensorrt_plan" else None
        try:
            path = None if reason else Path(kit.bundle.resolve(artifact).path)
        except Untrusted as error:
            path, reason = None, str(error).partition(": ")[2]
        if path is None:
            left_out.append(f"{artifact.name}: {reason}")
        else:
            found.append(_form(app, kit, artifact, platform, path, truth))
    return found, left_out


def platform_of(artifact: Artifact) -> Platform | None:
    """The platform that serves such a form; None for one that is not served."""
    if artifact.format == "tensorrt":
        return "tensorrt_plan"
    if artifact.precision != "float32":
        return None
    others: dict[str, Platform] = {"onnx": "onnxruntime_onnx", "torchscript": "pytorch_libtorch"}
    return others.get(artifact.format)


def _form(app: Served, kit: Kit, artifact: Artifact, platform: Platform, path: Path, truth: Truth) -> Served:
    model = replace(
        app,
        name="_".join([app.name, *artifact.name.split()]),
        platform=platform,
        source=path,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        golden=_golden(truth, artifact),
    )
    if platform == "pytorch_libtorch":
        return _numbered(model)
    if platform == "tensorrt_plan":
        most = min(LARGEST_BATCH, profile_limit(artifact.facts))
        return replace(model, kind="KIND_GPU", facts=kit.bundle.file(artifact.path + ".json"), most=most)
    return model


def _labels(kit: Kit) -> tuple[str, ...]:
    outputs = kit.app.outputs
    classes = outputs[0].shape[-1] if kit.manifest.task == "classification" else None
    return kit.manifest.labels if classes == len(kit.manifest.labels) else ()


def _no_plan(engine: Artifact, instance: str) -> str | None:
    flavour = engine.facts.get("flavour")
    if flavour != "tensorrt":
        return (
            f"built by {flavour}, whose engines Triton's tensorrt backend does not load; "
            "export where TensorRT proper and a GPU are, or serve model.onnx"
        )
    if instance == "cpu":
        return "an engine runs on a GPU alone; leave out --instance cpu"
    return None


def profile_limit(facts: Mapping[str, object]) -> int:
    """The largest batch of an engine's profile; 1 where it has none."""
    profile = facts.get("profile")
    rows = profile.values() if isinstance(profile, Mapping) else ()
    return min((int(row["max"][0]) for row in rows), default=1)


def _golden(truth: Truth, artifact: Artifact) -> Golden:
    """Golden answers of a form that takes model-ready inputs, in the band of its own precision."""
    outputs = truth.outputs("test")
    precision = artifact.precision
    tolerance = {
        n: bands.band(precision, truth.reference("test", precision, n)) * truth.scale("test", n) for n in outputs
    }
    return Golden(inputs=truth.inputs("test"), outputs=outputs, tolerance=tolerance, labels=None)


def _numbered(model: Served) -> Served:
    """LibTorch's backend knows inputs and outputs by their place: INPUT__0, OUTPUT__0."""
    inputs = {s.name: f"INPUT__{i}" for i, s in enumerate(model.inputs)}
    outputs = {s.name: f"OUTPUT__{i}" for i, s in enumerate(model.outputs)}
    golden = replace(
        model.golden,
        inputs={inputs[n]: a for n, a in model.golden.inputs.items()},
        outputs={outputs[n]: a for n, a in model.golden.outputs.items()},
        tolerance={outputs[n]: t for n, t in model.golden.tolerance.items()},
    )
    renamed = [
        tuple(replace(s, name=m[s.name]) for s in ss) for ss, m in ((model.inputs, inputs), (model.outputs, outputs))
    ]
    return replace(model, inputs=renamed[0], outputs=renamed[1], golden=golden)


def dims_of(spec: TensorSpec) -> list[int]:
    """Sizes of one sample's axes, -1 for any; [1] for a sample that is one number, as the server has no empty shape."""
    return [n if isinstance(n, int) else -1 for n in spec.shape[1:]] or [1]


def is_number(spec: TensorSpec) -> bool:
    """Whether one sample is a single number without an axis."""
    return len(spec.shape) == 1


def as_asked(golden: Golden, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Inputs in the shape that a client sends: (N, 1) where the model has (N,)."""
    return {s.name: _column(golden.inputs[s.name]) for s in specs}


def as_answered(golden: Golden, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """float64's answers in the shape that a client gets, "label" among them where the model gives it."""
    known: dict[str, Array] = dict(golden.outputs)
    if golden.labels is not None:
        known[LABEL] = golden.labels
    return {s.name: _column(known[s.name]) for s in specs}


def _column(values: Array) -> Array:
    return values[:, None] if values.ndim == 1 else values
