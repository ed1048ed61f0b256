"""What can run here, and of everything else why not and what to do. Imports no heavy library."""

from __future__ import annotations

from dataclasses import dataclass

from serve_bench.cells import backends


@dataclass(frozen=True, kw_only=True)
class BackendStatus:
    """One backend on one device."""

    name: str
    device: str
    ready: bool
    reason: str | None
    """Why it is not ready, in one sentence with the remedy."""


def examine(device: str = "auto") -> list[BackendStatus]:
    """Every backend on every device that it serves, in the registry's order; "cpu" or "cuda" list that device only."""
    found = []
    for name, backend in backends().items():
        for able in backend.devices():
            if device in ("auto", able):
                reason = backend.missing(able)
                found.append(BackendStatus(name=name, device=able, ready=reason is None, reason=reason))
    return found
