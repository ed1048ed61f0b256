"""Throughput and latency against batch size, up to where throughput stops rising."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from export.bundle.types import TensorSpec
from serve_bench._child import fixed_batch
from serve_bench.latency.sweeps._series import Step, Taker, doublings, end_rest, written
from serve_bench.latency.sweeps._types import Asked, SweepPoint, same_but

RISE = 0.05
"""Of throughput over one doubling: less is none."""
FLAT_DOUBLINGS = 2
STOPPED = "throughput stopped rising"


def stopped_rising(throughputs: Sequence[float], rise: float = RISE, doublings: int = FLAT_DOUBLINGS) -> bool:
    """Whether each of the last doublings raised the throughput by less than `rise`; `throughputs` by doubled batch."""
    pairs = list(pairwise(throughputs))[-doublings:]
    return len(pairs) == doublings and all(later < before * (1 + rise) for before, later in pairs)


class Batch:
    name = "batch"
    axis = "batch"
    compared = "against half the batch"
    legend = (
        "Batch sizes are doubled for each backend until two doublings in a row raise its samples a second by less "
        f"than {100 * RISE:g} %, its least runs take more than its share of the budget, or it fails. "
        "Samples a second are at the median latency."
    )

    def refuses(self, inputs: Sequence[TensorSpec]) -> str | None:
        return None

    def base(self, point: SweepPoint, points: Sequence[SweepPoint]) -> SweepPoint | None:
        smaller = [p for p in points if same_but(point, p, "batch") and p.batch < point.batch and p.latencies_ns]
        return max(smaller, key=lambda p: p.batch, default=None)

    def run(self, asked: Asked) -> list[SweepPoint]:
        inputs = written(asked, asked.samples)
        first = fixed_batch(asked.bundle.manifest.inputs) or 1
        batches = doublings(first, asked.limit, and_last=False)
        steps = [Step(inputs=inputs, threads=asked.threads, batch=batch) for batch in batches]
        taker = Taker(asked)
        series = taker.open((first,), steps[0])
        for done, step in enumerate(steps):
            if all(one.ended for one in series):
                break
            taker.take(series, [step], taker.left_s / (len(steps) - done))
            for one in series:
                rates = [p.subject.batch / p.run_ns for p in one.points if p.run_ns]
                if not one.ended and stopped_rising(rates):
                    one.ended = STOPPED
        end_rest(series, f"limit {steps[-1].batch}")
        return taker.records(self.name, series)


ENTRIES = (Batch(),)
