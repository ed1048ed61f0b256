"""Server: one sample a query, Poisson arrivals, served one at a time in the order of arrival.

Its result is the highest rate of arrivals whose p99, counted from the scheduled arrival, stays under a bound while the
queue does not grow.
"""

from __future__ import annotations

from collections.abc import Callable

from serve_bench.latency.scenarios._base import GIVEN, Asked, Found, Load, Name, Run, Say, Served, Trial
from serve_bench.latency.stats import least_samples

DEFAULT_BOUND = 10
"""Times the pilot's median, where no bound is given."""
HALVINGS = 4
"""The lowest rate that is tried is 1/2⁴ of what the session could serve without a pause."""
HANDING_NS = 5_000
"""About what LoadGen takes to hand out one query and take its answer; what the pilot does not see."""
PRECISION = 0.05
"""The search ends where the rate that failed is at most this share above the one that held."""


def trials_of(attempt: Callable[[float], Trial], ceiling: float) -> tuple[Trial, ...]:
    """Every rate that was tried, in turn; the highest that held is the result.

    From half of `ceiling` (queries a second that no queue can bear) downwards until a rate holds, at most
    `HALVINGS` − 1 times; then bisection between it and the lowest that failed, or the ceiling, to `PRECISION`.
    """
    trials = [attempt(ceiling / 2)]
    failed = ceiling
    while not trials[-1].held:
        failed = trials[-1].rate
        if len(trials) == HALVINGS:
            return tuple(trials)
        trials.append(attempt(failed / 2))
    held = trials[-1].rate
    while failed - held > PRECISION * failed:
        trials.append(attempt((held + failed) / 2))
        if trials[-1].held:
            held = trials[-1].rate
        else:
            failed = trials[-1].rate
    return tuple(trials)


class Server:
    name: Name = "Server"
    quantile = "p99"

    def batch(self, asked: Asked) -> int:
        return 1

    def measure(self, pilot_ns: float, batch: int, asked: Asked, run: Run, say: Say) -> Found:
        given = asked.latency_bound_ns
        bound_ns, queries = given or round(DEFAULT_BOUND * pilot_ns), least_samples(0.99)
        runs: dict[float, tuple[Load, Served]] = {}

        def attempt(rate: float) -> Trial:
            load = Load(
                scenario=self.name,
                min_duration_s=asked.min_duration_s,
                min_queries=queries,
                expected_s=max(asked.min_duration_s, queries / rate),
                rate=rate,
                latency_bound_ns=bound_ns,
            )
            say(f"rate {len(runs) + 1}: {rate:,.0f} a second")
            served = run(load)
            runs[rate] = load, served
            return Trial(
                rate=rate,
                p99_ns=int(served.reported["result_99.00_percentile_latency_ns"]),
                queries=served.queries,
                valid=served.valid,
                reasons=served.reasons,
                kept_up=served.kept_up,
            )

        trials = trials_of(attempt, 1e9 / (pilot_ns + HANDING_NS))
        held = [trial.rate for trial in trials if trial.held]
        load, served = runs[max(held) if held else trials[-1].rate]
        return Found(
            load=load,
            served=served,
            latency_bound_ns=bound_ns,
            bound_from=GIVEN if given else f"{DEFAULT_BOUND} times the pilot's median",
            trials=trials,
        )


ENTRIES = (Server(),)
