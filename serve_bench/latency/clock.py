"""The only clock: every latency of every backend is read in this file, around the same four calls.

`time.perf_counter_ns` around a boundary that the record names. The methods are bound and the list is made before the
loop, so that what the loop itself adds to a run is two clock readings and a few calls (see `overhead.py`).
"""

from __future__ import annotations

import functools
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from export.bundle.types import Boundary
from serve_bench.backends._base import Arrays, Session

SETTLED_WITHIN = 0.05
"""Largest relative change of the running median over one doubling of the runs that counts as settled."""
CALIBRATION = range(4_000)
"""What `calibrate` adds up."""
COPIED = 8 << 20
"""Bytes that `calibrate_copy` copies: more than a core's own cache."""
SETTLE_AT_LEAST_S = 0.005
"""A run of microseconds is warmed up at least this long: two of them are equal by luck."""

SPIN_NS = 1_000_000
"""A start is awaited in a loop for its last millisecond: a sleep may end late."""


class Settled(NamedTuple):
    """How a warm-up went."""

    runs: int
    """Runs it took, the first included."""
    settled: bool
    """False where `limit_s` ended it."""
    median_ns: int
    """Median of the later half of the runs."""
    first_ns: int
    """The very first run: part of the cold start."""


@contextmanager
def no_collection() -> Iterator[None]:
    """Garbage collection off: a collection inside a run would be booked on whichever backend was next."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def timed_runs(session: Session, boundary: Boundary, batches: Sequence[Arrays], runs: int, offset: int) -> list[int]:
    """Latencies of `runs` runs in ns, in the order they were taken; run i gets `batches[(offset + i) % len(batches)]`.

    `host`: bind + run + sync + outputs. `device`: run + sync, with the input bound and the device idle before.
    `compute`: what `session.elapsed_ns()` says after run + sync; raises BackendFailed where there are no events.
    """
    inputs = [batches[(offset + i) % len(batches)] for i in range(runs)]
    with no_collection():
        if boundary == "host":
            return _host(session, inputs)
        if boundary == "device":
            return _device(session, inputs)
        return _compute(session, inputs)


def _host(session: Session, inputs: list[Arrays]) -> list[int]:
    clock = time.perf_counter_ns
    bind, run, sync, outputs = session.bind, session.run, session.sync, session.outputs
    latencies = [0] * len(inputs)
    for i, batch in enumerate(inputs):
        start = clock()
        bind(batch)
        run()
        sync()
        outputs()
        latencies[i] = clock() - start
    return latencies


def _device(session: Session, inputs: list[Arrays]) -> list[int]:
    clock = time.perf_counter_ns
    bind, run, sync = session.bind, session.run, session.sync
    latencies = [0] * len(inputs)
    for i, batch in enumerate(inputs):
        bind(batch)
        sync()
        start = clock()
        run()
        sync()
        latencies[i] = clock() - start
    return latencies


def _compute(session: Session, inputs: list[Arrays]) -> list[int]:
    bind, run, sync, elapsed_ns = session.bind, session.run, session.sync, session.elapsed_ns
    latencies = [0] * len(inputs)
    for i, batch in enumerate(inputs):
        bind(batch)
        sync()
        run()
        sync()
        latencies[i] = elapsed_ns()
    return latencies


def timed_answer(session: Session, batch_of: Callable[[Sequence[int]], Arrays], rows: Sequence[int]) -> tuple[int, int]:
    """Stamps in ns around one answer to samples that come from outside, boundary `host`: putting the samples `rows`
    together counts too."""
    start = time.perf_counter_ns()
    session.bind(batch_of(rows))
    session.run()
    session.sync()
    session.outputs()
    return start, time.perf_counter_ns()


def calibrate() -> int:
    """Nanoseconds of a fixed loop of integer additions, the least of three: what the machine does at this moment.

    A quarter of a millisecond in all; no memory but the processor's own, no library.
    """
    best = 0
    with no_collection():
        for _ in range(3):
            start = time.perf_counter_ns()
            total = 0
            for i in CALIBRATION:
                total += i
            taken = time.perf_counter_ns() - start
            best = min(best or taken, taken)
    return best


def calibrate_copy() -> int:
    """Nanoseconds of copying COPIED bytes, the least of three: what caches and memory do at this moment.

    Neighbours on one processor share both, and a model whose tensors leave a core's own cache feels them.
    """
    source, target = _buffers()
    best = 0
    with no_collection():
        for _ in range(3):
            start = time.perf_counter_ns()
            target[:] = source
            taken = time.perf_counter_ns() - start
            best = min(best or taken, taken)
    return best


@functools.cache
def _buffers() -> tuple[memoryview, memoryview]:
    return memoryview(b"\2" * COPIED), memoryview(bytearray(b"\1") * COPIED)


def soon_ns(lead_s: float) -> int:
    """A time on this clock `lead_s` seconds from now.

    `time.perf_counter_ns` is one clock for all processes of a machine (on Linux CLOCK_MONOTONIC, on a Mac
    mach_absolute_time), so that several can be told to begin at one time.
    """
    return time.perf_counter_ns() + round(lead_s * 1e9)


def runs_between(
    session: Session, batches: Sequence[Arrays], start_ns: int, end_ns: int, offset: int
) -> tuple[list[int], list[int]]:
    """Starts, in ns after `start_ns`, and latencies of all runs that begin between two times on this clock; at least
    one. Boundary `host`; run i gets `batches[(offset + i) % len(batches)]`."""
    clock, count = time.perf_counter_ns, len(batches)
    bind, run, sync, outputs = session.bind, session.run, session.sync, session.outputs
    starts: list[int] = []
    latencies: list[int] = []
    with no_collection():
        time.sleep(max(start_ns - clock() - SPIN_NS, 0) / 1e9)
        while clock() < start_ns:
            pass
        while True:
            batch = batches[(offset + len(starts)) % count]
            start = clock()
            if start >= end_ns and starts:
                return starts, latencies
            bind(batch)
            run()
            sync()
            outputs()
            latencies.append(clock() - start)
            starts.append(start - start_ns)


def settle(session: Session, boundary: Boundary, batches: Sequence[Arrays], limit_s: float) -> Settled:
    """Warms up until the running median has settled, or until `limit_s` seconds have passed since the first run.

    The first run is cold start, counted apart. The running median m(n) is that of the later half of the n runs after
    it. It is looked at for n = 1, 2, 4, … and has settled when a doubling of the runs moved it by at most 5 %,
    |m(n) − m(n/2)| ≤ 0.05·m(n), and 5 ms have passed. Why: where a warm-up decays, runs n/2 … n being within 5 % of
    runs n/4 … n/2 leaves less than 5 % still to come, as each doubling removes more than the one before; a fixed count
    is too short for a compiler and too long for a batch of 512. At least two runs are made, whatever the limit, and
    the first, which may compile, does not count to it.
    """
    first_ns = timed_runs(session, boundary, batches, 1, 0)[0]
    deadline = time.perf_counter() + limit_s
    earliest = time.perf_counter() + min(SETTLE_AT_LEAST_S, limit_s)
    latencies = timed_runs(session, boundary, batches, 1, 1)
    before, settled = latencies[0], False
    while not (settled and time.perf_counter() >= earliest) and time.perf_counter() < deadline:
        whole = _run_until(session, boundary, batches, latencies, 2 * len(latencies), deadline)
        median = round(statistics.median(latencies[len(latencies) // 2 :]))
        settled = whole and abs(median - before) <= SETTLED_WITHIN * median
        before = median
    return Settled(1 + len(latencies), settled, before, first_ns)


def _run_until(
    session: Session, boundary: Boundary, batches: Sequence[Arrays], latencies: list[int], runs: int, deadline: float
) -> bool:
    """Adds runs to `latencies` until there are `runs` (True) or the deadline has passed (False); adds at least one."""
    while len(latencies) < runs:
        chunk = min(runs - len(latencies), max(1, len(latencies) // 4))
        latencies += timed_runs(session, boundary, batches, chunk, 1 + len(latencies))
        if time.perf_counter() >= deadline:
            return len(latencies) >= runs
    return True
