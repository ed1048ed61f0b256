"""Results on stdout: tables for people, one JSON document for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from export.bundle.types import to_json


def _print_json(value: Any) -> None:
    json.dump(to_json(value), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 140)


def _table(title: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, title_style="bold")
    for index, (heading, justify) in enumerate(columns):
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=index == 0)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    _console().print(table)


_VERDICTS = {"passed": "same", "failed": "NOT THE SAME", "not verified": "not verified"}


def print_outcome(outcome: Any, *, as_json: bool) -> None:
    """The one table of a run, what is absent and why, and where the report and the bundle lie."""
    from serve_bench.reports.summary import summarise

    summary = summarise(outcome.bundle)
    if as_json:
        from export.registry import entry

        print(entry("serve_bench.reports", "report format", "json").render([summary]))
        return
    rows = [_outcome_row(row) for row in summary.rows]
    measured = [row.subject for row in summary.rows]
    rows += [_unmeasured_row(subject) for subject in summary.subjects if subject not in measured]
    columns = [
        ("backend", "left"),
        ("batch", "right"),
        ("p50 [99 % bound]", "right"),
        ("ratio to eager [95 %]", "right"),
        ("", "left"),
        ("error (band)", "right"),
        ("verdict", "left"),
    ]
    print()
    facts = dict(summary.facts)
    said = [f"{name}: {facts[name]}" for name in ("Data", "Test accuracy") if name in facts]
    _table("\n".join([summary.model, *said]), columns, rows)
    if summary.deltas:
        deltas = ", ".join(f"{group.split(',')[0]}: {delta:.1%}" for group, delta in summary.deltas.items())
        print(f"δ, what this run shows of a form against itself: {deltas}")
    _print_absent([("not run" if a.kind == "missing" else a.kind, a.label, a.reason) for a in summary.absent])
    print(f"\n{summary.headline}\n{summary.verdict}\n")
    print(f"report  {outcome.reports['html']}\nbundle  {outcome.bundle.root}/")


def _print_absent(rows: Sequence[tuple[str, str, str]]) -> None:
    """What is not there, a line for each reason."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for kind, label, reason in rows:
        grouped.setdefault((kind, reason), []).append(label)
    for (kind, reason), labels in grouped.items():
        print(f"{kind}: {', '.join(labels)}\n         {reason}")


def _outcome_row(row: Any) -> tuple[str, ...]:
    from serve_bench.reports import _format

    p50 = row.quantiles.get("p50")
    boundary = "" if row.boundary == "host" else f" ({row.boundary})"
    return (
        row.subject.label + boundary,
        str(row.batch),
        _format.bounded(p50) if p50 else row.error or "too few runs",
        _format.ratio(row.ratio) if row.ratio else "",
        row.word,
        *_judged(row.subject),
    )


def _unmeasured_row(subject: Any) -> tuple[str, ...]:
    return (subject.label, "", "not measured", "", "", *_judged(subject))


def _judged(subject: Any) -> tuple[str, str]:
    from serve_bench.reports import _format

    error = "" if subject.error is None else f"{_format.error(subject.error)} ({_format.error(subject.band)})"
    reason = f": {subject.reason}" if subject.reason else ""
    return error, _VERDICTS[subject.verdict] + reason


def print_models(*, as_json: bool) -> None:
    from export.registry import entries

    specs = list(entries("pipeline.models").values())
    if as_json:
        _print_json(specs)
        return
    rows = [
        (
            spec.id,
            spec.dataset,
            ", ".join(recipe.name for recipe in spec.recipes),
            f"{spec.published.figure:.2%} ({spec.published.source})" if spec.published else "",
            spec.description,
        )
        for spec in specs
    ]
    columns = [("model", "left"), ("data", "left"), ("recipes", "left"), ("published", "left"), ("what it is", "left")]
    _table("", columns, rows)


def print_training(training: Any, *, as_json: bool) -> None:
    if as_json:
        _print_json(training)
        return
    figures = "  ".join(f"{name} {value:.4f}" for name, value in training.metrics.items())
    print(f"trained in {training.seconds:.1f} s  {figures}")


def print_verifications(judged: Any, *, as_json: bool) -> None:
    if as_json:
        _print_json({"verifications": judged.verifications, "missing": judged.missing})
        return
    rows = []
    for v in judged.verifications:
        worst = max(v.probes, key=lambda p: p.error / p.band if p.band else 0.0, default=None)
        shown = f"{worst.error:.2e} of {worst.band:.2e} ({worst.probe})" if worst else ""
        unexplained = sum(not d.explained for d in v.disagreements)
        decided = f"{len(v.disagreements)} of {v.decisions:,}" if v.decisions else ""
        decided += f", {unexplained} unexplained" if unexplained else ""
        verdict = "not verified" if v.settings.get("broke") else "NOT THE SAME"
        rows.append(
            (
                v.backend,
                v.artifact,
                v.precision_found,
                shown,
                decided,
                "same" if v.passed else f"{verdict}: {v.reason}",
            )
        )
    columns = [
        ("backend", "left"),
        ("artifact", "left"),
        ("computes in", "left"),
        ("worst error of its band", "left"),
        ("other answers", "left"),
        ("verdict", "left"),
    ]
    _table("Is it the same model? (error against float64)", columns, rows)
    _print_absent([("not run", m.label, m.reason) for m in judged.missing])


def print_answers(answers: Iterable[Any], *, as_json: bool) -> None:
    if as_json:
        _print_json(list(answers))
        return
    for answer in answers:
        print(answer)


def print_doctor(statuses: Sequence[Any], *, as_json: bool) -> None:
    from export.bundle.environment import environment
    from export.registry import entries

    here = environment()
    formats = {name: kind.missing() for name, kind in entries("export.formats").items()}
    if as_json:
        _print_json({"environment": here, "backends": statuses, "formats": formats})
        return
    gpus = ", ".join(f"{g['name']} (compute capability {g['compute_capability']})" for g in here.gpus) or "none"
    print(
        f"{here.os}, Python {here.python}\nCPU  {here.cpu}, {here.cores} cores, {' '.join(here.cpu_flags)}\nGPU  {gpus}"
    )
    print("     " + "  ".join(f"{n} {v}" for n, v in here.versions.items()) + "\n")
    rows = [(s.name, s.device, "ready" if s.ready else "not ready", s.reason or "") for s in statuses]
    _table("Backends", [("backend", "left"), ("device", "left"), ("", "left"), ("why, and what to do", "left")], rows)
    _table(
        "Formats",
        [("format", "left"), ("", "left"), ("why, and what to do", "left")],
        [(name, "ready" if why is None else "not ready", why or "") for name, why in formats.items()],
    )
