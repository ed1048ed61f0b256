"""The commands that take again what a report shows beside its interleaved run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from export.bundle.store import Bundle
from serve_bench.latency import cold
from serve_bench.latency.scenarios._base import GIVEN
from serve_bench.reports._sweeps import SweepTable
from serve_bench.reports._types import ScenarioRow


def commands(bundle: Bundle, scenarios: tuple[ScenarioRow, ...], sweeps: tuple[SweepTable, ...]) -> Iterator[str]:
    """One for cold starts, one for all sweeps, one for each group of scenarios that were asked for alike."""
    start = ["pipeline", "bench", bundle.root.as_posix()]
    if starts := [len(record.total_ns) for record in cold.latest(bundle)]:
        yield shlex.join([*start, "--cold-start", str(max(starts))])
    if sweeps:
        yield shlex.join([*start, *(word for sweep in sweeps for word in ("--sweep", sweep.name))])
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in scenarios:
        record = row.record
        words = ["--min-duration", f"{record.min_duration_s:g}", "--threads", str(record.threads)]
        if record.scenario == "MultiStream":
            words += ["--samples-per-query", str(record.samples_per_query)]
        if record.latency_bound_ns is not None and record.bound_from == GIVEN:
            words += ["--latency-bound", f"{record.latency_bound_ns}ns"]
        names = groups.setdefault(tuple(words), [])
        if record.scenario not in names:
            names.append(record.scenario)
    for options, names in groups.items():
        yield shlex.join([*start, *(word for name in names for word in ("--scenario", name)), *options])
