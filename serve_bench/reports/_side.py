"""Several reports side by side: backends and batches of several models, or of one model on several machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serve_bench.reports import _format as show
from serve_bench.reports._types import Row, Summary

TITLE = "Side by side"
NONE = "–"
LEGEND = (
    "p50 with its 99 % bounds; below it how many times as fast as that column's own eager, with its 95 % interval. "
    "Columns are runs of their own: between them the machine may differ, so a ratio between columns has no interval "
    "here; pipeline compare gives one."
)


def names(summaries: Sequence[Summary]) -> list[str]:
    """A heading for each: its model, and where models are the same what tells their machines or else runs apart."""
    found = [s.model for s in summaries]
    for name_of in (_cpu, _gpus, _cores, lambda s: s.environment_id, lambda s: s.path, lambda s: s.run):
        found = _told_apart(found, [name_of(s) for s in summaries])
    return _told_apart(found, [str(i + 1) for i in range(len(summaries))])


def _told_apart(found: Sequence[str], more: Sequence[str]) -> list[str]:
    """Names with what is known more of each, where that differs among those of one name."""
    pairs = list(zip(found, more, strict=True))
    differ = {name for name in found if len({extra for other, extra in pairs if other == name}) > 1}
    return [f"{name}, {extra}" if name in differ and extra else name for name, extra in pairs]


def _cpu(summary: Summary) -> str:
    return summary.environment.cpu if summary.environment else summary.environment_id


def _gpus(summary: Summary) -> str:
    if summary.environment is None:
        return ""
    return " and ".join(gpu.get("name", "a GPU") for gpu in summary.environment.gpus) or "no GPU"


def _cores(summary: Summary) -> str:
    return f"{summary.environment.cores} cores" if summary.environment else ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One batch size and boundary of all columns, as text."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(summaries: Sequence[Summary]) -> list[Table]:
    """One for each batch size and boundary; none where fewer than two of them were measured."""
    measured = [s for s in summaries if s.rows]
    headings = ("backend", *names(measured))
    if len(measured) < 2:
        return []
    places = sorted(
        {(r.batch, r.boundary) for s in measured for r in s.rows}, key=lambda p: (p[0], p[1] != "host", p[1])
    )
    labels = list(dict.fromkeys(r.subject.label for s in measured for r in s.rows))
    found = []
    for batch, boundary in places:
        rows = [(label, *(_cell(s, label, batch, boundary) for s in measured)) for label in labels]
        rows = [row for row in rows if any(cell != NONE for cell in row[1:])]
        found.append(Table(title=show.place(batch, boundary).capitalize(), headings=headings, rows=tuple(rows)))
    return found


def _cell(summary: Summary, label: str, batch: int, boundary: str) -> str:
    row = next((r for r in summary.rows if (r.subject.label, r.batch, r.boundary) == (label, batch, boundary)), None)
    return NONE if row is None else _text(row)


def _text(row: Row) -> str:
    p50 = row.quantiles.get("p50")
    if p50 is None:
        return NONE
    return show.bounded(p50) + (f"; {show.ratio(row.ratio)}" if row.ratio else "")
