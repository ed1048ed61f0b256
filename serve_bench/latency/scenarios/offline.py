"""Offline: all samples in one query, answered in whole batches. Its result is samples a second."""

from __future__ import annotations

import math

from serve_bench.latency.scenarios._base import Asked, Found, Load, Name, Run, Say, until_long_enough

FACTORS = (1.5, 6.0)
"""Times the pilot's rate that is expected: above 1, so that the query outlasts the minimum duration."""

HANDING_NS = 1_000
"""Of each sample, about what LoadGen takes to hand it out and take its answer; what the pilot does not see."""


class Offline:
    name: Name = "Offline"
    quantile = ""

    def batch(self, asked: Asked) -> int:
        return asked.offline_batch

    def measure(self, pilot_ns: float, batch: int, asked: Asked, run: Run, say: Say) -> Found:
        load, served = until_long_enough(run, [self._load(pilot_ns, batch, asked, factor) for factor in FACTORS])
        return Found(load=load, served=served)

    def _load(self, pilot_ns: float, batch: int, asked: Asked, factor: float) -> Load:
        """Whole batches only: a last one of another size could be compiled for in the middle of the run."""
        rate = factor * batch * 1e9 / (pilot_ns + batch * HANDING_NS)
        batches = math.ceil(rate * asked.min_duration_s / batch)
        return Load(
            scenario=self.name,
            min_duration_s=asked.min_duration_s,
            min_queries=batches * batch,
            batch=batch,
            expected_s=batches * (pilot_ns + batch * HANDING_NS) / 1e9,
            rate=rate / 2,
        )


ENTRIES = (Offline(),)
