"""The tables of `bench --sweep`."""

from __future__ import annotations

from typing import Any


def print_sweeps(outcome: Any) -> None:
    """The table of each sweep that was asked for, how it was measured, and where the report and the bundle lie."""
    from pipeline.table import print_sections, table
    from serve_bench.reports import _sweep_text, _sweeps
    from serve_bench.reports.summary import summarise

    for sweep in _sweeps.tables(outcome.bundle):
        if sweep.name not in outcome.swept:
            continue
        headings = _sweep_text.headings(sweep, narrow=True)
        left = {"backend", "called", "ended by"}
        columns = [(heading, "left" if heading in left else "right") for heading in headings]
        print()
        table(f"{outcome.bundle.manifest.title}: {_sweep_text.title(sweep).lower()}", columns, _rows(sweep))
        for row in sweep.rows:
            if row.error:
                print(f"{row.label} at {_sweep_text.place_text(sweep, row)}: not measured: {row.error}")
        print(_sweep_text.legend(sweep))
    if outcome.sections:
        print_sections(summarise(outcome.bundle), outcome.sections)
    print(f"\nreport  {outcome.reports['html']}\nbundle  {outcome.bundle.root}/")


def _rows(sweep: Any) -> list[list[str]]:
    """What could not be measured says so in one word; its reason stands below the table."""
    from serve_bench.reports import _sweep_text

    return [
        [*line.place, *(["not measured", *line.figures[1:]] if line.note else line.figures), line.ended]
        for line in _sweep_text.lines(sweep, narrow=True)
    ]
