"""What readers count on in a measurement: its columns, and the facts that every record of its run repeats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from export.bundle.encoding import part_from_json
from export.bundle.kinds import Kind, need
from export.bundle.types import Json, Measurement
from serve_bench.latency.gpu_state import GpuState
from serve_bench.latency.peak import Peak
from serve_bench.latency.twin import Twin

LONGEST_NS = 1 << 63
"""A clock's nanoseconds are below it."""


@dataclass(frozen=True, kw_only=True)
class GpuRound:
    """The GPUs in a round: at its beginning, and after each visit of one of their cells."""

    replicate: int
    round: int
    gpus: tuple[GpuState, ...]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Those that are read; others may stand beside them. What has a default was not always recorded."""

    cells: int
    """Records of the run: fewer are a run that was cut short."""
    budget_s: float
    spent_s: float
    replicates: int
    """That were asked for."""
    rounds: int
    """Of a replicate."""
    isolate: bool
    seed: int
    batches: tuple[int, ...]
    samples: int
    """Real ones, that the batches were taken from."""
    replicates_taken: int | None = None
    over_budget_s: float = 0.0
    set_up_counted_s: float = 0.0
    """Set-up that the budget was charged with: of further replicates, and of the first ones beyond what is free."""
    precision_of_ratio: float = 0.0
    ended_by: str = ""
    wider_ratios: int = 0
    ratios: int = 0
    widest_ratio: float = 0.0
    widest_cell: str = ""
    rewarm_ns: int = 0
    void_replicates: int = 0
    unsettled_replicates: int = 0
    page_faults: float = 0.0
    calibration: tuple[tuple[int, ...], ...] = ()
    """Replicate, round, nanoseconds of the loop and, later, of the copy."""
    cores: tuple[tuple[int, ...], ...] = ()
    peak: tuple[Mapping[str, Json], ...] = ()
    """`Peak`'s fields, or why there is none under "error"."""
    gpu_rounds: tuple[GpuRound, ...] = ()
    twins: tuple[Twin, ...] = ()
    """Of the A/A check, where it was asked for."""


ENDED = {"precision_of_ratio", "ended_by", "wider_ratios", "ratios", "widest_ratio", "widest_cell"}
"""Recorded together, where a run has ratios."""


def check(record: Measurement) -> None:
    """Raises ValueError where columns differ in length, a latency is no time, or a fact is not as `RunFacts` has it."""
    need(min(record.batch, record.threads) >= 1, "a batch and threads of at least 1")
    check_columns(record.latencies_ns, record.replicates, record.rounds)
    need(all(isinstance(ns, (int, float)) and math.isfinite(ns) for ns in record.cold.values()), "a finite cold start")
    facts = part_from_json(RunFacts, record.facts)
    check_finite(facts)
    taken = facts.replicates if facts.replicates_taken is None else facts.replicates_taken
    need(facts.replicates >= 1 and (taken >= 1 or record.error), "at least one replicate")
    need("widest_ratio" not in record.facts or record.facts.keys() >= ENDED, "all of what ended the run")
    for entry in facts.calibration:
        need(len(entry) >= 3 and min(entry[2:]) > 0, "replicate, round and times above 0 in a calibration")
    for twin in facts.twins:
        times = twin.medians_ns.values()
        need(all(isinstance(ns, (int, float)) and 0 < ns < LONGEST_NS for ns in times), "latencies above 0 of a twin")
        need(all(replicate.isdecimal() for replicate in twin.medians_ns), "replicates of a twin")
    for peak in facts.peak:
        if "error" not in peak:
            check_finite(part_from_json(Peak, peak))


def check_columns(latencies_ns: Sequence[int], *others: Sequence[int]) -> None:
    """Raises ValueError where columns are not as long as the latencies, or a latency is no time that a run can take."""
    need(all(len(column) == len(latencies_ns) for column in others), "columns of one length")
    need(min(latencies_ns, default=1) > 0 and max(latencies_ns, default=1) < LONGEST_NS, "latencies above 0")


def check_finite(record: object) -> None:
    """Raises ValueError where a number of a record is none."""
    need(all(math.isfinite(v) for v in vars(record).values() if isinstance(v, float)), "finite numbers")


MEASUREMENTS = Kind("measurement", Measurement, check)
