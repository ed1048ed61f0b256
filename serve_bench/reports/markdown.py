"""A report as GitHub-flavoured markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from export.bundle.types import Boundary
from serve_bench.reports import _ceiling, _scenarios, _settings, _side, _sweep_text
from serve_bench.reports import _tables as tables
from serve_bench.reports._sections import Section
from serve_bench.reports.summary import Summary

HARMLESS = re.compile(r"\\\[([-+.,\d %]*\d[-+.,\d %]*)\\\](?![\[(:])|(?<=[^\W_])\\_(?=[^\W_])")
"""An interval that nothing makes a link, and an underscore inside a word: they are left legible in plain text."""


def cell(text: str) -> str:
    """Text that cannot end its table cell, start a tag or be read as formatting."""
    text = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    for mark in "|`*_[]":
        text = text.replace(mark, "\\" + mark)
    return HARMLESS.sub(lambda found: f"[{found[1]}]" if found[1] else "_", text)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    yield "| " + " | ".join(cell(heading) for heading in headings) + " |"
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
    yield from (f"### {cell(tables.title(summary, batch, boundary))}", "")
    headings = tables.headings(tails)
    body = []
    for line in tables.lines(summary, batch, boundary):
        name = f"{line.backend} ({line.computes_in})" if line.computes_in else line.backend
        if line.note:
            body.append([name, f"not measured: {line.note}", *[""] * (len(headings) - 2)])
            continue
        rest = [getattr(line, name) for name in tails]
        body.append([name, line.p50, line.ratio, line.word, *rest, line.throughput, line.error, line.verdict])
    yield from table(headings, body)


def _equivalence(summary: Summary) -> Iterator[str]:
    metrics, labelled = tables.metrics(summary), tables.labelled(summary)
    rows = [
        (
            s.label,
            s.verdict,
            tables.precision_text(s.precision_found, s.precision_asked),
            tables.error_text(s.error, s.band),
            s.probe or tables.NONE,
            tables.decisions_text(s),
            *([tables.discordant_text(s)] if labelled else []),
            *(tables.metric_text(s, name) for name in metrics),
        )
        for s in summary.subjects
    ]
    yield from ("## Is it the same model?", "", cell(summary.verdict), "")
    if reasons := tables.reasons(summary):
        yield from (*(f"- **{cell(label)}**: {cell(why)}" for label, why in reasons), "")
    yield from table(tables.form_headings(metrics, labelled), rows)
    yield from (tables.ERROR_LEGEND, "")
    if ledger := tables.ledger(summary):
        yield from ("### Precision ledger", "")
        yield from table(tables.LEDGER_HEADINGS, ledger, 4)
    if special := tables.special(summary):
        yield from ("### NaN and infinity", "", tables.SPECIAL_LEGEND, "")
        yield from table(tables.SPECIAL_HEADINGS, special, 2)


def _again(summary: Summary) -> str:
    return "\n".join((summary.command, *summary.commands))


def _section(section: Section) -> Iterator[str]:
    yield from (f"## {cell(section.title)}", "")
    width = len(section.headings)
    yield from table(section.headings, [(*row, *[""] * (width - len(row))) for row in section.rows])
    yield from (cell(section.legend), "")


def _roofline(roof: _ceiling.Roofline) -> Iterator[str]:
    yield from (f"## {_ceiling.TITLE}", "")
    for sentence in _ceiling.sentences(roof):
        yield from (cell(sentence), "")
    if roof.ceilings:
        yield from table(_ceiling.HEADINGS, _ceiling.lines(roof))
        yield from (_ceiling.LEGEND, "")


def _one(summary: Summary) -> Iterator[str]:
    yield from (f"# {cell(summary.model)}", "", f"**{cell(summary.headline)}**", "")
    for warning in summary.warnings:
        yield from (f"> {cell(warning)}", "")
    if summary.description:
        yield from (cell(summary.description), "")
    yield from _facts(summary.facts)
    if summary.subjects:
        yield from _equivalence(summary)
    if summary.rows:
        yield from ("## Latency", "")
        for batch, boundary in tables.groups(summary):
            yield from _latency(summary, batch, boundary)
        yield from (cell(tables.legend(summary)), "")
    if summary.sweeps:
        yield from ("## Sweeps", "")
    for sweep in summary.sweeps:
        yield from (f"### {cell(_sweep_text.title(sweep))}", "")
        yield from table(_sweep_text.headings(sweep), [line.cells for line in _sweep_text.lines(sweep)])
        yield from (cell(_sweep_text.legend(sweep)), "")
    for section in summary.sections:
        yield from _section(section)
    if summary.roofline:
        yield from _roofline(summary.roofline)
    yield from _scenarios.markdown(summary, table, cell)
    if summary.absent:
        yield from ("## Not run", "")
        yield from table(tables.ABSENT_HEADINGS, tables.absent(summary), 3)
    if summary.measuring:
        yield from ("## How it was measured", "")
        yield from _facts(summary.measuring)
    if settings := _settings.rows(summary):
        yield from (f"### {_settings.TITLE}", "")
        yield from table(_settings.HEADINGS, settings, 2)
    yield from ("## Where", "")
    yield from _facts(list(tables.environment_facts(summary.environment, summary.environment_id)))
    yield from ("## Again", "", "```", _again(summary).replace("```", "'''"), "```", "")


def _beside(summaries: Sequence[Summary]) -> Iterator[str]:
    tables = _side.tables(summaries)
    if not tables:
        return
    yield from (f"# {_side.TITLE}", "")
    for found in tables:
        yield from (f"## {found.title}", "")
        yield from table(found.headings, found.rows)
    yield from (_side.LEGEND, "")


class Markdown:
    name = "markdown"
    extension = "md"

    def render(self, summaries: Sequence[Summary]) -> str:
        """All bundles one after the other."""
        return "\n".join([*_beside(summaries), *(line for summary in summaries for line in _one(summary))])


ENTRIES = (Markdown(),)
