"""Latency against the number of threads of each backend."""

from __future__ import annotations

from collections.abc import Sequence

from export.bundle.environment import available_cores
from export.bundle.types import TensorSpec
from serve_bench.latency.sweeps._series import Step, Taker, batches_of, doublings, end_rest, written
from serve_bench.latency.sweeps._types import Asked, SweepPoint, same_but


class Threads:
    name = "threads"
    axis = "threads"
    compared = "against one thread"
    legend = (
        "Threads of one session, up to the cores that this process may use; ratios are paired by replicate. Every form "
        "was verified at the number of threads of --threads, not at each of these."
    )

    def refuses(self, inputs: Sequence[TensorSpec]) -> str | None:
        return None

    def base(self, point: SweepPoint, points: Sequence[SweepPoint]) -> SweepPoint | None:
        return next((p for p in points if p.threads == 1 and same_but(point, p, "threads")), None)

    def run(self, asked: Asked) -> list[SweepPoint]:
        cores = available_cores()
        inputs = written(asked, asked.samples)
        steps = [Step(inputs=inputs, threads=threads) for threads in doublings(1, cores)]
        taker = Taker(asked, growth=1.0)
        series = taker.open(batches_of(asked), steps[0])
        for one in series:
            if one.cell.device != "cpu" and not one.ended:
                one.refuse(steps[0], f"it computes on {one.cell.device}: threads of the CPU are not its axis")
        taker.take(series, steps, asked.budget_s)
        end_rest(series, f"every core ({cores})")
        return taker.records(self.name, series)


ENTRIES = (Threads(),)
