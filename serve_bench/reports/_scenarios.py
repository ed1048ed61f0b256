"""What was measured with LoadGen, as rows and as text cells for every report format and the console."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from export.bundle.kinds import Records
from export.bundle.types import Artifact, to_json
from serve_bench.cells import label
from serve_bench.latency import stats
from serve_bench.latency.scenarios._base import GIVEN, GROWING
from serve_bench.latency.scenarios._record import ScenarioRecord, latest
from serve_bench.reports import _format as show
from serve_bench.reports._types import ScenarioRow

if TYPE_CHECKING:
    from serve_bench.reports.summary import Summary

HEADING = "Measured with LoadGen"
HEADINGS = ("backend", "result", "p50 [99 % bound]", "queries", "LoadGen says")
TRIAL_HEADINGS = ("backend", "rate a second", "p99", "queries", "LoadGen says")
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
RESULT = {"SingleStream": "p90", "MultiStream": "p99"}
"""Scenarios whose result is a quantile."""
NONE = "–"


def rows_of(bundle: Records, artifacts: Sequence[Artifact]) -> tuple[ScenarioRow, ...]:
    """The last record of each scenario, form and backend; scenarios in the order in which they were first run."""
    by_sha = {artifact.sha256: artifact for artifact in artifacts}
    records = latest(bundle)
    order = list(dict.fromkeys(record.scenario for record in records))
    rows = [_row(record, by_sha.get(record.artifact_sha256)) for record in records]
    return tuple(sorted(rows, key=lambda row: order.index(row.record.scenario)))


def gaps(rows: Sequence[ScenarioRow]) -> Iterator[str]:
    """Scenarios that were stopped before every form had its turn."""
    for name in dict.fromkeys(row.record.scenario for row in rows):
        records = [row.record for row in rows if row.record.scenario == name]
        asked = max(record.forms for record in records)
        if len(records) < asked:
            yield f"{name} was stopped: {len(records)} of the {asked} forms that were asked for have a row."


def _row(record: ScenarioRecord, artifact: Artifact | None) -> ScenarioRow:
    """Quantiles are of the latencies that are stored; of Offline, whose latencies are a batch's, there are none."""
    found = {} if record.scenario == "Offline" else QUANTILES
    quantiles = {name: stats.bounded_quantile(record.latencies_ns, p) for name, p in found.items()}
    return ScenarioRow(
        label=label(artifact, record.backend, record.device),
        record=record,
        quantiles={name: q for name, q in quantiles.items() if q is not None},
        rate=record.rate,
    )


def groups(summary: Summary) -> list[tuple[str, list[ScenarioRow]]]:
    """ "Server" and its rows, scenario by scenario."""
    found: dict[str, list[ScenarioRow]] = {}
    for row in summary.scenarios:
        found.setdefault(row.record.scenario, []).append(row)
    return list(found.items())


def cells(row: ScenarioRow) -> tuple[str, ...]:
    """One row of the table, under `HEADINGS`."""
    if row.record.error:
        return row.label, f"not measured: {row.record.error}", "", "", ""
    p50 = row.quantiles.get("p50")
    return (
        row.label,
        result(row),
        show.bounded(p50) if p50 else NONE,
        f"{row.record.queries:,}",
        said(row.record.valid, row.record.reasons),
    )


def result(row: ScenarioRow) -> str:
    """ "p90 52.1 µs [51.9, 52.3]", "41,300 samples/s", "9,200 queries/s with p99 413 µs"."""
    record = row.record
    if record.scenario == "Offline":
        return f"{show.rate(row.rate)} samples/s" if row.rate else NONE
    if record.scenario == "Server":
        if row.rate is None:
            lowest = min(record.trials, key=lambda trial: trial.rate)
            return f"no rate held: p99 {show.latency(lowest.p99_ns)} at {show.rate(lowest.rate)} queries/s, the lowest"
        p99 = next(trial.p99_ns for trial in record.trials if trial.rate == row.rate)
        return f"{show.rate(row.rate)} queries/s with p99 {show.latency(p99)}"
    name = RESULT[record.scenario]
    quantile = row.quantiles.get(name)
    return f"{name} {show.bounded(quantile)}" if quantile else f"{name}: too few queries"


def said(valid: bool, reasons: Sequence[str]) -> str:
    """ "valid", or "invalid: p99 is over the bound"."""
    return "valid" if valid else f"invalid: {'; '.join(reasons)}".rstrip(": ")


def about(rows: Sequence[ScenarioRow]) -> str:
    """How the rows of one scenario were taken, in a sentence or two."""
    records = [row.record for row in rows if not row.record.error]
    if not records:
        return ""
    first = records[0]
    said = [_how(first, records)]
    said.append(f"At least {first.min_duration_s:g} s a run (min_duration), {first.distinct_samples:,} real samples.")
    if first.seeds:
        said.append(f"LoadGen's seeds: {', '.join(f'{name} {seed}' for name, seed in first.seeds.items())}.")
    shares = [record.overhead_ns for record in records if record.overhead_ns is not None]
    if shares:
        what = "How late an idle session is handed a query" if first.scenario == "Server" else "LoadGen's own share"
        counted = "is counted" if first.scenario == "Server" else "is not counted"
        low, high = (show.latency(max(share, 0.0)) for share in (min(shares), max(shares)))
        said.append(f"{what} {counted}: {low if low == high else f'{low} to {high}'} a query (median).")
    thinned = [row.label for row in rows if row.record.taken > len(row.record.latencies_ns)]
    if thinned:
        said.append(f"Of {', '.join(thinned)} only every k-th latency is stored, evenly over the run.")
    taken = show.taken_at(record.started for record in records)
    said.append(f"{taken[:-1]}, apart from every other run: only figures of one scenario are beside one another.")
    said.append(f"Environment {' and '.join(dict.fromkeys(record.environment for record in records))}.")
    return " ".join(said)


