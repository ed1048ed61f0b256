"""What all replicates of a run have in common: its conditions, and the wall time that they add up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from export.bundle.environment import available_cores
from serve_bench.latency import cores
from serve_bench.latency.gpu_state import GpuState
from serve_bench.latency.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What is the same for every replicate of a run."""

    inputs: Path
    """Model-ready real samples, as `exchange` writes them."""
    threads: int
    isolate: bool
    """A fresh interpreter for every session, none shared or forked."""
    lanes: int
    """Processes that are set up at a time."""
    least: int
    """Timed runs of a subject in one replicate."""
    most: int
    where: cores.Topology | None = None
    """What to draw cores from; None where a process cannot be bound to one."""
    gpus: Callable[[], Sequence[GpuState]] = list
    """Their state now; none where no GPU is measured."""


def lanes_of(subjects: Sequence[Subject], threads: int, where: cores.Topology | None = None) -> int:
    """Processes to set up at a time: as many as have cores of their own; one where a device is not the CPU, which they
    would share."""
    if any(subject.cell.device != "cpu" for subject in subjects):
        return 1
    room = min([available_cores(), *map(len, where.homes(threads) if where else ())])
    return max(1, room // threads)


class Seconds(dict[str, float]):
    """Wall time by part of the work."""

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self[part] = self.get(part, 0.0) + time.perf_counter() - start
