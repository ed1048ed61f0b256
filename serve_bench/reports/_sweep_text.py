"""The tables of sweeps as text cells, so that every report format and the console say the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from serve_bench.latency.stats import Quantile
from serve_bench.reports import _format as show
from serve_bench.reports._sweeps import SweepRow, SweepTable

NONE = "–"
RATIO_NOTE = "Ratios are averaged over those within each replicate, so they are not the quotients of the figures shown."
WORD_NOTE = (
    "Faster or slower is said only where the whole interval lies outside the spread that the sweep itself shows."
)
ENOUGH = 10
"""Replicates whose intervals a sweep's reader is not told to narrow."""
AXES = {"batch": "batch size", "threads": "threads", "length": "length", "processes": "processes"}
"""What an axis is called on a plot and in a table."""


def title(sweep: SweepTable) -> str:
    """ "Sweep: batch"."""
    return f"Sweep: {sweep.name}"


def headings(sweep: SweepTable, *, narrow: bool = False) -> list[str]:
    """Of the table: the axis after the backend, then the batch where that is not the axis; `narrow` leaves p90 out."""
    found = ["backend"]
    if sweep.axis in AXES:
        found.append(AXES[sweep.axis])
    if sweep.axis != "batch":
        found.append("batch")
    found += ["p50", "p90"] if _bears_p90(sweep) and not narrow else ["p50"]
    if sweep.axis == "processes":
        found.append("p50 of each")
    found.append("samples/s")
    if sweep.compared:
        found += [sweep.compared, "called"]
    return [*found, "ended by"]


def _bears_p90(sweep: SweepTable) -> bool:
    return any(row.p90 for row in sweep.rows)


def place_text(sweep: SweepTable, row: SweepRow) -> str:
    """ "batch 8", "threads 2, batch 64"."""
    batch = f"batch {row.batch:,}"
    if sweep.axis in ("batch", "precision"):
        return batch
    return f"{AXES[sweep.axis]} {getattr(row, sweep.axis):,}, {batch}"


class SweepLine(NamedTuple):
    """One row as text."""

    place: list[str]
    """The backend, and where on the axis."""
    figures: list[str]
    """Empty texts where there is a note."""
    note: str
    """Why there is no figure; spans the figures."""
    ended: str
    """What ended the series, in its last row."""

    @property
    def cells(self) -> list[str]:
        """One for each heading."""
        figures = [f"not measured: {self.note}", *self.figures[1:]] if self.note else self.figures
        return [*self.place, *figures, self.ended]


def lines(sweep: SweepTable, *, narrow: bool = False) -> Iterator[SweepLine]:
    """The table of a sweep."""
    for row in sweep.rows:
        place = [row.label]
        if sweep.axis in AXES:
            place.append(f"{getattr(row, sweep.axis):,}")
        if sweep.axis != "batch":
            place.append(f"{row.batch:,}")
        figures = list(_figures(sweep, row, narrow))
        figures = [""] * len(figures) if row.error else figures
        yield SweepLine(place, figures, row.error, row.ended if row.last else "")


def _figures(sweep: SweepTable, row: SweepRow, narrow: bool) -> Iterator[str]:
    yield show.bounded(row.p50) if row.p50 else "too few runs"
    if _bears_p90(sweep) and not narrow:
        yield show.bounded(row.p90) if row.p90 else NONE
    if sweep.axis == "processes":
        yield _each(row.of_processes)
    yield show.rate(row.throughput) if row.throughput else NONE
    if sweep.compared:
        yield show.ratio(row.ratio) if row.ratio else NONE
        yield row.word or NONE


def _each(quantiles: Sequence[Quantile | None]) -> str:
    """ "277, 286 µs": all in the unit of the largest."""
    if not quantiles:
        return NONE
    unit, size = show.unit_of(max((q.value for q in quantiles if q), default=1.0))
    return f"{', '.join(show.significant(q.value / size) if q else NONE for q in quantiles)} {unit}"


def legend(sweep: SweepTable) -> str:
    """What the table means and how it was measured."""
    note = f"{RATIO_NOTE} {WORD_NOTE} " if sweep.compared else ""
    if sweep.compared and sweep.replicates < ENOUGH:
        note += f"Intervals over {sweep.replicates} replicates are wide: --replicates {ENOUGH} narrows them. "
    return f"{sweep.legend} {note}{sweep.facts}"
