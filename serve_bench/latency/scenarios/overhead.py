"""What LoadGen itself adds to a query: SingleStream over a session that computes nothing.

    python -m serve_bench.latency.scenarios.overhead

Expected: 1 to 6 µs a query. None of it is in the latencies that are kept of SingleStream and MultiStream.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

ENTRIES = ()
"""No scenario itself."""


class LoadgenOverhead(NamedTuple):
    """Nanoseconds a query of a session that computes nothing."""

    added_ns: float
    """LoadGen's median latency less ours: what it adds around a query."""
    between_ns: float
    """Time of the whole run a query, less LoadGen's mean latency: what it needs from one query to the next."""
    queries: int


def loadgen_overhead(min_duration_s: float = 0.5) -> LoadgenOverhead:
    """Runs SingleStream over the null backend, in a process of its own.

    Raises BackendUnavailable where LoadGen is not installed.
    """
    import numpy as np

    from serve_bench.latency.overhead import null_artifact
    from serve_bench.latency.scenarios._base import Asked, named
    from serve_bench.latency.scenarios._run import PILOT_LIMIT_S, require_loadgen
    from serve_bench.worker import Workers

    require_loadgen()
    with Workers() as workers:
        worker = workers.spawn("null", ())
        worker.open("null", "null", null_artifact(), "cpu", 1)
        worker.load_inputs({"x": np.ones((64, 1, 28, 28), np.float32)})
        pilot = worker.warm_up("null", 1, "host", PILOT_LIMIT_S)
        asked = Asked(min_duration_s=min_duration_s)
        found = named("SingleStream").measure(
            pilot.median_ns, 1, asked, lambda load: worker.load("null", load), lambda _: None
        )
    served = found.served
    mean_ns = float(served.reported["result_mean_latency_ns"])
    between = 1e9 / float(served.reported["result_qps_with_loadgen_overhead"]) - mean_ns
    return LoadgenOverhead(float(served.overhead_ns or 0.0), between, served.queries)


if __name__ == "__main__":
    found = loadgen_overhead()
    sys.stdout.write(
        f"LoadGen adds {found.added_ns:.0f} ns to a query, and needs {found.between_ns:.0f} ns from one to the next "
        f"({found.queries:,} queries of nothing)\n"
    )
