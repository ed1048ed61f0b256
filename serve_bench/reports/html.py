"""A report as one HTML page that needs nothing else: no script, no font, no image from elsewhere.

Its one script sorts tables; the page is whole without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import resources

from export.bundle.types import Boundary
from serve_bench.reports import (
    _ceiling,
    _curves,
    _plots,
    _scenarios,
    _settings,
    _side,
    _sweep_plots,
    _sweep_text,
    _tables,
)
from serve_bench.reports._facts import FIRST
from serve_bench.reports._sections import Section
from serve_bench.reports.summary import Summary

WORDS = {"faster": "good", "slower": "bad", "indistinguishable": "plain", "same": "good", "not the same": "bad"}
OPTION = re.compile(r"(?<= )--[a-z-]+(?= )")
"""Of a command: it is not broken at its hyphens."""


SHAPES = dict(zip(_plots.MARKS, "●■▲◆▼✚⬢◀▶⬟", strict=True))
"""As text."""


def _mark(word: str) -> str:
    return f'<span class="mark {WORDS.get(word, "plain")}">{escape(word)}</span>'


def _figure(text: str) -> str:
    """ "48.1 µs [47.3, 49.3]" or "1.3e-07 (8.8e-07)" with what stands in brackets in a lighter second line."""
    value, bracket, rest = text.partition(" [" if "[" in text else " (")
    return f"{escape(value)}<small>{bracket[1]}{escape(rest)}</small>" if bracket else escape(text)


def _backend(line: _tables.Line) -> str:
    return escape(line.backend) + (f"<small>{escape(line.computes_in)}</small>" if line.computes_in else "")


def _table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> Iterator[str]:
    """A table in a container that scrolls on its own; `rows` are HTML already, the first cell heads its row.

    The last column holds words, but in a table of the kind "figures".
    """
    yield f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="{kind}">'
    yield f"<caption>{escape(caption)}</caption>"
    yield "<thead><tr>" + "".join(f'<th scope="col">{escape(h)}</th>' for h in headings) + "</tr></thead><tbody>"
    for head, *cells in rows:
        yield f'<tr><th scope="row">{head}</th>' + "".join(c if c[:3] == "<td" else f"<td>{c}</td>" for c in cells)
        yield "</tr>"
    yield "</tbody></table></div>"


def _latency(summary: Summary, batch: int, boundary: Boundary) -> Iterator[str]:
    rows = [row for row in summary.rows if row.batch == batch and row.boundary == boundary]
    tails = [name for name in ("p90", "p99") if _tables.rows_that_bear(rows, name)]
    headings = _tables.headings(tails)
    body = []
    for line in _tables.lines(summary, batch, boundary):
        if line.note:
            span = f'<td class="note" colspan="{len(headings) - 1}">not measured: {escape(line.note)}</td>'
            body.append([_backend(line), span])
            continue
        word = _mark(line.word) if line.word != _tables.NONE else ""
        figures = [_figure(text) for text in (line.p50, line.ratio)]
        rest = [_figure(getattr(line, name)) for name in tails] + [escape(line.throughput), _figure(line.error)]
        body.append([_backend(line), *figures, word, *rest, _mark(line.verdict)])
    yield from _table(_tables.title(summary, batch, boundary), headings, body)


def _equivalence(summary: Summary) -> Iterator[str]:
    metrics, labelled = _tables.metrics(summary), _tables.labelled(summary)
    rows = [
        [
            escape(s.label),
            _mark(s.verdict),
            _figure(_tables.precision_text(s.precision_found, s.precision_asked)),
            _figure(_tables.error_text(s.error, s.band)),
            escape(s.probe or _tables.NONE),
            escape(_tables.decisions_text(s)),
            *([escape(_tables.discordant_text(s))] if labelled else []),
            *(escape(_tables.metric_text(s, name)) for name in metrics),
        ]
        for s in summary.subjects
    ]
    yield f"<h2>Is it the same model?</h2><p>{escape(summary.verdict)}</p>"
    yield from _plot(_plots.error(summary), _tables.ERROR_LEGEND)
    for label, why in _tables.reasons(summary):
        yield f'<p class="warning"><strong>{escape(label)}</strong>: {escape(why)}</p>'
    yield from _table("Every form against float64", _tables.form_headings(metrics, labelled), rows, "figures")
    if any(s.precision_asked == "int8" for s in summary.subjects):
        yield f'<p class="legend">{escape(_tables.OWN_NOTE)}</p>'
    if ledger := _tables.ledger(summary):
        rows = [[escape(text) for text in line[:3]] + [_note(line[3])] for line in ledger]
        yield from _table("Precision ledger", _tables.LEDGER_HEADINGS, rows)
    if special := _tables.special(summary):
        rows = [[escape(label), _note(said)] for label, said in special]
        yield from _table("NaN and infinity", _tables.SPECIAL_HEADINGS, rows)
        yield f'<p class="legend">{escape(_tables.SPECIAL_LEGEND)}</p>'


def _note(text: str, span: int = 1) -> str:
    wide = f' colspan="{span}"' if span > 1 else ""
    return f'<td class="note"{wide}>{escape(text)}</td>'


def _plot(drawing: str, caption: str, key: str = "") -> Iterator[str]:
    """A plot with its key and caption beside it, or below on a narrow page."""
    if drawing:
        yield f'<figure class="beside">{drawing}<figcaption>{key}{escape(caption)}</figcaption></figure>'


def _panels(drawings: Sequence[str], caption: str, key: str, kind: str = "panels") -> Iterator[str]:
    """Plots side by side over the whole width, under one key."""
    if len(drawings) < 2:
        yield from _plot("".join(drawings), caption, key)
        return
    panels = "".join(f"<div>{svg}</div>" for svg in drawings)
    yield f'<figure>{key}<div class="{kind}">{panels}</div><figcaption>{escape(caption)}</figcaption></figure>'


def _key(look: Mapping[str, tuple[str, str]]) -> str:
    """Which colour and mark is which backend, in the page's own text."""
    items = (
        f'<li><span style="color:{colour}" aria-hidden="true">{SHAPES.get(mark, "━")}</span>{escape(name)}</li>'
        for name, (colour, mark) in look.items()
    )
    return f'<ul class="key">{"".join(items)}</ul>'


