"""TensorRT engines for one GPU target, built in a child process by whichever flavour this machine has.

`tensorrt` with a GPU builds natively, or with AMPERE_PLUS for another Ampere-or-newer GPU than its own; else
`tensorrt_rtx` builds without any GPU. TF32 is switched off in both: a float32 engine computes in float32.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import export
from export.bundle.environment import gpus
from export.bundle.errors import ExportError
from export.bundle.types import Artifact, Json, Precision, to_json
from export.formats._base import ExportOptions, Source
from export.formats._engine_facts import AMPERE, CAPABILITIES, canonical_target, capability
from export.formats._write import parent_content, record

BUILD_LIMIT_S = 1800
LARGEST_OTHER_AXIS = 64
"""Least upper end of a profile on a dynamic axis that is not the batch; or four times the example's size."""

Profile = dict[str, dict[str, list[int]]]


@dataclass(frozen=True, kw_only=True)
class Flavour:
    """Which library builds, and for what."""

    package: Literal["tensorrt", "tensorrt_rtx"]
    compute_capability: str
    """`8.0`: of the target."""
    hardware_compatibility: Literal["none", "ampere_plus"] = "none"


def flavour_for(target: str) -> Flavour:
    """What builds for `target` on this machine; raises ExportError that says why nothing can, with the remedy."""
    here = gpus()
    if here and _installed("tensorrt"):
        own = here[0].compute_capability
        wanted = own if target == "current" else CAPABILITIES[target]
        if wanted == own:
            return Flavour(package="tensorrt", compute_capability=own)
        if min(capability(own), capability(wanted)) >= AMPERE:
            return Flavour(package="tensorrt", compute_capability=wanted, hardware_compatibility="ampere_plus")
    if not _installed("tensorrt_rtx"):
        raise ExportError(_missing(target))
    if target == "current":
        known = CAPABILITIES.get(here[0].sm) if here else None
        if known is None:
            which = f"{here[0].name} is not one of its GPUs" if here else "there is no GPU"
            raise ExportError(f"tensorrt: target current and {which}; name one: --target {'|'.join(CAPABILITIES)}")
        return Flavour(package="tensorrt_rtx", compute_capability=known)
    return Flavour(package="tensorrt_rtx", compute_capability=CAPABILITIES[target])


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _missing(target: str) -> str:
    if _installed("tensorrt") and gpus():
        return f"tensorrt cannot build for {target} on this {gpus()[0].name}: pip install '.[rtx]', which can"
    if _installed("tensorrt"):
        return "tensorrt builds only on an NVIDIA GPU and none is visible: pip install '.[rtx]', which needs none"
    return "neither tensorrt nor tensorrt_rtx is installed: pip install '.[rtx]' (builds without a GPU)"


class TensorRT:
    version = 1
    libraries = ("tensorrt", "tensorrt-rtx")
    options: tuple[str, ...] = ("target", "max_batch", "opt_batch")

    def __init__(self, name: str, needs: str, precision: Precision, filename: str) -> None:
        self.name, self.precision, self.filename = name, precision, filename
        self.needs: str | None = needs

    def missing(self) -> str | None:
        if _installed("tensorrt_rtx") or (_installed("tensorrt") and gpus()):
            return None
        return _missing("this target")

    def write(self, source: Source, destination: Path) -> Artifact:
        """The engine at `destination` and its facts at `destination` + ".json"."""
        started = time.perf_counter()
        target = canonical_target(source.options.target)
        parent = parent_content(source, str(self.needs))
        onnx, _ = source.files[str(self.needs)]
        flavour, profile = flavour_for(target), profile_of(source)
        answer = run_build(
            {
                "flavour": flavour.package,
                "target": "current" if target == "current" else target,
                "onnx": str(onnx),
                "engine": str(destination),
                "profile": profile,
                "hardware_compatibility": flavour.hardware_compatibility,
                "timing_cache": _timing_cache(source, flavour),
            },
            self.name,
        )
        facts: dict[str, Json] = {
            "flavour": flavour.package,
            "version": answer["version"],
            "target": target,
            "compute_capability": flavour.compute_capability,
            "hardware_compatibility": flavour.hardware_compatibility,
            "built_on": gpus()[0].name if flavour.package == "tensorrt" else "no GPU",
            "precision": self.precision,
            "tf32": answer["tf32"],
            "profile": profile,
            "timing_cache": answer["timing_cache"],
        }
        artifact = record(
            source,
            destination,
            form="tensorrt",
            path=self.filename.format(target=target),
            started=started,
            parent=parent,
            precision=self.precision,
            target=target,
            libraries=(),
            facts=facts,
        )
        artifact = _produced_by(artifact, flavour.package, answer["version"])
        more = {"build_seconds": answer["seconds"], "parent": parent, "sha256": artifact.sha256}
        specs = {"inputs": to_json(artifact.inputs), "outputs": to_json(artifact.outputs)}
        text = json.dumps(facts | more | specs, indent=2, sort_keys=True)
        destination.with_name(destination.name + ".json").write_text(text + "\n")
        return artifact


