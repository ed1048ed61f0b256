"""Throughput and latency of several sessions, each in a process of its own, all running at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from export.bundle.environment import available_cores
from export.bundle.errors import BackendFailed, PipelineError
from export.bundle.types import TensorSpec
from serve_bench._child import fixed_batch
from serve_bench.latency import clock
from serve_bench.latency.hanging import hangs_after_s, limit_after
from serve_bench.latency.replicate import WARM_UP_LIMIT_S
from serve_bench.latency.sweeps._series import Point, Step, Taker, doublings, end_failed, end_rest, written
from serve_bench.latency.sweeps._types import Asked, SweepPoint, same_but
from serve_bench.latency.sweeps._window import Runs, Window, window_of

if TYPE_CHECKING:
    from serve_bench._opened import OpenedFacts, Warm
    from serve_bench.worker import Worker

LEAST, MOST = 12, 1500
"""Runs of a process that one window is planned for."""
LEAST_S = 0.02
"""A window's least length: several time slices of a scheduler, so that a late start is a small part of it."""
TRIES = 3
"""Windows that may be tried, each twice as long as the one before, until one holds runs of every process."""
LEAD_S = 0.05
"""From the last warm-up to the barrier: every process has its order by then."""


class Concurrency:
    name = "concurrency"
    axis = "processes"
    compared = "against one process"
    legend = (
        "Sessions in processes of their own at the smallest batch, all warmed up, then started together and told to "
        "run until the same time. What counts lies in the window from the last first start to the first last end: "
        "samples a second are those answered in it by all processes, latencies those of runs wholly inside it."
    )

    def refuses(self, inputs: Sequence[TensorSpec]) -> str | None:
        return None

    def base(self, point: SweepPoint, points: Sequence[SweepPoint]) -> SweepPoint | None:
        return next((p for p in points if p.processes == 1 and same_but(point, p, "processes")), None)

    def run(self, asked: Asked) -> list[SweepPoint]:
        inputs, cores = written(asked, asked.samples), available_cores()
        most = asked.processes or cores
        steps = [Step(inputs=inputs, threads=asked.threads, processes=n) for n in doublings(1, most)]
        taker = Taker(asked, LEAST, growth=1.0)
        series = taker.open((fixed_batch(asked.bundle.manifest.inputs) or 1,), steps[0])
        held: list[Point] = []
        windows = len(steps) * sum(not one.ended for one in series) * asked.replicates
        for number in range(asked.replicates):
            for step in steps if number == 0 else taker.rng.sample(steps, len(steps)):
                asked.bar.advance(number, asked.replicates, f"replicate {number + 1}, {step.processes} at once")
                if number == 0:
                    held += taker.begin(series, step, taker.pending_ns(held))
                points = [point for point in held if point.step is step and not point.taken.error]
                for point in taker.rng.sample(points, len(points)):
                    _replicate(taker, point, number, taker.left_s / max(windows, 1))
                    windows -= 1
                end_failed(series)
        end_rest(series, f"every core ({cores})" if most == cores else f"--concurrency {most}")
        return taker.records(self.name, series)


def _replicate(taker: Taker, point: Point, number: int, share_s: float) -> None:
    """Processes and sessions made anew, warmed up side by side, then timed together; an error goes to the point."""
    made: list[Worker] = []
    pool = ThreadPoolExecutor(point.step.processes)
    try:
        with taker.seconds.of("set-up"):
            futures = [pool.submit(_prepare, taker, point, made) for _ in range(point.step.processes)]
            ready = [future.result() for future in futures]
        run_ns = max(warm.median_ns for _, _, warm in ready)
        length_ns = max(LEAST_S * 1e9, LEAST * run_ns, min(share_s * 1e9, MOST * run_ns))
        with taker.seconds.of("measuring"):
            window, found = _timed(pool, point, [worker for worker, _, _ in ready], number, length_ns, run_ns)
        _book(point, window, [(facts, warm) for _, facts, warm in ready], found)
    except PipelineError as error:
        point.taken.error = str(error)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in made:
            worker.hang_up()
        for worker in made:
            with suppress(PipelineError):
                worker.stop()


def _prepare(taker: Taker, point: Point, made: list[Worker]) -> tuple[Worker, OpenedFacts, Warm]:
    subject, step, asked = point.subject, point.step, taker.asked
    worker = asked.workers.spawn(subject.family, subject.preload, asked.isolate)
    made.append(worker)
    worker.load_inputs(step.inputs)
    opening_s, warming_s = (limit_after(known) for known in (point.taken.open_ns, point.taken.first_run_ns))
    facts = worker.open(
        subject.session, subject.cell.backend, subject.artifact, subject.cell.device, step.threads, opening_s
    )
    return worker, facts, worker.warm_up(subject.session, subject.batch, subject.boundary, WARM_UP_LIMIT_S, warming_s)


def _timed(
    pool: ThreadPoolExecutor, point: Point, workers: Sequence[Worker], number: int, length_ns: float, run_ns: float
) -> tuple[Window, list[Runs]]:
    """A window of at least `length_ns` and its runs; raises BackendFailed where the processes never ran all at once."""
    for attempt in range(TRIES):
        planned_ns = round(length_ns * 2**attempt)
        start_ns = clock.soon_ns(LEAD_S)
        limit_s = hangs_after_s(LEAD_S + (planned_ns + run_ns) / 1e9)
        waiting = [
            pool.submit(
                worker.measure_between,
                point.subject.session,
                point.subject.batch,
                start_ns,
                start_ns + planned_ns,
                i,
                limit_s,
            )
            for i, worker in enumerate(workers)
        ]
        found = [Runs(*future.result()) for future in waiting]
        window = window_of(number, found)
        if window is not None:
            return replace(window, tries=attempt + 1), found
    raise BackendFailed(
        f"there was no time in which all {len(workers)} processes were running, in {TRIES} windows of up to "
        f"{planned_ns / 1e6:.0f} ms"
    )


def _book(point: Point, window: Window, ready: Sequence[tuple[OpenedFacts, Warm]], found: Sequence[Runs]) -> None:
    """Adds one replicate."""
    point.windows.append(window)
    taken = point.taken
    for process, runs in enumerate(found):
        point.starts_ns += runs.starts_ns
        point.process_of += [process] * len(runs.starts_ns)
        taken.latencies_ns += runs.latencies_ns
        taken.replicates += [window.replicate] * len(runs.starts_ns)
    for facts, warm in ready:
        taken.precision, taken.settings = facts.precision, facts.settings
        taken.open_ns.append(facts.open_ns)
        taken.first_run_ns.append(warm.first_run_ns)
        taken.warm_up_runs.append(warm.runs)
        taken.unsettled += not warm.settled


ENTRIES = (Concurrency(),)
