"""The commands that take again what a report shows beside its interleaved run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Protocol

from export.bundle.store import Bundle
from serve_bench.latency import cold
from serve_bench.latency.scenarios._base import GIVEN
from serve_bench.latency.scenarios._record import ScenarioRecord
from serve_bench.reports._sweeps import SweepTable
from serve_bench.reports._types import ScenarioRow

UNITS = (("s", 10**9), ("ms", 10**6), ("us", 10**3))


def commands(bundle: Bundle, scenarios: tuple[ScenarioRow, ...], sweeps: tuple[SweepTable, ...]) -> Iterator[str]:
    """One for cold starts, one for all sweeps, one for each group of scenarios that were asked for alike."""
    start = ["pipeline", "bench", bundle.root.as_posix()]
    if started := cold.latest(bundle):
        times = str(max(len(record.total_ns) for record in started))
        yield shlex.join([*start, "--cold-start", times, *_filters(started), "--threads", str(started[0].threads)])
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
        yield shlex.join([*start, *names, *options, *_filters(records)])


class _Form(Protocol):
    @property
    def backend(self) -> str: ...


def _filters(records: Sequence[_Form]) -> list[str]:
    return [word for name in dict.fromkeys(r.backend for r in records) for word in ("--backend", name)]


def _swept(sweeps: Sequence[SweepTable]) -> Iterator[list[str]]:
    """Names, forms, settings, and the largest batch that a batch sweep came to: sweeps asked for alike together."""
    groups: dict[tuple[str, ...], list[SweepTable]] = {}
    for sweep in sweeps:
        groups.setdefault(tuple(_settings(sweep)), []).append(sweep)
    for settings, alike in groups.items():
        rows = [row for sweep in alike for row in sweep.rows]
        words = [word for sweep in alike for word in ("--sweep", sweep.name)] + _filters(rows)
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


def _time(value_ns: int) -> str:
    """ "10ms": as the option takes it."""
    size, unit = next(((size, unit) for unit, size in UNITS if value_ns % size == 0), (1, "ns"))
    return f"{value_ns // size}{unit}"
