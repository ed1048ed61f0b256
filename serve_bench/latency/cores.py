"""Which cores a replicate is timed on: all its processes take turns on the same ones, drawn anew for each replicate.

The cores of one machine differ for seconds and minutes: a neighbour computes beside one of them. Left to
the system, a process stays on the core it was first put on, and a ratio then holds the difference of two cores. Bound
to one draw of cores, both sides have it, and it cancels. Linux alone lets a process be bound.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LOOK_S = 0.05
"""How long the cores are watched for others' work before some are drawn: five ticks of the kernel's count."""
SYSTEM, STAT, PROCESSES = Path("/sys/devices/system"), Path("/proc/stat"), Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Topology:
    """The cores that this process may use, by number."""

    physical: tuple[tuple[int, ...], ...]
    """Hardware threads of one physical core together, in order of their numbers."""
    nodes: tuple[tuple[int, ...], ...]
    """Cores with the same memory near them."""
    fastest: frozenset[int]
    """Of a processor with several kinds of cores, those of the fastest kind; else all."""

    @property
    def cores(self) -> tuple[int, ...]:
        return tuple(sorted(core for group in self.physical for core in group))

    def homes(self, threads: int) -> tuple[tuple[int, ...], ...]:
        """Cores to draw `threads` from: the fastest of each memory node that has as many of them; where none has, the
        cores of each node that has as many; else all."""
        fastest = tuple(tuple(core for core in node if core in self.fastest) for node in self.nodes)
        for groups in (fastest, self.nodes):
            if found := tuple(group for group in groups if len(group) >= threads):
                return found
        return (self.cores,)


def topology(system: Path = SYSTEM) -> Topology | None:
    """What the kernel says; None where it binds no process to a core."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    try:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores)
    except OSError:
        return None
    capacity = {core: _number(system / f"cpu/cpu{core}/cpu_capacity") for core in cores}
    siblings = {core: _listed(system / f"cpu/cpu{core}/topology/thread_siblings_list") for core in cores}
    nodes = [_listed(path) for path in sorted(system.glob("node/node[0-9]*/cpulist"))]
    return Topology(
        physical=_parts(cores, [*siblings.values(), *((core,) for core in cores if not siblings[core])]),
        nodes=_parts(cores, [*nodes, set(cores).difference(*nodes)]),
        fastest=frozenset(core for core in cores if capacity[core] == max(capacity.values())),
    )


def _parts(cores: Sequence[int], groups: Collection[Collection[int]]) -> tuple[tuple[int, ...], ...]:
    """What of `cores` is in each of `groups`, in order."""
    return tuple(sorted({tuple(sorted(set(cores) & set(group))) for group in groups} - {()}))


def _number(path: Path) -> int:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return 0


def _listed(path: Path) -> tuple[int, ...]:
    """ "0-3,8" → 0, 1, 2, 3, 8; nothing where the file is not there."""
    found: list[int] = []
    with suppress(OSError, ValueError):
        for part in path.read_text().strip().split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    return tuple(found)


def idle_ticks(stat: Path = STAT) -> dict[int, int]:
    """Hundredths of a second that each core has been idle, waiting for a disk included; empty where it is not told."""
    found = {}
    with suppress(OSError, ValueError, IndexError):
        for line in stat.read_text().splitlines():
            name, *values = line.split()
            if name.startswith("cpu") and name != "cpu":
                found[int(name[3:])] = int(values[3]) + int(values[4])
    return found


def busy(before: Mapping[int, int], after: Mapping[int, int], seconds: float) -> frozenset[int]:
    """Cores that others had for more than half of the `seconds` between two readings of `idle_ticks`."""
    return frozenset(core for core, ticks in after.items() if ticks - before.get(core, ticks) < 100 * seconds / 2)


def watched() -> frozenset[int]:
    """The cores that are busy now; this takes LOOK_S."""
    before = idle_ticks()
    time.sleep(LOOK_S)
    return busy(before, idle_ticks(), LOOK_S)


def draw(
    where: Topology, home: Collection[int], taken: Collection[int], threads: int, rng: random.Random
) -> tuple[int, ...]:
    """`threads` of the cores in `home`, fewer where there are not as many.

    Physical cores that stand next to each other, beginning at a random one, since they share a cache; those on which
    nothing is `taken` come first, and the second hardware thread of a core comes after the first of all others.
    """
    groups = [tuple(core for core in group if core in home) for group in where.physical]
    groups = [group for group in groups if group]
    start = rng.randrange(len(groups))
    groups = groups[start:] + groups[:start]
    groups.sort(key=lambda group: any(core in taken for core in group))
    order = [(place, i, core) for i, group in enumerate(groups) for place, core in enumerate(group)]
    return tuple(sorted(core for _, _, core in sorted(order)[:threads]))


def bind(pid: int, cores: Collection[int]) -> None:
    """Binds all threads of a process, and those that they start from now on; one that has ended is passed over.

    Raises OSError where the system refuses.
    """
    with suppress(FileNotFoundError):
        for thread in sorted((PROCESSES / str(pid) / "task").iterdir()):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cores)


@contextmanager
def bound(cores: Collection[int]) -> Iterator[None]:
    """Binds the calling thread, where the system lets it; with no cores it stays where it is."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    with suppress(OSError):
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
