"""`pipeline compare BASE NEW`: is the new one slower, and by how much? From measurements, or from runs in turns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from export.bundle.errors import PipelineError, UsageError
from export.bundle.store import Bundle
from export.bundle.types import Measurement
from export.progress import Progress
from pipeline.options import Options
from serve_bench.cells import label
from serve_bench.latency import compare, stats
from serve_bench.latency.compare import Medians
from serve_bench.latency.records import show, whole_runs
from serve_bench.latency.stats import Interval

SCHEMA = 1
Cell = tuple[str, int, str]
"""Backend with precision and device, batch, boundary."""


class Slower(PipelineError):
    """The interval of a ratio says that the new one is slower than was allowed."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one side was measured to be."""

    name: str
    model: str
    environment: str
    where: Mapping[str, Any] = field(default_factory=dict)
    """The environment, as far as it is known."""
    cells: Mapping[Cell, tuple[Medians, ...]]
    """By cell, the medians of each run."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell on both sides."""

    backend: str
    batch: int
    boundary: str
    base_ns: float
    """Median over replicates."""
    new_ns: float
    ratio: Interval
    """How many times as fast the new one is."""
    word: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    base: str
    new: str
    rows: tuple[Row, ...]
    only: Mapping[str, tuple[str, ...]]
    """Side → cells that the other has not."""
    notes: tuple[str, ...]

    def raise_if_slower(self, share: float | None) -> None:
        """Raises Slower where any interval lies below 1 / (1 + share); does nothing for None."""
        if share is None:
            return
        wrong = [row for row in self.rows if compare.slower_by(row.ratio, share)]
        if wrong:
            worst = min(wrong, key=lambda row: row.ratio.value)
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise Slower(
                f"{worst.backend} at batch {worst.batch} runs at {worst.ratio.value:.3f}× "
                f"[{worst.ratio.low:.3f}, {worst.ratio.high:.3f}] of {self.base}: slower by more than {share:.0%}{more}"
            )


def side_of(path: Path) -> Side:
    """A bundle's records, or a file that `bench --json` or `report --format json` printed.

    Raises UsageError for a file that is none, BundleError for a folder that is no bundle.
    """
    return _of_bundle(path) if path.is_dir() else _of_file(path)


def _of_bundle(path: Path) -> Side:
    bundle = Bundle.open(path)
    runs = whole_runs(bundle)
    if not runs:
        raise UsageError(f"{path}: holds no measurements; take some with `pipeline bench {path}`")
    here = runs[-1][0].environment
    same = [run for run in runs if run[0].environment == here]
    return _side(bundle, same)


def _side(bundle: Bundle, runs: Sequence[Sequence[Measurement]]) -> Side:
    """Runs of one environment, the newest last."""
    here = runs[-1][0].environment
    known = {e["id"]: e for e in bundle.read("environment")}
    return Side(
        name=str(bundle.root),
        model=bundle.manifest.model,
        environment=here,
        where=known.get(here, {}),
        cells=_cells(bundle, runs),
    )


def _cells(bundle: Bundle, runs: Sequence[Sequence[Measurement]]) -> dict[Cell, tuple[Medians, ...]]:
    """Those of the last run, with what earlier runs on the same number of threads say of them."""
    artifacts = {a.sha256: a for a in bundle.artifacts}
    found: dict[Cell, list[Medians]] = {}
    for run in reversed(runs):
        for record in run:
            if record.error or not record.latencies_ns or record.threads != runs[-1][0].threads:
                continue
            name = label(artifacts.get(record.artifact_sha256), record.backend, record.device)
            key = (name, record.batch, record.boundary)
            if run is runs[-1] or key in found:
                medians = stats.medians_by_replicate(record.latencies_ns, record.replicates)
                found.setdefault(key, []).append(medians)
    return {key: tuple(medians) for key, medians in found.items()}


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
        cells = {
            (row["subject"], int(row["batch"]), str(row["boundary"])): (
                stats.medians_by_replicate(row["latencies_ns"], row["of_replicate"]),
            )
            for row in report["rows"]
            if row["latencies_ns"]
        }
        model, environment = str(report["model"]).split()[0], str(report["environment_id"])
        where = report.get("environment") or {}
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(f"{path}: is no measurement file of one bundle ({error!s:.80})") from error
    if not cells:
        raise UsageError(f"{path}: holds no measurements; take some with `pipeline bench`")
    return Side(name=str(path), model=model, environment=environment, where=where, cells=cells)


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


