"""Formats in the order of what they need, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.bundle.environment import gpus, versions
from export.bundle.errors import ExportError
from export.bundle.files import atomic
from export.bundle.types import Artifact, Json, ModelSpec
from export.formats._base import ExportOptions, Format, Source
from export.formats._engine_facts import canonical_target
from export.registry import entries, entry

FORMATS = "export.formats"


@dataclass(frozen=True, kw_only=True)
class NotBuilt:
    """A form that could not be written: a row with its reason; the rest stands."""

    format: str
    """Name of the entry: "onnx-fp16"."""
    precision: str
    target: str
    reason: str
    failed: bool = True
    """Tried and not written; False where this machine lacks what it takes."""


def order(names: Sequence[str] | None = None) -> list[str]:
    """`names` and what they need, each after what it needs; every known format where `names` is None.

    Raises UnknownName, which lists the known ones.
    """
    found: list[str] = []

    def visit(name: str) -> None:
        if name in found:
            return
        needed = entry(FORMATS, "format", name).needs
        if needed is not None:
            visit(needed)
        found.append(name)

    for name in names if names is not None else entries(FORMATS):
        visit(name)
    return found


def applies(name: str, spec: ModelSpec) -> bool:
    """Whether such a model can have the format `name` at all; one that says nothing about it is for all."""
    form: Any = entry(FORMATS, "format", name)
    return not hasattr(form, "applies") or bool(form.applies(spec))


def path_of(name: str, options: ExportOptions) -> str:
    """Where the format lies inside payload/."""
    form: Format = entry(FORMATS, "format", name)
    return form.filename.format(target=canonical_target(options.target))


def key_of(name: str, options: ExportOptions) -> dict[str, Json]:
    """What the file depends on besides what it is made from: part of its stage's key.

    A format may narrow it by `libraries` (distributions) and `options` (fields of ExportOptions); else all count.
    """
    form: Any = entry(FORMATS, "format", name)
    chosen = {k: str(v) for k, v in asdict(options).items() if k not in ("cache_dir", "device")}
    chosen["target"] = canonical_target(options.target)
    libraries = getattr(form, "libraries", tuple(versions()))
    key: dict[str, Json] = {
        "version": form.version,
        "libraries": {n: v for n, v in versions().items() if n in libraries},
        "options": {k: v for k, v in chosen.items() if k in getattr(form, "options", tuple(chosen))},
    }
    if "{target}" in form.filename:
        key["gpus"] = [gpu.sm for gpu in gpus()]
    if hasattr(form, "built_for"):
        key["built_for"] = form.built_for()
    return key


def write_one(name: str, source: Source, destination: Path) -> Artifact:
    """Writes the format `name` at `destination` (and its sidecar beside it), whole or not at all.

    Raises ExportError with the reason where it cannot be written.
    """
    form: Format = entry(FORMATS, "format", name)
    reason = form.missing()
    if reason is not None:
        raise ExportError(f"{name}: {reason}")
    with atomic(destination) as temporary:
        sidecar = temporary.with_name(temporary.name + ".json")
        try:
            artifact = form.write(source, temporary)
            if sidecar.exists():
                sidecar.replace(destination.with_name(destination.name + ".json"))
        finally:
            with suppress(FileNotFoundError):
                sidecar.unlink()
    return artifact


def not_built(name: str, options: ExportOptions, reason: str) -> NotBuilt:
    form: Format = entry(FORMATS, "format", name)
    target = canonical_target(options.target) if "{target}" in form.filename else "any"
    return NotBuilt(format=name, precision=form.precision, target=target, reason=reason)
