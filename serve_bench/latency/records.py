"""Measurements as a bundle keeps them: which runs are whole, which answers what is asked, which is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from export.bundle.errors import UsageError
from export.bundle.kinds import Kind, Records
from export.bundle.types import Artifact, Measurement, to_json
from serve_bench.latency.run_facts import MEASUREMENTS


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Which run reports show instead of the newest."""

    run: str
    newest: str
    """As long as this is the newest."""


SHOWN = Kind("shown", Shown)


class Place(Protocol):
    """The part of a cell that is read here."""

    @property
    def artifact(self) -> Artifact: ...

    @property
    def backend(self) -> str: ...

    @property
    def device(self) -> str: ...


class Store(Records, Protocol):
    """The part of a bundle that is read and added to here."""

    def append(self, kind: str, record: Mapping[str, Any]) -> None: ...


Run = tuple[Measurement, ...]


def whole_runs(bundle: Records) -> list[Run]:
    """Interleaved runs whose every record is there, oldest first, the one that reports show at the end.

    That is the newest, or an older one that `show` has named since. A run that a kill cut short is passed over, and one
    of which a record does not fit.
    """
    runs = _as_measured(bundle)
    shown = SHOWN.read(bundle)
    if runs and shown and shown[-1].newest == runs[-1][0].run:
        runs.sort(key=lambda run: run[0].run == shown[-1].run)
    return runs


def _as_measured(bundle: Records) -> list[Run]:
    found: dict[str, list[Measurement]] = {}
    for record in MEASUREMENTS.read(bundle):
        found.setdefault(record.run, []).append(record)
    return [tuple(records) for records in found.values() if len(records) == records[0].facts.get("cells")]


def matching(bundle: Records, cells: Iterable[Place], environment_id: str, settings: Mapping[str, Any]) -> Run | None:
    """The whole run of this environment that was taken with these settings and holds all of `cells`; the last of them.

    `settings` holds batches, replicates, threads, isolate, budget_s, precision_of_ratio, and twin where one is asked
    for. A cell that failed counts as answered.
    """
    wanted = {(c.artifact.sha256, c.backend, c.device) for c in cells}
    for run in reversed(whole_runs(bundle)):
        known = {**run[0].facts, "threads": run[0].threads, "twin": "twins" in run[0].facts}
        same = all(to_json(value) == known.get(name) for name, value in settings.items())
        if same and run[0].environment == environment_id and measured(run) >= wanted:
            return run
    return None


def show(bundle: Store, run: Run) -> bool:
    """Lets reports show `run`, one of the whole runs, until another is measured; False where they do so already."""
    if whole_runs(bundle)[-1] == run:
        return False
    bundle.append(SHOWN.name, to_json(Shown(run=run[0].run, newest=_as_measured(bundle)[-1][0].run)))
    return True


def named(bundle: Records, name: str) -> Run:
    """The whole run of this name, or of the only one that begins so; raises UsageError, which names what is kept."""
    runs = whole_runs(bundle)
    found = [run for run in runs if name and run[0].run.startswith(name)]
    if len(found) == 1:
        return found[0]
    kept = ", ".join(f"{r[0].run} ({r[0].started}, {taken(r[0])} replicates, {_rows(len(r))})" for r in runs[-9:])
    why = "no whole run has this name" if not found else "several runs begin so"
    raise UsageError(f"--run {name}: {why}; the latest kept are {kept}" if kept else f"--run {name}: no run is kept")


def also_kept(runs: Sequence[Run]) -> str:
    """In words the newest run where an older one is shown, else that of the same environment with the most rows, then
    replicates, then seconds, where it has more than the one that is shown; empty without one."""
    if len(runs) < 2:
        return ""
    *others, shown = runs
    newest = max(others, key=lambda run: run[0].started)
    newer = newest[0].started > shown[0].started
    alike = [run for run in others if run[0].environment == shown[0].environment]
    larger = max(alike, key=lambda run: (*_extent(run), run[0].started), default=shown)
    if not newer and _extent(larger) <= _extent(shown):
        return ""
    run, which = (newest, "the newer ") if newer else (larger, "")
    (rows, replicates, asked_s), (widest, most, short_s) = _extent(run), _extent(shown)
    which += f"run {run[0].run} of {run[0].started}, {replicates} replicates, {_rows(rows)}, {asked_s:g} s asked"
    has = f"{most}, {widest}, {short_s:g} s"
    return f"{which} (the run shown has {has}); pipeline report BUNDLE --run {run[0].run} shows it"


def _rows(count: int) -> str:
    return f"{count} row{'s' if count != 1 else ''}"


def _extent(run: Run) -> tuple[int, int, float]:
    """Rows, replicates and budget."""
    return len(run), taken(run[0]), float(run[0].facts["budget_s"])


def taken(record: Measurement) -> int:
    """Replicates that were taken: no fewer than were asked for."""
    return int(record.facts.get("replicates_taken", record.facts["replicates"]))


def measured(run: Sequence[Measurement]) -> set[tuple[str, str, str]]:
    """(artifact sha256, backend, device) of every cell in a run."""
    return {(r.artifact_sha256, r.backend, r.device) for r in run}
