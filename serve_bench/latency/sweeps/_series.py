"""The engine that sweeps share: series of points, replicates of them, and what ends a series."""

from __future__ import annotations

import random
import statistics
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.bundle.errors import PipelineError
from export.bundle.types import Artifact, Json
from serve_bench._child import fixed_batch, sample_count
from serve_bench.cells import Cell, backend_named
from serve_bench.exchange import SUFFIX, write_arrays
from serve_bench.latency.conditions import Conditions, Seconds, lanes_of
from serve_bench.latency.cores import topology
from serve_bench.latency.replicate import Lost, Replicate, median
from serve_bench.latency.schedule import cost_ns, least_runs, most_runs
from serve_bench.latency.subject import Subject, Taken
from serve_bench.latency.sweeps._types import BATCHES, Asked, SweepPoint
from serve_bench.latency.sweeps._window import Window

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_SAMPLES = 700
"""Timed runs of a point over all replicates: what p99 needs."""
BUDGET = "budget"
ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One place of a sweep's axis; every series that still goes on has a point there."""

    inputs: Path
    """Model-ready samples, as `exchange` writes them."""
    threads: int
    batch: int | None = None
    """None: each series has its own."""
    length: int | None = None
    processes: int = 1

    @property
    def label(self) -> str:
        """ "batch 8", "length 4", "2 threads"."""
        if self.batch is not None:
            return f"batch {self.batch}"
        return f"length {self.length}" if self.length is not None else f"threads {self.threads}"


@dataclass
class Point:
    """One series at one step, and what was taken of it."""

    subject: Subject
    step: Step
    taken: Taken = field(default_factory=Taken)
    starts_ns: list[int] = field(default_factory=list)
    process_of: list[int] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)

    @property
    def run_ns(self) -> float | None:
        """Median latency; None without a run."""
        return median(self.taken.latencies_ns) if self.taken.latencies_ns else None


@dataclass
class Series:
    """Points of one artifact on one backend, in the order of the axis."""

    cell: Cell
    artifact: Artifact
    """Its path absolute, its sha256 checked, where that succeeded."""
    batch: int
    points: list[Point] = field(default_factory=list)
    ended: str = ""
    """What ended it; empty while it goes on."""

    def add(self, step: Step, error: str = "") -> Point:
        backend = backend_named(self.cell.backend)
        subject = Subject.of(self.cell, self.artifact, backend, step.batch or self.batch, "host")
        self.points.append(Point(subject, step, Taken(error=error)))
        return self.points[-1]

    def refuse(self, step: Step, error: str) -> None:
        """Ends it before it began."""
        self.add(step, error)
        self.ended = ERROR


def expected_ns(run_ns: Sequence[float], growth: float) -> float:
    """Run time of the next step: as the last one grew, at least not shrinking; of a second step, `growth` times."""
    ratio = max(run_ns[-1] / run_ns[-2], 1.0) if len(run_ns) > 1 else growth
    return run_ns[-1] * ratio


def doublings(first: int, last: int, *, and_last: bool = True) -> list[int]:
    """first, 2·first, 4·first … up to `last`, which ends the list where no doubling meets it and `and_last` says so."""
    found = [first]
    while found[-1] * 2 <= last:
        found.append(found[-1] * 2)
    return [*found, last] if and_last and found[-1] < last else found


def batches_of(asked: Asked) -> tuple[int, ...]:
    """Batch sizes of a sweep along another axis: those asked for, else batch 1 and 64, or the only one there is."""
    fixed = fixed_batch(asked.bundle.manifest.inputs)
    return asked.batches or (BATCHES if fixed is None else (fixed,))


def written(asked: Asked, samples: Mapping[str, npt.NDArray[np.generic]], name: str = "samples") -> Path:
    return write_arrays(asked.folder / f"{name}{SUFFIX}", samples)


