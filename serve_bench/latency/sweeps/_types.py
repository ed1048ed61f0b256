"""What a sweep is asked, and the point that it records."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from export.bundle.types import Boundary, Json, Precision, TensorSpec
from serve_bench.latency.stats import medians_by_replicate
from serve_bench.latency.sweeps._window import Runs, Window, completed, inside

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from export.bundle.store import Bundle
    from export.progress import Bar
    from serve_bench.cells import Cell
    from serve_bench.latency.gpu_state import GpuState
    from serve_bench.worker import Workers

LIMIT = 4096
"""Largest batch of the batch sweep, unless another is asked for."""
REPLICATES = 3
"""Of a sweep, unless more are asked for: it has many points."""
BATCHES = (1, 64)
"""Of the sweeps whose axis is not the batch."""


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """Raw latencies of one artifact on one backend at one place of a sweep."""

    sweep: str
    """Name of the sweep's entry."""
    artifact: str
    artifact_sha256: str
    backend: str
    device: str
    precision: Precision
    """What it computes in; of a point that failed, what its form asks for."""
    precision_asked: Precision
    """What its form asks for."""
    boundary: Boundary
    batch: int
    threads: int
    length: int | None
    """Of every sequence; None where the inputs are as the test set has them."""
    processes: int
    """Running at once."""
    latencies_ns: tuple[int, ...]
    """One whole run each, in the order they were taken; with several processes one after the other."""
    replicates: tuple[int, ...]
    """Replicate (sessions made anew in processes made anew) of each latency."""
    starts_ns: tuple[int, ...] = ()
    """Of the concurrency sweep: start of each run after its replicate's barrier."""
    process_of: tuple[int, ...] = ()
    """Of the concurrency sweep: number of the process of each run."""
    windows: tuple[Window, ...] = ()
    """Of the concurrency sweep: in which all processes were running, one a replicate; only what lies in it counts."""
    run: str
    """Names the run of the sweep: only points of one run are compared."""
    started: str
    """UTC, ISO 8601."""
    environment: str
    """Environment.id."""
    ended: str
    """What ended the series of this point: "throughput stopped rising", "limit 4096", "budget", "error", …"""
    settings: Mapping[str, Json] = field(default_factory=dict)
    facts: Mapping[str, Json] = field(default_factory=dict)
    """points (of the run), budget_s, spent_s, replicates, seed, warm-up, …"""
    error: str = ""
    """Why there is no figure; empty where there is one."""

    def runs_of(self, replicate: int) -> list[Runs]:
        """Runs of each process in one replicate, in the order of the processes."""
        found: dict[int, Runs] = {}
        columns = zip(self.replicates, self.process_of, self.starts_ns, self.latencies_ns, strict=True)
        for number, process, start, latency in columns:
            if number == replicate:
                runs = found.setdefault(process, Runs([], []))
                runs.starts_ns.append(start)
                runs.latencies_ns.append(latency)
        return [found[process] for process in sorted(found)]

    def counted(self) -> list[list[int]]:
        """Latencies that count, of each process: those that lie inside the windows; without windows all of them."""
        return [[latency for latency, _ in process] for process in self._counted()]

    def counted_replicates(self) -> list[int]:
        """The replicate of each latency of `counted`, process after process."""
        return [replicate for process in self._counted() for _, replicate in process]

    def _counted(self) -> list[list[tuple[int, int]]]:
        if not self.windows:
            return [list(zip(self.latencies_ns, self.replicates, strict=True))] if self.latencies_ns else []
        found: list[list[tuple[int, int]]] = [[] for _ in range(self.processes)]
        for window in self.windows:
            for process, runs in zip(found, self.runs_of(window.replicate), strict=True):
                process += [(latency, window.replicate) for latency in inside(runs, window)]
        return found

    def ns_per_sample(self) -> dict[int, float]:
        """Time a sample by replicate: median latency over batch, or length of the window over the samples that were
        answered in it by all processes."""
        if not self.windows:
            medians = medians_by_replicate(self.latencies_ns, self.replicates)
            return {replicate: median / self.batch for replicate, median in medians.items()}
        found = {}
        for window in self.windows:
            count = sum(completed(runs, window) for runs in self.runs_of(window.replicate))
            found[window.replicate] = (window.end_ns - window.start_ns) / (max(count, 1) * self.batch)
        return found

    def throughput(self) -> float | None:
        """Samples a second: at the median latency; of several processes, the median over the windows."""
        if not self.latencies_ns:
            return None
        if not self.windows:
            return self.batch * 1e9 / statistics.median(self.latencies_ns)
        return 1e9 / statistics.median(self.ns_per_sample().values())


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What every sweep of one command is given."""

    bundle: Bundle
    workers: Workers
    cells: Sequence[Cell]
    """Those whose verdict passed."""
    samples: Mapping[str, npt.NDArray[np.generic]]
    """Real, model-ready, by name."""
    folder: Path
    """For inputs that worker processes read."""
    environment_id: str
    bar: Bar
    batches: tuple[int, ...] = ()
    """Empty: `BATCHES`, or the one that the model's graph is fixed to."""
    budget_s: float = 15.0
    """Seconds of timed runs, untimed ones between them included, for one sweep; set-up and warm-up come on top."""
    replicates: int = REPLICATES
    threads: int = 1
    isolate: bool = False
    limit: int = LIMIT
    processes: int | None = None
    """Most processes of the concurrency sweep; None: as many as there are cores."""
    seed: int = 0
    gpus: Callable[[], Sequence[GpuState]] = list
    """Their state now; none where no GPU is measured."""


class Sweep(Protocol):
    """One axis, how it is measured, and what a report says of it."""

    @property
    def name(self) -> str: ...

    @property
    def axis(self) -> str:
        """The field of a point that is swept: "batch", "threads", "precision", "length" or "processes"."""
        ...

    @property
    def compared(self) -> str:
        """Heading of the ratio's column: "against one thread"; empty without one."""
        ...

    @property
    def legend(self) -> str:
        """How it was measured and what ends it, in a few sentences."""
        ...

    def refuses(self, inputs: Sequence[TensorSpec]) -> str | None:
        """Why a model with these inputs has no such axis; None where it has."""
        ...

    def base(self, point: SweepPoint, points: Sequence[SweepPoint]) -> SweepPoint | None:
        """The point of the run that the ratio is against."""
        ...

    def run(self, asked: Asked) -> list[SweepPoint]:
        """Measures every point; what fails is a point with its `error`, and ends its own series only."""
        ...


def same_but(point: SweepPoint, other: SweepPoint, axis: str) -> bool:
    """Whether two points of a run differ in `axis` alone."""
    names = {"artifact_sha256", "backend", "device", "batch", "threads", "length", "processes"} - {axis}
    values: Any = [(getattr(point, name), getattr(other, name)) for name in names]
    return all(one == two for one, two in values)
