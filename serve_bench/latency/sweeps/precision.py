"""Latency of every precision that the bundle holds, backend by backend."""

from __future__ import annotations

from collections.abc import Sequence

from export.bundle.types import TensorSpec
from serve_bench.latency.sweeps._series import Step, Taker, batches_of, end_rest, written
from serve_bench.latency.sweeps._types import Asked, SweepPoint


class Precision:
    name = "precision"
    axis = "precision"
    compared = "against its float32"
    legend = (
        "Every form of the bundle that a backend runs, all in one interleaved run; the ratio is to the float32 form on "
        "the same backend, paired by replicate."
    )

    def refuses(self, inputs: Sequence[TensorSpec]) -> str | None:
        return None

    def base(self, point: SweepPoint, points: Sequence[SweepPoint]) -> SweepPoint | None:
        place = (point.backend, point.device, point.batch)
        same = (p for p in points if (p.backend, p.device, p.batch) == place)
        return next((p for p in same if p.precision_asked == "float32"), None)

    def run(self, asked: Asked) -> list[SweepPoint]:
        step = Step(inputs=written(asked, asked.samples), threads=asked.threads)
        taker = Taker(asked)
        series = taker.open(batches_of(asked), step)
        taker.take(series, [step], asked.budget_s)
        end_rest(series, "every form")
        return taker.records(self.name, series)


ENTRIES = (Precision(),)
