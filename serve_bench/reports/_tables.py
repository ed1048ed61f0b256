"""The tables of a report as text cells, so that markdown, HTML and CSV say the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from export.bundle.types import Boundary, Environment
from serve_bench.equivalence.judge import points_text
from serve_bench.reports import _format as show
from serve_bench.reports._facts import QUANTILES
from serve_bench.reports._types import Row, Subject, Summary, delta_key

NONE = "–"
UNCHANGED = "no change"
SMALLEST_CHANGE = 5e-5
"""Of R²: what two digits of a percentage show."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the latency table, as text."""

    backend: str
    computes_in: str
    """ "computes in float32", where that is not what the form asks for."""
    p50: str
    p90: str
    p99: str
    throughput: str
    ratio: str
    word: str
    error: str
    verdict: str
    note: str
    """Why there is no figure; spans the row."""


def lines(summary: Summary, batch: int, boundary: Boundary) -> list[Line]:
    """The latency table of one batch size and boundary."""
    return [_line(row) for row in summary.rows if row.batch == batch and row.boundary == boundary]


def _line(row: Row) -> Line:
    texts = {name: show.bounded(q) for name, q in row.quantiles.items()}
    return Line(
        backend=row.subject.label,
        computes_in=computes_in(row.subject),
        p50=texts.get("p50", NONE),
        p90=texts.get("p90", NONE),
        p99=texts.get("p99", NONE),
        throughput=show.rate(row.throughput) if row.throughput else NONE,
        ratio=show.ratio(row.ratio) if row.ratio else (NONE if row.word != "baseline" else "1"),
        word=row.word or NONE,
        error=error_text(row.subject.error, row.subject.band),
        verdict=row.subject.verdict,
        note=row.error,
    )


def error_text(error: float | None, band: float | None) -> str:
    """ "2.3e-07 (9.1e-07)": the error and the band that it must stay in."""
    return NONE if error is None or band is None else f"{show.error(error)} ({show.error(band)})"


def precision_text(found: str, asked: str) -> str:
    """ "float32", or "tf32 (float32 asked)" where they differ."""
    return (found or NONE) if found in (asked, "") else f"{found} ({asked} asked)"


def computes_in(subject: Subject) -> str:
    """ "computes in float32" where the precision found is not the one asked for."""
    found = subject.precision_found
    return "" if found in (subject.precision_asked, "") else f"computes in {found}"


def decisions_text(subject: Subject) -> str:
    """ "0 of 10,000": test samples that are answered otherwise than by the model in float64."""
    if subject.precision_asked == "int8":
        found = subject.against_truth
        return f"{int(found['other']):,} of {int(found['samples']):,}" if "other" in found else NONE
    return f"{subject.disagreements:,} of {subject.decisions:,}" if subject.decisions else NONE


def labelled(summary: Summary) -> bool:
    """Whether any form was compared with the labels."""
    return any(s.against_truth for s in summary.subjects)


def metrics(summary: Summary) -> list[str]:
    """Keys of every metric that any form has: a column each."""
    return list(dict.fromkeys(name for subject in summary.subjects for name in subject.metric))


def metric_heading(name: str) -> str:
    """ "test accuracy"."""
    return name.replace("_", " ")


def metric_text(subject: Subject, name: str) -> str:
    if name not in subject.metric:
        return NONE
    value = subject.metric[name]
    return show.percent(value, 2) if name.endswith("accuracy") else f"{value:.4g}"


def discordant_text(subject: Subject) -> str:
    """ "2 lost, 1 gained (p 1.00), −0.01 points [−0.05, +0.03]": test samples that float64 alone, or this form alone,
    answers rightly, and what that does to the accuracy; of a regression, to R²."""
    found = subject.against_truth
    if not found:
        return NONE
    changed = points_text(found) if "drop" in found else ""
    if "lost" not in found:
        return f"R² {changed}" if abs(found["drop"]) >= SMALLEST_CHANGE else UNCHANGED
    lost, gained = (int(found[name]) for name in ("lost", "gained"))
    if not lost and not gained:
        return UNCHANGED
    return ", ".join(filter(None, [f"{lost} lost, {gained} gained (p {found['p_value']:.2f})", changed]))


def reasons(summary: Summary) -> list[tuple[str, str]]:
    """Each form that did not pass, and the verdict with its reason."""
    return [(s.label, f"{s.verdict}: {s.reason}") for s in summary.subjects if s.reason]


def ledger(summary: Summary) -> list[tuple[str, str, str, str]]:
    """The precision ledger: form, what was asked, what is computed in, how it was found out."""
    return [
        (s.label, s.precision_asked, s.precision_found or NONE, s.precision_evidence or NONE)
        for s in summary.subjects
        if s.precision_found
    ]


def special(summary: Summary) -> list[tuple[str, str]]:
    """Form and how it takes NaN and infinity: only what is not as eager's."""
    rows = []
    for s in summary.subjects:
        other = [f"{name}: {said}" for name, said in s.non_finite.items() if said != "as eager"]
        if s.non_finite:
            rows.append((s.label, "; ".join(other) or "as eager"))
    return rows


