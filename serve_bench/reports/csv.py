"""A report as CSV (RFC 4180): one line for each subject, batch and boundary, and for what could not be run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from serve_bench.reports import _scenarios, _sweep_csv
from serve_bench.reports.summary import QUANTILES, Absent, Row, Subject, Summary

COLUMNS = (
    *("model", "backend", "artifact", "device", "batch", "boundary", "runs"),
    *(f"{name}_{part}ns" for name in QUANTILES for part in ("", "low_", "high_")),
    *("samples_per_second", "ratio", "ratio_low", "ratio_high", "word", "delta", "precision_asked", "precision_found"),
    *("error", "band", "verdict", "reason", "run", "environment"),
    *_scenarios.CSV_COLUMNS,
    *_sweep_csv.CSV_COLUMNS,
)


def _row(summary: Summary, row: Row) -> Iterator[tuple[str, object]]:
    yield from _subject(summary, row.subject)
    yield from (("batch", row.batch), ("boundary", row.boundary), ("runs", row.runs))
    for name, quantile in row.quantiles.items():
        yield from zip((f"{name}_ns", f"{name}_low_ns", f"{name}_high_ns"), quantile, strict=True)
    if row.ratio:
        yield from zip(("ratio", "ratio_low", "ratio_high"), row.ratio, strict=True)
    yield from (("samples_per_second", row.throughput), ("word", row.word), ("delta", row.delta))
    yield from (("reason", row.error or row.subject.reason), ("run", summary.run))


def _subject(summary: Summary, subject: Subject) -> Iterator[tuple[str, object]]:
    yield from (("model", summary.model), ("backend", subject.backend), ("artifact", subject.artifact))
    yield from (("device", subject.device), ("environment", summary.environment_id))
    yield from (("precision_asked", subject.precision_asked), ("precision_found", subject.precision_found))
    yield from (("error", subject.error), ("band", subject.band), ("verdict", subject.verdict))
    yield "reason", subject.reason


def _absent(summary: Summary, absent: Absent) -> Iterator[tuple[str, object]]:
    yield from (("model", summary.model), ("backend", absent.label), ("artifact", absent.artifact))
    yield from (("device", absent.device), ("verdict", absent.kind), ("reason", absent.reason))


def _safe(value: object) -> object:
    """A text that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


class Csv:
    name = "csv"
    extension = "csv"

    def render(self, summaries: Sequence[Summary]) -> str:
        """Figures in full precision, latencies in ns; an empty field where there is none."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\r\n")
        writer.writeheader()
        for summary in summaries:
            measured = {id(row.subject) for row in summary.rows}
            found = [dict(_row(summary, row)) for row in summary.rows]
            found += [dict(_subject(summary, s)) for s in summary.subjects if id(s) not in measured]
            found += map(dict, _scenarios.csv_rows(summary))
            found += [dict(_absent(summary, absent)) for absent in summary.absent]
            found += [{"model": summary.model, **row} for s in summary.sweeps for row in _sweep_csv.csv_rows(s)]
            writer.writerows([{k: _safe(v) for k, v in line.items() if v is not None} for line in found])
        return stream.getvalue()


ENTRIES = (Csv(),)
