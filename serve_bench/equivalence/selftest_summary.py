"""What the trials of one or many self-tests add up to. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from serve_bench.equivalence.comparators import COMPARATORS
from serve_bench.equivalence.selftest import SOUND, Trial

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
    """By each comparator of other tools: by all where a copy does not run, by none that rejects the sound file too."""


def caught(trial: Trial) -> bool:
    return any(trial.caught.values())


def rejected(trials: Iterable[Trial]) -> set[tuple[str, str]]:
    """Digest of a sound file, and the comparator that rejects it."""
    return {(t.artifact_sha256, name) for t in trials if t.kind == SOUND for name, no in t.others.items() if no}


def share(name: str, trials: Sequence[Trial], wrongly: Collection[tuple[str, str]] = ()) -> Share:
    """Of faults alone: sound files are no part of it. `wrongly` is what `rejected` gives of all trials."""
    trials = [t for t in trials if t.kind != SOUND]
    return Share(
        name=name,
        faults=len(trials),
        together=sum(map(caught, trials)),
        by={way: sum(t.caught.get(way, False) for t in trials) for way in WAYS},
        others={
            name: sum(t.others.get(name, True) and (t.artifact_sha256, name) not in wrongly for t in trials)
            for name in COMPARATORS
        },
    )


def shares(trials: Iterable[Trial], by: Callable[[Trial], str]) -> list[Share]:
    """One for each group, in the order in which they first appear."""
    groups: dict[str, list[Trial]] = {}
    everything = list(trials)
    for trial in everything:
        if trial.kind != SOUND:
            groups.setdefault(by(trial), []).append(trial)
    wrongly = rejected(everything)
    return [share(name, group, wrongly) for name, group in groups.items()]


ENGINES = "engines, by numbers alone"


def rows(trials: Sequence[Trial]) -> list[Share]:
    """One for each kind of fault and one for "all", of forms that can be read; at the end one for engines, if any."""
    read, engines = ([t for t in trials if t.was_read is kind] for kind in (True, False))
    found = [*shares(read, lambda t: t.kind), share("all", read, rejected(read))]
    return [*found, share(ENGINES, engines, rejected(engines))] if engines else found


HEADINGS = ("fault", "faults", "caught", "by numbers alone", "by constants alone", "by structure alone")


def cells(row: Share) -> list[str]:
    """One text for each of HEADINGS."""
    return [row.name, str(row.faults), _part(row.together, row.faults), *(_part(row.by[w], row.faults) for w in WAYS)]


def _part(count: int, of: int) -> str:
    """ "100 %" only where it is all of them."""
    if not of:
        return ""
    return "100 %" if count == of else f"{min(100 * count / of, 99.9):.1f} %"


OTHER_HEADINGS = ("compared by", "caught", "sound files rejected")


def other_cells(row: Share, trials: Sequence[Trial]) -> list[tuple[str, str, str]]:
    """What each way of comparing catches of these faults, ours first, and how many sound files it rejects."""
    sound = [t for t in trials if t.kind == SOUND]
    wrongly = rejected(sound)
    ours = f"{sum(map(caught, sound))} of {len(sound)}"
    numbers = f"{sum(t.caught.get('numbers', False) for t in sound)} of {len(sound)}"
    first = [
        ("this verdict", _part(row.together, row.faults), ours),
        ("… by numbers alone", _part(row.by["numbers"], row.faults), numbers),
    ]
    return first + [
        (name, _part(count, row.faults), f"{sum(n == name for _, n in wrongly)} of {len(sound)}")
        for name, count in row.others.items()
    ]
