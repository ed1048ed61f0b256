"""What the measuring loop itself adds to a run: timed runs of a session beside the same calls in a bare loop.

    python -m serve_bench.latency.overhead

Expected: at most 1000 ns a run. Only part of it falls between the two clock readings and so into a latency.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from serve_bench.backends._base import Arrays, Session
from serve_bench.latency.clock import timed_runs

if TYPE_CHECKING:
    from export.bundle.types import Artifact


class Overhead(NamedTuple):
    """Nanoseconds a run, medians over trials."""

    bare_ns: float
    """The four calls in a loop without a clock."""
    timed_ns: float
    """The same under `timed_runs`, all of it included."""
    added_ns: float
    """Median over trials of the difference of neighbours."""
    recorded_ns: float
    """What `timed_runs` says that a run took."""


def loop_overhead(session: Session, batches: Sequence[Arrays], runs: int = 20_000, trials: int = 15) -> Overhead:
    """The two loops in turn, so that drift of the machine hits both; boundary `host`."""
    bare, timed, recorded = [], [], []
    for _ in range(trials):
        bare.append(_bare_ns(session, batches, runs) / runs)
        start = time.perf_counter_ns()
        latencies = timed_runs(session, "host", batches, runs, 0)
        timed.append((time.perf_counter_ns() - start) / runs)
        recorded.append(statistics.median(latencies))
    added = [t - b for t, b in zip(timed, bare, strict=True)]
    return Overhead(*(statistics.median(values) for values in (bare, timed, added, recorded)))


def _bare_ns(session: Session, batches: Sequence[Arrays], runs: int) -> int:
    bind, run, sync, outputs = session.bind, session.run, session.sync, session.outputs
    inputs = [batches[i % len(batches)] for i in range(runs)]
    start = time.perf_counter_ns()
    for batch in inputs:
        bind(batch)
        run()
        sync()
        outputs()
    return time.perf_counter_ns() - start


def null_artifact() -> Artifact:
    """What the null backend opens: images of 28 × 28 in and out, of no file."""
    from export.bundle.types import Artifact, TensorSpec

    spec = TensorSpec(name="x", dtype="float32", shape=("batch", 1, 28, 28))
    return Artifact(
        format="null",
        precision="float32",
        path="null",
        sha256="",
        content="",
        bytes=0,
        parent=None,
        producers={},
        build_seconds=0.0,
        inputs=(spec,),
        outputs=(spec,),
    )


def null_overhead(runs: int = 20_000, trials: int = 15) -> Overhead:
    """`loop_overhead` of the null backend with one image of 28 × 28 a batch."""
    import numpy as np

    from serve_bench.backends.null import NullSession

    batches = [{"x": np.ones((1, 1, 28, 28), np.float32)} for _ in range(8)]
    return loop_overhead(NullSession(null_artifact()), batches, runs, trials)


if __name__ == "__main__":
    found = null_overhead()
    sys.stdout.write(
        f"bare {found.bare_ns:.0f} ns, timed {found.timed_ns:.0f} ns: the loop adds {found.added_ns:.0f} ns a run "
        f"(a run of nothing is recorded as {found.recorded_ns:.0f} ns)\n"
    )