def compared(base: Side, new: Side, *, anyway: bool) -> Comparison:
    """Cell by cell; raises UsageError where the sides cannot be compared: no cell in common, or, unless `anyway`,
    another model or another environment."""
    if base.model != new.model and not anyway:
        raise UsageError(f"{base.name} measures {base.model} and {new.name} {new.model}; --anyway compares them still")
    notes = []
    if base.environment != new.environment:
        words = "; ".join(_unlike(base.where, new.where)) or f"{base.environment} and {new.environment}"
        if not anyway:
            who = f"{base.name} and {new.name}"
            raise UsageError(f"{who} come from unlike environments ({words}); --anyway compares them still")
        notes.append(f"unlike environments: {words}")
    common = [cell for cell in base.cells if cell in new.cells]
    if not common:
        raise UsageError(f"{base.name} and {new.name} have no backend and batch in common")
    spread = compare.between([*base.cells.values(), *new.cells.values()])
    known = "given, for want of repeated runs" if spread.freedom == compare.MANY else "from repeated runs"
    notes.append(f"between runs a latency is taken to vary by {spread.deviation:.1%} ({known})")
    rows = [
        _row(cell, base.cells[cell], new.cells[cell], compare.ratio(base.cells[cell], new.cells[cell], spread))
        for cell in common
    ]
    return Comparison(
        base=base.name,
        new=new.name,
        rows=tuple(row for row in rows if row),
        only=_only(base, new),
        notes=tuple(notes),
    )


def _row(cell: Cell, base: Sequence[Medians], new: Sequence[Medians], ratio: Interval | None) -> Row | None:
    if ratio is None:
        return None
    return Row(
        backend=cell[0],
        batch=cell[1],
        boundary=cell[2],
        base_ns=_median(base),
        new_ns=_median(new),
        ratio=ratio,
        word=stats.word(ratio, stats.LEAST_DELTA),
    )


def _median(runs: Sequence[Medians]) -> float:
    return stats.quantile([value for run in runs for value in run.values()], 0.5)


def _only(base: Side, new: Side) -> dict[str, tuple[str, ...]]:
    def names(cells: Iterator[Cell]) -> tuple[str, ...]:
        return tuple(f"{name} at batch {batch}" for name, batch, _ in cells)

    return {
        base.name: names(c for c in base.cells if c not in new.cells),
        new.name: names(c for c in new.cells if c not in base.cells),
    }


def _unlike(base: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two environments, in words."""
    for name in ("cpu", "cores", "cpu_flags", "gpus", "os", "python", "settings"):
        if base.get(name) != new.get(name):
            yield f"{name}: {base.get(name)} and {new.get(name)}"
    ours, theirs = base.get("versions") or {}, new.get("versions") or {}
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield f"{name}: {ours.get(name, 'none')} and {theirs.get(name, 'none')}"


def alternate(base: Path, new: Path, pairs: int, options: Options, progress: Progress) -> Comparison:
    """Measures both, `pairs` times each, taking turns; the order of a pair changes from one to the next.

    The runs are kept, and reports go on showing what they showed before.
    """
    from pipeline.judge import write_reports
    from pipeline.run import bench_paths

    for path in (base, new):
        if not path.is_dir():
            raise UsageError(f"{path}: is no bundle, and --alternate measures two")
        Bundle.open(path)
    shown = {path: whole_runs(Bundle.open(path))[-1:] for path in (base, new)}
    first: list[Side] = []
    second: list[Side] = []
    options = replace(options, no_peak=True)
    for pair in range(pairs):
        turns = ((base, first), (new, second))
        for path, runs in turns if pair % 2 == 0 else turns[::-1]:
            for outcome in bench_paths([path], options, progress):
                outcome.raise_for_failures()
            runs.append(_newest(path))
    for path, before in shown.items():
        bundle = Bundle.open(path)
        if before and show(bundle, before[0]):
            write_reports(bundle)
    common = [cell for cell in first[0].cells if all(cell in side.cells for side in (*first, *second))]
    rows = []
    for cell in common:
        ours, theirs = ([side.cells[cell][0] for side in sides] for sides in (first, second))
        rows.append(_row(cell, ours, theirs, compare.alternated(ours, theirs)))
    return Comparison(
        base=str(base),
        new=str(new),
        rows=tuple(row for row in rows if row),
        only=_only(first[0], second[0]),
        notes=(f"{pairs} runs of each, in turns; the interval is over pairs",),
    )


def _newest(path: Path) -> Side:
    bundle = Bundle.open(path)
    return _side(bundle, whole_runs(bundle)[-1:])
