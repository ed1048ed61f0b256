"""What can run here, and of everything else why not and what to do. Imports no heavy library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from export.bundle.environment import versions
from export.bundle.errors import ExportError
from export.formats._engine_facts import canonical_target
from serve_bench.cells import backends

TARGET = "a100"
"""What engines are built for unless the user says otherwise."""
NOTES = {
    "null": "computes nothing, so that it shows what measuring itself costs; runs only where --backend null names it"
}
"""What a backend is for, where its name does not say it."""


@dataclass(frozen=True, kw_only=True)
class BackendStatus:
    """One backend on one device."""

    name: str
    device: str
    ready: bool
    reason: str | None
    """Why it is not ready, in one sentence with the remedy."""
    note: str = ""
    """What it is for, where its name does not say it."""


def examine(device: str = "auto") -> list[BackendStatus]:
    """Every backend on every device that it serves, in the registry's order; "cpu" or "cuda" list that device only."""
    found = []
    for name, backend in backends().items():
        for able in backend.devices():
            if device in ("auto", able):
                reason = backend.missing(able)
                note = NOTES.get(name, "")
                found.append(BackendStatus(name=name, device=able, ready=reason is None, reason=reason, note=note))
    return found


def remarks(statuses: Sequence[BackendStatus]) -> list[str]:
    """What "ready" alone leaves open, a line each: what a backend is for, and which library builds engines."""
    noted = {status.name: status.note for status in statuses if status.note}
    return [f"{name}: {note}" for name, note in noted.items()] + _builder()


def _builder() -> list[str]:
    from export.formats.tensorrt import flavour_for

    try:
        flavour = flavour_for(canonical_target(TARGET))
    except ExportError:
        return []
    library = flavour.package.replace("_", "-")
    where = "without a GPU" if library == "tensorrt-rtx" else "on this machine's GPU"
    built = f"engines for {TARGET} are built by {library} {versions().get(library, '')}, {where}"
    return [f"tensorrt, tensorrt-fp16: {built}; of the backends, {library} alone runs them"]