def _latencies(summary: Summary) -> Iterator[str]:
    yield "<h2>How fast is it?</h2>"
    for batch, boundary in _tables.groups(summary):
        yield from _latency(summary, batch, boundary)
    yield f'<p class="legend">{escape(_tables.legend(summary))}</p>'
    caption = "Times as fast as eager, with 95 % intervals; shaded: what this run cannot tell apart."
    yield from _panels(_plots.speedup(summary), caption, "", "panels wide")
    key = _key(_plots.looks([row.subject for row in summary.rows]))
    yield from _panels(_plots.ecdf(summary), _plots.ECDF_CAPTION, key)
    yield from _plot(_plots.throughput(summary), "Samples a second at the median latency; both axes log.", key)
    yield from _plot(
        _sweep_plots.latency_of_run(summary),
        "p50; both axes log. Its 99 % bounds are drawn, mostly inside the marks.",
        key,
    )


def _swept(summary: Summary) -> Iterator[str]:
    look = _sweep_plots.looks(summary)
    yield "<h2>Sweeps</h2>" if summary.sweeps else ""
    for sweep in summary.sweeps:
        yield f"<h3>{escape(_sweep_text.title(sweep))}</h3>"
        own = {row.label: look[row.label] for row in sweep.rows}
        yield from _panels(_sweep_plots.plots(sweep, look), _sweep_plots.caption(sweep), _key(own))
        caption = f"{_sweep_text.title(sweep)}, every point"
        yield from _table(caption, _sweep_text.headings(sweep), [_sweep_row(s) for s in _sweep_text.lines(sweep)])
        yield f'<p class="legend">{escape(_sweep_text.legend(sweep))}</p>'


def _sweep_row(line: _sweep_text.SweepLine) -> list[str]:
    figures = [_mark(text) if text in WORDS else _figure(text) for text in line.figures]
    if line.note:
        figures = [f'<td class="note" colspan="{len(line.figures)}">not measured: {escape(line.note)}</td>']
    return [*map(escape, line.place), *figures, escape(line.ended)]


def _section(section: Section) -> Iterator[str]:
    span = len(section.headings) - 1
    rows = [
        [escape(row[0]), *([_figure(text) for text in row[1:]] if len(row) > 2 else [_note(row[1], span)])]
        for row in section.rows
    ]
    yield f"<h2>{escape(section.title)}</h2>"
    for drawing, caption in section.drawings:
        yield from _plot(drawing, caption)
    yield from _table(section.title, section.headings, rows, "figures")
    yield f'<p class="legend">{escape(section.legend)}</p>'


