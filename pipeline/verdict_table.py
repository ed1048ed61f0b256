"""The tables of `pipeline verify`: every form's verdict, and what a self-test catches."""

from __future__ import annotations

from typing import Any

from export.bundle.integrity import Integrity
from export.bundle.types import Verification, to_json
from pipeline.table import print_absent, print_json, table


def print_verifications(judged: Any, subject: str, *, as_json: bool) -> None:
    if as_json:
        from serve_bench.equivalence.document import document

        print_json(document(judged.verifications, judged.missing, subject))
        return
    from serve_bench.equivalence.records import verdict_of
    from serve_bench.reports import _tables

    columns = [
        ("backend", "left"),
        ("artifact", "left"),
        ("computes in", "left"),
        (_tables.ERROR_HEADING, "right"),
        ("worst probe", "left"),
        ("other answers", "left"),
        ("verdict", "left"),
    ]
    table("Is it the same model?", columns, [_verified_row(v) for v in judged.verifications])
    for v in judged.verifications:
        if v.reason:
            print(f"{v.artifact} on {v.backend}: {verdict_of(v)}: {v.reason}")
    print(_tables.ERROR_NOTE)
    print_absent(_tables.grouped((m.label, "not run", m.reason) for m in judged.missing))


def print_self_test(result: Any, *, as_json: bool) -> None:
    """What of the deliberate faults is caught, by class; what other tools catch; each that was missed."""
    from serve_bench.equivalence import selftest_summary as summary

    if as_json:
        print_json(result)
        return
    columns = [(heading, "right" if i else "left") for i, heading in enumerate(summary.HEADINGS)]
    rows = summary.rows(result.trials)
    whole = next(row for row in rows if row.name == "all")
    table("Deliberate faults", columns, map(summary.cells, rows))
    columns = [(heading, "right" if i else "left") for i, heading in enumerate(summary.OTHER_HEADINGS)]
    table("The same faults", columns, summary.other_cells(whole, result.trials))
    for trial in result.missed:
        print(f"missed: {trial.artifact}: {trial.kind}: {trial.fault}")
    for trial in result.false_alarms:
        print(f"false alarm: {trial.artifact}: {trial.reason}")
    for artifact, reason in result.absent.items():
        print(f"{artifact}: not tried: {reason}")
    if result.left:
        print(f"{result.left} faults are left: run the same command again")


def print_integrity(found: Integrity, signer: str, *, as_json: bool) -> None:
    """A line for every finding; where there is none, what was checked. `signer` is a checked key's, or empty."""
    if as_json:
        print_json(to_json(found) | {"signed_by": signer or None})
        return
    for finding in found.findings:
        print(finding)
    if not found.findings:
        earlier = f" ({found.earlier:,} of payloads published earlier)" if found.earlier else ""
        print(f"as written: {found.files:,} files of payload/, {found.records:,} records{earlier}")
    if signer:
        print(f"signed by the key {signer}")


def _verified_row(v: Verification) -> tuple[str, ...]:
    from serve_bench.equivalence.records import verdict_of, worst_probe
    from serve_bench.reports import _tables

    worst = worst_probe(v.probes)
    unexplained = sum(not d.explained for d in v.disagreements)
    decided = f"{len(v.disagreements)} of {v.decisions:,}" if v.decisions else ""
    return (
        v.backend,
        v.artifact,
        _tables.precision_text(v.precision_found, v.precision_asked),
        _tables.error_text(worst.error, worst.band) if worst else "",
        worst.probe if worst else "",
        decided + (f", {unexplained} unexplained" if unexplained else ""),
        verdict_of(v),
    )
