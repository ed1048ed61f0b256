"""What a worker process says of the sessions that it opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.bundle.types import Json, Precision


@dataclass(frozen=True, kw_only=True)
class Started:
    """What a session says of itself as it is opened."""

    settings: dict[str, Json]
    open_ns: int
    """From the call of `Backend.open` to its return, libraries that were not preloaded included."""


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What its arithmetic was found to run in."""

    precision: Precision
    """Weights stored narrower than that are named in the evidence."""
    precision_evidence: str


@dataclass(frozen=True, kw_only=True)
class OpenedFacts(Started, Examined):
    """Both."""


@dataclass(frozen=True, kw_only=True)
class Warm:
    """How a warm-up went."""

    runs: int
    settled: bool
    """Whether the running median settled before the time limit."""
    median_ns: int
    first_run_ns: int
