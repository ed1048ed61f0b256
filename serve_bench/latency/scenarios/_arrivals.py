"""When Server's queries were due: LoadGen's schedule, made again from its seed.

LoadGen tells only quantiles of the latencies it takes, so the scheduled arrivals are drawn again as it draws them
(`loadgen.cc`: `std::mt19937` seeded with schedule_rng_seed, gaps from `std::exponential_distribution`, cut to whole
nanoseconds, the first arrival at 0), and the result is checked against what it reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BackendFailed

Ints = npt.NDArray[np.int64]
SLACK, SLACK_NS = 0.05, 20_000
"""How far our p50 and p90 may lie from LoadGen's: its stamps come a little after ours."""


def arrivals(seed: int, rate: float, count: int) -> Ints:
    """Scheduled arrivals in ns after the first, `rate` a second on average; (count,).

    A double in [0, 1) is made of two 32-bit draws, low word first (libstdc++'s `generate_canonical`), a gap is
    −ln(1 − u) / rate. `RandomState` seeds the Mersenne Twister as `std::mt19937` does.
    """
    draws = np.random.RandomState(seed).randint(0, 2**32, size=2 * count, dtype=np.uint32).astype(np.float64)
    uniform = (draws[0::2] + draws[1::2] * 2.0**32) / 2.0**64
    gaps = (-np.log1p(-uniform) / rate * 1e9).astype(np.int64)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(gaps)[:-1]])[:count]


def from_arrival(begun: Ints, ended: Ints, due: Ints, reported: Mapping[str, Any]) -> tuple[Ints, float]:
    """Latencies from the scheduled arrival in ns, and how late an idle session was handed a query (median, ns).

    `begun` and `ended` are stamps of one clock, `due` the schedule. Its start is where the mean latency becomes
    LoadGen's own. Raises BackendFailed where other quantiles then differ: the schedule is not LoadGen's.
    """
    after = ended - ended[0] - due
    offset = float(reported["result_mean_latency_ns"]) - float(after.mean())
    latencies = np.maximum(np.rint(after + offset), 1).astype(np.int64)
    ordered = np.sort(latencies)
    for percent in (50, 90):
        theirs = int(reported[f"result_{percent}.00_percentile_latency_ns"])
        ours = int(ordered[len(ordered) * percent // 100])
        if abs(ours - theirs) > SLACK * theirs + SLACK_NS:
            raise BackendFailed(
                f"Server: LoadGen's schedule could not be made again (its p{percent} is {theirs} ns, ours {ours} ns): "
                "install the tested version, pip install mlcommons-loadgen==6.0.17"
            )
    scheduled = ended - latencies
    return latencies, float(np.median((begun - scheduled)[idle(ended, latencies)]))


def idle(ended: Ints, latencies: Ints) -> npt.NDArray[np.bool_]:
    """Of each query, whether all before it were answered when it was due."""
    return np.concatenate([[True], (ended - latencies)[1:] > ended[:-1]])