def grouped(rows: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """What is absent as labels, kind and reason, from label, kind and reason of each: one row a reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for label, kind, reason in rows:
        found.setdefault((kind, reason), []).append(label)
    return [(", ".join(labels), kind, reason) for (kind, reason), labels in found.items()]


def absent(summary: Summary) -> list[tuple[str, str, str]]:
    return grouped((a.label, a.kind, a.reason) for a in summary.absent)


def rows_that_bear(rows: Sequence[Row], name: str) -> bool:
    """Whether any row has this quantile: a column of dashes is left out."""
    return any(name in row.quantiles for row in rows)


def environment_facts(environment: Environment | None, identity: str) -> Iterator[tuple[str, str]]:
    """The machine as name and text."""
    if environment is None:
        yield "Environment", f"{identity} (only its id is recorded here)"
        return
    yield "CPU", f"{environment.cpu}, {environment.cores} cores, {show.size(environment.memory_bytes)}"
    if environment.cpu_flags:
        yield "Instructions", ", ".join(environment.cpu_flags)
    for gpu in environment.gpus:
        yield "GPU", ", ".join(f"{name} {value}" if name != "name" else value for name, value in gpu.items() if value)
    if not environment.gpus:
        yield "GPU", "none"
    yield "System", f"{environment.os}, Python {environment.python}"
    yield "Libraries", ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    if environment.settings:
        yield "Set from outside", ", ".join(f"{k}={v}" for k, v in environment.settings.items())
    if environment.clocks:
        yield "Clocks", ", ".join(f"{k} {v}" for k, v in environment.clocks.items())
    yield "Environment", environment.id


def title(summary: Summary, batch: int, boundary: Boundary) -> str:
    """ "Batch 8 · δ 1.3 %", with the boundary where there is more than one, and with a δ for each device."""
    where = f"Batch {batch}" if len(summary.boundaries) == 1 else f"Batch {batch}, {boundary}"
    devices = dict.fromkeys(r.subject.device for r in summary.rows if (r.batch, r.boundary) == (batch, boundary))
    known = {d: summary.deltas.get(delta_key(batch, boundary, d)) for d in devices}
    deltas = [f"{show.percent(v)}{f' on {d}' if len(known) > 1 else ''}" for d, v in known.items() if v is not None]
    return f"{where} · δ {', '.join(deltas)}" if deltas else where


def groups(summary: Summary) -> list[tuple[int, Boundary]]:
    """Batch sizes and boundaries in the order of the rows."""
    return list(dict.fromkeys((row.batch, row.boundary) for row in summary.rows))


def headings(tails: Sequence[str]) -> list[str]:
    """Of the latency table; `tails` are the quantiles above p50 that any row bears."""
    return ["backend", "p50", "ratio to eager", "against eager", *tails, "samples/s at p50", ERROR_HEADING, "verdict"]


def form_headings(metrics: Sequence[str], labelled: bool) -> list[str]:
    """Of the table of forms."""
    extra = ["against the labels"] if labelled else []
    named = [metric_heading(name) for name in metrics]
    return ["form", "verdict", "computes in", ERROR_HEADING, "worst probe", "other answers", *extra, *named]


LEDGER_HEADINGS = ("form", "asked", "computes in", "how it was found out")
SPECIAL_HEADINGS = ("form", "NaN and infinity")
SPECIAL_LEGEND = (
    "A property of a backend, not a verdict: no model answers such an input with a number that means anything."
)
ABSENT_HEADINGS = ("what", "state", "why")
ERROR_HEADING = "error against float64 (band)"
RATIO_NOTE = (
    "Ratio to eager: the middle of the ratios within each replicate (Hodges and Lehmann), not the quotient of the p50s."
)
DELTA_NOTE = "δ is this run's own spread of a form against itself, at least 1 %."
ERROR_NOTE = "Error: on the worst of all probes, the one nearest its band."
OWN_GRAPH = "its error is against its own quantised graph in float64"
OWN_NOTE = (
    "An int8 form passes where it computes its own quantised graph, which its error is against, and where the metric "
    "falls by no more than was allowed; other answers and the metric's change are against the model in float64."
)
QUANTILES_LEGEND = (
    "over all runs, with bounds that hold with 99 % each: as wide as replicates lie apart (Woodruff), never narrower "
    "than those of independent runs; only where the sample bears them (11, 64, 662 runs for p50, p90, p99)."
)
LEGEND = (
    f"{RATIO_NOTE} A replicate is made of new processes and sessions; the interval is the 95 % one "
    "over replicates. Faster or slower is said only where the whole interval lies outside [1/(1 + δ), 1 + δ]. "
    f"{DELTA_NOTE} The first sentence is of the fastest form at the smallest and at the largest batch: of a backend's "
    "forms that cannot be told apart there, of the one in float32."
)
ERROR_LEGEND = (
    f"{ERROR_NOTE} It is the largest deviation from the model in float64, relative to the largest float64 output; "
    "the band is what eager's own error allows."
)


def ended(summary: Summary) -> str:
    """What ended the run, in a sentence; empty where it is not known."""
    said = dict(summary.measuring).get("Ended by")
    return f"The run was ended by {said}." if said else ""


def legend(summary: Summary) -> str:
    """Of the latency tables: what the columns are, and what ended the run."""
    quantiles = ", ".join(name for name in QUANTILES if rows_that_bear(summary.rows, name))
    return " ".join(filter(None, [f"{quantiles}: {QUANTILES_LEGEND}" if quantiles else "", LEGEND, ended(summary)]))
