"""A report as GitHub-flavoured markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from export.bundle.types import Boundary
from serve_bench.reports import _tables as tables
from serve_bench.reports.summary import Summary


def cell(text: str) -> str:
    """Text that cannot end its table cell, start a tag or be read as formatting."""
    text = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    for mark in "|`*_[]":
        text = text.replace(mark, "\\" + mark)
    return text


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    yield "| " + " | ".join(headings) + " |"
    yield "| " + " | ".join(["---"] * left + ["---:"] * (len(headings) - left)) + " |"
    for row in rows:
        yield "| " + " | ".join(cell(text) for text in row) + " |"
    yield ""


def _facts(facts: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield from (f"- **{cell(name)}**: {cell(text)}" for name, text in facts)
    yield ""


def _latency(summary: Summary, batch: int, boundary: Boundary) -> Iterator[str]:
    rows = [row for row in summary.rows if row.batch == batch and row.boundary == boundary]
    tails = [name for name in ("p90", "p99") if tables.rows_that_bear(rows, name)]
    delta = tables.delta_text(summary, batch, boundary)
    yield f"### {tables.boundary_title(summary, batch, boundary)}{f' ({delta})' if delta else ''}"
    yield ""
    headings = ["backend", "p50", "against eager", "", *tails, "samples/s", "error, of its band", "verdict"]
    body = []
    for line in tables.lines(summary, batch, boundary):
        if line.note:
            body.append([line.backend, f"not measured: {line.note}", *[""] * (len(headings) - 2)])
            continue
        rest = [getattr(line, name) for name in tails]
        body.append([line.backend, line.p50, line.ratio, line.word, *rest, line.throughput, line.error, line.verdict])
    yield from _table(headings, body)


def _equivalence(summary: Summary) -> Iterator[str]:
    headings = ["form", "computes in", "error, of its band", "other answers", "metric", "verdict"]
    rows = [
        (
            s.label,
            tables.precision_text(s),
            tables.error_text(s),
            tables.decisions_text(s),
            tables.metric_text(s),
            s.verdict if not s.reason else f"{s.verdict}: {s.reason}",
        )
        for s in summary.subjects
    ]
    yield from ("## Is it the same model?", "", summary.verdict, "")
    yield from _table(headings, rows)
    yield from (tables.ERROR_LEGEND, "")


def _one(summary: Summary) -> Iterator[str]:
    yield from (f"# {cell(summary.model)}", "", f"**{cell(summary.headline)}**", "")
    if summary.description:
        yield from (cell(summary.description), "")
    yield from _facts(summary.facts)
    if summary.subjects:
        yield from _equivalence(summary)
    if summary.rows:
        yield from ("## Latency", "")
        for batch, boundary in tables.groups(summary):
            yield from _latency(summary, batch, boundary)
        yield from (tables.LEGEND, "")
    if summary.absent:
        yield from ("## Not run", "")
        yield from _table(["what", "why"], [(a.label, a.reason) for a in summary.absent], 2)
    if summary.measuring:
        yield from ("## How it was measured", "")
        yield from _facts(summary.measuring)
    yield from ("## Where", "")
    yield from _facts(list(tables.environment_facts(summary.environment, summary.environment_id)))
    yield from ("## Again", "", "```", summary.command.replace("```", "'''"), "```", "")


class Markdown:
    name = "markdown"
    extension = "md"

    def render(self, summaries: Sequence[Summary]) -> str:
        """All bundles one after the other."""
        return "\n".join(line for summary in summaries for line in _one(summary))


ENTRIES = (Markdown(),)
