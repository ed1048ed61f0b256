"""The two sides of a comparison: what a bundle or a file of measurements holds."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from export.bundle.errors import UsageError, some
from export.bundle.kinds import environments
from export.bundle.store import Bundle
from export.bundle.types import Measurement, from_json, to_json
from serve_bench.cells import label
from serve_bench.latency import stats
from serve_bench.latency.compare import Medians
from serve_bench.latency.records import whole_runs
from serve_bench.latency.run_conditions import RunConditions, alike, conditions_of

SCHEMA = 1
Cell = tuple[str, int, str]
"""Backend with precision and device, batch, boundary."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one side was measured to be."""

    name: str
    model: str
    environment: str
    where: Mapping[str, Any] = field(default_factory=dict)
    """The environment, as far as it is known."""
    run: str = ""
    """The run that counts: of a bundle the one that its report shows."""
    cells: Mapping[Cell, Mapping[str, Medians]]
    """By cell, the medians of the run that counts and of earlier ones like it, by the run's name."""
    runs: tuple[RunConditions, ...] = ()
    """How each run was taken, the last one first; empty where a file does not say."""
    on_cpu: frozenset[str] = frozenset()
    """Backends, with precision, that compute on the CPU."""

    def of(self, cell: Cell) -> Medians:
        """Those of the run that counts."""
        return self.cells[cell][self.run]

    def repeats(self, besides: Collection[str] = ()) -> list[list[Medians]]:
        """Of each cell the runs that are not `besides`: how far runs of one artifact lie apart."""
        return [[medians for name, medians in runs.items() if name not in besides] for runs in self.cells.values()]


def side_of(path: Path) -> Side:
    """A bundle's records, or a file that `bench --json` or `report --format json` printed.

    Raises UsageError for a file that is none, BundleError for a folder that is no bundle.
    """
    return _of_bundle(path) if path.is_dir() else _of_file(path)


def _of_bundle(path: Path) -> Side:
    bundle = Bundle.open(path)
    runs = whole_runs(bundle)
    if not runs:
        damaged = bundle.damaged()
        lost = f" that can be read ({some(damaged)} damaged)" if damaged else ""
        raise UsageError(f"{path}: holds no measurements{lost}; take some with `pipeline bench {path}`")
    here = runs[-1][0].environment
    same = [run for run in runs if run[0].environment == here]
    return _side(bundle, same)


def _side(bundle: Bundle, runs: Sequence[Sequence[Measurement]]) -> Side:
    """Runs of one environment, the newest last; earlier ones count where they were taken like it."""
    here = runs[-1][0].environment
    conditions = [conditions_of(run[0]) for run in runs]
    like = [(run, own) for run, own in zip(runs, conditions, strict=True) if alike(own, conditions[-1])]
    names = {a.sha256: a for a in bundle.artifacts}
    labelled = [[(label(names.get(r.artifact_sha256), r.backend, r.device), r) for r in run] for run, _ in like]
    where = environments(bundle).get(here)
    return Side(
        name=str(bundle.root),
        model=bundle.manifest.title,
        environment=here,
        where=to_json(where) if where else {},
        run=runs[-1][0].run,
        cells=_cells(labelled),
        runs=tuple(own for _, own in reversed(like)),
        on_cpu=frozenset(name for run in labelled for name, record in run if record.device == "cpu"),
    )


def _cells(runs: Sequence[Sequence[tuple[str, Measurement]]]) -> dict[Cell, dict[str, Medians]]:
    """Those of the last run, with what earlier runs say of them."""
    found: dict[Cell, dict[str, Medians]] = {}
    for run in reversed(runs):
        for name, record in run:
            if record.error or not record.latencies_ns:
                continue
            key = (name, record.batch, record.boundary)
            if run is runs[-1] or key in found:
                medians = stats.medians_by_replicate(record.latencies_ns, record.replicates)
                found.setdefault(key, {})[record.run] = medians
    return found


def _of_file(path: Path) -> Side:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such bundle or file") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is cut off or no JSON; write it again with `pipeline bench --json`") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA or "reports" not in document:
        raise UsageError(f"{path}: is no measurement file of schema {SCHEMA}; write one with `pipeline bench --json`")
    try:
        reports = document["reports"]
        if len(reports) > 1:
            raise UsageError(f"{path}: holds {len(reports)} bundles; name a file of one")
        (report,) = reports
        run = str(report.get("run", ""))
        cells = {
            (row["subject"], int(row["batch"]), str(row["boundary"])): {
                run: stats.medians_by_replicate(_latencies(row["latencies_ns"]), row["of_replicate"])
            }
            for row in report["rows"]
            if row["latencies_ns"]
        }
        model, environment = str(report["model"]), str(report["environment_id"])
        where = report.get("environment") or {}
        told = report.get("conditions")
        runs = (from_json(RunConditions, told),) if told else ()
        on_cpu = frozenset(s["label"] for s in report["subjects"] if s["device"] == "cpu") if runs else frozenset()
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(f"{path}: is no measurement file of one bundle ({error!s:.80})") from error
    if not cells:
        raise UsageError(f"{path}: holds no measurements; take some with `pipeline bench`")
    return Side(
        name=str(path),
        model=model,
        environment=environment,
        where=where,
        run=run,
        cells=cells,
        runs=runs,
        on_cpu=on_cpu,
    )


def _latencies(values: Sequence[float]) -> Sequence[float]:
    """As they are; raises ValueError where one is no time that a run can take."""
    for value in values:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"a latency of {value:g} ns")
    return values


def only(side: Side, backends: Sequence[str], batches: Sequence[int]) -> Side:
    """The cells of these backends and batches, all where none is named; raises UsageError where none is left."""
    left = {
        cell: runs
        for cell, runs in side.cells.items()
        if (not backends or cell[0].split()[0] in backends) and (not batches or cell[1] in batches)
    }
    if not left:
        asked = ", ".join([*backends, *(f"batch {batch}" for batch in batches)])
        raise UsageError(f"{side.name}: holds no measurement of {asked}")
    return replace(side, cells=left)


def newest(path: Path) -> Side:
    """The run of a bundle that its report shows, alone."""
    bundle = Bundle.open(path)
    return _side(bundle, whole_runs(bundle)[-1:])
