"""What is timed, and what was taken of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from export.bundle.types import Artifact, Boundary, Precision

if TYPE_CHECKING:
    from serve_bench.backends._base import Backend
    from serve_bench.cells import Cell


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is timed: a cell at one batch size and boundary."""

    cell: Cell
    artifact: Artifact
    """Its path absolute, its sha256 checked."""
    family: str
    """Backends of one family may share a process."""
    preload: tuple[str, ...]
    batch: int
    boundary: Boundary
    keeps_cores: bool = False
    """Its backend goes back in every run to the cores that it was opened on."""
    twin: bool = False
    """A second session of a form that is timed already: the run's A/A check."""

    @classmethod
    def of(cls, cell: Cell, artifact: Artifact, backend: Backend, batch: int, boundary: Boundary) -> Subject:
        return cls(
            cell=cell,
            artifact=artifact,
            family=backend.family,
            preload=backend.preload,
            batch=batch,
            boundary=boundary,
            keeps_cores=getattr(backend, "keeps_cores", False),
        )

    @property
    def session(self) -> str:
        """Names the session, which all batches and boundaries of a cell share."""
        return f"{self.cell.key}|twin" if self.twin else self.cell.key


@dataclass
class Taken:
    """What was taken of one subject, over all replicates so far."""

    latencies_ns: list[int] = field(default_factory=list)
    replicates: list[int] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    open_ns: list[int] = field(default_factory=list)
    first_run_ns: list[int] = field(default_factory=list)
    warm_up_runs: list[int] = field(default_factory=list)
    unsettled: int = 0
    """Replicates in which the warm-up ended at its limit."""
    page_faults: list[float] = field(default_factory=list)
    """A run's, for each visit; the untimed ones and what the request itself takes are in it."""
    precision: Precision | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    def add(self, other: Taken) -> None:
        """Takes over a replicate that is complete."""
        lists = ("latencies_ns", "replicates", "rounds", "open_ns", "first_run_ns", "warm_up_runs", "page_faults")
        for name in lists:
            getattr(self, name).extend(getattr(other, name))
        self.unsettled += other.unsettled
        self.precision, self.settings = other.precision or self.precision, other.settings
