"""What a scenario is asked, what one LoadGen run is told and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, cast

from export.bundle.errors import UnknownName, UsageError
from export.bundle.types import Json

PACKAGE = "serve_bench.latency.scenarios"
Name = Literal["SingleStream", "MultiStream", "Offline", "Server"]
SEEDS: Mapping[str, int] = {"qsl_rng_seed": 1, "sample_index_rng_seed": 2, "schedule_rng_seed": 3}
"""LoadGen's seeds of the sample library's order, of which samples a query has, and of arrivals."""
SAMPLES_PER_QUERY = 8
"""Of MultiStream, as MLPerf Inference has it."""
OFFLINE_BATCH = 64
GIVEN = "given"
"""Where a latency bound is from."""
GROWING = "the queue never emptied in the last quarter"
"""Of a run of Server that did not keep up, in the words of a reason."""
LEAST_DURATION_S = 0.05
LONGEST_DURATION_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user wants of every scenario."""

    min_duration_s: float = 2.0
    """Shortest run that LoadGen calls valid."""
    samples_per_query: int = SAMPLES_PER_QUERY
    """Of MultiStream."""
    offline_batch: int = OFFLINE_BATCH
    """Samples in one run, Offline; a form that takes fewer runs with what it takes."""
    latency_bound_ns: int | None = None
    """Of Server's p99; None: `DEFAULT_BOUND` times the pilot's median."""

    def __post_init__(self) -> None:
        """Raises UsageError for what cannot be run."""
        if not LEAST_DURATION_S <= self.min_duration_s <= LONGEST_DURATION_S:
            span = f"{LEAST_DURATION_S:g} to {LONGEST_DURATION_S:g} s"
            raise UsageError(f"a minimum duration of {self.min_duration_s:g} s: ask for {span}, with --min-duration 2")
        if self.samples_per_query < 1 or self.offline_batch < 1:
            raise UsageError("a query needs at least one sample: ask for --samples-per-query 8, --batch 64")
        if self.latency_bound_ns is not None and self.latency_bound_ns < 1:
            raise UsageError("a latency bound must be above 0: ask for --latency-bound 10ms")


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one LoadGen run is told."""

    scenario: Name
    min_duration_s: float
    min_queries: int
    """Of Offline, which has one query: the fewest samples in it."""
    samples_per_query: int = 1
    """Of MultiStream."""
    batch: int = 1
    """Most samples in one run of the session."""
    expected_s: float
    """What the whole run should take, by the pilot: one that takes many times that hangs."""
    expected_ns: int = 0
    """Of SingleStream and MultiStream: a latency that sets how many queries are made beforehand."""
    rate: float = 1.0
    """Queries a second that arrive in Server; samples a second expected of Offline."""
    latency_bound_ns: int = 0
    """Of Server's p99."""
    seeds: Mapping[str, int] = field(default_factory=lambda: dict(SEEDS))


@dataclass(frozen=True, kw_only=True)
class Served:
    """What one LoadGen run gave."""

    latencies_ns: tuple[int, ...]
    """Of each query, Server's from its scheduled arrival; Offline: of each run of a batch. See `taken`."""
    taken: int
    """Latencies taken; where that is more than are kept, every k-th is, evenly over the run."""
    queries: int
    samples: int
    duration_ns: int
    """Offline: from the arrival of the query to its last answer, by LoadGen; else from the first to the last stamp."""
    valid: bool
    """LoadGen's verdict."""
    long_enough: bool
    """Whether the minimum duration was met."""
    kept_up: bool
    """Of Server: whether the queue was empty at some time in the last quarter of the run. A rate that the session
    cannot bear passes a short run under a wide bound; its queue then grows to the end. Always of the others."""
    reasons: tuple[str, ...]
    """Why it is not valid; empty where it is."""
    overhead_ns: float | None
    """LoadGen's own share of a query: its median latency less ours; of Server how late an idle session was handed a
    query (median). None for Offline."""
    reported: Mapping[str, Json]
    """LoadGen's own figures, as its detail log names them."""
    loadgen: str
    """Its version and commit."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One rate that Server was tried at."""

    rate: float
    """Queries a second."""
    p99_ns: int
    """By LoadGen, from the scheduled arrival."""
    queries: int
    """That were answered."""
    valid: bool
    """LoadGen's verdict."""
    reasons: tuple[str, ...] = ()
    """Why it is not valid; empty where it is."""
    kept_up: bool = True
    """Served.kept_up."""

    @property
    def held(self) -> bool:
        """Valid, and not by ending before the queue was too long."""
        return self.valid and self.kept_up


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a scenario came to."""

    load: Load
    """Of the run that is kept."""
    served: Served
    latency_bound_ns: int | None = None
    bound_from: str = ""
    trials: tuple[Trial, ...] = ()


Run = Callable[[Load], Served]
Say = Callable[[str], None]


class Scenario(Protocol):
    """How queries arrive."""

    @property
    def name(self) -> Name: ...

    @property
    def quantile(self) -> str:
        """Which quantile of the latencies is its result: "p90", "p99"; empty where it is a rate."""
        ...

    def batch(self, asked: Asked) -> int:
        """Samples that a session is given at once, if its form takes them."""
        ...

    def measure(self, pilot_ns: float, batch: int, asked: Asked, run: Run, say: Say) -> Found:
        """`pilot_ns` is the median time of one run of `batch` samples."""
        ...


def named(name: str) -> Scenario:
    """The scenario of this name, in whatever case; raises UnknownName, which lists the known ones."""
    from export.registry import entries

    known = entries(PACKAGE)
    found = {entry.casefold(): entry for entry in known}
    if name.casefold() not in found:
        raise UnknownName("scenario", name, known)
    return cast(Scenario, known[found[name.casefold()]])


def until_long_enough(run: Run, loads: list[Load]) -> tuple[Load, Served]:
    """Runs each load in turn until one has met its minimum duration; the last one stands as it is."""
    for load in loads:
        served = run(load)
        if served.long_enough:
            break
    return load, served
