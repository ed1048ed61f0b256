"""A subject's record of one run: what was taken of it, and everything that a reader must know about how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from export.bundle.types import Measurement
from serve_bench.latency.replicate import median
from serve_bench.latency.schedule import REWARM_NS, ROUNDS
from serve_bench.latency.subject import Subject, Taken


@dataclass(frozen=True, kw_only=True)
class Run:
    """The settings of one run, as its records state them."""

    name: str
    started: str
    budget_s: float
    replicates: int
    threads: int
    isolate: bool
    seed: int
    batches: tuple[int, ...]
    environment: str
    precision_of_ratio: float


def record_of(
    run: Run, subject: Subject, taken: Taken, facts: Mapping[str, Any], samples: int, cells: int
) -> Measurement:
    """`facts` are the run's; `samples` as many as the batches were taken from; `cells` as many records as it has."""
    failed = bool(taken.error)
    return Measurement(
        artifact=subject.artifact.name,
        artifact_sha256=subject.artifact.sha256,
        backend=subject.cell.backend,
        device=subject.cell.device,
        precision=taken.precision or subject.artifact.precision,
        boundary=subject.boundary,
        scenario="interleaved",
        batch=subject.batch,
        threads=run.threads,
        latencies_ns=() if failed else tuple(taken.latencies_ns),
        replicates=() if failed else tuple(taken.replicates),
        rounds=() if failed else tuple(taken.rounds),
        environment=run.environment,
        run=run.name,
        started=run.started,
        cold={} if failed else {"open_ns": median(taken.open_ns), "first_run_ns": median(taken.first_run_ns)},
        settings=taken.settings,
        facts={
            **facts,
            "cells": cells,
            "budget_s": run.budget_s,
            "replicates": run.replicates,
            "precision_of_ratio": run.precision_of_ratio,
            "rounds": ROUNDS,
            "rewarm_ns": REWARM_NS,
            "isolate": run.isolate,
            "seed": run.seed,
            "batches": list(run.batches),
            "samples": samples,
            "samples_cycled": samples < subject.batch,
            "warm_up_runs": median(taken.warm_up_runs),
            "unsettled_replicates": taken.unsettled,
            **({"page_faults": round(median(taken.page_faults), 1)} if taken.page_faults else {}),
        },
        error=taken.error,
    )
