"""The tables of a report as text cells, so that markdown, HTML and CSV say the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from export.bundle.types import Boundary, Environment
from serve_bench.reports import _format as show
from serve_bench.reports.summary import Row, Subject, Summary

NONE = "–"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the latency table, as text."""

    backend: str
    p50: str
    p90: str
    p99: str
    throughput: str
    ratio: str
    word: str
    error: str
    verdict: str
    note: str
    """Why there is no figure; spans the row."""


def lines(summary: Summary, batch: int, boundary: Boundary) -> list[Line]:
    """The latency table of one batch size and boundary."""
    return [_line(row) for row in summary.rows if row.batch == batch and row.boundary == boundary]


def _line(row: Row) -> Line:
    texts = {name: show.bounded(q) for name, q in row.quantiles.items()}
    return Line(
        backend=row.subject.label,
        p50=texts.get("p50", NONE),
        p90=texts.get("p90", NONE),
        p99=texts.get("p99", NONE),
        throughput=show.rate(row.throughput) if row.throughput else NONE,
        ratio=show.ratio(row.ratio) if row.ratio else (NONE if row.word != "baseline" else "1"),
        word=row.word or NONE,
        error=error_text(row.subject),
        verdict=row.subject.verdict,
        note=row.error,
    )


def error_text(subject: Subject) -> str:
    """ "2.3e-07 of 9.1e-07": the error and the band that it must stay in."""
    if subject.error is None or subject.band is None:
        return NONE
    return f"{show.error(subject.error)} of {show.error(subject.band)}"


def precision_text(subject: Subject) -> str:
    """ "float32", or "tf32 (float32 asked)" where they differ."""
    found = subject.precision_found or NONE
    return found if found in (subject.precision_asked, NONE) else f"{found} ({subject.precision_asked} asked)"


def decisions_text(subject: Subject) -> str:
    """ "0 of 10,000"."""
    return f"{subject.disagreements:,} of {subject.decisions:,}" if subject.decisions else NONE


def metric_text(subject: Subject) -> str:
    parts = [show.percent(v, 2) if k.endswith("accuracy") else f"{v:.4g}" for k, v in subject.metric.items()]
    return ", ".join(parts) or NONE


def rows_that_bear(rows: Sequence[Row], name: str) -> bool:
    """Whether any row has this quantile: a column of dashes is left out."""
    return any(name in row.quantiles for row in rows)


def environment_facts(environment: Environment | None, identity: str) -> Iterator[tuple[str, str]]:
    """The machine as name and text."""
    if environment is None:
        yield "Environment", f"{identity} (only its id is recorded here)"
        return
    yield "CPU", f"{environment.cpu}, {environment.cores} cores, {show.size(environment.memory_bytes)}"
    if environment.cpu_flags:
        yield "Instructions", ", ".join(environment.cpu_flags)
    for gpu in environment.gpus:
        yield "GPU", ", ".join(f"{name} {value}" if name != "name" else value for name, value in gpu.items() if value)
    if not environment.gpus:
        yield "GPU", "none"
    yield "System", f"{environment.os}, Python {environment.python}"
    yield "Libraries", ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    if environment.settings:
        yield "Set from outside", ", ".join(f"{k}={v}" for k, v in environment.settings.items())
    if environment.clocks:
        yield "Clocks", ", ".join(f"{k} {v}" for k, v in environment.clocks.items())
    yield "Environment", environment.id


def boundary_title(summary: Summary, batch: int, boundary: Boundary) -> str:
    """ "Batch 8", with the boundary where there is more than one."""
    return f"Batch {batch}" if len(summary.boundaries) == 1 else f"Batch {batch}, {boundary}"


def groups(summary: Summary) -> list[tuple[int, Boundary]]:
    """Batch sizes and boundaries in the order of the rows."""
    return list(dict.fromkeys((row.batch, row.boundary) for row in summary.rows))


def delta_text(summary: Summary, batch: int, boundary: Boundary) -> str:
    """ "δ 1.3 %"."""
    delta = summary.deltas.get(f"batch {batch}, {boundary}")
    return "" if delta is None else f"δ {show.percent(delta)}"


LEGEND = (
    "p50, p90, p99: with distribution-free bounds that hold with 99 % each, and only where the sample bears them "
    "(11, 64, 662 runs). Against eager: how many times as fast, with its 95 % interval over replicates, each made of "
    "new processes and sessions. Faster or slower is said only where the whole interval lies outside "
    "[1/(1 + δ), 1 + δ]; δ is this run's own spread of an artifact against itself, at least 1 %."
)
ERROR_LEGEND = (
    "Error: the largest deviation from the model in float64 over the test set, relative to the largest float64 output; "
    "the band is what eager's own error allows."
)
