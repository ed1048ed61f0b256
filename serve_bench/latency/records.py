"""Measurements as a bundle keeps them: which runs are whole, and whether one answers what is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from export.bundle.types import Artifact, Measurement, from_json, to_json

KIND = "measurement"


class Records(Protocol):
    """The part of a bundle that is read here."""

    def read(self, kind: str) -> list[dict[str, Any]]: ...


class Place(Protocol):
    """The part of a cell that is read here."""

    @property
    def artifact(self) -> Artifact: ...

    @property
    def backend(self) -> str: ...

    @property
    def device(self) -> str: ...


def whole_runs(bundle: Records) -> list[tuple[Measurement, ...]]:
    """Interleaved runs whose every record is there, oldest first; one that a kill cut short is passed over."""
    runs: dict[str, list[Measurement]] = {}
    for value in bundle.read(KIND):
        record = from_json(Measurement, value)
        runs.setdefault(record.run, []).append(record)
    return [tuple(records) for records in runs.values() if len(records) == records[0].facts.get("cells")]


def up_to_date(bundle: Records, cells: Iterable[Place], environment_id: str, settings: Mapping[str, Any]) -> bool:
    """Whether the latest whole run of this environment holds all of `cells`, taken with these settings.

    `settings` holds batches, replicates, threads, isolate, budget_s. A cell that failed counts as answered.
    """
    runs = [run for run in whole_runs(bundle) if run[0].environment == environment_id]
    if not runs:
        return False
    run = runs[-1]
    taken = {**run[0].facts, "threads": run[0].threads}
    same = all(to_json(value) == taken.get(name) for name, value in settings.items())
    return same and measured(run) >= {(c.artifact.sha256, c.backend, c.device) for c in cells}


def measured(run: Sequence[Measurement]) -> set[tuple[str, str, str]]:
    """(artifact sha256, backend, device) of every cell in a run."""
    return {(r.artifact_sha256, r.backend, r.device) for r in run}
