"""What the records of a bundle say, as rows: a pure reading that every report format and the console are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from export.bundle.kinds import environments
from export.bundle.store import Bundle
from export.bundle.types import Artifact, Json, Measurement, Verification
from serve_bench import absent
from serve_bench.cells import BASELINE, NAMED_ONLY, label
from serve_bench.equivalence.records import VERDICTS, verdict_of, worst_probe
from serve_bench.latency import stats
from serve_bench.latency.records import also_kept, taken, whole_runs
from serve_bench.latency.run_conditions import conditions_of
from serve_bench.reports import _again, _ceiling, _facts, _headline, _scenarios, _sweeps, _warnings
from serve_bench.reports._facts import QUANTILES
from serve_bench.reports._sections import sections
from serve_bench.reports._types import Absent, Row, ScenarioRow, Subject, Summary, delta_key

__all__ = ["QUANTILES", "Absent", "Row", "ScenarioRow", "Subject", "Summary", "summarise"]
ENTRIES = ()
"""No format itself."""


def summarise(bundle: Bundle) -> Summary:
    """The latest whole run and, per cell, the latest verification of the same environment."""
    runs = whole_runs(bundle)
    run = runs[-1] if runs else ()
    verifications = _verifications(bundle, run)
    subjects = _subjects(bundle.artifacts, run, verifications)
    rows = _rows(run, subjects)
    swept = _sweeps.tables(bundle)
    manifest = bundle.manifest
    environment_id = manifest.environment.id
    if run or verifications:
        environment_id = run[0].environment if run else next(iter(verifications.values())).environment
    scenarios = _scenarios.rows_of(bundle, bundle.artifacts)
    return Summary(
        model=manifest.title,
        description=manifest.description,
        headline=_headline.headline(rows) if rows or not swept else _sweeps.HEADLINE,
        verdict=_headline.verdict(list(subjects.values())),
        warnings=(
            *_warnings.warnings(rows),
            *_warnings.least_runs(run),
            *_warnings.held_down(run),
            *_warnings.unlike_itself(run),
            *_warnings.gaps(bundle),
            *_scenarios.gaps(scenarios),
        ),
        subjects=tuple(subjects.values()),
        rows=tuple(rows),
        absent=tuple(_absent(bundle)),
        facts=tuple(_facts.model_facts(bundle)),
        measuring=(
            *_facts.measuring_facts(run, given=manifest.dataset.name == "user"),
            *(("Also kept", text) for text in [also_kept(runs)] if text),
        ),
        environment=environments(bundle).get(environment_id),
        environment_id=environment_id,
        deltas={delta_key(r.batch, r.boundary, r.subject.device): r.delta for r in rows if r.delta is not None},
        run=run[0].run if run else "",
        command=_again.interleaved(bundle, run),
        digest=bundle.digest,
        path=bundle.root.as_posix(),
        commands=tuple(_again.commands(bundle, scenarios, swept)),
        scenarios=scenarios,
        history=manifest.training.history,
        fit=tuple(tuple(point) for point in manifest.training.facts.get("fit", ())),
        axes=(manifest.inputs[0].name, manifest.outputs[0].name),
        sections=sections(bundle, run),
        roofline=_ceiling.roofline(bundle, run, rows),
        sweeps=swept,
        conditions=conditions_of(run[0]) if run else None,
    )


Key = tuple[str, str, str]


def _key(record: Measurement | Verification) -> Key:
    return record.artifact_sha256, record.backend, record.device


def _verifications(bundle: Bundle, run: Sequence[Measurement]) -> dict[Key, Verification]:
    """The latest verdict of each cell, of the run's environment and threads; without a run, of the latest record's."""
    records = [record for record in VERDICTS.read(bundle) if record.backend not in NAMED_ONLY]
    if not records:
        return {}
    last = records[-1]
    environment, threads = (run[0].environment, run[0].threads) if run else (last.environment, _threads(last))
    return {_key(r): r for r in records if r.environment == environment and _threads(r) in (None, threads)}


def _threads(verdict: Verification) -> Json:
    """That it was asked for with; None where it does not say."""
    return verdict.settings.get("asked", {}).get("threads")


def _subjects(
    artifacts: Sequence[Artifact], run: Sequence[Measurement], verifications: Mapping[Key, Verification]
) -> dict[Key, Subject]:
    """Every cell that was verified or measured, the baseline first, then in the order of their records."""
    by_sha = {artifact.sha256: artifact for artifact in artifacts}
    every: list[Measurement | Verification] = [*run, *verifications.values()]
    records: dict[Key, Measurement | Verification] = {}
    for record in every:
        records.setdefault(_key(record), record)
    order = sorted(records, key=lambda key: key[1] != BASELINE)
    return {key: _subject(by_sha.get(key[0]), records[key], verifications.get(key)) for key in order}


def _subject(
    artifact: Artifact | None, record: Measurement | Verification, verification: Verification | None
) -> Subject:
    asked = artifact.precision if artifact else "float32"
    worst = worst_probe(verification.probes) if verification else None
    return Subject(
        label=label(artifact, record.backend, record.device),
        artifact=record.artifact,
        artifact_sha256=record.artifact_sha256,
        backend=record.backend,
        device=record.device,
        precision_asked=verification.precision_asked if verification else asked,
        precision_found=verification.precision_found if verification else "",
        precision_evidence=verification.precision_evidence if verification else "",
        verdict=verdict_of(verification),
        reason=verification.reason if verification else "",
        error=worst.error if worst else None,
        band=worst.band if worst else None,
        reference=worst.reference if worst else None,
        probe=worst.probe if worst else "",
        output=worst.output if worst else "",
        samples=worst.samples if worst else 0,
        decisions=verification.decisions if verification else 0,
        disagreements=len(verification.disagreements) if verification else 0,
        metric=verification.metric if verification else {},
        against_truth=verification.against_truth if verification else {},
        non_finite=verification.non_finite if verification else {},
    )


def _rows(run: Sequence[Measurement], subjects: Mapping[Key, Subject]) -> list[Row]:
    """A row for each record, with ratio and δ from the records of its own batch, boundary and device alone."""
    medians = {id(r): stats.medians_by_replicate(r.latencies_ns, r.replicates) for r in run if r.latencies_ns}
    groups: dict[str, list[Measurement]] = {}
    for record in run:
        groups.setdefault(delta_key(record.batch, record.boundary, record.device), []).append(record)
    rows = []
    for records in groups.values():
        base = next((medians.get(id(r)) for r in records if _is_baseline(r)), None)
        delta = stats.delta([medians[id(r)] for r in records if id(r) in medians])
        for record in records:
            rows.append(_row(record, subjects[_key(record)], medians.get(id(record)), base, delta))
    order = {id(subject): i for i, subject in enumerate(subjects.values())}
    return sorted(rows, key=lambda row: (row.batch, row.boundary != "host", row.boundary, order[id(row.subject)]))


def _is_baseline(record: Measurement) -> bool:
    return record.backend == BASELINE and record.precision == "float32"


def _row(
    record: Measurement,
    subject: Subject,
    medians: Mapping[int, float] | None,
    base: Mapping[int, float] | None,
    delta: float,
) -> Row:
    found = {
        name: stats.replicated_quantile(record.latencies_ns, record.replicates, p) for name, p in QUANTILES.items()
    }
    quantiles = {name: q for name, q in found.items() if q is not None}
    ratio, word = None, ""
    if medians and base:
        ratio = None if _is_baseline(record) else stats.speed_ratio(base, medians)
        word = "baseline" if _is_baseline(record) else (stats.word(ratio, delta) if ratio else "")
    return Row(
        subject=subject,
        batch=record.batch,
        boundary=record.boundary,
        quantiles=quantiles,
        throughput=record.batch / quantiles["p50"].value * 1e9 if "p50" in quantiles else None,
        ratio=ratio,
        word=word,
        delta=delta if medians else None,
        runs=len(record.latencies_ns),
        replicates=taken(record),
        unsettled=int(record.facts.get("unsettled_replicates", 0)),
        cold=record.cold,
        settings=record.settings,
        error=record.error,
        latencies_ns=record.latencies_ns,
        of_replicate=record.replicates,
        of_round=record.rounds,
    )


def _absent(bundle: Bundle) -> list[Absent]:
    """From the latest record: backends that are not here, and forms that were not built."""
    record = absent.latest(bundle)
    if record is None:
        return []
    artifacts = {artifact.name: artifact for artifact in bundle.artifacts}
    found = [
        Absent(
            label=label(artifacts.get(m.artifact), m.backend, m.device),
            artifact=m.artifact,
            device=m.device,
            kind="not run",
            reason=m.reason,
        )
        for m in record.missing
    ]
    for form in record.not_built:
        name = f"{form.format} {'' if form.target == 'any' else form.target}".strip()
        found.append(Absent(label=name, artifact="", device="", kind="not built", reason=form.reason))
    return found
