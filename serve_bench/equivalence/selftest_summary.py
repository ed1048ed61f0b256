"""What the trials of one or many self-tests add up to. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from serve_bench.equivalence.comparators import COMPARATORS
from serve_bench.equivalence.selftest import Trial

WAYS = ("numbers", "constants", "structure")


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many faults of one class are caught, and by what alone."""

    name: str
    faults: int
    together: int
    by: Mapping[str, int]
    """By each of WAYS alone."""
    others: Mapping[str, int]
    """By each comparator of other tools; a copy that does not run is caught by all."""


def caught(trial: Trial) -> bool:
    return any(trial.caught.values())


def share(name: str, trials: Sequence[Trial]) -> Share:
    return Share(
        name=name,
        faults=len(trials),
        together=sum(map(caught, trials)),
        by={way: sum(t.caught.get(way, False) for t in trials) for way in WAYS},
        others={name: sum(t.others.get(name, True) for t in trials) for name in COMPARATORS},
    )


def shares(trials: Iterable[Trial], by: Callable[[Trial], str]) -> list[Share]:
    """One for each group, in the order in which they first appear."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(by(trial), []).append(trial)
    return [share(name, group) for name, group in groups.items()]


HEADINGS = ("fault", "faults", "caught", "by numbers alone", "by constants alone", "by structure alone")


def cells(row: Share) -> list[str]:
    """One text for each of HEADINGS."""
    return [row.name, str(row.faults), _part(row.together, row.faults), *(_part(row.by[w], row.faults) for w in WAYS)]


def _part(count: int, of: int) -> str:
    """ "100 %" only where it is all of them."""
    if not of:
        return ""
    return "100 %" if count == of else f"{min(100 * count / of, 99.9):.1f} %"


def other_cells(row: Share) -> list[tuple[str, str]]:
    """What each way of comparing catches of these faults, ours first."""
    return [
        ("this verdict", _part(row.together, row.faults)),
        ("… by numbers alone", _part(row.by["numbers"], row.faults)),
    ] + [(name, _part(count, row.faults)) for name, count in row.others.items()]