def _how(first: ScenarioRecord, records: Sequence[ScenarioRecord]) -> str:
    if first.scenario == "SingleStream":
        return "One sample a query, the next when the last is answered."
    if first.scenario == "MultiStream":
        return f"{first.samples_per_query} samples a query, the next when the last is answered."
    if first.scenario == "Offline":
        batches = sorted({record.batch for record in records})
        return f"All samples in one query, answered in batches of {' or '.join(map(str, batches))}."
    bounds = sorted({record.latency_bound_ns or 0 for record in records})
    span = show.latency(bounds[0]) if len(bounds) == 1 else f"{show.latency(bounds[0])} to {show.latency(bounds[-1])}"
    chosen = "" if first.bound_from == GIVEN else f", {first.bound_from} of each"
    return (
        "Poisson arrivals of one sample, served one at a time; latency counts from the scheduled arrival. The result "
        f"is the highest rate tried whose p99 stayed under {span}{chosen}, and whose queue was empty "
        "now and then to the end."
    )


def trials(rows: Sequence[ScenarioRow]) -> list[tuple[str, ...]]:
    """Every rate that Server was tried at, under `TRIAL_HEADINGS`, each form's in order of the rate."""
    return [
        (
            row.label,
            show.rate(trial.rate),
            show.latency(trial.p99_ns),
            f"{trial.queries:,}",
            said(trial.valid, trial.reasons) + ("" if trial.kept_up else f"; {GROWING}"),
        )
        for row in rows
        for trial in sorted(row.record.trials, key=lambda trial: trial.rate)
    ]


def title(summary: Summary) -> str:
    """ "Measured with LoadGen 6.0.17"."""
    version = next((row.record.loadgen for row in summary.scenarios if row.record.loadgen), "")
    return f"{HEADING} {version.split(' ')[0]}".strip()


def row_json(row: ScenarioRow) -> dict[str, Any]:
    """The record, its label, and its quantiles as {"value", "low", "high"}."""
    plain: dict[str, Any] = to_json(row.record)
    quantiles = {name: quantile._asdict() for name, quantile in row.quantiles.items()}
    return plain | {"label": row.label, "quantiles": quantiles, "rate": row.rate}


CSV_COLUMNS = ("scenario", "valid", "queries", "queries_per_second", "latency_bound_ns")


def csv_rows(summary: Summary) -> Iterator[Mapping[str, object]]:
    """A line for each row; a Server's rate is in queries_per_second, Offline's in samples_per_second."""
    for row in summary.scenarios:
        record = row.record
        line: dict[str, object] = {"model": summary.model, "backend": record.backend, "artifact": record.artifact}
        line |= {"device": record.device, "batch": record.batch or None, "boundary": "host", "runs": record.taken}
        line |= {"scenario": record.scenario, "valid": record.valid, "queries": record.queries, "run": record.run}
        line |= {"environment": record.environment, "latency_bound_ns": record.latency_bound_ns}
        line["queries_per_second" if record.scenario == "Server" else "samples_per_second"] = row.rate
        line["reason"] = record.error or "; ".join(record.reasons)
        for name, quantile in row.quantiles.items():
            line |= zip((f"{name}_ns", f"{name}_low_ns", f"{name}_high_ns"), quantile, strict=True)
        yield line


def markdown(summary: Summary, table: Any, cell: Any) -> Iterator[str]:
    """The section; `table` and `cell` are the format's own."""
    if not summary.scenarios:
        return
    yield from (f"## {cell(title(summary))}", "")
    for scenario, rows in groups(summary):
        yield from (f"### {cell(scenario)}", "")
        yield from table(HEADINGS, [cells(row) for row in rows])
        yield from (cell(about(rows)), "")
        if tried := trials(rows):
            yield from ("Rates tried:", "")
            yield from table(TRIAL_HEADINGS, tried)


def html(summary: Summary, table: Any, escape: Any, figure: Any) -> Iterator[str]:
    """The section; `table`, `escape` and `figure` (a value with its bounds below) are the format's own."""
    if not summary.scenarios:
        return
    yield f"<h2>{escape(title(summary))}</h2>"
    for scenario, rows in groups(summary):
        yield from table(scenario, HEADINGS, [_html_cells(row, escape, figure) for row in rows])
        yield f'<p class="legend">{escape(about(rows))}</p>'
        if tried := trials(rows):
            lines = [[*map(escape, line[:-1]), f'<td class="note">{escape(line[-1])}</td>'] for line in tried]
            yield from table(f"{scenario}: rates tried", TRIAL_HEADINGS, lines)


def _html_cells(row: ScenarioRow, escape: Any, figure: Any) -> list[str]:
    name, *rest = cells(row)
    if row.record.error:
        return [escape(name), f'<td class="note" colspan="{len(HEADINGS) - 1}">{escape(rest[0])}</td>']
    return [escape(name), *map(figure, rest[:-1]), f'<td class="note">{escape(rest[-1])}</td>']
