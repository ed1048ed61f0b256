"""What could not run or be built when a bundle was judged, as the bundle keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from export.bundle.kinds import Kind, Records
from export.run import NotBuilt


@dataclass(frozen=True, kw_only=True)
class NotRun:
    """A form that had no backend, or a backend that had no form."""

    backend: str
    artifact: str
    """Artifact.name; empty where the bundle holds nothing that the backend reads."""
    device: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Absent:
    """What was not there at one time."""

    environment: str
    """Environment.id."""
    missing: tuple[NotRun, ...] = ()
    not_built: tuple[NotBuilt, ...] = ()


KIND = Kind("absent", Absent)


def latest(bundle: Records) -> Absent | None:
    """The last record; None without one."""
    found = KIND.read(bundle)
    return found[-1] if found else None
