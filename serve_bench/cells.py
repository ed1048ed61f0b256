"""Which artifact runs on which backend on which device, and what cannot run here and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from export.bundle.errors import BackendUnavailable, UsageError
from export.bundle.types import Artifact
from export.registry import entries, entry
from serve_bench.backends._base import Backend
from serve_bench.backends._helpers import NO_GPU, gpu_names

PACKAGE = "serve_bench.backends"
FORMATS = "export.formats"
NAMED_ONLY = frozenset({"null"})
"""Backends that are run only where they are asked for by name."""
BASELINE = "eager"
"""What every other backend is compared with, in float32."""
DEVICES = ("auto", "cpu", "cuda")


def backend_named(name: str) -> Backend:
    """Raises UnknownName, which lists the known ones."""
    return cast(Backend, entry(PACKAGE, "backend", name))


def backends() -> dict[str, Backend]:
    return cast("dict[str, Backend]", entries(PACKAGE))


def label(artifact: Artifact | None, backend: str, device: str) -> str:
    """ "onnxruntime-cpu float16", "eager cuda": the backend, and of precision and device what it does not say."""
    words = [backend]
    if artifact is not None and artifact.precision != "float32":
        words.append(artifact.precision)
        words += ["dynamic"] if artifact.facts.get("quantisation") == "dynamic" else []
    if artifact is not None and artifact.format == "app":
        words.append("app")
    if artifact is not None and artifact.target != "any":
        words.append(artifact.target)
    if device == "cuda" and "cpu" in backend_named(backend).devices():
        words.append(device)
    return " ".join(words)


@dataclass(frozen=True)
class Cell:
    """An artifact on a backend on a device: it can run here."""

    artifact: Artifact
    backend: str
    device: str

    @property
    def label(self) -> str:
        return label(self.artifact, self.backend, self.device)

    @property
    def key(self) -> str:
        """Unique in a plan: the key of its session in a worker."""
        return f"{self.artifact.name}|{self.backend}|{self.device}"


@dataclass(frozen=True)
class Missing:
    """A row without figures, and why."""

    backend: str
    artifact: Artifact | None
    """None where the bundle holds nothing that this backend reads."""
    device: str
    reason: str
    """One sentence with the remedy."""
    named: bool = False
    """Asked for by name: an error row; else one that only says so."""

    @property
    def label(self) -> str:
        return label(self.artifact, self.backend, self.device)


def plan(artifacts: Sequence[Artifact], names: Sequence[str] | None, device: str) -> tuple[list[Cell], list[Missing]]:
    """Every cell that can run here, and a row with its reason for everything else that was meant.

    `names` None means every backend but `null`. `device` "cpu" and "cuda" mean that device only; "auto" means the CPU,
    and the GPU too where there is one. Backends that serve the CPU are not listed as missing for want of a GPU.
    Raises UnknownName, UsageError for an unknown device, BackendUnavailable for "cuda" where there is no GPU.
    """
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}: known are {', '.join(DEVICES)}")
    chosen = [backend_named(n) for n in dict.fromkeys(names)] if names else _default()
    if device == "cuda" and not gpu_names():
        raise BackendUnavailable(f"--device cuda: {NO_GPU}, or ask for --device cpu")
    cells: list[Cell] = []
    missing: list[Missing] = []
    for backend in chosen:
        for where in _devices(backend, device, named=bool(names)):
            found, lost = _cells(backend, where, artifacts, named=bool(names))
            cells += found
            missing += lost
    return cells, missing


def _default() -> list[Backend]:
    return [b for name, b in backends().items() if name not in NAMED_ONLY]


def _devices(backend: Backend, device: str, named: bool) -> list[str]:
    able = backend.devices()
    if device == "auto":
        return [d for d in able if d == "cpu" or "cpu" not in able or gpu_names()]
    return [device] if device in able or named else []


def readable(backend: Backend, artifact: Artifact) -> bool:
    """Whether this backend opens that artifact: its format, and for an engine its flavour."""
    if backend.reads is None:
        return True
    if artifact.format in getattr(backend, "also_reads", ()):
        return True
    own = getattr(backend, "flavour", None)
    flavour = str(artifact.facts.get("flavour", own)).replace("_", "-")
    return artifact.format == backend.reads and (own is None or flavour == own)


def _cells(
    backend: Backend, device: str, artifacts: Sequence[Artifact], named: bool
) -> tuple[list[Cell], list[Missing]]:
    found = [a for a in artifacts if readable(backend, a)]
    if not found and not named and _made_by_name(backend.reads):
        return [], []
    if backend.reads is None:
        found = found[:1]
    reason = backend.missing(device)
    if reason is None and not found:
        option = "--with " if _made_by_name(backend.reads) else ""
        reason = f"nothing that was asked for is in a form that {backend.name} reads: export it with "
        reason += f"{option}{backend.reads}"
    if reason is not None:
        rows: Sequence[Artifact | None] = found or [None]
        return [], [Missing(backend.name, a, device, reason, named) for a in rows]
    refused = {a.name: reason for a in found if (reason := refusal(backend, a)) is not None}
    cells = [Cell(a, backend.name, device) for a in found if a.name not in refused]
    return cells, [Missing(backend.name, a, device, refused[a.name], named) for a in found if a.name in refused]


def _made_by_name(form: str | None) -> bool:
    """Whether a form is made only where its name asks for it: one that is not there is not missed."""
    return bool(getattr(entries(FORMATS).get(form or ""), "by_name", False))


def refusal(backend: Backend, artifact: Artifact) -> str | None:
    """Why a form made for another machine cannot run here, known before it is loaded; None where nothing speaks
    against it."""
    refuses = getattr(backend, "refuses", None)
    return None if refuses is None else cast("str | None", refuses(artifact))
