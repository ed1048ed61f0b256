"""SingleStream: one sample a query, the next one when the last is answered. Its result is p90."""

from __future__ import annotations

from serve_bench.latency.scenarios._base import Asked, Found, Load, Name, Run, Say, until_long_enough
from serve_bench.latency.stats import least_samples

LEAST_EXPECTED_NS = 2_000
"""LoadGen makes its queries beforehand, some 400 bytes each: a backend that computes nothing must not fill memory."""
SHARES = (0.5, 0.1)
"""Of the pilot's time, what LoadGen is told to expect; the second where the first ended too early."""


def expected_ns(pilot_ns: float, share: float) -> int:
    """A latency to expect: below the pilot's, so that the queries made beforehand do not run out."""
    return max(round(pilot_ns * share), LEAST_EXPECTED_NS)


class SingleStream:
    name: Name = "SingleStream"
    quantile = "p90"

    def batch(self, asked: Asked) -> int:
        return 1

    def measure(self, pilot_ns: float, batch: int, asked: Asked, run: Run, say: Say) -> Found:
        queries = least_samples(0.9)
        loads = [
            Load(
                scenario=self.name,
                min_duration_s=asked.min_duration_s,
                min_queries=queries,
                expected_s=max(asked.min_duration_s, queries * pilot_ns / 1e9),
                expected_ns=expected_ns(pilot_ns, share),
            )
            for share in SHARES
        ]
        load, served = until_long_enough(run, loads)
        return Found(load=load, served=served)


ENTRIES = (SingleStream(),)
