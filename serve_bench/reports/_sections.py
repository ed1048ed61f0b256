"""Further parts of a report, each made from records of its own kind: a table, a sentence, drawings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from export.bundle.store import Bundle
from export.bundle.types import Json, Measurement, to_json
from serve_bench.cells import label
from serve_bench.latency import cold, stats
from serve_bench.reports import _format as show
from serve_bench.reports import _transfers

COLD_LEGEND = (
    "Median [least, most] of {starts} fresh processes of each, threads {threads}, files and compilers' caches warm. "
    "Start to first answer holds everything: interpreter, imports, opening, the first run of one real sample. "
    "Opening holds the imports of the backend's libraries; peak memory is the largest resident size up to there."
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table with what stands around it."""

    key: str
    """In the JSON report: "cold_start"."""
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Text, as many as there are headings; with two cells the second is a note that spans the row."""
    legend: str
    data: Json = field(repr=False)
    """The records, for the JSON report: a list of what `RECORDS` names."""
    drawings: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """SVG and caption of each, for the HTML report."""


def cold_start(bundle: Bundle, run: Sequence[Measurement]) -> Iterator[Section]:
    """From process start to first answer, the quickest median first."""
    records = cold.latest(bundle)
    if not records:
        return
    artifacts = {a.sha256: a for a in bundle.artifacts}
    rows: list[tuple[str, ...]] = []
    for r in sorted(records, key=lambda r: (not r.total_ns, stats.quantile(r.total_ns, 0.5) if r.total_ns else 0)):
        name = label(artifacts.get(r.artifact_sha256), r.backend, r.device)
        if r.error:
            rows.append((name, f"not started: {r.error}"))
            continue
        peak = show.size(max(r.peak_bytes)) if r.peak_bytes else "–"
        peak += f", GPU {show.size(max(r.gpu_bytes))}" if r.gpu_bytes else ""
        parts = (_span(r.total_ns), _span(r.open_ns), _span(r.first_run_ns), peak, show.size(r.artifact_bytes))
        rows.append((name, *parts))
    starts = max(len(r.total_ns) for r in records)
    yield Section(
        key="cold_start",
        title="Cold start",
        headings=("backend", "start to first answer", "opening", "first run", "peak memory", "file"),
        rows=tuple(rows),
        legend=f"{COLD_LEGEND.format(starts=starts, threads=records[0].threads)} "
        + f"{show.taken_at(record.started for record in records)} Environment {records[0].environment}.",
        data=to_json(records),
    )


def transfers(bundle: Bundle, run: Sequence[Measurement]) -> Iterator[Section]:
    """Copying in and out of a GPU, form by form."""
    found = list(_transfers.of_run(run, {a.sha256: a for a in bundle.artifacts}))
    if found:
        yield Section(
            key="transfers",
            title=_transfers.TITLE,
            headings=_transfers.HEADINGS,
            rows=tuple(map(_transfers.cells, found)),
            legend=_transfers.LEGEND,
            data=to_json(found),
        )


def _span(values: tuple[int, ...]) -> str:
    return show.bounded(stats.Quantile(stats.quantile(values, 0.5), min(values), max(values)))


KINDS: tuple[Callable[[Bundle, Sequence[Measurement]], Iterator[Section]], ...] = (transfers, cold_start)
RECORDS: Mapping[str, type] = {
    "transfers": _transfers.Transfer,
    "cold_start": cold.ColdStart,
}
"""By key, what the `data` of a section is a list of."""


def sections(bundle: Bundle, run: Sequence[Measurement]) -> tuple[Section, ...]:
    """Those whose records the bundle holds; `run` is the one that the report shows."""
    return tuple(section for kind in KINDS for section in kind(bundle, run))
