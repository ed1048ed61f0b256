"""MultiStream: several samples a query, the next query when the last is answered. Its result is p99."""

from __future__ import annotations

import math

from serve_bench.latency.scenarios._base import Asked, Found, Load, Name, Run, Say, until_long_enough
from serve_bench.latency.scenarios.single_stream import SHARES, expected_ns
from serve_bench.latency.stats import least_samples


class MultiStream:
    name: Name = "MultiStream"
    quantile = "p99"

    def batch(self, asked: Asked) -> int:
        return asked.samples_per_query

    def measure(self, pilot_ns: float, batch: int, asked: Asked, run: Run, say: Say) -> Found:
        runs, queries = math.ceil(asked.samples_per_query / batch), least_samples(0.99)
        loads = [
            Load(
                scenario=self.name,
                min_duration_s=asked.min_duration_s,
                min_queries=queries,
                samples_per_query=asked.samples_per_query,
                batch=batch,
                expected_s=max(asked.min_duration_s, queries * runs * pilot_ns / 1e9),
                expected_ns=expected_ns(pilot_ns * runs, share),
            )
            for share in SHARES
        ]
        load, served = until_long_enough(run, loads)
        return Found(load=load, served=served)


ENTRIES = (MultiStream(),)