def _produced_by(artifact: Artifact, package: str, version: str) -> Artifact:
    import dataclasses

    return dataclasses.replace(artifact, producers={package: version})


def profile_of(source: Source) -> Profile:
    """Smallest, likeliest and largest shape of each input that has a dynamic axis."""
    options, profile = source.options, Profile()
    for spec in source.trained.spec.inputs:
        if all(isinstance(axis, int) for axis in spec.shape):
            continue
        sizes = source.example[spec.name].shape
        rows = [
            _range(axis, size, options, source.trained.spec.axes) for axis, size in zip(spec.shape, sizes, strict=True)
        ]
        profile[spec.name] = {key: [row[i] for row in rows] for i, key in enumerate(("min", "opt", "max"))}
    return profile


def _range(
    axis: int | str, size: int, options: ExportOptions, documented: Mapping[str, tuple[int, int]]
) -> tuple[int, int, int]:
    if isinstance(axis, int):
        return axis, axis, axis
    if axis == "batch":
        return 1, min(options.opt_batch, options.max_batch), options.max_batch
    if axis in documented:
        low, high = documented[axis]
        return low, min(max(size, low), high), high
    return 1, size, max(LARGEST_OTHER_AXIS, 4 * size)


def build_again(engine: Artifact, onnx: Path, destination: Path) -> None:
    """Builds `onnx` as `engine` was built: same flavour, target and profile. Raises ExportError."""
    facts = engine.facts
    request = {
        "flavour": facts["flavour"],
        "target": facts["target"],
        "onnx": str(onnx),
        "engine": str(destination),
        "profile": facts["profile"],
        "hardware_compatibility": facts["hardware_compatibility"],
        "timing_cache": None,
    }
    run_build(request, engine.name)


def _timing_cache(source: Source, flavour: Flavour) -> str | None:
    if flavour.package != "tensorrt" or source.options.cache_dir is None:
        return None
    from importlib.metadata import version

    return str(source.options.cache_dir / f"tensorrt-{version('tensorrt')}-{gpus()[0].sm}.timing")


def run_build(request: dict[str, Json], name: str) -> dict[str, Json]:
    """Runs the build in a child; raises ExportError with the library's words, or the signal that killed it."""
    root = str(Path(next(iter(export.__path__))).parent)
    search = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        try:
            child = subprocess.run(
                [sys.executable, "-P", "-m", "export.formats._tensorrt_build"],
                input=json.dumps(request | {"answer": str(answer)}),
                text=True,
                errors="replace",
                capture_output=True,
                timeout=BUILD_LIMIT_S,
                env={**os.environ, "PYTHONPATH": search},
            )
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"{name}: the build was stopped after {BUILD_LIMIT_S} s") from error
        if not answer.is_file():
            raise ExportError(f"{name}: {_last_words(child, str(request['flavour']))}")
        said: dict[str, Json] = json.loads(answer.read_text())
    if "error" in said:
        raise ExportError(f"{name}: {request['flavour']}: " + " ".join(str(said["error"]).split())[:500])
    return said


def _last_words(child: subprocess.CompletedProcess[str], flavour: str) -> str:
    lines = [line for line in child.stderr.splitlines() if line.strip()] or ["it said nothing"]
    if child.returncode < 0:
        return f"{flavour} crashed while it built ({signal.Signals(-child.returncode).name}; {lines[-1][:300]})"
    return f"{flavour} ended with status {child.returncode} while it built ({lines[-1][:300]})"


ENTRIES = (
    TensorRT("tensorrt", "onnx", "float32", "engines/{target}/model.engine"),
    TensorRT("tensorrt-fp16", "onnx-fp16", "float16", "engines/{target}/model.fp16.engine"),
)
