"""When has a run seen enough? Pure functions of what was taken so far and of the time that is left.

The first replicates, as many as were asked for, share three fifths of the budget; their set-up comes on top. While any
ratio's interval is wider than was asked and time is left, further replicates follow: of the batches with such a ratio
alone, all their backends beside one another, so that time goes where it is wanting. Their set-up counts, and so does
what the first ones' took beyond a third of the budget, so that a slow machine does not wait much longer than a quick
one. What stops a run is the width of
an interval, never the word it gives: stopping at the first "faster" would find one by chance. On stopping by width:
Anscombe, Proc. Cambridge Phil. Soc. 48, 1952.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from serve_bench.latency.stats import medians_by_replicate, speed_ratio
from serve_bench.latency.subject import Subject, Taken
from serve_bench.latency.twin import is_baseline

FIRST_SHARE = 0.6
"""Of the budget, for the replicates that were asked for; all of it where no precision was."""
USUAL_PACE = 1.15
"""Measured: seven CPU forms at four batch sizes on two cores, 1.0 to 1.2."""
WITHIN = 1.1
"""Of what is left for a replicate, that it may take."""
FREE_SET_UP = 1 / 3
"""Of the budget: set-up of the first replicates that is not counted."""
LEAST_FREE_S = 10.0
"""Seconds of it that are never counted."""
MOST = 10
"""Times the replicates that were asked for."""


class Width(NamedTuple):
    """How wide the intervals of a run's ratios to eager are."""

    widest: float
    """Half-width of the widest, as a fraction: 0.02 for ±2 %."""
    of: int
    """Index of its subject."""
    wider: int
    """Ratios whose half-width is above what was asked."""
    ratios: int
    unfinished: tuple[int, ...] = ()
    """Subjects of every batch, boundary and device that has a ratio above what was asked."""


def width(subjects: Sequence[Subject], taken: Sequence[Taken], wanted: float) -> Width | None:
    """None where no subject has an eager one of its batch, boundary and device to be compared with."""
    medians = [medians_by_replicate(t.latencies_ns, t.replicates) if not t.error else {} for t in taken]
    bases = {_group(s): m for s, m in zip(subjects, medians, strict=True) if is_baseline(s) and not s.twin}
    halves: dict[int, float] = {}
    for i, subject in enumerate(subjects):
        base = bases.get(_group(subject))
        found = speed_ratio(base, medians[i]) if base and medians[i] and not is_baseline(subject) else None
        if found is not None:
            halves[i] = math.sqrt(found.high / found.low) - 1
    if not halves:
        return None
    worst = max(halves, key=lambda i: halves[i])
    wide = {_group(subjects[i]) for i, half in halves.items() if half > wanted}
    unfinished = tuple(i for i, subject in enumerate(subjects) if _group(subject) in wide)
    return Width(halves[worst], worst, sum(half > wanted for half in halves.values()), len(halves), unfinished)


def comparable(subjects: Iterable[Subject]) -> bool:
    """Whether any of them has an eager one beside it to be compared with."""
    groups: dict[tuple[int, str, str], set[bool]] = {}
    for subject in subjects:
        groups.setdefault(_group(subject), set()).add(is_baseline(subject))
    return any(len(kinds) == 2 for kinds in groups.values())


def _group(subject: Subject) -> tuple[int, str, str]:
    return subject.batch, subject.boundary, subject.cell.device


def spent_s(timed_s: float, set_up_s: float, first_set_up_s: float, budget_s: float, *, further: bool) -> float:
    """Seconds of the budget that are spent, after `timed_s` of timed runs and `set_up_s` of set-up, of which the first
    replicates took `first_set_up_s`: that counts only where a `further` one is thought of."""
    free_s = max(FREE_SET_UP * budget_s, LEAST_FREE_S)
    beyond = max(first_set_up_s - free_s, 0.0) if further else 0.0
    return timed_s + set_up_s - first_set_up_s + beyond


def pace(timed_s: float, meant_s: float) -> float:
    """How many times as long replicates took as was meant for them, at least 1; before the first what is usual: what is
    untimed at the start of a visit takes longer than later runs, and every visit has its requests."""
    return max(timed_s / meant_s, 1.0) if meant_s else USUAL_PACE


def fits(cost_s: float, budget_s: float, spent: float, number: int, replicates: int) -> bool:
    """Whether replicate `number` may take as many runs as an earlier one, at a cost of `cost_s`: replicates of as many
    runs weigh alike in a quantile over all. Where shares alone decide, little time more or less is many runs more or
    less, since most of a visit is untimed: of ten replicates the first had 131 runs of a cell, the last five."""
    return number >= replicates or cost_s <= WITHIN * max(budget_s - spent, 0.0) / (replicates - number)


def share_s(
    budget_s: float,
    spent: float,
    number: int,
    replicates: int,
    set_up_s: float = 0.0,
    part: float = 1.0,
    took_s: float = 0.0,
    *,
    adaptive: bool,
) -> float:
    """Seconds of timed runs for replicate `number` (from 0); 0.0 where no further one is to be begun.

    `spent` is what `spent_s` gives; `set_up_s` what the set-up of the next one takes.
    A further replicate of a `part` of the subjects gets that part of what one of all got: what varies is the process,
    so many short replicates say more than few long ones. `took_s` is what its runs took in earlier ones: with slow
    cells their least may be more than that part, and is not begun where it does not fit.
    """
    whole = budget_s * (FIRST_SHARE if adaptive else 1.0)
    if number < replicates:
        left = max(budget_s - spent, 0.0) / (replicates - number)
        return min(whole / replicates, left) if adaptive else left
    fair, left = part * whole / replicates, budget_s - spent - set_up_s
    return fair if adaptive and left >= max(fair, took_s) and number < MOST * replicates else 0.0


def ended(
    found: Width | None, wanted: float, label: str, number: int, replicates: int
) -> Mapping[str, float | int | str]:
    """What ended the run after `number` replicates, for its record: "precision", "budget", "most" replicates, or those
    that were asked for ("replicates"), where no ratio was to be made narrow."""
    if found is None or wanted <= 0:
        return {"ended_by": "replicates"}
    by = "precision" if not found.wider else "most" if number >= MOST * replicates else "budget"
    return {
        "ended_by": by,
        "wider_ratios": found.wider,
        "ratios": found.ratios,
        "widest_ratio": round(found.widest, 5),
        "widest_cell": label,
    }
