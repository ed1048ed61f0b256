"""Who runs when, and how often: pure functions of run times, a budget and a random generator."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

BUDGET_S = 30.0
"""Seconds of timed and re-warming runs of a whole run, unless asked otherwise: with set-up and reports it keeps seven
forms at four batch sizes within a minute on two cores."""
ROUNDS = 4
"""Rounds of one replicate: visits of a cell are spread over its whole length."""
REWARM_NS = 10_000_000
"""A visit first runs untimed for about this long: caches hold the code and data of the cell that was visited before.
Measured: eager's runs are 24 % slower one millisecond after a switch, 4 % after three, within 1 % after ten."""


class Visit(NamedTuple):
    """One turn of one cell."""

    cell: int
    round: int
    runs: int
    """Timed runs."""
    discarded: int
    """Untimed runs before them."""


@dataclass(frozen=True, kw_only=True)
class Allotment:
    """Timed runs of each cell in one replicate."""

    runs: tuple[int, ...]
    planned_ns: float
    """What they take, untimed runs included."""
    over_ns: float
    """How far the least that every cell gets goes over the budget; 0 where it does not."""


def discarded_runs(run_ns: float) -> int:
    """Untimed runs at the start of a visit: one, or as many as fit `REWARM_NS`."""
    return max(1, int(REWARM_NS // max(run_ns, 1.0)))


def cost_ns(run_ns: float, runs: int) -> float:
    """What `runs` timed runs of one replicate take, the untimed ones before them included."""
    return run_ns * (runs + visits_of(runs) * discarded_runs(run_ns))


def runs_within(run_ns: float, level_ns: float) -> int:
    """The most timed runs of one replicate that take no longer than `level_ns`, untimed ones included; 0 for none."""
    discarded, fitting = discarded_runs(run_ns), int(level_ns // max(run_ns, 1.0))
    for visits in range(ROUNDS, 0, -1):
        runs = fitting - visits * discarded
        if runs >= 2 * visits or (visits == 1 and runs > 0):
            return runs if visits == ROUNDS else min(runs, 2 * visits + 1)
    return 0


def visits_of(runs: int) -> int:
    """Rounds of a replicate in which a cell of so many timed runs is visited: at least two runs a visit."""
    return min(ROUNDS, max(1, runs // 2))


def allot(run_ns: Sequence[float], budget_ns: float, least: int, most: int) -> Allotment:
    """Fair shares of `budget_ns` by water-filling: equal *time* for every cell, between `least` and `most` runs.

    `run_ns[c]` is the time of one run of cell c. What a fast cell cannot use (it has its `most` runs) and what a slow
    one takes above its share (its `least`) is settled among the others. Equal time, not equal runs: small batches
    then reach the sample that p90 and p99 need, and a slow cell does not eat the budget. Where the least of the slow
    cells takes it all, the others still get half of an equal share each, and the budget is exceeded by that.
    """

    def runs_at(level_ns: float) -> list[int]:
        return [min(max(runs_within(t, level_ns), least), most) for t in run_ns]

    def total(runs: Sequence[int]) -> float:
        return sum(cost_ns(t, n) for t, n in zip(run_ns, runs, strict=True))

    low, high = budget_ns / max(2 * len(run_ns), 1), max((cost_ns(t, most) for t in run_ns), default=0.0)
    minimum = total(runs_at(low))
    if minimum < budget_ns:
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if total(runs_at(middle)) <= budget_ns else (low, middle)
        if total(runs_at(high)) <= budget_ns:
            low = high
    runs = runs_at(low)
    return Allotment(runs=tuple(runs), planned_ns=total(runs), over_ns=max(0.0, minimum - budget_ns))


def plan_rounds(runs: Sequence[int], run_ns: Sequence[float], rng: random.Random) -> list[Visit]:
    """Visits of one replicate: `ROUNDS` rounds, each over all cells in a random order of its own.

    A visit has at least two timed runs: a cell with too few for all rounds is visited in some, drawn at random.
    """
    turns: list[list[Visit]] = [[] for _ in range(ROUNDS)]
    for cell, count in enumerate(runs):
        visits = visits_of(count)
        chosen = sorted(rng.sample(range(ROUNDS), visits))
        for i, number in enumerate(chosen):
            share = count // visits + (i < count % visits)
            turns[number].append(Visit(cell, number, share, discarded_runs(run_ns[cell])))
    for turn in turns:
        rng.shuffle(turn)
    return [visit for turn in turns for visit in turn]


def most_runs(replicates: int, samples: int = 2000) -> int:
    """Most timed runs of a cell in one replicate: `samples` over the whole run, three times what p99 needs."""
    return math.ceil(samples / replicates)


def least_runs(replicates: int, samples: int = 11) -> int:
    """Fewest timed runs of a cell in one replicate: 2, or what a median with its bound needs over the whole run."""
    return max(2, math.ceil(samples / replicates))