def _roofline(roof: _ceiling.Roofline) -> Iterator[str]:
    yield f"<h2>{escape(_ceiling.TITLE)}</h2>"
    yield "".join(f"<p>{escape(sentence)}</p>" for sentence in _ceiling.sentences(roof))
    if roof.ceilings:
        rows = [[_figure(text) for text in line] for line in _ceiling.lines(roof)]
        yield from _table("Shares of the ceiling that are reached", _ceiling.HEADINGS, rows)
        yield f'<p class="legend">{escape(_ceiling.LEGEND)}</p>'


def _training(summary: Summary) -> Iterator[str]:
    learning, fit = _curves.learning(summary), _curves.fit(summary)
    if learning or fit:
        yield "<h2>How it was trained</h2>"
        yield from _plot(learning, _curves.LEARNING_LEGEND, _key(_curves.learning_look(summary)))
        yield from _plot(fit, _curves.FIT_LEGEND)


def _facts(title: str, facts: Sequence[tuple[str, str]]) -> Iterator[str]:
    if facts:
        pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
        yield f"<h2>{escape(title)}</h2><dl>{pairs}</dl>"


def _one(summary: Summary, name: str) -> Iterator[str]:
    first, second = summary.headline, summary.verdict
    if not summary.rows and not summary.sweeps and second:
        first, second = second, first
    yield f'<article><header><p class="model">{escape(name)}</p><h1>{escape(first)}</h1>'
    yield "".join(f'<p class="warning">{escape(warning)}</p>' for warning in summary.warnings)
    yield f"<p>{escape(second)}</p>"
    facts = dict(summary.facts)
    known = [f"{name}: {facts[name]}" for name in FIRST if name in facts]
    yield "".join(f"<p>{escape(line)}</p>" for line in known) + "</header>"
    if summary.rows:
        yield from _latencies(summary)
    yield from _swept(summary)
    if summary.roofline:
        yield from _roofline(summary.roofline)
    yield from _scenarios.html(summary, _table, escape, _figure)
    if summary.subjects:
        yield from _equivalence(summary)
    for section in summary.sections:
        yield from _section(section)
    if summary.absent:
        rows = [
            [escape(labels), escape(kind), f'<td class="note">{escape(reason)}</td>']
            for labels, kind, reason in _tables.absent(summary)
        ]
        yield "<h2>What could not run here</h2>"
        yield from _table("Backends and forms that are absent", _tables.ABSENT_HEADINGS, rows)
    yield from _training(summary)
    about = [("About", summary.description)] if summary.description else []
    yield from _facts("The model", [*about, *summary.facts])
    yield from _facts("How it was measured", summary.measuring)
    if settings := _settings.rows(summary):
        yield from _table(_settings.TITLE, _settings.HEADINGS, [[escape(form), _note(said)] for form, said in settings])
    yield from _facts("Where", list(_tables.environment_facts(summary.environment, summary.environment_id)))
    again = OPTION.sub(r"<span>\g<0></span>", escape("\n".join((summary.command, *summary.commands))))
    yield f"<h2>Again</h2><pre><code>{again}</code></pre></article>"


def _beside(summaries: Sequence[Summary]) -> Iterator[str]:
    tables = _side.tables(summaries)
    if not tables:
        return
    yield f"<article><h1>{escape(_side.TITLE)}</h1>"
    for table in tables:
        rows = [[escape(row[0]), *map(_both, row[1:])] for row in table.rows]
        yield from _table(table.title, table.headings, rows, "figures")
    yield f'<p class="legend">{escape(_side.LEGEND)}</p></article>'


def _both(text: str) -> str:
    """ "48.1 µs [47.3, 49.3]; 4.1× [3.9, 4.3]", the ratio in a lighter second line."""
    p50, _, ratio = text.partition("; ")
    return escape(p50) + (f"<small>{escape(ratio)}</small>" if ratio else "")


class Html:
    name = "html"
    extension = "html"

    def render(self, summaries: Sequence[Summary]) -> str:
        """All bundles on one page, one article each."""
        style, script = (
            resources.files("serve_bench.reports").joinpath(f"report.{kind}").read_text() for kind in ("css", "js")
        )
        title = escape(", ".join(summary.model for summary in summaries))
        head = (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}: latency and equivalence</title><style>{style}</style></head><body><main>"
        )
        pairs = zip(summaries, _side.names(summaries), strict=True)
        body = "\n".join([*_beside(summaries), *(part for named in pairs for part in _one(*named))])
        return f"{head}\n{body}\n</main><script>{script}</script></body></html>\n"


ENTRIES = (Html(),)
