"""Results on stdout: tables for people, one JSON document for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from export.bundle.types import to_json

if TYPE_CHECKING:
    from serve_bench.reports.summary import Row, Subject, Summary


def print_json(value: Any) -> None:
    json.dump(to_json(value), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


def console() -> Any:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 140)


def table(title: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> None:
    """Rows under their headings; one of a single cell heads the rows that follow it. Nothing in them is markup."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    rows = [list(row) for row in rows]
    if _width(columns, rows) > console().width:
        rows = [[cell.replace(" [", "\n[") for cell in row] if len(row) > 1 else row for row in rows]
        columns = [(heading.replace(" [", "\n["), justify) for heading, justify in columns]
    head = Text(title, style="bold") if title else None
    grid = Table(title=head, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, (heading, justify) in enumerate(columns):
        grid.add_column(Text(heading), justify=justify, overflow="fold", no_wrap=index == 0)  # type: ignore[arg-type]
    for row in rows:
        if len(row) == 1 and grid.row_count:
            grid.add_section()
        grid.add_row(*(Text(cell, style=_style(cell, len(row))) for cell in row))
    console().print(grid)


def _width(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> int:
    """Of the table with no cell wrapped."""
    whole = [[heading for heading, _ in columns], *(row for row in rows if len(row) > 1)]
    return sum(max(map(len, column), default=0) + 3 for column in zip_longest(*whole, fillvalue=""))


def _style(cell: str, cells: int) -> str:
    if cells == 1:
        return "bold"
    return "bold red" if cell == "not the same" else ""


def print_reports(bundles: Sequence[Any]) -> None:
    """What the records of bundles say, as one JSON document."""
    from export.registry import entry
    from serve_bench.reports.summary import summarise

    print(entry("serve_bench.reports", "report format", "json").render([summarise(bundle) for bundle in bundles]))


def print_outcomes(outcomes: Iterable[Any], *, as_json: bool, show: Callable[[Any], None] | None = None) -> None:
    """A table after each (`show`, default `print_outcome`), or one document of all; then raises where one failed.

    What was finished is printed even where a later one cannot be.
    """
    found = []
    try:
        for outcome in outcomes:
            found.append(outcome)
            if not as_json:
                (show or print_outcome)(outcome)
    finally:
        if as_json and found:
            print_reports([outcome.bundle for outcome in found])
    for outcome in found:
        outcome.raise_for_failures()


def print_outcome(outcome: Any) -> None:
    """The one table of a run, what is absent and why, and where the report and the bundle lie."""
    from serve_bench.reports import _tables
    from serve_bench.reports._facts import FIRST
    from serve_bench.reports.summary import summarise

    summary = summarise(outcome.bundle)
    columns = [
        ("backend", "left"),
        ("p50 [99 % bound]", "right"),
        ("ratio to eager [95 %]", "right"),
        ("against eager", "left"),
        (_tables.ERROR_HEADING, "right"),
        ("verdict", "left"),
    ]
    print()
    facts = dict(summary.facts)
    said = [f"{name}: {facts[name]}" for name in FIRST if name in facts]
    table("\n".join([summary.model, *said]), columns, _outcome_rows(summary))
    _print_notes(summary)
    print_sections(summary, outcome.sections)
    print_absent(_tables.absent(summary))
    print("\n".join(["", summary.headline, summary.verdict, *(f"! {warning}" for warning in summary.warnings), ""]))
    run = f"run     {summary.run}\n" if summary.run else ""
    print(f"{run}report  {outcome.reports['html']}\nbundle  {outcome.bundle.root}/")


def print_sections(summary: Summary, keys: Collection[str]) -> None:
    for section in summary.sections:
        if section.key in keys:
            columns = [(heading, "right" if i else "left") for i, heading in enumerate(section.headings)]
            table(section.title, columns, section.rows)
            print(section.legend)


def _print_notes(summary: Summary) -> None:
    """Why a figure or a form is not there, and what the columns mean where they hold anything."""
    from serve_bench.reports import _tables
    from serve_bench.reports._facts import AA, TAILS

    broken: dict[tuple[str, str], list[str]] = {}
    for row in summary.rows:
        if row.error:
            broken.setdefault((row.subject.label, row.error), []).append(str(row.batch))
    for (name, error), batches in broken.items():
        print(f"{name} at batch {', '.join(batches)}: not measured: {error}")
    for subject in summary.subjects:
        if subject.reason:
            print(f"{subject.label}: {subject.verdict}: {subject.reason}")
    if told := _tables.ended(summary):
        print(told)
    measuring = dict(summary.measuring)
    if short := measuring.get(TAILS):
        print(f"Too few runs: {short}.")
    if AA in measuring:
        print(f"{AA}: {measuring[AA]}.")
    if any(row.ratio for row in summary.rows):
        print(_tables.RATIO_NOTE)
    if summary.deltas:
        print(_tables.DELTA_NOTE)
    if any(subject.error is not None for subject in summary.subjects):
        print(_tables.ERROR_NOTE)
    for subject in summary.subjects:
        if subject.precision_asked == "int8" and subject.error is not None:
            print(
                f"{subject.label}: {_tables.OWN_GRAPH}; against the model itself: {_tables.discordant_text(subject)}."
            )
        found = _tables.computes_in(subject)
        if found and (not summary.rows or any(row.subject == subject for row in summary.rows)):
            print(f"{subject.label} {found} here.")


def print_absent(rows: Iterable[tuple[str, str, str]]) -> None:
    """What is not there, once a reason."""
    for labels, kind, reason in rows:
        print(f"{kind}: {labels}\n         {reason}")


def _outcome_rows(summary: Summary) -> Iterator[tuple[str, ...]]:
    """Batch by batch, each under its own heading; what was verified and not measured comes last."""
    from serve_bench.reports import _tables

    for batch, boundary in _tables.groups(summary):
        yield (_tables.title(summary, batch, boundary),)
        yield from (_outcome_row(row) for row in summary.rows if (row.batch, row.boundary) == (batch, boundary))
    measured = [row.subject for row in summary.rows]
    rest = [subject for subject in summary.subjects if subject not in measured]
    if rest:
        yield ("Not measured",)
        yield from ((subject.label, "", "", "", *_judged(subject)) for subject in rest)


def _outcome_row(row: Row) -> tuple[str, ...]:
    from serve_bench.reports import _format

    p50 = row.quantiles.get("p50")
    return (
        row.subject.label,
        _format.bounded(p50) if p50 else ("not measured" if row.error else "too few runs"),
        _format.ratio(row.ratio) if row.ratio else "",
        row.word,
        *_judged(row.subject),
    )


def _judged(subject: Subject) -> tuple[str, str]:
    from serve_bench.reports import _tables

    return _tables.error_text(subject.error, subject.band), subject.verdict


def print_training(training: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(training)
        return
    figures = "  ".join(f"{name} {value:.4f}" for name, value in training.metrics.items())
    print(f"trained in {training.seconds:.1f} s  {figures}")


def print_comparison(found: Any, *, gate: Mapping[str, Any] | None, as_json: bool) -> None:
    """How many times as fast the new one is, cell by cell, and what the intervals carry."""
    from serve_bench.reports import _format as show

    if as_json:
        plain = [{**to_json(row), "ratio": row.ratio._asdict()} for row in found.rows]
        told = {name: getattr(found, name) for name in ("base", "new", "notes")}
        only = {"base": found.only_base, "new": found.only_new}
        print_json({"schema": 1, **told, "only": only, "gate": gate, "rows": plain})
        return
    columns = [("backend", "left"), ("batch", "right"), ("base", "right"), ("new", "right")]
    columns += [("new against base [95 %]", "right"), ("", "left")]
    several = len({row.boundary for row in found.rows}) > 1
    rows = [
        (
            f"{row.backend}, {row.boundary}" if several else row.backend,
            str(row.batch),
            show.latency(row.base_ns),
            show.latency(row.new_ns),
            show.ratio(row.ratio),
            row.word,
        )
        for row in found.rows
    ]
    table(f"{found.new} against {found.base}", columns, rows)
    for name, cells in ((found.base, found.only_base), (found.new, found.only_new)):
        batches: dict[str, list[str]] = {}
        for cell in cells:
            backend, _, batch = cell.partition(" at batch ")
            batches.setdefault(backend, []).append(batch)
        for backend, some in batches.items():
            print(f"only in {name}: {backend} at batch {', '.join(some)}")
    for note in found.notes:
        print(note)
    if gate is not None:
        print(f"gate at {100 * gate['share']:g}%: {'passed' if gate['passed'] else 'closed'}")


def print_doctor(statuses: Sequence[Any], *, as_json: bool) -> None:
    from export.bundle.environment import environment
    from export.registry import entries

    here = environment()
    formats = {name: kind.missing() for name, kind in entries("export.formats").items()}
    if as_json:
        print_json({"environment": here, "backends": statuses, "formats": formats})
        return
    gpus = ", ".join(f"{g['name']} (compute capability {g['compute_capability']})" for g in here.gpus) or "none"
    print(
        f"{here.os}, Python {here.python}\nCPU  {here.cpu}, {here.cores} cores, {' '.join(here.cpu_flags)}\nGPU  {gpus}"
    )
    print("     " + "  ".join(f"{n} {v}" for n, v in here.versions.items()) + "\n")
    rows = [(s.name, s.device, "ready" if s.ready else "not ready", s.reason or "") for s in statuses]
    table("Backends", [("backend", "left"), ("device", "left"), ("", "left"), ("why, and what to do", "left")], rows)
    table(
        "Formats",
        [("format", "left"), ("", "left"), ("why, and what to do", "left")],
        [(name, "ready" if why is None else "not ready", why or "") for name, why in formats.items()],
    )
