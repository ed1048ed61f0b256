"""The commands that take again what a report shows, in the same random order."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from export.bundle.store import Bundle
from export.bundle.types import Measurement
from serve_bench.latency import cold
from serve_bench.latency.scenarios._base import GIVEN
from serve_bench.latency.scenarios._record import ScenarioRecord
from serve_bench.reports._sweeps import SweepTable
from serve_bench.reports._types import ScenarioRow

UNITS = (("s", 10**9), ("ms", 10**6), ("us", 10**3))
Form = tuple[str, str | None, str]
"""Backend, precision (None where the artifact is no longer there) and device."""


def interleaved(bundle: Bundle, run: Sequence[Measurement]) -> str:
    """Of the interleaved run; without one, of such a run at its defaults."""
    words = ["pipeline", "bench", bundle.root.as_posix()]
    if run:
        first, facts = run[0], run[0].facts
        for batch in facts["batches"]:
            words += ["--batch", str(batch)]
        words += ["--budget", f"{facts['budget_s']:g}", "--replicates", str(facts["replicates"])]
        words += ["--precision-of-ratio", f"{facts.get('precision_of_ratio', 0):g}"]
        words += ["--threads", str(first.threads)]
        words += ["--isolate"] if facts["isolate"] else []
        words += [] if "peak" in facts else ["--no-peak"]
        words += ["--twin"] if "twins" in facts else []
        words += ["--seed", str(facts["seed"]), *_chosen(_forms(bundle, run))]
    return shlex.join(words)


def commands(bundle: Bundle, scenarios: tuple[ScenarioRow, ...], sweeps: tuple[SweepTable, ...]) -> Iterator[str]:
    """One for cold starts, one for all sweeps, one for each group of scenarios that were asked for alike."""
    start = ["pipeline", "bench", bundle.root.as_posix()]
    if started := cold.latest(bundle):
        times, first = str(max(len(record.total_ns) for record in started)), started[0]
        words = ["--cold-start", times, *_chosen(_forms(bundle, started))]
        yield shlex.join([*start, *words, "--threads", str(first.threads), "--seed", str(first.seed)])
    for swept in _swept(sweeps):
        yield shlex.join([*start, *swept])
    groups: dict[tuple[str, ...], list[ScenarioRecord]] = {}
    for row in scenarios:
        record = row.record
        words = ["--min-duration", f"{record.min_duration_s:g}", "--threads", str(record.threads)]
        if record.scenario == "MultiStream":
            words += ["--samples-per-query", str(record.samples_per_query)]
        if record.latency_bound_ns is not None and record.bound_from == GIVEN:
            words += ["--latency-bound", _time(record.latency_bound_ns)]
        groups.setdefault(tuple(words), []).append(record)
    for options, records in groups.items():
        names = [word for name in dict.fromkeys(r.scenario for r in records) for word in ("--scenario", name)]
        yield shlex.join([*start, *names, *options, *_chosen(_forms(bundle, records))])


def _forms(bundle: Bundle, records: Iterable[Measurement | cold.ColdStart | ScenarioRecord]) -> Iterator[Form]:
    asked = {a.sha256: a.precision for a in bundle.artifacts}
    yield from ((r.backend, asked.get(r.artifact_sha256), r.device) for r in records)


def _chosen(forms: Iterable[Form]) -> list[str]:
    """The options that choose these forms and no others; the device where it is one alone."""
    backends, precisions, devices = (dict.fromkeys(values) for values in zip(*forms, strict=True))
    words = [word for name in backends for word in ("--backend", str(name))]
    words += [word for name in precisions if name for word in ("--precision", name)]
    return [*words, "--device", *map(str, devices)] if len(devices) == 1 else words


def _swept(sweeps: Sequence[SweepTable]) -> Iterator[list[str]]:
    """Names, forms, settings, and the largest batch that a batch sweep came to: sweeps asked for alike together."""
    groups: dict[tuple[str, ...], list[SweepTable]] = {}
    for sweep in sweeps:
        groups.setdefault(tuple(_settings(sweep)), []).append(sweep)
    for settings, alike in groups.items():
        forms = [(row.backend, row.precision_asked, row.device) for sweep in alike for row in sweep.rows]
        words = [word for sweep in alike for word in ("--sweep", sweep.name)] + _chosen(forms)
        for name, option, value in (("batch", "--sweep-limit", "batch"), ("concurrency", "--concurrency", "processes")):
            largest = [getattr(row, value) for sweep in alike if sweep.name == name for row in sweep.rows]
            words += [option, str(max(largest))] if largest else []
        yield [*words, *settings]


def _settings(sweep: SweepTable) -> Iterator[str]:
    yield from ("--budget", f"{sweep.budget_s:g}", "--replicates", str(sweep.replicates))
    if sweep.axis != "threads":
        yield from ("--threads", str(sweep.rows[0].threads))
    if sweep.axis != "batch":
        yield from (
            word for batch in dict.fromkeys(row.batch for row in sweep.rows) for word in ("--batch", str(batch))
        )
    if sweep.isolate:
        yield "--isolate"
    yield from ("--seed", str(sweep.seed))


def _time(value_ns: int) -> str:
    """ "10ms": as the option takes it."""
    size, unit = next(((size, unit) for unit, size in UNITS if value_ns % size == 0), (1, "ns"))
    return f"{value_ns // size}{unit}"
