"""What was measured with LoadGen, on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.table import print_absent, print_sections, table

if TYPE_CHECKING:
    from serve_bench.reports.summary import Summary


def print_scenario_outcome(outcome: Any) -> None:
    """A table over all scenarios, how each was taken, and where the report and the bundle lie."""
    from serve_bench.reports import _tables
    from serve_bench.reports.summary import summarise

    summary = summarise(outcome.bundle)
    print()
    print_scenarios(summary)
    print_sections(summary, outcome.sections)
    for subject in summary.subjects:
        if subject.reason:
            print(f"{subject.label}: {subject.verdict}: {subject.reason}")
    print_absent(_tables.grouped((m.label, "not run", m.reason) for m in outcome.judged.missing))
    print(f"\nreport  {outcome.reports['html']}\nbundle  {outcome.bundle.root}/")


def print_scenarios(summary: Summary) -> None:
    from serve_bench.reports import _scenarios

    if not summary.scenarios:
        print(f"{summary.model}: nothing was measured with LoadGen")
        return
    lines: list[tuple[str, ...]] = []
    for scenario, rows in _scenarios.groups(summary):
        lines.append((scenario,))
        lines += [_scenarios.cells(row) for row in rows]
    columns = [(heading, "left" if i in (0, 1, 4) else "right") for i, heading in enumerate(_scenarios.HEADINGS)]
    table(f"{summary.model}\n{_scenarios.title(summary)}", columns, lines)
    for scenario, rows in _scenarios.groups(summary):
        if said := _scenarios.about(rows):
            print(f"{scenario}: {said}")