class Taker:
    """Takes the points of one run of a sweep."""

    def __init__(self, asked: Asked, least: int | None = None, growth: float = 2.0) -> None:
        self.asked = asked
        self.seconds = Seconds()
        self.where = topology()
        self.drawn: list[list[int]] = []
        self.gpu_rounds: list[dict[str, Any]] = []
        self.rng = random.Random(asked.seed)
        self.least = least or least_runs(asked.replicates)
        self.most = most_runs(asked.replicates, MOST_SAMPLES)
        self.growth = growth
        self.void = 0
        self.run = uuid.uuid4().hex[:12]
        self.started = datetime.now(UTC).isoformat(timespec="seconds")

    @property
    def left_s(self) -> float:
        """Of the budget."""
        return max(self.asked.budget_s - self.seconds.get("measuring", 0.0), 0.0)

    def open(self, batches: Sequence[int], first: Step) -> list[Series]:
        """A series for each cell and batch; one whose file is not to be opened has ended at once."""
        found = []
        for cell in self.asked.cells:
            artifact, error = cell.artifact, ""
            try:
                artifact = self.asked.bundle.resolve(artifact)
            except PipelineError as problem:
                error = str(problem)
            for batch in batches:
                found.append(Series(cell, artifact, batch))
                if error:
                    found[-1].refuse(first, error)
        return found

    def begin(self, series: Sequence[Series], step: Step, pending_ns: float = 0.0) -> list[Point]:
        """A new point for each series that goes on; one whose least runs would take more than its share ends instead.

        The share of a series is half of what is left of the budget, after `pending_ns` that are bespoken, over the
        series that go on: every step leaves something for the next.
        """
        going = [one for one in series if not one.ended]
        share_ns = max(self.left_s * 1e9 - pending_ns, 0.0) / 2 / max(len(going), 1)
        points = []
        for one in going:
            known = [p.run_ns for p in one.points if p.run_ns is not None]
            need_ns = self.asked.replicates * cost_ns(expected_ns(known, self.growth), self.least) if known else 0.0
            if need_ns <= share_ns:
                points.append(one.add(step))
                continue
            one.ended = BUDGET
            need, share = (f"{ns / 1e9:.2g} s" for ns in (need_ns, share_ns))
            runs = f"{self.asked.replicates} × {self.least} runs"
            one.add(step, f"{runs} would take about {need}, its share of the budget is {share}")
        return points

    def pending_ns(self, points: Sequence[Point]) -> float:
        """What the least runs of points that have one replicate will take in the others."""
        known = (p.run_ns for p in points if not p.taken.error)
        return sum(cost_ns(ns, self.least) for ns in known if ns is not None) * (self.asked.replicates - 1)

    def take(self, series: Sequence[Series], steps: Sequence[Step], share_s: float) -> None:
        """All replicates of `steps`, in `share_s` seconds of timed runs where that suffices.

        The first replicate takes the steps in their order, and a series that fails has no points at later ones; every
        other replicate takes them in random order. Within a step, `Replicate` interleaves the series in random order.
        """
        before, done, total = self.seconds.get("measuring", 0.0), 0, len(steps) * self.asked.replicates
        held: dict[int, list[Point]] = {}
        for number in range(self.asked.replicates):
            order = list(range(len(steps)))
            for k in order if number == 0 else self.rng.sample(order, len(order)):
                text = f"{steps[k].label}, replicate {number + 1} of {self.asked.replicates}"
                self.asked.bar.advance(done, total if len(steps) > 1 else None, text)
                if number == 0:
                    held[k] = self.begin(series, steps[k], self.pending_ns([p for ps in held.values() for p in ps]))
                spent = self.seconds.get("measuring", 0.0) - before
                share = max(share_s - spent, 0.0) / (total - done)
                self._replicate(number, steps[k], held[k], share * 1e9)
                end_failed(series)
                done += 1

    def _replicate(self, number: int, step: Step, points: Sequence[Point], budget_ns: float) -> None:
        while running := {i: p.subject for i, p in enumerate(points) if not p.taken.error}:
            replicate = Replicate(
                number=number,
                subjects=running,
                conditions=Conditions(
                    inputs=step.inputs,
                    threads=step.threads,
                    isolate=self.asked.isolate,
                    lanes=lanes_of(list(running.values()), step.threads, self.where),
                    least=self.least,
                    most=self.most,
                    where=self.where,
                    gpus=self.asked.gpus,
                ),
                rng=self.rng,
                seconds=self.seconds,
                before={i: points[i].taken for i in running},
            )
            try:
                replicate.run(self.asked.workers, budget_ns)
            except Lost as lost:
                self.void += 1
                for i in lost.culprits:
                    points[i].taken.error = lost.reason
                continue
            self.drawn.append(list(replicate.cores))
            self.gpu_rounds += replicate.gpu_rounds
            for i, found in replicate.taken.items():
                points[i].taken.error = found.error
                points[i].taken.add(found)
            return

    def records(self, sweep: str, series: Sequence[Series]) -> list[SweepPoint]:
        """Every point as the bundle keeps it."""
        spent = self.seconds.get("measuring", 0.0)
        facts = {
            "points": sum(len(one.points) for one in series),
            "budget_s": self.asked.budget_s,
            "spent_s": round(spent, 3),
            "over_budget_s": round(max(spent - self.asked.budget_s, 0.0), 3),
            "replicates": self.asked.replicates,
            "seconds": {part: round(value, 3) for part, value in self.seconds.items()},
            "void_replicates": self.void,
            "cores": self.drawn,
            "isolate": self.asked.isolate,
            **({"gpu_rounds": self.gpu_rounds} if self.gpu_rounds else {}),
            "seed": self.asked.seed,
            "samples": sample_count(self.asked.bundle.manifest.inputs, self.asked.samples),
        }
        return [self._record(sweep, one, point, facts) for one in series for point in one.points]

    def _record(self, sweep: str, series: Series, point: Point, facts: Mapping[str, Json]) -> SweepPoint:
        taken, failed = point.taken, bool(point.taken.error)
        return SweepPoint(
            sweep=sweep,
            artifact=series.artifact.name,
            artifact_sha256=series.artifact.sha256,
            backend=series.cell.backend,
            device=series.cell.device,
            precision=taken.precision or series.artifact.precision,
            precision_asked=series.artifact.precision,
            boundary=point.subject.boundary,
            batch=point.subject.batch,
            threads=point.step.threads,
            length=point.step.length,
            processes=point.step.processes,
            latencies_ns=() if failed else tuple(taken.latencies_ns),
            replicates=() if failed else tuple(taken.replicates),
            starts_ns=() if failed else tuple(point.starts_ns),
            process_of=() if failed else tuple(point.process_of),
            windows=() if failed else tuple(point.windows),
            run=self.run,
            started=self.started,
            environment=self.asked.environment_id,
            ended=series.ended,
            settings=taken.settings,
            facts={
                **facts,
                "warm_up_runs": statistics.median(taken.warm_up_runs) if taken.warm_up_runs else 0,
                "unsettled_replicates": taken.unsettled,
            },
            error=taken.error,
        )


def end_failed(series: Sequence[Series]) -> None:
    """Ends those of which a point failed."""
    for one in series:
        if not one.ended and any(point.taken.error for point in one.points):
            one.ended = ERROR


def end_rest(series: Sequence[Series], why: str) -> None:
    """Ends those that nothing else ended."""
    for one in series:
        one.ended = one.ended or why
